"""Checks of configuration and sample sheet before anything runs.

Imported where the workflow starts, which may hold nothing but Snakemake and what that brings (yaml, jsonschema).
"""

from __future__ import annotations

import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from spadework.encoders import registry
from spadework.encoders.weights import imagenet_file
from spadework.errors import InputError, SpadeworkError
from spadework.gene_sets import read_gmt
from spadework.keys import COVARIATES, NUCLEI
from spadework.perturbations import PERTURBATIONS, UNPERTURBED
from spadework.prototypes.architecture import check_field
from spadework.samples import Sample

# Fewer permutations do not tell how much a correlation scatters: with 10, 8 % of null tests have p < 0.05.
MIN_PERMUTATIONS = 100
R_ENGINES = ("seurat", "limma")
# What a rule of the schema asks for, in words.
_WORDS = {
    "type": "a value of type",
    "enum": "one of",
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "minItems": "a list of at least",
    "maxItems": "a list of at most",
    "multipleOf": "a multiple of",
    "required": "the keys",
    "pattern": "text of the form",
}
# What the corrected method is; the comparison ends there.
_CORRECTED: dict[str, dict[str, Any]] = {
    "encoder": {"pixel_range": "0-255"},
    "latents": {"scope": "section", "standardize": "auto"},
    "association": {"values": "lognorm", "zscore": False, "design": "marginal", "n_latents": None},
}


def check_config(config: dict[str, Any], schema: Path) -> None:
    """Check the configuration against its schema.

    Raises
    ------
    SpadeworkError
        With one message per key that is unknown, missing or has a value it cannot have.
    """
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    problems = [str(_config_error(error)) for error in validator.iter_errors(config)]
    if problems:
        raise SpadeworkError("\n".join(problems))


def _config_error(error: ValidationError) -> InputError:
    """Say in words what a validator says in terms of the schema."""
    key, value, rule = ".".join(map(str, error.absolute_path)), error.instance, error.validator_value
    found, expected = f"{key}: {value}", f"{_WORDS.get(str(error.validator), error.validator)} {rule}"
    remedy = "correct it in your configuration; config/config.yaml explains every key"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [name for name in value if name not in known]
        close = get_close_matches(str(unknown[0]), known, n=1)
        found = f"the unknown key {', '.join(f'{key}.{name}'.lstrip('.') for name in unknown)}"
        expected = f"one of {', '.join(known)}"
        remedy = f"did you mean {close[0]}?" if close else "remove it, or move it to the section it belongs to"
    elif error.validator == "oneOf":
        expected = error.schema["description"]
    return InputError("config", None, found=found, expected=expected, remedy=remedy)


def check_samples(samples: dict[str, Sample], sheet: str, schema: Path) -> None:
    """Check the cells of the sample sheet against their schema.

    Raises
    ------
    SpadeworkError
        With one message per cell that cannot be right.
    """
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    problems = []
    for name, s in samples.items():
        row = {"sample": name, "path": str(s.path), "platform": s.platform, "species": s.species, "group": s.group}
        row |= s.extra
        for error in validator.iter_errors(row):
            found = f"{'.'.join(map(str, error.absolute_path))}: {error.instance}"
            expected = f"{_WORDS.get(str(error.validator), error.validator)} {error.validator_value}"
            remedy = "correct the cell, or leave it empty"
            problems.append(str(InputError(name, sheet, found=found, expected=expected, remedy=remedy)))
    if problems:
        raise SpadeworkError("\n".join(problems))


def check_encoders(config: dict[str, Any]) -> None:
    """Check encoder names, patch size and weights before anything runs.

    Raises
    ------
    InputError
        If a name is unknown, patches are too small, or a weights file is missing or ambiguous.
    """
    encoder = config["encoder"]
    networks = [name for name in encoder["names"] if registry.needs_weights(name)]
    for name in encoder["names"]:
        registry.check(name, config["patch"]["output_px"])
    if encoder["weights"] == "imagenet":
        for name in networks:
            imagenet_file(name)
    elif encoder["weights"] != "seeded":
        path = Path(encoder["weights"])
        if not path.is_file():
            raise InputError(
                "config",
                path,
                found="no such file",
                expected="encoder.weights: imagenet, seeded, or the path of a weights file",
                remedy="correct encoder.weights in config/config.yaml",
            )
        if len(networks) > 1:
            raise InputError(
                "config",
                path,
                found=f"one weights file for {len(networks)} networks ({', '.join(networks)})",
                expected="one network",
                remedy="run the networks one at a time, or use encoder.weights: imagenet",
            )


def check_evidence(config: dict[str, Any], *, read_sets: bool) -> None:
    """Check covariates, gene sets, permutations, perturbations and the second encoder before anything runs.

    Parameters
    ----------
    read_sets
        Read the files of gene sets, too; once is enough.

    Raises
    ------
    InputError
        If a file is not there or no GMT, a name is unknown, or settings do not go together.
    """
    for name in config["association"]["covariates"]:
        if name not in COVARIATES:
            close = get_close_matches(name, COVARIATES, n=1)
            raise InputError(
                "config",
                None,
                found=f"association.covariates: {name}",
                expected=f"names out of {', '.join(COVARIATES)}",
                remedy=f"did you mean {close[0]}?" if close else "remove it",
            )
    permutations = config["association"]["permutations"]
    if 0 < permutations < MIN_PERMUTATIONS:
        raise InputError(
            "config",
            None,
            found=f"association.permutations: {permutations}",
            expected=f"0, or at least {MIN_PERMUTATIONS}: fewer do not tell how much correlations scatter",
            remedy="set association.permutations: 200",
        )
    for path in map(Path, config["terms"]["gene_sets"]):
        if not path.is_file():
            raise InputError(
                "config",
                path,
                found="no such file",
                expected="a GMT file of gene sets",
                remedy="correct terms.gene_sets; config/README.md says where to get such files",
            )
        if read_sets:
            read_gmt(path)
    if config["terms"]["min_size"] > config["terms"]["max_size"]:
        raise InputError(
            "config",
            None,
            found=f"terms.min_size: {config['terms']['min_size']}, terms.max_size: {config['terms']['max_size']}",
            expected="room between the two",
            remedy="lower terms.min_size or raise terms.max_size",
        )
    known = [name for name in PERTURBATIONS if name != UNPERTURBED.name]
    unknown = [name for name in config["stability"]["perturbations"] if name not in known]
    if unknown:
        raise InputError(
            "config",
            None,
            found=f"the perturbation {unknown[0]!r}",
            expected=f"one of {', '.join(known)}",
            remedy="correct stability.perturbations",
        )
    second, names = config["stability"]["second_encoder"], config["encoder"]["names"]
    if second:
        registry.check(second, config["patch"]["output_px"])
        own_file = config["encoder"]["weights"] not in ("imagenet", "seeded")
        if second not in names and registry.needs_weights(second) and own_file:
            raise InputError(
                "config",
                None,
                found=f"stability.second_encoder: {second} with a weights file that is another network's",
                expected="a second encoder without weights, such as colour_texture",
                remedy="correct stability.second_encoder, or set it to null",
            )


def check_nuclei(config: dict[str, Any]) -> None:
    """Check that there is a model for nuclei where nuclei are asked for.

    Raises
    ------
    InputError
        If there is none, or covariates ask for nuclei that nothing finds.
    """
    nuclei = config["nuclei"]
    engine, model = nuclei["engine"], nuclei["model"]
    named = [name for name in config["association"]["covariates"] if name in NUCLEI]
    if named and not engine:
        raise InputError(
            "config",
            None,
            found=f"association.covariates: {named[0]} with nuclei.engine: null",
            expected="an engine that finds nuclei",
            remedy=f"set nuclei.engine: unet, or take {named[0]} out of association.covariates",
        )
    if engine == "stardist" and not (model and nuclei["um_per_px"]):
        raise InputError(
            "config",
            None,
            found=f"nuclei.model: {model}, nuclei.um_per_px: {nuclei['um_per_px']}",
            expected="the folder of a StarDist model, and the µm per pixel of the images it was trained on",
            remedy="set nuclei.model and nuclei.um_per_px, or nuclei.engine: unet",
        )
    unet = config["unet"] | {"um_per_px": nuclei["um_per_px"] or config["unet"]["um_per_px"]}
    missing = [key for key in ("images", "labels", "um_per_px") if not unet[key]]
    if engine == "unet" and not model and missing:
        raise InputError(
            "config",
            None,
            found=f"nuclei.engine: unet without a model: nuclei.model is null, and so is unet.{missing[0]}",
            expected="a trained model, or labelled images of a known scale to train one on",
            remedy="set nuclei.model; or unet.images, unet.labels and unet.um_per_px (docs/nuclei.md). Where the "
            "scale is not known: 8 divided by the width of a typical nucleus in pixels",
        )
    kind = "folder" if engine == "stardist" else "file"
    if engine and model and not (Path(model).is_dir() if kind == "folder" else Path(model).is_file()):
        raise InputError(
            "config",
            model,
            found=f"no such {kind}",
            expected=f"the {kind} of a {'StarDist' if engine == 'stardist' else 'U-Net'} model",
            remedy="correct nuclei.model",
        )
    if engine == "unet" and model:
        # Not needed by most runs.
        import h5py

        if not h5py.is_hdf5(model):
            raise InputError(
                "config",
                model,
                found="a file that is no U-Net of this workflow",
                expected="a model made by `snakemake unet`, results/unet/model.h5",
                remedy="correct nuclei.model, or set it to null to train one",
            )


def check_unet(config: dict[str, Any]) -> None:
    """Check that the settings of the U-Net go together.

    Raises
    ------
    InputError
        If they do not.
    """
    unet = config["unet"]
    training, objects = unet["training"], unet["objects"]
    if (training["schedule"] == "plateau" or training["stop_after"]) and not unet["validation"]:
        key = "stop_after" if training["stop_after"] else "schedule"
        raise InputError(
            "config",
            None,
            found=f"unet.training.{key}: {training[key]} with unet.validation: 0",
            expected="images to see by when the loss no longer improves",
            remedy="set unet.validation: 0.2, say, or unet.training.schedule: cosine and stop_after: 0",
        )
    if objects["threshold"] > objects["core"]:
        raise InputError(
            "config",
            None,
            found=f"unet.objects.threshold: {objects['threshold']} and core: {objects['core']}",
            expected="a threshold that is not above the core's: objects are cores and what is around them",
            remedy="lower unet.objects.threshold, or raise core",
        )


def check_prototypes(config: dict[str, Any], samples: dict[str, Sample]) -> None:
    """Check that the settings of prototypes go together, where there are to be some.

    Raises
    ------
    SpadeworkError
        With one message per setting that cannot be as it is.
    """
    prototypes, encoder = config["prototypes"], config["encoder"]
    if not prototypes["classes"]:
        return
    asked_for = f"prototypes.classes: {prototypes['classes']}"
    problems: list[SpadeworkError] = []
    if not samples:
        problems.append(
            InputError(
                "config",
                None,
                found=f"{asked_for} with samples: null",
                expected="sections whose spots have classes",
                remedy="set samples to the path of a sample sheet, or prototypes.classes: null",
            )
        )
    elif prototypes["scope"] == "group" and not any(sample.group for sample in samples.values()):
        problems.append(
            InputError(
                "config",
                None,
                found="prototypes.scope: group and no group in the sample sheet",
                expected="sections that share prototypes",
                remedy="fill in the column `group`, or set prototypes.scope: section",
            )
        )
    try:
        check_field(prototypes["backbone"], prototypes["pool"], prototypes["px"], prototypes["top_cells"])
    except InputError as error:
        problems.append(error)
    own_file = encoder["weights"] not in ("imagenet", "seeded")
    if prototypes["backbone"] == "vgg16" and own_file and "vgg16" not in encoder["names"]:
        problems.append(
            InputError(
                "config",
                encoder["weights"],
                found="prototypes.backbone: vgg16 with a weights file that is another network's",
                expected="weights of VGG16",
                remedy="set prototypes.backbone: small, or use encoder.weights: imagenet",
            )
        )
    if problems:
        raise SpadeworkError("\n".join(map(str, problems)))


def check_engines(config: dict[str, Any], *, own_r: bool) -> None:
    """Check that the engines asked for go together and can run.

    Parameters
    ----------
    own_r
        R has to be on the PATH, because no environment brings it.

    Raises
    ------
    InputError
        If R is not there, or something is asked for that another setting does not give.
    """
    expression, association = config["expression"], config["association"]
    if association["values"] == "sct" and expression["engine"] != "seurat":
        raise InputError(
            "config",
            None,
            found=f"association.values: sct with expression.engine: {expression['engine']}",
            expected="expression.engine: seurat, which computes these values",
            remedy="set expression.engine: seurat, or association.values: lognorm",
        )
    if (association["n_latents"] or 0) > config["latents"]["n_latents"]:
        raise InputError(
            "config",
            None,
            found=f"association.n_latents: {association['n_latents']}",
            expected=f"at most latents.n_latents: {config['latents']['n_latents']}",
            remedy="lower association.n_latents, or raise latents.n_latents",
        )
    in_r = {k: config[k]["engine"] for k in ("expression", "association") if config[k]["engine"] in R_ENGINES}
    if in_r and own_r:
        way_out = "set expression.engine: scanpy and association.engine: python"
        check_r(" and ".join(f"{k}.engine: {v}" for k, v in in_r.items()), way_out)


def check_r(wanted_by: str, way_out: str) -> None:
    """Check that there is an R on the PATH, before anything runs.

    Raises
    ------
    InputError
        If there is none.
    """
    if not shutil.which("Rscript"):
        raise InputError(
            "config",
            None,
            found=f"no Rscript on the PATH, which {wanted_by} needs",
            expected="R with Seurat and limma",
            remedy="run with --use-conda; or install R (Debian: apt install --no-install-recommends r-base-core "
            f"r-cran-seurat r-bioc-limma r-cran-hdf5r); or {way_out}",
        )


def check_comparison(config: dict[str, Any], published: dict[str, Any], *, own_r: bool) -> None:
    """Check that the comparison with the published method can run under this configuration.

    Raises
    ------
    InputError
        If there is no R, the encoder cannot be the published one's stand-in, or settings are those of the published
        method, or others that the comparison does not know.
    """
    if own_r:
        check_r("the comparison with the published method", "do without the comparison")
    encoder = config["encoder"]["names"][0]
    if not registry.needs_weights(encoder):
        raise InputError(
            "config",
            None,
            found=f"{encoder} as the first of encoder.names",
            expected="a network: the published method's mistake with the range of pixels is one of networks",
            remedy="put vgg16 first for the comparison",
        )
    registry.check(encoder, published["patch"]["output_px"])
    for section, settings in _CORRECTED.items():
        for key, value in settings.items():
            if config[section][key] != value:
                raise InputError(
                    "config",
                    None,
                    found=f"{section}.{key}: {config[section][key]}",
                    expected=f"{section}.{key}: {value}, as the corrected method has it",
                    remedy="run the comparison without config/spade2021.yaml (it makes the published results itself) "
                    "and with the default of this key",
                )

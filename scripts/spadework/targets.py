"""What the workflow makes: file names of results, from the configuration and the sample sheet.

Imported where the workflow starts, which may hold nothing but Snakemake and what that brings (yaml, jsonschema).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spadework.datasets import CACHE, Registry, section_files
from spadework.encoders import registry
from spadework.encoders.weights import imagenet_file
from spadework.errors import InputError, SpadeworkError
from spadework.files import OPENSLIDE_SUFFIXES, TIFF_SUFFIXES
from spadework.job import file_digest
from spadework.keys import NUCLEI
from spadework.readers.locate import locate
from spadework.report.plan import reports
from spadework.samples import Sample, groups
from spadework.volume import plan

_PER_ENCODER = (
    "association.parquet",
    "association.csv.gz",
    "latents.csv",
    "figures/latents.png",
    "figures/clusters.png",
    "figures/embeddings.png",
    "figures/volcano.png",
    "figures/variance.png",
)
_PER_GROUP = ("replication.csv", "pooled.csv.gz", "replication.png")
_NUCLEI = ("labels.ome.tif", "nuclei.parquet", "spots.csv", "figures/outlines.png", "figures/spots.png")
# The model that the workflow trains, and how good it is.
UNET_MODEL = "results/unet/model.h5"
UNET_SCORES = ("results/unet/scores.csv", "results/unet/figures/history.png", "results/unet/figures/examples.png")
# Of sections that share prototypes, and of every section.
_PROTOTYPES = (
    *("spots.csv", "model.h5", "control.h5", "history.csv", "img", "accuracy.csv", "verdict.txt", "prototypes.csv"),
    *("scores.parquet", "figures/history.png", "figures/prototypes", "figures/accuracy.png"),
)
_EXPLAINED = ("spots", "explanations.csv", "figures/explanations.png", "figures/map.png")
_PROTOTYPE_RULES = ("split_spots", "train_prototypes", "train_control", "score_prototypes")
_EXPLAINING_RULES = ("cut_prototype_patches", "explain_patches")
_WEIGHTS = "resources/cache/weights"
# Inputs of some 1,000 spots.
_SMALL_MB = 10.0
# Rules that run for a value of a key only (None: for any that is neither empty nor false), and for other targets.
_ON_DEMAND: dict[tuple[str, str], tuple[str | None, tuple[str, ...]]] = {
    ("expression", "engine"): ("seurat", ("export_counts", "cluster_seurat")),
    ("association", "engine"): ("limma", ("export_values", "fit_limma")),
    ("latents", "scope"): ("section", ("project_latents", "associate_shared_latents")),
    ("terms", "gene_sets"): (None, ("enrich_terms",)),
    ("figures", "published"): (None, ("draw_published",)),
    ("nuclei", "engine"): (None, ("segment_nuclei", "count_nuclei")),
    ("prototypes", "classes"): (None, _PROTOTYPE_RULES + _EXPLAINING_RULES),
}
_OTHER_TARGETS = ("*_published_patches*", "compare_methods", "*_perturbed_patches_*", "measure_stability")
_PER_LATENT = ("figures/latent_{k}.png", "figures/patches_{k}.png")
# What the published script writes, under its names.
_PUBLISHED = ("published/SPADE_image_features.png", "published/ts_features_pc.csv")
_PUBLISHED_PER_LATENT = ("published/SPADE_pc{k}.png",)


def final_outputs(samples: dict[str, Sample], config: dict[str, Any]) -> list[str]:
    """List the results of all sections."""
    latents = range(1, config["latents"]["n_latents"] + 1)
    published = config["figures"]["published"]
    per_latent = _PER_LATENT + _PUBLISHED_PER_LATENT * published
    per_encoder = [
        *_PER_ENCODER + _PUBLISHED * published,
        *(file for page, table in evidence(config).items() for file in (table, f"figures/{page}.png")),
        *(name.format(k=k) for name in per_latent for k in latents),
    ]
    outputs = []
    for sample in samples:
        outputs += [f"results/{sample}/{sample}.h5ad", f"results/{sample}/preflight/overlay.png"]
        outputs += [f"results/{sample}/{e}/{name}" for e in config["encoder"]["names"] for name in per_encoder]
        outputs += [f"results/{sample}/nuclei/{name}" for name in _NUCLEI if config["nuclei"]["engine"]]
    if trains_unet(config):
        outputs += UNET_SCORES
    if config["prototypes"]["classes"]:
        outputs += prototype_outputs(samples, config)
    outputs += plan.volume_files(samples, config)
    for group in groups(samples):
        outputs += [f"results/cohort/{group}/{e}/{name}" for e in config["encoder"]["names"] for name in _PER_GROUP]
    return outputs + reports(samples)


def prototype_outputs(samples: dict[str, Sample], config: dict[str, Any]) -> list[str]:
    """List all that there is of prototypes.

    Raises
    ------
    InputError
        If the configuration asks for none.
    """
    if not config["prototypes"]["classes"]:
        raise InputError(
            "config",
            None,
            found="prototypes.classes: null",
            expected="classes for prototypes to tell apart",
            remedy="set prototypes.classes: cluster (docs/prototypes.md)",
        )
    files = [f"results/{unit}/prototypes/{name}" for unit in prototype_units(samples, config) for name in _PROTOTYPES]
    return files + [f"results/{sample}/prototypes/{name}" for sample in samples for name in _EXPLAINED]


def all_outputs(samples: dict[str, Sample], config: dict[str, Any]) -> list[str]:
    """List every file ``rule all`` asks for, once it is asked for.

    Raises
    ------
    InputError
        If there is no section: those who train a U-Net need none.
    """
    if not samples:
        raise InputError(
            "config",
            None,
            found="samples: null",
            expected="a sample sheet, for all but `snakemake unet`",
            remedy="set samples to the path of a sample sheet",
        )
    return final_outputs(samples, config)


def evidence(config: dict[str, Any]) -> dict[str, str]:
    """Name the pages on what speaks for and against the genes found, and the table that each of them shows."""
    pages = {"beyond_composition": "beyond_composition.csv.gz", "cluster_comparison": "cluster_comparison.csv"}
    if config["calibration"]["n_fields"]:
        pages["calibration"] = "calibration.csv"
    if config["terms"]["gene_sets"]:
        pages["terms"] = "terms.csv.gz"
    return pages


def section_inputs(sample: Sample, config: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """List the files a section is read from, so that Snakemake sees when one changes.

    Those of a public dataset are known from the registry and need not be there yet.

    Returns
    -------
    dict
        ``files`` (for the ingest rule) and ``image`` (the full-resolution image, a list of none or one).
    """
    files = section_files(sample, registry)
    if files is not None:
        return {"files": files, "image": [str(sample.image)] if sample.image else []}
    found = locate(sample, config["ingest"]["bin_um"])
    image = [str(found.fullres)] if found.fullres else []
    return {"files": [str(p) for p in found.counts_inputs()], "image": image}


def all_inputs(samples: dict[str, Sample], config: dict[str, Any], registry: Registry) -> dict[str, dict[str, Any]]:
    """List the files of every section, or report all sections whose files are not there, at once.

    Raises
    ------
    SpadeworkError
        With one message per section that cannot be read.
    """
    found, problems = {}, []
    for name, sample in samples.items():
        try:
            found[name] = section_inputs(sample, config, registry)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise SpadeworkError("\n".join(problems))
    return found


# Where images lie in a folder: side by side, or in a folder each.
_TRAINING_FORMS = ("*", "*/images/*", "*/masks/*")


def training_data(config: dict[str, Any]) -> list[str]:
    """Name what a U-Net is trained on: two folders or two stacks, and the list of names if there is one.

    Raises
    ------
    InputError
        If the configuration names none, or they are not there.
    """
    unet = config["unet"]
    paths = {key: Path(unet[key]) for key in ("images", "labels", "names") if unet[key]}
    for key in ("images", "labels"):
        if key not in paths or not paths[key].exists():
            raise InputError(
                "config",
                paths.get(key),
                found=f"unet.{key}: {unet[key] or 'null'}" + (", which is not there" if key in paths else ""),
                expected="labelled images to train a U-Net on",
                remedy=f"put them there, or name a folder or a TIFF stack as unet.{key} (docs/nuclei.md#a-model)",
            )
    return [str(path) for path in dict.fromkeys(paths.values())]


def training_files(config: dict[str, Any]) -> list[tuple[str, Path]]:
    """List the files in :func:`training_data`, as the reader finds them: name below what is given, and path."""
    found = []
    for given in training_data(config):
        top = Path(given)
        paths = [top] if top.is_file() else sorted(p for form in _TRAINING_FORMS for p in top.glob(form))
        names = ((path.relative_to(top), path) for path in paths if path.is_file())
        found += [(str(name), path) for name, path in names if not any(p.startswith(".") for p in name.parts)]
    return found


def training_digest(config: dict[str, Any]) -> str:
    """Return a digest of the files a U-Net is trained on, so that Snakemake sees when one changes.

    As inputs of the rule, thousands of masks would be listed on the terminal for every job.
    """
    return _digest(tuple(training_files(config)))


@cache
def _digest(files: tuple[tuple[str, Path], ...]) -> str:
    text = "".join(f"{name}\0{file_digest(path)}\0" for name, path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def training_mb(config: dict[str, Any]) -> float:
    """Sum the sizes of the files a U-Net is trained on, MB."""
    return sum(path.stat().st_size for _, path in training_files(config)) / 1e6


def benchmark_patterns(
    samples: dict[str, Sample], config: dict[str, Any], inputs: dict[str, dict[str, Any]]
) -> dict[str, list[str]]:
    """Say which benchmark files are those of ``rule all``, by pattern.

    Parameters
    ----------
    inputs
        Of :func:`all_inputs`.

    Returns
    -------
    dict
        ``used``, and ``idle``: of these, files of rules that do not run for this configuration, or for other targets
        only; they are left over from another run.
    """
    encoders = config["encoder"]["names"]
    shared = {latent_unit(sample, config) for sample in samples.values()} - {""}
    cohorts = sorted(shared | {f"cohort/{group}" for group in groups(samples)})
    units = [f"{unit}/{encoder}" for unit in [*samples, *cohorts] for encoder in encoders]
    used = [f"{folder}/*.tsv" for folder in [*samples, *cohorts, *units]]
    used += [f"{cohort}/{encoder}/{sample}/*.tsv" for cohort in cohorts for encoder in encoders for sample in samples]
    used += [f"{unit}/prototypes/{r}.tsv" for unit in prototype_units(samples, config) for r in _PROTOTYPE_RULES]
    used += [f"{sample}/prototypes/{r}.tsv" for sample in samples for r in _EXPLAINING_RULES]
    used += plan.benchmarks(samples, config)
    if trains_unet(config):
        used.append("unet/*.tsv")
    if config["encoder"]["weights"] == "imagenet":
        used += [f"weights/{encoder}/*.tsv" for encoder in dict.fromkeys([*encoders, *_backbone(config)])]
    files = [Path(file) for found in inputs.values() for file in [*found["files"], *found["image"]]]
    used += [f"datasets/{file.relative_to(CACHE)}.tsv" for file in files if file.is_relative_to(CACHE)]
    idle = [f"{rule}.tsv" for rule in _OTHER_TARGETS]
    for (section, key), (value, rules) in _ON_DEMAND.items():
        asked_for = config[section][key]
        if asked_for in ([], False, None) or (value and asked_for != value):
            idle += [f"{rule}.tsv" for rule in rules]
    return {"used": used, "idle": idle}


def other_inputs(samples: dict[str, Sample], config: dict[str, Any]) -> list[str]:
    """List the files results depend on besides those of the sections: clusters made elsewhere, and gene sets."""
    clusters = [str(sample.clusters) for sample in samples.values() if sample.clusters]
    model = nuclei_model_files(config) if config["nuclei"]["model"] else []
    return list(dict.fromkeys([*clusters, *config["terms"]["gene_sets"], *model]))


def trains_unet(config: dict[str, Any]) -> bool:
    """Whether nuclei are found by a U-Net that the workflow trains."""
    return config["nuclei"]["engine"] == "unet" and not config["nuclei"]["model"]


def nuclei_model(config: dict[str, Any]) -> str:
    """Return the file, or folder, of the model that finds nuclei."""
    return config["nuclei"]["model"] or UNET_MODEL


def nuclei_model_files(config: dict[str, Any]) -> list[str]:
    """List the files of the model that finds nuclei, so that Snakemake sees when one changes."""
    model = Path(nuclei_model(config))
    return sorted(str(p) for p in model.iterdir() if p.is_file()) if model.is_dir() else [str(model)]


def nuclei_covariates(config: dict[str, Any]) -> list[str]:
    """List the covariates that come from nuclei."""
    return [name for name in config["association"]["covariates"] if name in NUCLEI]


def comparable_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration without what says where files are: two runs of the same analysis have it alike."""
    kept = {key: value for key, value in config.items() if key not in ("samples", "datasets")}
    kept["encoder"] = {key: value for key, value in config["encoder"].items() if key != "mirror"}
    kept["encoder"]["weights"] = Path(config["encoder"]["weights"]).name
    kept["nuclei"] = config["nuclei"] | {"model": Path(nuclei_model(config)).name}
    unet = config["unet"]
    kept["unet"] = unet | {key: unet[key] and Path(unet[key]).name for key in ("images", "labels", "names")}
    pairs = config["volume"]["pairs"]
    kept["volume"] = config["volume"] | {"pairs": pairs and Path(pairs).name}
    kept["terms"] = config["terms"] | {"gene_sets": [Path(path).name for path in config["terms"]["gene_sets"]]}
    return kept


def sheet_row(sample: Sample) -> dict[str, str]:
    """Return a row of the sample sheet as text, without empty cells; of paths, the last part."""
    path, image, clusters = (p and p.name for p in (sample.path, sample.image, sample.clusters))
    row = {"path": path, "image": image, "channels": ",".join(sample.channels)}
    row |= {
        "platform": sample.platform,
        "species": sample.species,
        "clusters": clusters,
        "group": sample.group,
    }
    row |= {"held_out": "yes" if sample.held_out else ""} | sample.extra
    return {column: str(value) for column, value in row.items() if value}


def published_settings(profile: Path) -> dict[str, Any]:
    """Read the profile of the published method (``config/spade2021.yaml``)."""
    return yaml.safe_load(profile.read_text(encoding="utf-8"))


def whole_mb(files: Iterable[str]) -> float:
    """Sum the sizes, MB, of files that are read whole: not of slide images, which are read by region."""
    lazy = (*TIFF_SUFFIXES, *OPENSLIDE_SUFFIXES)
    sizes = (Path(f).stat().st_size for f in files if Path(f).is_file() and not str(f).lower().endswith(lazy))
    return sum(sizes) / 1e6


def growing(
    sections: dict[str, dict[str, Any]], base: float, per_mb: float, besides: Callable[[], float] = lambda: 0.0
) -> Callable[..., int]:
    """Make a resource function, of MB or minutes: by size of what is read whole, doubled with every attempt.

    Parameters
    ----------
    sections
        As from :func:`all_inputs`. A job that is submitted together with those before it has inputs that are not
        there yet: the section's own files stand in for them.
    besides
        Says how many MB are read that are no inputs.
    """

    def ask(wildcards: object, input: Iterable[str], attempt: int) -> int:
        mb = whole_mb(input) + besides()
        section = sections.get(getattr(wildcards, "sample", ""))
        if section and not all(Path(f).exists() for f in input):
            mb = max(mb, whole_mb(section["files"] + section["image"]))
        return int((base + per_mb * mb) * 2 ** (attempt - 1))

    return ask


def few_threads(wildcards: object, input: Iterable[str]) -> int:
    """Ask for one thread where a section is small: there, threads that wait for each other cost more than they do."""
    return 2 if whole_mb(input) > _SMALL_MB else 1


def pick(config: dict[str, Any], section: str, *keys: str) -> dict[str, Any]:
    """Return the keys of a configuration section that a rule needs: a change of any other must not re-run it."""
    return {key: config[section][key] for key in keys}


def reading(sample: Sample) -> dict[str, Any]:
    """Return what the ingest stage needs of a row: the rest may change without reading the section again."""
    return {key: getattr(sample, key) for key in ("name", "path", "image", "channels", "platform")}


def sheet_columns(sample: Sample) -> dict[str, str]:
    """Return what is kept in ``obs`` of a section: its name, its group and every further column of the sheet."""
    named = {"sample": sample.name, "group": sample.group} | sample.extra
    return {column: value for column, value in named.items() if value}


def result_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the configuration that results depend on, to be kept with them."""
    left_out = {"samples", "datasets", "prototypes", "volume"}
    left_out |= {"calibration", "terms", "stability", "figures", "report"}
    kept = {
        key: value
        for key, value in config.items()
        if key not in left_out and (key not in ("nuclei", "unet") or config["nuclei"]["engine"])
    }
    if config["prototypes"]["classes"]:
        # Not what is explained by them.
        drawn = ("shown", "per_kind", "top_k")
        kept["prototypes"] = {key: value for key, value in config["prototypes"].items() if key not in drawn}
    if config["volume"]["target"]:
        # Where spots are in the block; of what is predicted nothing is in a section's results.
        kept["volume"] = pick(config, "volume", "registration", "voxel_um", "stain_normalisation")
    if "unet" in kept and not trains_unet(config):
        kept["unet"] = {"objects": config["unet"]["objects"]}
    kept["encoder"] = {key: value for key, value in config["encoder"].items() if key != "mirror"}
    return kept


def weights_path(encoder: str, config: dict[str, Any]) -> list[str]:
    """Return the weights file the encoding needs: none, a local one, or a download."""
    weights = config["encoder"]["weights"]
    if not registry.needs_weights(encoder) or weights == "seeded":
        return []
    if weights == "imagenet":
        return [f"{_WEIGHTS}/{encoder}/{imagenet_file(encoder).filename}"]
    return [weights]


def weights_checksum(encoder: str, config: dict[str, Any]) -> str | None:
    """Return the published checksum of the weights an encoder is to use; none for those of the user."""
    if not registry.needs_weights(encoder) or config["encoder"]["weights"] != "imagenet":
        return None
    return imagenet_file(encoder).checksum


def weights_to_fetch(config: dict[str, Any]) -> list[str]:
    """List published weights that the run needs and that are not in the cache, by their path in it."""
    if config["encoder"]["weights"] != "imagenet":
        return []
    second = filter(None, [config["stability"]["second_encoder"]])
    encoders = dict.fromkeys([*config["encoder"]["names"], *second, *_backbone(config)])
    paths = [Path(path) for encoder in encoders for path in weights_path(encoder, config)]
    return [path.relative_to(_WEIGHTS).as_posix() for path in paths if not path.exists()]


def _backbone(config: dict[str, Any]) -> list[str]:
    """Name the published network that prototypes are made of, if they are."""
    prototypes = config["prototypes"]
    return ["vgg16"] if prototypes["classes"] and prototypes["backbone"] == "vgg16" else []


def backbone_weights(config: dict[str, Any]) -> list[str]:
    """Return the weights file of the network that prototypes are made of: none, a local one, or a download."""
    return [path for network in _backbone(config) for path in weights_path(network, config)]


def backbone_checksum(config: dict[str, Any]) -> str | None:
    """Return the published checksum of the weights of the network that prototypes are made of, if they are those."""
    return next((weights_checksum(network, config) for network in _backbone(config)), None)


def read_twice(names: list[str], samples: dict[str, Sample]) -> str:
    """Say which sections are the same data under several names, or nothing: they would confirm each other."""
    by_path: dict[Path, list[str]] = {}
    for name in names:
        by_path.setdefault(samples[name].path.resolve(), []).append(name)
    same = [" and ".join(group) for group in by_path.values() if len(group) > 1]
    return f"The same data under several names ({'; '.join(same)}): no replication." if same else ""


def latent_unit(sample: Sample, config: dict[str, Any]) -> str:
    """Name the folder, below results, of the latents a section shares with its group; empty if it has its own."""
    return f"cohort/{sample.group}" if config["latents"]["scope"] == "group" and sample.group else ""


def unit_members(unit: str, samples: dict[str, Sample]) -> list[str]:
    """List the sections of a group (``cohort/<group>``) whose features its shared latents are fitted on."""
    return [name for name, sample in samples.items() if f"cohort/{sample.group}" == unit and not sample.held_out]


def prototype_unit(sample: Sample, config: dict[str, Any]) -> str:
    """Name the folder, below results, of the prototypes a section shares with its group, or of its own."""
    shared = config["prototypes"]["scope"] == "group" and sample.group
    return f"cohort/{sample.group}" if shared else sample.name


def prototype_units(samples: dict[str, Sample], config: dict[str, Any]) -> dict[str, list[str]]:
    """List the sections of every model of prototypes, held out or not, in the order of the sheet."""
    members: dict[str, list[str]] = {}
    for name, sample in samples.items():
        members.setdefault(prototype_unit(sample, config), []).append(name)
    return members


def tested_on(unit: str, samples: dict[str, Sample], config: dict[str, Any]) -> list[str]:
    """List the sections that the prototypes of a unit are tested on as a whole: none of a section's own."""
    members = prototype_units(samples, config)[unit]
    return [name for name in members if samples[name].held_out and unit != name]


def prototype_files(sample: Sample, config: dict[str, Any], name: str) -> list[str]:
    """List a file of the prototypes of a section; none where there are no prototypes."""
    asked_for = config["prototypes"]["classes"]
    return [f"results/{prototype_unit(sample, config)}/prototypes/{name}"] if asked_for else []

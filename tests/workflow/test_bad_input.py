"""Bad input: one clear message, a failing exit code and no half result, or a repair that the log tells."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from damage import CASES, Case, prepare
from harness import ROOT, Run, run_workflow
from snakemake.utils import update_config

from spadework.checks import check_config, check_encoders
from spadework.errors import SpadeworkError

SHEET = [case for case in CASES if case.stops_at == "sheet"]
JOBS = [case for case in CASES if case.stops_at != "sheet"]
STOPPED = "spadework stopped at"
PARTS = ("found:", "expected:", "fix:")
# What the jobs before a rule have rightly written.
BEFORE = {
    "read_section": set(),
    "cluster_expression": {"ingest/spots.h5ad", "preflight/preflight.json", "preflight/overlay.png"},
}
SMALL = "very_small_section"

# A sheet (None: a good one) and a configuration that must stop before any job -> phrases of the message.
SETTINGS: dict[str, tuple[str | None, dict[str, Any], tuple[str, ...]]] = {
    "unknown_encoder": (
        None,
        {"encoder": {"names": ["vgg61"]}},
        ("the encoder 'vgg61'", "one of vgg16, ", "correct encoder.names"),
    ),
    "patches_too_small_for_the_network": (
        None,
        {"encoder": {"names": ["vgg16"], "weights": "seeded"}, "patch": {"output_px": 16}},
        ("patch.output_px: 16", "at least 32 px for vgg16", "raise patch.output_px"),
    ),
    "weights_missing": (
        None,
        {"encoder": {"names": ["vgg16"], "weights": "gone/notop.h5"}},
        ("config: gone/notop.h5", "no such file", "imagenet, seeded, or the path", "correct encoder.weights"),
    ),
    "gene_sets_missing": (
        None,
        {"terms": {"gene_sets": ["gone.gmt"]}},
        ("config: gone.gmt", "no such file", "a GMT file", "correct terms.gene_sets"),
    ),
    "gene_sets_of_another_format": (
        None,
        {"terms": {"gene_sets": [str(ROOT / "README.md")]}},
        ("README.md", "GMT"),
    ),
    "misspelt_covariate": (
        None,
        {"association": {"covariates": ["log10_umi", "patch_tissue_fractoin"]}},
        ("association.covariates: patch_tissue_fractoin", "did you mean patch_tissue_fraction?"),
    ),
    "few_permutations": (
        None,
        {"association": {"permutations": 20}},
        ("association.permutations: 20", "at least 100", "permutations: 200"),
    ),
    "unknown_dataset": (
        "sample\tpath\ns\tdataset:her2st_B5\n",
        {},
        ("s: dataset:her2st_B5", "not in the registry", "did you mean her2st_B4?"),
    ),
    "group_that_leaves_the_folder": (
        "sample\tpath\tgroup\ns\t{outs}\t../x\n",
        {},
        ("s: samples.tsv", "group: ../x", "text of the form"),
    ),
    "no_perturbation": (None, {"stability": {"perturbations": []}}, ("stability.perturbations", "at least 1")),
    "unknown_perturbation": (
        None,
        {"stability": {"perturbations": ["rotate_45"]}},
        ("the perturbation 'rotate_45'", "one of rotate_90, ", "correct stability.perturbations"),
    ),
    "unknown_second_encoder": (
        None,
        {"stability": {"second_encoder": "vgg61"}},
        ("the encoder 'vgg61'", "one of vgg16, "),
    ),
    "held_out_without_a_group": (
        "sample\tpath\theld_out\ns\t{outs}\tyes\n",
        {},
        ("s: samples.tsv", "held_out without a group", "fill in `group`"),
    ),
    "held_out_unclear": (
        "sample\tpath\theld_out\ns\t{outs}\tperhaps\n",
        {},
        ("s: samples.tsv", "held_out 'perhaps'", "yes or no"),
    ),
    "misspelt_key": (
        None,
        {"latents": {"n_latnets": 3}},
        ("the unknown key latents.n_latnets", "n_latents, n_embed", "did you mean n_latents?"),
    ),
    "patch_in_um_and_px": (
        None,
        {"patch": {"um": 120, "px": 32}},
        ("'um': 120, 'px': 32", "either um or px", "um: null to give px"),
    ),
    "sheet_missing": (None, {"samples": "other.tsv"}, ("sample sheet: other.tsv", "no such file", "create it")),
    "sheet_with_commas": (
        "sample,path\ns,{outs}\n",
        {},
        ("sample sheet: samples.tsv", "columns sample,path", "separated by commas; save it with tabs"),
    ),
    "repeated_sample": (
        "sample\tpath\ns\t{outs}\ns\t{outs}\n",
        {},
        ("sample sheet: samples.tsv", "the sample name 's' twice", "rename one of the two"),
    ),
    "sample_name_with_a_slash": (
        "sample\tpath\na/b\t{outs}\n",
        {},
        ("sample sheet: samples.tsv", "the sample name 'a/b'", "letters, digits", "rename the sample"),
    ),
    "empty_path": ("sample\tpath\ns\t\n", {}, ("s: samples.tsv", "an empty path", "fill in `path`")),
    "image_missing": (
        "sample\tpath\timage\ns\t{outs}\tgone.tif\n",
        {},
        ("s: gone.tif", "no such file", "named in the column `image`", "or empty the cell"),
    ),
    "empty_sheet": ("", {}, ("sample sheet: samples.tsv", "the sheet is empty", "one called path")),
    "unknown_species": (
        "sample\tpath\tspecies\ns\t{outs}\thomo\n",
        {},
        ("s: samples.tsv", "species: homo", "'human', 'mouse'", "correct the cell"),
    ),
}

# Configurations that only a job can tell are wrong: overlay, arguments, rule, phrases.
LATE: dict[str, tuple[dict[str, Any], tuple[str, ...], str, tuple[str, ...]]] = {
    "more_latents_than_features": (
        {"latents": {"n_latents": 13}},
        (f"results/{SMALL}/dummy/latents.h5ad",),
        "dummy/embed_latents",
        (SMALL, "25 spots with 12 features", "latents.n_latents: 13", "set latents.n_latents to 12 or fewer"),
    ),
    "wrong_weights": (
        {"encoder": {"names": ["vgg16"], "weights": "samples.tsv"}},
        (f"results/{SMALL}/vgg16/features.h5ad",),
        "vgg16/encode_patches",
        ("config: samples.tsv", "weights that do not fit vgg16", "without classifier (notop)", "weights: imagenet"),
    ),
    "gpu_not_offered": (
        {"encoder": {"names": ["vgg16"], "weights": "seeded", "device": "gpu"}},
        (f"results/{SMALL}/vgg16/features.h5ad",),
        "vgg16/encode_patches",
        ("config: encoder.device: gpu", "profile in use offers no GPU", "add --resources gpu=1"),
    ),
    "no_gpu": (
        {"encoder": {"names": ["vgg16"], "weights": "seeded", "device": "gpu"}},
        (f"results/{SMALL}/vgg16/features.h5ad", "--resources", "gpu=1"),
        "vgg16/encode_patches",
        ("config: encoder.device: gpu", "no GPU that tensorflow can use", "or set encoder.device: cpu"),
    ),
}


@pytest.fixture(scope="module")
def sheet(outs_half: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All sections whose files are not there, in one sheet."""
    folder = tmp_path_factory.mktemp("sheet")
    return run_workflow(folder, [prepare(case, outs_half, folder) for case in SHEET], {})


@pytest.fixture(scope="module")
def jobs(outs_half: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All sections that stop in a job, and those that are repaired, in one run that goes on after each failure."""
    folder = tmp_path_factory.mktemp("jobs")
    rows = [prepare(case, outs_half, folder) for case in JOBS]
    targets = [f"results/{case.name}/{case.target}" for case in JOBS]
    return run_workflow(folder, rows, {}, *targets, "--keep-going", "--notemp")


@pytest.fixture(scope="module")
def settings(outs_half: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One start per wrong setting; none gets as far as a job."""

    def start(name: str) -> Run:
        sheet, overlay, _ = SETTINGS[name]
        good = "sample\tpath\ns\t{outs}\n"
        folder = tmp_path_factory.getbasetemp() / "settings" / name
        return run_workflow(folder, (good if sheet is None else sheet).format(outs=outs_half), overlay)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SETTINGS, pool.map(start, SETTINGS), strict=True))


def cases(chosen: list[Case]) -> list[Any]:
    """Lay cases out as parameters."""
    return [pytest.param(case, id=case.name) for case in chosen]


def config_with(overlay: dict[str, Any]) -> dict[str, Any]:
    """Merge an overlay into the default configuration, as Snakemake does."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, overlay)
    return config


def left_by(run: Run, sample: str) -> set[str]:
    """List the files a run left for a sample."""
    return {name.removeprefix(f"results/{sample}/") for name in run.results if f"results/{sample}/" in name}


def test_the_sheet_stops_before_any_job(sheet: Run) -> None:
    assert sheet.code != 0
    assert sheet.results == []
    assert "Traceback" not in sheet.output
    assert not (sheet.folder / "logs").exists()


@pytest.mark.parametrize("case", cases(SHEET))
def test_every_wrong_path_of_the_sheet_is_reported(case: Case, sheet: Run) -> None:
    lines = sheet.output.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith(f"{case.name}: ")]
    assert len(starts) == 1
    message = "\n".join(lines[starts[0] : starts[0] + 4])
    for phrase in (*PARTS, *case.phrases):
        assert phrase in message


@pytest.mark.parametrize("case", cases([c for c in JOBS if c.stops_at]))
def test_a_broken_section_stops_with_one_message_and_no_half_result(case: Case, jobs: Run) -> None:
    log = jobs.log(f"{case.name}/{case.stops_at}.log")
    assert log.count(STOPPED) == 1
    assert "Traceback" not in log
    message = log.partition(STOPPED)[2].strip()
    assert message.startswith(case.name)
    for phrase in (*PARTS, *case.phrases):
        assert phrase in message
    assert message in jobs.output  # shown, not only logged
    if "picture:" in message:
        assert (jobs.folder / message.rpartition("picture:")[2].strip()).stat().st_size > 1000
    assert left_by(jobs, case.name) == BEFORE[case.stops_at]


@pytest.mark.parametrize("case", cases([c for c in JOBS if not c.stops_at]))
def test_a_repair_succeeds_and_says_what_it_did(case: Case, jobs: Run) -> None:
    assert case.target in left_by(jobs, case.name)
    logs = "".join(path.read_text() for path in (jobs.folder / "logs" / case.name).rglob("*.log"))
    for phrase in case.phrases:
        assert phrase in logs
    assert STOPPED not in logs


def test_a_run_with_broken_sections_fails(jobs: Run) -> None:
    assert jobs.code != 0


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_stops_before_any_job(name: str, settings: dict[str, Run]) -> None:
    run = settings[name]
    assert run.code != 0
    assert run.results == []
    assert "Traceback" not in run.output
    assert run.output.count("found:") == 1
    for phrase in (*PARTS, *SETTINGS[name][2]):
        assert phrase in run.output


@pytest.mark.parametrize(
    ("overlay", "phrases"),
    [
        ({"latnets": {}}, ("the unknown key latnets", "did you mean latents?")),
        ({"colour": "blue"}, ("the unknown key colour", "remove it")),
        ({"patch": {"um": -5}}, ("patch.um: -5", "expected: more than 0")),
        ({"patch": {"um": None}}, ("'um': None, 'px': None", "either um or px")),
        ({"latents": {"scope": "all"}}, ("latents.scope: all", "expected: one of ['section', 'group']")),
        ({"seed": "one"}, ("seed: one", "a value of type integer")),
        ({"encoder": {"names": []}}, ("encoder.names: []", "a list of at least 1")),
        ({"figures": None}, ("figures: None", "a value of type object")),
    ],
)
def test_a_wrong_value_is_named(overlay: dict[str, Any], phrases: tuple[str, ...]) -> None:
    with pytest.raises(SpadeworkError) as stopped:
        check_config(config_with(overlay), ROOT / "config/schemas/config.schema.yaml")
    assert str(stopped.value).count("found:") == 1
    for phrase in (*PARTS, *phrases):
        assert phrase in str(stopped.value)


def test_all_wrong_values_are_named_at_once() -> None:
    config = config_with({"seed": -1, "patch": {"um": -5}})
    with pytest.raises(SpadeworkError, match=r"(?s)seed: -1.*patch\.um: -5"):
        check_config(config, ROOT / "config/schemas/config.schema.yaml")


def test_the_default_configuration_is_right() -> None:
    check_config(config_with({}), ROOT / "config/schemas/config.schema.yaml")


def test_one_weights_file_for_two_networks_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "notop.h5"
    weights.touch()
    with pytest.raises(SpadeworkError, match=r"for 2 networks \(vgg16, vgg19\)(?s:.*)one at a time"):
        check_encoders(config_with({"encoder": {"names": ["vgg16", "vgg19"], "weights": str(weights)}}))


@pytest.mark.parametrize("name", LATE)
def test_a_setting_that_only_a_job_can_check_stops_it(name: str, jobs: Run) -> None:
    overlay, arguments, rule, phrases = LATE[name]
    row = {"sample": SMALL, "path": jobs.folder / SMALL / "outs", "species": "human"}
    run = run_workflow(jobs.folder, [row], overlay, *arguments, "--notemp")
    assert run.code != 0
    assert arguments[0] not in run.results
    log = run.log(f"{SMALL}/{rule}.log")
    assert "Traceback" not in log + run.output
    assert log.count(STOPPED) == 1
    for phrase in (*PARTS, *phrases):
        assert phrase in log

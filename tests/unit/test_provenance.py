"""The manifest: where a workflow's commit comes from, and what its jobs cost."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from spadework import targets
from spadework.datasets import CACHE
from spadework.provenance import blocks_facts, machine, revision, times, to_json
from spadework.samples import Sample

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
ROW = "2\t0:00:02\t100\t1\t1\t1\t0\t0\t50\t1"
ROOT = Path(__file__).parents[2]
COMMIT = "0123456789" * 4


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one file in one commit."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    folder = tmp_path / "workflow"
    folder.mkdir()
    (folder / "Snakefile").write_text("rule all: pass\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(folder, *arguments)
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_repository_knows_its_commit_and_what_was_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert revision(repository) == {"commit": commit, "changed": [], "reason": ""}
    (repository / "Snakefile").write_text("edited\n")
    (repository / "results.txt").write_text("not part of the workflow\n")
    assert revision(repository) == {"commit": commit, "changed": ["Snakefile"], "reason": ""}


def test_a_folder_without_git_has_no_commit_and_says_why(tmp_path: Path) -> None:
    found = revision(tmp_path)
    assert found["commit"] is None
    assert found["reason"] == "no git, or no repository of its own"


def test_a_copy_inside_another_repository_does_not_take_its_commit(repository: Path) -> None:
    copy = repository / "copy"
    copy.mkdir()
    found = revision(copy)
    assert found["commit"] is None
    assert found["reason"] == "no git, or no repository of its own"


def test_without_git_the_reason_is_that(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = revision(repository)
    assert found["commit"] is None
    assert "git" in found["reason"]


def test_an_archive_knows_its_commit_without_git(tmp_path: Path) -> None:
    (tmp_path / ".git_archival.txt").write_text(f"node: {COMMIT}\n")
    assert revision(tmp_path) == {"commit": COMMIT, "changed": None, "reason": ""}


def test_a_checkout_is_no_archive(repository: Path) -> None:
    (repository / ".git_archival.txt").write_text("node: $Format:%H$\n")
    assert revision(repository)["commit"] == git(repository, "rev-parse", "HEAD").strip()


def benchmark(folder: Path, name: str, *rows: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))


def test_times_are_summed_by_rule(tmp_path: Path) -> None:
    benchmark(tmp_path, "a/read.tsv", "2.5\t0:00:02\t100\t1\t1\t1\t0\t0\t50\t1.5")
    benchmark(tmp_path, "b/read.tsv", "1.5\t0:00:01\t300\t1\t1\t1\t0\t0\t50\t1.0")
    benchmark(tmp_path, "a/vgg16/draw.tsv", "0.1\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA")
    benchmark(tmp_path, "a/vgg16/old.tsv", "9\t0:00:09\t900\t1\t1\t1\t0\t0\t50\t9")
    benchmark(tmp_path, "weights/vgg16/notop.h5.tsv", "4\t0:00:04\t50\t1\t1\t1\t0\t0\t50\t1")
    found = times(tmp_path, ["a/*.tsv", "b/*.tsv", "a/vgg16/*.tsv", "weights/vgg16/*.tsv"], ["old.tsv"])
    assert found["rules"] == {
        "draw": {"jobs": 1, "wall_s": 0.1, "cpu_s": 0.0, "max_rss_mb": None},
        "fetch_weights": {"jobs": 1, "wall_s": 4.0, "cpu_s": 1.0, "max_rss_mb": 50.0},
        "read": {"jobs": 2, "wall_s": 4.0, "cpu_s": 2.5, "max_rss_mb": 300.0},
    }
    assert found["all_rules"] == {"jobs": 4, "wall_s": 8.1, "cpu_s": 3.5, "max_rss_mb": 300.0}


def patterns(**sections: dict[str, object]) -> dict[str, list[str]]:
    """Ask which benchmarks count for two sections of a group under the default configuration and ``sections``."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, sections)
    samples = {name: Sample(name, Path(name), group="gut") for name in ("a", "b")}
    inputs = {"a": {"files": ["data/a/matrix.h5", f"{CACHE}/set/matrix.h5"], "image": []}}
    return targets.benchmark_patterns(samples, config, inputs)


@pytest.mark.parametrize(
    ("name", "counts_if"),
    [
        ("a/read_section.tsv", {}),
        ("b/vgg16/draw_section.tsv", {}),
        ("cohort/gut/vgg16/fit_shared_latents.tsv", {"latents": {"scope": "group"}}),
        ("cohort/gut/vgg16/replicate_sections.tsv", {}),
        ("cohort/gut/vgg16/a/associate_shared_latents.tsv", {}),
        ("weights/vgg16/notop.h5.tsv", {}),
        ("datasets/set/matrix.h5.tsv", {}),
        ("a/cluster_seurat.tsv", {"expression": {"engine": "seurat"}}),
        ("a/vgg16/fit_limma.tsv", {"association": {"engine": "limma"}}),
        ("a/vgg16/enrich_terms.tsv", {"terms": {"gene_sets": ["go.gmt"]}}),
        ("a/vgg16/draw_published.tsv", {"figures": {"published": True}}),
        ("a/colour_texture/encode_patches.tsv", {"encoder": {"names": ["colour_texture"]}}),
    ],
)
def test_what_runs_counts(name: str, counts_if: dict[str, dict[str, object]], tmp_path: Path) -> None:
    benchmark(tmp_path, name, ROW)
    assert times(tmp_path, **patterns(**counts_if))["all_rules"]["jobs"] == 1


@pytest.mark.parametrize(
    ("name", "left_over_if"),
    [
        ("c/read_section.tsv", {}),
        ("datasets/other/matrix.h5.tsv", {}),
        ("a/colour_texture/encode_patches.tsv", {}),
        ("a/cluster_seurat.tsv", {}),
        ("a/export_counts.tsv", {}),
        ("a/vgg16/fit_limma.tsv", {}),
        ("a/vgg16/enrich_terms.tsv", {}),
        ("a/vgg16/draw_published.tsv", {}),
        ("cohort/gut/vgg16/a/associate_shared_latents.tsv", {"latents": {"scope": "group"}}),
        ("a/cut_published_patches.tsv", {}),
        ("a/vgg16/encode_published_patches_0-1.tsv", {}),
        ("a/vgg16/encode_perturbed_patches_rotate_90.tsv", {}),
        ("a/vgg16/compare_methods.tsv", {}),
        ("a/vgg16/measure_stability.tsv", {}),
        ("weights/vgg16/notop.h5.tsv", {"encoder": {"weights": "seeded"}}),
    ],
)
def test_what_another_run_left_does_not_count(
    name: str, left_over_if: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    benchmark(tmp_path, name, ROW)
    assert times(tmp_path, **patterns(**left_over_if))["all_rules"]["jobs"] == 0


def test_rules_that_may_be_idle_exist() -> None:
    rules = re.findall(
        r"^(?:use )?rule (?:\w+ as )?(\w+)", "\n".join(p.read_text() for p in ROOT.glob("rules/*.smk")), re.M
    )
    named = [rule for _, several in targets._ON_DEMAND.values() for rule in several]
    # Names of benchmarks go on with a wildcard, as in encode_perturbed_patches_rotate_90.
    unknown = [name for name in [*named, *targets._OTHER_TARGETS] if not fnmatch.filter(rules, name.rstrip("_*"))]
    assert unknown == []


def test_a_retried_job_counts_once(tmp_path: Path) -> None:
    benchmark(tmp_path, "a/read.tsv", ROW, ROW)
    assert times(tmp_path, ["a/*.tsv"], [])["rules"]["read"] == {
        "jobs": 1,
        "wall_s": 2.0,
        "cpu_s": 1.0,
        "max_rss_mb": 100.0,
    }


def test_without_benchmarks_nothing_is_measured(tmp_path: Path) -> None:
    assert times(tmp_path, ["a/*.tsv"], [])["all_rules"]["jobs"] == 0


def test_the_machine_is_described() -> None:
    found = machine()
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0.1


def test_manifests_are_json_with_keys_in_order() -> None:
    text = to_json({"b": 1, "a": Path("x/y"), "µ": [None]})
    assert json.loads(text) == {"a": "x/y", "b": 1, "µ": [None]}
    assert text.index('"a"') < text.index('"b"')


def test_blocks_say_how_their_sections_lie_on_each_other_and_what_predictions_are_worth(tmp_path: Path) -> None:
    (tmp_path / "registration.csv").write_text(
        "sample,z_um,registered_to,rotation_deg,mirrored,overlap,correlation,runner_up,note\n"
        "01,0,NA,90.12345,yes,0.9754321,0.7,0.5,x\nNA,16,,0,no,,,,reference\n"
    )
    (tmp_path / "verdict.txt").write_text("It is not better.\n")
    paths = {"B1": tmp_path / "registration.csv", "B2": tmp_path / "registration.csv"}
    found = blocks_facts(paths, {"B1": tmp_path / "verdict.txt"})
    first, second = found["B1"]["sections"]
    assert (first["sample"], first["registered_to"], first["mirrored"]) == ("01", "NA", "yes")
    assert (first["rotation_deg"], first["overlap"], first["z_um"]) == (90.123, 0.975, 0.0)
    assert (second["sample"], second["registered_to"], second["overlap"]) == ("NA", "", None)
    assert found["B1"]["verdict"] == "It is not better."
    assert found["B2"]["verdict"] is None
    json.loads(to_json(found))
    assert blocks_facts({}, {}) == {}

"""The workflow as a module of another one: from a folder and from git, with a rule of the other's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import yaml
from harness import OVERLAY, ROOT, environment, jobs, sheet_text

from spadework.provenance import revision

SAMPLE = "gut"
FINAL = f"results/{SAMPLE}/{SAMPLE}.h5ad"
# What a user of the module writes: where it is, the few settings that differ, one rule of his own.
OUTER = """
configfile: "settings.yaml"


module spadework:
    snakefile: {snakefile}
    config: config["spadework"]


use rule * from spadework as spadework_*


use rule cut_patches from spadework as spadework_cut_patches with:
    threads: 2


ruleorder: describe_patches > spadework_encode_patches


rule describe_patches:
    input:
        "results/{{sample}}/patches/patches.h5",
    output:
        "results/{{sample}}/dummy/features.h5ad",
    script:
        "describe_patches.py"
"""
DESCRIBE = """
import anndata as ad
import h5py
import numpy as np
import pandas as pd

with h5py.File(snakemake.input[0]) as file:
    patches, barcodes = file["patches"][:], file["barcodes"].asstr()[:]
coarse = patches[:, ::8, ::8, 0].reshape(len(patches), -1)
features = np.hstack([patches.max(axis=(1, 2)), patches.std(axis=(1, 2)), coarse])
adata = ad.AnnData(features.astype(np.float32), obs=pd.DataFrame(index=barcodes))
adata.uns["encoder"] = {"name": "mine", "same_units": True}
adata.write_h5ad(snakemake.output[0])
"""


def write_outer(folder: Path, outs: Path, snakefile: str) -> Path:
    """Write a workflow that uses this one."""
    folder.mkdir()
    (folder / "Snakefile").write_text(OUTER.format(snakefile=snakefile))
    (folder / "describe_patches.py").write_text(DESCRIBE)
    (folder / "samples.tsv").write_text(sheet_text([{"sample": SAMPLE, "path": outs, "species": "human"}]))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"spadework": OVERLAY, "mine": 1}))
    return folder


def run(folder: Path, *arguments: str, cache: Path | None = None) -> str:
    """Run the outer workflow as a user does, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        env=environment() | ({"XDG_CACHE_HOME": str(cache)} if cache else {}),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of what lies here, committed or not, with the tag v1 and no file checked out."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    folder = tmp_path_factory.mktemp("git")
    git(folder, "init", "--quiet", ".")
    for name in filter(lambda name: (ROOT / name).is_file(), listed.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "all of it")
    git(folder, "tag", "v1")
    git(folder, "rm", "-r", "--quiet", ".")
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode and folder == ROOT:
        pytest.skip(f"needs a git checkout of the project ({done.stderr.strip()})")
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_result(folder: Path) -> None:
    """The section is whole, by the outer workflow's own encoder and the settings it gave, the rest by default."""
    final = ad.read_h5ad(folder / FINAL)
    spade = final.uns["spade"]
    assert spade["dummy"]["encoder"]["name"] == "mine"
    assert final.obsm["X_dummy"].shape[1] == 22
    parameters = yaml.safe_load(spade["parameters"])
    assert parameters["latents"]["n_latents"] == OVERLAY["latents"]["n_latents"]
    assert parameters["expression"]["min_counts"] == 100
    assert np.isfinite(final.varm["spade_dummy_fdr_spatial"]).any()


def test_a_folder_is_a_module_of_another_workflow(simulated: Path, tmp_path: Path) -> None:
    outer = write_outer(tmp_path / "outer", simulated / "outs", repr(str(ROOT / "workflow/Snakefile")))
    assert jobs(run(outer, "--dry-run"))["spadework_all"] == 1
    ran = jobs(run(outer))
    assert {"spadework_cut_patches", "describe_patches"} <= ran.keys()
    assert "spadework_encode_patches" not in ran
    check_result(outer)
    assert "features of the encoder `mine`" in (outer / "results/methods.md").read_text()


def test_a_git_repository_is_a_module_of_another_workflow(simulated: Path, repository: Path, tmp_path: Path) -> None:
    snakefile = f"gitfile({str(repository)!r}, path='workflow/Snakefile', tag='v1')"
    outer = write_outer(tmp_path / "outer", simulated / "outs", snakefile)
    run(outer, FINAL)
    check_result(outer)
    commit = git(repository, "rev-parse", "v1").strip()
    assert [p.name for p in (outer / ".snakemake/spadework").iterdir()] == [commit]
    assert revision(outer / ".snakemake/spadework" / commit)["commit"] == commit
    assert "Nothing to be done" in run(outer, FINAL)


def test_a_hosted_repository_is_a_module_of_another_workflow(
    simulated: Path, repository: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "cache/snakemake/snakemake/source-cache/snakemake-git-cache/github.com/someone/spadework"
    clone.parent.mkdir(parents=True)
    # What Snakemake leaves of a repository it has fetched before.
    git(repository, "clone", "--quiet", "--bare", ".", str(clone))
    snakefile = "github('someone/spadework', path='workflow/Snakefile', tag='v1')"
    outer = write_outer(tmp_path / "outer", simulated / "outs", snakefile)
    overlay = f"results/{SAMPLE}/preflight/overlay.png"
    run(outer, overlay, cache=tmp_path / "cache")
    assert (outer / overlay).is_file()

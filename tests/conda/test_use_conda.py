"""``snakemake --use-conda`` where only Snakemake and conda are installed, on a local channel of the locked versions.

The channel is made of the packages that are installed here (:mod:`channel`), so this shows that the environments
solve, agree with each other and hold what their rules need. It does not show that conda-forge has these builds.
TensorFlow's CPU build stands in for the GPU build of the same version: the one difference to what users get.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from harness import write_overlay
from lean import R_MISSING, Conda
from packages import ROOT, SCRIPTS, imported, optional, scripts_by_environment

from spadework.keys import Keys

R_ENVIRONMENTS = {"seurat.yaml", "limma.yaml"}
# Of packages that are not installed here.
NOT_MADE = {"stardist.yaml"}
ENGINES = {} if R_MISSING else {"expression": {"engine": "seurat"}, "association": {"engine": "limma"}}
# Every environment is used, and TensorFlow's by a real network.
OVERLAY = {"encoder": {"names": ["vgg16"], "weights": "seeded"}} | ENGINES


@pytest.fixture(scope="module")
def section(conda: Conda, simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample sheet, its environments made."""
    folder = tmp_path_factory.mktemp("conda")
    (folder / "samples.tsv").write_text(f"sample\tpath\tspecies\ngut\t{simulated / 'outs'}\thuman\n")
    write_overlay(folder, OVERLAY)
    done = conda.snakemake(folder, "--conda-create-envs-only")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


CHECK = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
outside = {}
for name in sys.argv[2:]:
    try:
        origin = importlib.import_module(name).__file__
    except ImportError as error:
        origin = repr(error)
    if not str(origin).startswith(sys.prefix):
        outside[name] = origin
print(json.dumps(outside))
"""


@pytest.mark.parametrize("file", sorted({p.name for p in (ROOT / "envs").glob("*.yaml")} - R_ENVIRONMENTS - NOT_MADE))
def test_an_environment_by_itself_has_all_that_its_rules_import(file: str, conda: Conda, section: Path) -> None:
    """Snakemake lends jobs its own packages; here each environment is alone."""
    scripts = [SCRIPTS / s for s in scripts_by_environment()[file] if s.endswith(".py")]
    python = conda.prefix(file) / "bin/python"
    modules = sorted(imported(*scripts) - optional())
    done = subprocess.run([python, "-I", "-c", CHECK, SCRIPTS, *modules], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def test_a_section_runs_to_its_end(conda: Conda, section: Path) -> None:
    done = conda.snakemake(section)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Creating conda environment" not in done.stdout + done.stderr
    adata = ad.read_h5ad(section / "results/gut/gut.h5ad")
    record = adata.uns[Keys.SPADE]["vgg16"]
    assert record["encoder"]["backend"] == "tensorflow"
    assert np.isfinite(adata.obsm[Keys.features("vgg16")]).all()
    assert (section / "results/gut/vgg16/figures/latent_1.png").is_file()

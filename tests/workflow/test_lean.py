"""The workflow can be planned where nothing but Snakemake is installed; ``tests/conda`` goes on from there."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from harness import ROOT, command, environment, write_overlay
from packages import closure
from packaging.utils import canonicalize_name

# Snakemake in a process that finds no other packages than those given.
LEAN = """
import pkgutil
import sys

ABSENT = set(sys.argv.pop(1).split(","))

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
# Snakemake lists its plugins before it imports them.
list_modules = pkgutil.iter_modules
pkgutil.iter_modules = lambda *where: [module for module in list_modules(*where) if module.name not in ABSENT]
from snakemake.cli import main
main()
"""
OVERLAY = {
    "encoder": {"names": ["vgg16", "colour_texture"], "weights": "seeded"},
    "expression": {"engine": "seurat"},
    "association": {"engine": "limma", "covariates": ["log10_umi", "cluster"]},
    "volume": {"target": "domains"},
    "terms": {"gene_sets": [str(ROOT / "resources/gene_sets/example.gmt")]},
}


def test_all_targets_are_planned_with_nothing_but_snakemake(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = simulated / "outs"
    rows = [f"{name}\t{outs}\thuman\tpatient\tB\t{z}\n" for z, name in enumerate(("gut", "colon"))]
    (tmp_path / "samples.tsv").write_text("sample\tpath\tspecies\tgroup\tblock\tz_um\n" + "".join(rows))
    write_overlay(tmp_path, OVERLAY)
    # R is looked for where no environment brings it; nothing of it runs here.
    (tmp_path / "Rscript").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    lean = set(closure("snakemake"))
    modules = metadata.packages_distributions()
    absent = [module for module, names in modules.items() if lean.isdisjoint(map(canonicalize_name, names))]
    assert {"numpy", "pandas", "h5py", "anndata"} <= set(absent)
    python, _, _, *arguments = command(tmp_path, "all", "compare", "stability", "-n", "--quiet", "rules")
    done = subprocess.run(
        [python, "-c", LEAN, ",".join(absent), *arguments],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "replicate_sections" in done.stdout + done.stderr
    assert "train_vox2vox" in done.stdout + done.stderr

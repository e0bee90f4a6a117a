"""What is imported, where: little at the start of the workflow, and by every rule what its environment holds."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
import yaml
from packages import ROOT, SCRIPTS, closure, conda_name, imported, optional, scripts_by_environment
from packaging.utils import canonicalize_name

# What a module of one distribution needs of another without importing it by name.
BEHIND = {
    "igraph": ["scanpy"],  # Leiden clusters
    "imagecodecs": ["tifffile"],  # compressed images
    "umap-learn": ["scanpy"],
    "pyarrow": ["read_parquet", "to_parquet"],
}
ENVIRONMENTS = sorted(f for f in scripts_by_environment() if not f.startswith(("seurat", "limma", "stardist")))


def dependencies(file: str) -> list[str]:
    found = []
    for dependency in yaml.safe_load((ROOT / "envs" / file).read_text())["dependencies"]:
        found += dependency["pip"] if isinstance(dependency, dict) else [dependency]
    return found


def test_the_start_of_the_workflow_imports_nothing_that_snakemake_does_not_bring():
    lines = [
        line for f in (ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")) for line in f.read_text().split("\n")
    ]
    imports = [line for line in lines if re.match(r"(from|import) (?!snakemake)", line)]
    assert any("spadework" in line for line in imports)
    code = "\n".join(["import sys", *imports, "print(*{name.split('.')[0] for name in sys.modules})"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SCRIPTS)
    distributions = metadata.packages_distributions()
    brought = closure("snakemake")
    names = {canonicalize_name(d) for module in done.stdout.split() for d in distributions.get(module, [])}
    assert names - set(brought) <= {"setuptools"}  # it hooks itself into every start of Python


def test_the_environment_of_stardist_is_that_of_tensorflow_and_stardist():
    added = [d for d in dependencies("stardist.yaml") if d not in dependencies("tensorflow.yaml")]
    assert [d.split("=")[0] for d in added] == ["stardist", "csbdeep"]
    assert set(dependencies("tensorflow.yaml")) < set(dependencies("stardist.yaml"))


@pytest.mark.parametrize("file", ENVIRONMENTS)
def test_an_environment_names_what_its_rules_import(file):
    distributions = metadata.packages_distributions()
    scripts = [SCRIPTS / s for s in scripts_by_environment()[file]]
    modules = imported(*scripts) - optional()
    # The lock file has TensorFlow's CPU build, environments the GPU build of the same version.
    used = {canonicalize_name(name) for module in modules for name in distributions[module]}
    used = {name.replace("tensorflow-cpu", "tensorflow") for name in used}
    text = "".join(s.read_text() for s in scripts)
    used |= {name for name, users in BEHIND.items() if any(u in used or u in text for u in users)}
    named = {re.split(r"[ =\[]", d)[0] for d in dependencies(file)}
    assert {conda_name(d) for d in used} - named == set()
    assert named - {conda_name(d) for d in used} <= {"python", "pip"}

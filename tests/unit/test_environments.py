"""What is pinned in one place is pinned alike in the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from packages import CONDA_NAMES
from rscript import needs_r, run_r

from spadework import __version__
from spadework.encoders import registry

ROOT = Path(__file__).parents[2]
# An engine that the lock file does not hold.
NOT_LOCKED = {"stardist", "csbdeep"}
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
PYPI_NAMES = {conda: pypi for pypi, conda in CONDA_NAMES.items()}


def _lock() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def _dependencies(file: Path) -> list[str | dict]:
    return yaml.safe_load(file.read_text())["dependencies"]


@pytest.mark.parametrize("file", ENVS, ids=lambda p: p.name)
def test_environments_pin_the_versions_of_the_lock(file):
    lock = _lock()
    for dependency in _dependencies(file):
        if isinstance(dependency, dict):
            for requirement in dependency["pip"]:
                name, version = re.fullmatch(r"([a-z]+)(?:\[[a-z-]+\])?==(.+)", requirement).groups()
                assert name in NOT_LOCKED or lock[name] == version
        elif dependency != "pip":  # which installs, and is not imported
            name, version = re.fullmatch(r"([a-z0-9-]+) =(\d+\.\d+)", dependency).groups()
            if name == "python":
                assert f"--python-version {version} " in (ROOT / "Makefile").read_text()
            elif not name.startswith(("r-", "bioconductor-")):
                assert lock[PYPI_NAMES.get(name, name)].startswith(f"{version}."), dependency


def test_environments_agree_with_each_other():
    pins: dict[str, set[str]] = {}
    for dependency in [d for file in ENVS for d in _dependencies(file) if isinstance(d, str)]:
        pins.setdefault(dependency.split(" ")[0], set()).add(dependency)
    assert [versions for versions in pins.values() if len(versions) > 1] == []


def test_the_lock_is_hashed_and_has_one_version_for_all_interpreters():
    text = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
    assert len(pins) == len(set(pins))
    assert text.count("--hash=sha256:") >= len(pins)


def test_every_default_is_in_the_schema_and_the_reverse():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    schema = yaml.safe_load((ROOT / "config" / "schemas" / "config.schema.yaml").read_text())

    def keys(node: dict) -> dict:
        return {k: keys(v) if "properties" in v else None for k, v in node["properties"].items()}

    def given(node: dict) -> dict:
        return {k: given(v) if isinstance(v, dict) else None for k, v in node.items()}

    assert given(config) == keys(schema)


def test_every_key_is_explained_in_the_config_readme():
    text = (ROOT / "config" / "README.md").read_text()
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    keys = [f"{a}.{b}" for a, section in config.items() if isinstance(section, dict) for b in section]
    columns = yaml.safe_load((ROOT / "config" / "schemas" / "samples.schema.yaml").read_text())["properties"]
    missing = [key for key in [*keys, *columns] if f"`{key}`" not in text]
    assert not missing


def test_every_environment_named_by_a_rule_exists_and_is_used():
    rules = "".join(p.read_text() for p in (ROOT / "rules").glob("*.smk"))
    named = set(re.findall(r'"\.\./envs/([^"]+)"', rules))
    assert named == {p.name for p in (ROOT / "envs").glob("*.yaml")}


@needs_r("Seurat 4.3", "limma", "hdf5r")
@pytest.mark.parametrize("file", ["seurat.yaml", "limma.yaml"])
def test_r_environments_pin_what_is_tested_here(file):
    pins = {}
    for dependency in yaml.safe_load((ROOT / "envs" / file).read_text())["dependencies"]:
        name, version = dependency.split(" =")
        pins[name.removeprefix("r-").removeprefix("bioconductor-")] = version
    code = "p <- installed.packages()[, 'Version']; cat(paste(tolower(names(p)), p), sep='\\n')"
    installed = dict(line.split() for line in run_r(code).splitlines())
    for name, version in pins.items():
        assert installed[name].replace("-", ".").startswith(f"{version}."), (name, installed[name])


def test_every_script_belongs_to_a_rule():
    rules = "".join(p.read_text() for p in (ROOT / "rules").glob("*.smk"))
    named = set(re.findall(r'"\.\./scripts/([^"]+)"', rules))
    assert named == {p.name for p in (ROOT / "scripts").iterdir() if p.suffix in (".py", ".R")}


def test_the_version_is_the_same_everywhere():
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_listing_encoders_loads_no_network_library(tmp_path):
    import subprocess
    import sys

    code = "import sys; from spadework.encoders import registry; registry.names(); print('keras' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "scripts"
    ).stdout
    assert out.strip() == "False"
    assert "vgg16" in registry.names()

"""A local conda channel, and a lean Snakemake, made of what is installed here: nothing of it is downloaded.

Distributions of the environment that runs the tests become packages of the same version, so the channel holds the
versions of the lock file and no others. Python itself is a link to the interpreter in use. R packages are links, too;
an R started in an environment sees those of the environment and what R itself brings, no others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, PackagePath
from pathlib import Path
from typing import Any

import yaml
from packages import CONDA_NAMES, ROOT, closure, conda_name, needs
from packaging.utils import canonicalize_name
from rscript import run_r

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"lib/{PYTHON}/site-packages"
# Libraries that conda-forge's packages depend on, and those of PyPI do not.
BROUGHT = {"openslide-python": ["openslide-bin"]}
_PYPI_NAMES = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
_LIST_R = """
all <- installed.packages(fields = "biocViews")
all <- all[!duplicated(rownames(all)), ]
needs <- tools::package_dependencies(rownames(all), all, c("Depends", "Imports"))
for (p in rownames(all)) {
  source <- if (is.na(all[p, "biocViews"])) "r-" else "bioconductor-"
  cells <- c(p, paste0(source, tolower(p)), all[p, c("Version", "LibPath")], paste(needs[[p]], collapse = " "))
  cat(paste(cells, collapse = "\\t"), "\\n")
}
"""
_RSCRIPT = """#!/bin/sh
prefix=$(cd "$(dirname "$0")/.." && pwd)
export R_LIBS_SITE="$prefix/lib/R/library" R_LIBS_USER=- R_LIBS=
exec {rscript} "$@"
"""
Recipe = dict[str, Any]


def environments() -> dict[str, list[Any]]:
    """Read the dependencies of every file in envs."""
    return {f.name: yaml.safe_load(f.read_text())["dependencies"] for f in sorted((ROOT / "envs").glob("*.yaml"))}


def _named(dependencies: list[Any]) -> list[str]:
    return [d.split(" ")[0] for d in dependencies if isinstance(d, str)]


def _is_r(name: str) -> bool:
    return name.startswith(("r-", "bioconductor-"))


def conda_part(dependencies: list[Any]) -> dict[str, Distribution]:
    """Find the distributions that conda, not pip, puts into an environment."""
    names = [_PYPI_NAMES.get(n, n) for n in _named(dependencies) if n != "python" and not _is_r(n)]
    return closure(*names, *(b for n in names for b in BROUGHT.get(n, [])))


def _files(distribution: Distribution) -> list[PackagePath]:
    """List what jobs can need: not the commands, and neither tests nor headers, which are half of all files."""
    return [f for f in distribution.files or [] if {"..", "tests", "include"}.isdisjoint(f.parts)]


def place(distribution: Distribution, site: Path, copy: Callable[[Path, Path], object] = shutil.copy2) -> None:
    """Copy the files of a distribution, compiled ones included, to another ``site-packages``."""
    for file in _files(distribution):
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(Path(str(file.locate())), target)


def _lasting(compiled: Path) -> bytes:
    """Read a ``.pyc`` as one that holds whatever the time of its source: installers do not keep that (PEP 552)."""
    content = compiled.read_bytes()
    return content[:4] + (1).to_bytes(4, "little") + bytes(8) + content[16:]


def _link(source: Path, target: Path) -> None:
    """Link a file that will only be read; copy it where the two are on different disks."""
    if source.suffix == ".pyc":
        target.write_bytes(_lasting(source))
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _stage_python(stage: Path) -> Recipe:
    """Make Python as a virtual environment has it: a link, and a note where the rest is."""
    files = stage / "python"
    (files / "bin").mkdir(parents=True)
    (files / SITE).mkdir(parents=True)
    (files / SITE / "README.txt").write_text("packages come here\n")
    interpreter = Path(sys.base_prefix, "bin", PYTHON).resolve()
    for name in ("python", "python3", PYTHON):
        (files / "bin" / name).symlink_to(interpreter)
    (files / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    version = ".".join(map(str, sys.version_info[:3]))
    return {"name": "python", "version": version, "depends": [], "files": str(files)}


def _stage_distribution(distribution: Distribution, stage: Path) -> Recipe:
    pypi = canonicalize_name(distribution.name)
    files = stage / pypi
    place(distribution, files / SITE, _link)
    # Names only: one version of each is there, so what the pins of an environment allow is all there is to decide.
    depends = ["python", *(conda_name(n) for n in [*(r.name for r in needs(distribution)), *BROUGHT.get(pypi, [])])]
    return {"name": conda_name(pypi), "version": distribution.version, "depends": depends, "files": str(files)}


def _stage_r(wanted: set[str], stage: Path) -> list[Recipe]:
    rows = [line.rstrip(" ").split("\t") for line in run_r(_LIST_R).splitlines()]
    found = {name: (package, version, library, needed.split()) for package, name, version, library, needed in rows}
    conda_names = {package: name for name, (package, *_) in found.items()}
    files = stage / "r-base"
    (files / "bin").mkdir(parents=True)
    (files / "bin/Rscript").write_text(_RSCRIPT.format(rscript=shutil.which("Rscript")))
    (files / "bin/Rscript").chmod(0o755)
    recipes = [{"name": "r-base", "version": found["r-base"][1], "depends": [], "files": str(files)}]
    todo, seen = list(wanted - {"r-base"}), set()
    while todo:
        name = todo.pop()
        if name in seen or name not in found:  # one that is not there is the solver's to report
            continue
        seen.add(name)
        package, version, library, needed = found[name]
        depends = [conda_names[p] for p in needed if p in conda_names]
        files = stage / name
        (files / "lib/R/library").mkdir(parents=True)
        (files / "lib/R/library" / package).symlink_to(Path(library, package))
        version = version.replace("-", "_")
        recipes.append({"name": name, "version": version, "depends": ["r-base", *depends], "files": str(files)})
        todo += depends
    return recipes


def write_wheel(distribution: Distribution, folder: Path) -> None:
    """Pack an installed distribution as a wheel again, for pip."""
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    stem = f"{canonicalize_name(distribution.name).replace('-', '_')}-{distribution.version}"
    records, record = [], f"{stem}.dist-info/RECORD"
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as wheel:  # not compressed: it is read once
        for file in _files(distribution):
            if file.name in ("RECORD", "INSTALLER", "REQUESTED"):
                continue
            name = str(file)
            if file.parts[0].endswith(".dist-info"):
                name = name.replace(file.parts[0], f"{stem}.dist-info", 1)
            if file.suffix == ".pyc":
                wheel.writestr(name, _lasting(Path(str(file.locate()))))
            else:
                wheel.write(str(file.locate()), name)
            records.append(f"{name},,")
        wheel.writestr(record, "".join(f"{line}\n" for line in [*records, f"{record},,"]))


def build_channel(home: Path, tools_python: Path, *, with_r: bool) -> None:
    """Build the channel, and the wheels of pip sections, for all files in envs."""
    stage = home / "stage"
    conda: dict[str, Distribution] = {}
    by_pip: dict[str, Distribution] = {}
    in_r: set[str] = set()
    for dependencies in environments().values():
        part = conda_part(dependencies)
        conda |= part
        in_r |= {n for n in _named(dependencies) if _is_r(n)}
        if any(isinstance(d, dict) for d in dependencies):
            # TensorFlow's CPU build is what the lock file has; the stand-in for conda asks for it, too.
            by_pip |= {n: d for n, d in closure("tensorflow-cpu").items() if n not in part}
    recipes = [_stage_python(stage), *(_stage_distribution(d, stage) for d in conda.values())]
    recipes += _stage_r(in_r, stage) if with_r else []
    (stage / "recipes.json").write_text(json.dumps(recipes))
    assemble = Path(__file__).with_name("assemble.py")
    subprocess.run([tools_python, assemble, stage / "recipes.json", home / "channel"], check=True)
    shutil.rmtree(stage)
    (home / "wheels").mkdir()
    for distribution in by_pip.values():
        write_wheel(distribution, home / "wheels")


def build_lean(folder: Path) -> Path:
    """Make a virtual environment that holds Snakemake and what it needs, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    for distribution in closure("snakemake").values():
        place(distribution, folder / SITE)
    return folder / "bin/python"

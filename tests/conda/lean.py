"""A machine with conda and Snakemake, and nothing else: built once and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from channel import build_channel, build_lean
from packages import ROOT
from rscript import missing

HERE = Path(__file__).parent
STAND_IN = HERE / "stand_in.py"
# The versions that the R environments pin.
R_MISSING = missing("Seurat 4.3", "limma 3.54", "hdf5r 1.3")


@dataclass(frozen=True)
class Conda:
    """A machine with conda and Snakemake, and nothing else.

    Attributes
    ----------
    home
        Folder of channel, environments and lean Snakemake.
    bin
        Folder of the ``conda`` command.
    python
        The Python that has Snakemake.
    """

    home: Path
    bin: Path
    python: Path

    def environment(self) -> dict[str, str]:
        """Return the variables of a shell there: nothing of the environment that runs the tests."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA"))}
        path = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != Path(sys.executable).parent]
        path = [str(self.bin), str(self.python.parent), *path]
        own = {"PATH": os.pathsep.join(path), "SPADEWORK_TEST_CONDA": str(self.home), "PYTHONNOUSERSITE": "1"}
        return kept | own

    @property
    def environments(self) -> Path:
        """Folder of the environments: others where the stand-in for conda is another."""
        return self.home / f"envs-{hashlib.sha256(STAND_IN.read_bytes()).hexdigest()[:8]}"

    def snakemake(self, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the workflow in ``folder``, whose ``overlay.yaml`` is the configuration."""
        command = [self.python, "-m", "snakemake", *arguments, "--use-conda", "--conda-prefix", self.environments]
        command += ["--directory", folder, "--snakefile", ROOT / "Snakefile", "--cores", 2]
        command += ["--configfile", ROOT / "config/config.yaml", folder / "overlay.yaml"]
        return subprocess.run(
            [str(c) for c in command], env=self.environment(), cwd=folder, capture_output=True, text=True, timeout=900
        )

    def prefix(self, file: str) -> Path:
        """Find the environment that Snakemake made of a file in envs."""
        text = (ROOT / "envs" / file).read_text()
        found = [p.with_suffix("") for p in self.environments.glob("*.yaml") if p.read_text() == text]
        assert len(found) == 1, f"{file}: {found}"
        return found[0]


@contextmanager
def lean_machine(folder: Path) -> Iterator[Conda]:
    """Build the machine, unless it is there; its ``conda`` command goes to ``folder``."""
    needed = HERE / "requirements.txt"
    code = [ROOT / "tests/packages.py", HERE / "assemble.py", HERE / "channel.py", needed]
    inputs = [*code, ROOT / "requirements.lock", *sorted((ROOT / "envs").glob("*.yaml"))]
    with built("tools", [needed], build_tools) as tools:
        python = tools / "bin/python"
        with built("conda", inputs, partial(build_home, tools=python)) as home:
            command = folder / "conda"
            command.write_text(f'#!/bin/sh\nexec {shlex.join([str(python), str(STAND_IN)])} "$@"\n')
            command.chmod(0o755)
            yield Conda(home, command.parent, home / "lean/bin/python")


@contextmanager
def built(name: str, inputs: list[Path], build: Callable[[Path], None]) -> Iterator[Path]:
    """Give a folder of the cache, built the first time; its name changes with what it is built from.

    Older ones of the same name are removed, unless other tests are at work in them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spadework-tests"
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(repr((sys.version, sys.base_prefix, R_MISSING)).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    folder = cache / f"{name}-{digest.hexdigest()[:12]}"
    with _lock(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not (folder / ".complete").exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():  # others may have been at it
            shutil.rmtree(folder, ignore_errors=True)  # left half built
            for other in cache.glob(f"{name}-*/"):
                with _lock(other) as its, suppress(BlockingIOError):
                    fcntl.flock(its, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(other)
            folder.mkdir()
            build(folder)
            (folder / ".complete").touch()
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder


def _lock(folder: Path) -> IO[str]:
    return folder.with_name(f"{folder.name}.lock").open("w")


def build_tools(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, "-r", HERE / "requirements.txt"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs py-rattler and py-rattler-build, which pip cannot install: {done.stderr.strip()[-200:]}")


def build_home(home: Path, tools: Path) -> None:
    build_lean(home / "lean")
    build_channel(home, tools, with_r=not R_MISSING)
    (home / "base/bin").mkdir(parents=True)
    (home / "base/bin/activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')

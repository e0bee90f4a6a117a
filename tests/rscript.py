"""What tests that need R share: whether it is there, and how to run a script."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

R_CODE = Path(__file__).parents[1] / "scripts" / "spadework" / "r"


@functools.cache
def missing(*packages: str) -> str:
    """Say what of R and its packages is not here; nothing if all is.

    Parameters
    ----------
    packages
        Names, or names and the beginning of a version: ``"Seurat 4.3"``.
    """
    if not shutil.which("Rscript"):
        return "needs R (Rscript on the PATH)"
    code = "p <- installed.packages()[, 'Version']; cat(paste(names(p), p), sep = '\\n')"
    found = run_r(code).splitlines()
    absent = [p for p in packages if not any(line.startswith(f"{p} " if " " not in p else p) for line in found)]
    return f"needs the R packages {', '.join(absent)}" if absent else ""


def needs_r(*packages: str) -> pytest.MarkDecorator:
    """Skip a test where R or one of the packages is missing, and say which."""
    reason = missing(*packages)
    return pytest.mark.skipif(bool(reason), reason=reason)


def run_r(script: str, *arguments: object) -> str:
    """Run R code and return what it printed."""
    command = ["Rscript", "--vanilla", "-e", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout

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
    """Say what of R and its packages is not here; nothing if all is."""
    if not shutil.which("Rscript"):
        return "needs R (Rscript on the PATH)"
    wanted = ", ".join(f'"{p}"' for p in packages)
    code = f"cat(Filter(function(p) !requireNamespace(p, quietly = TRUE), c({wanted})))"
    out = subprocess.run(["Rscript", "--vanilla", "-e", code], capture_output=True, text=True, check=True).stdout
    return f"needs the R packages {out}" if out else ""


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

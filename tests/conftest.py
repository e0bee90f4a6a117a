"""Fixtures all tests share: a small simulated section, and the real sections where they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from spadework.simulation import simulate

# The same examples on every run: a failure means that the code changed.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SPADEWORK_SHARED", ROOT.parent / "shared")) / "data"


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated Space Ranger folder (read only: copy it with ``outs`` to change it)."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, seed=3, spot_rows=18, spot_columns=18, um_per_px=4.0, n_bulk=600)
    return folder


@pytest.fixture
def outs(simulated: Path, tmp_path: Path) -> Path:
    """A copy of the simulated ``outs`` that a test may damage."""
    return Path(shutil.copytree(simulated / "outs", tmp_path / "outs"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real sections and reference values beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real sections in {SHARED.parent} (set SPADEWORK_SHARED to their folder)")
    return SHARED

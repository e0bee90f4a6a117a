"""The lean machine of the tests of ``--use-conda``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from lean import Conda, lean_machine


@pytest.fixture(scope="session")
def conda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conda]:
    """The lean machine, with a channel of all that the environments in envs name."""
    if sys.platform != "linux":
        pytest.skip("links and wheels are made as on Linux")
    with lean_machine(tmp_path_factory.mktemp("bin")) as machine:
        yield machine

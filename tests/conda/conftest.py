"""The lean machine of the tests of ``--use-conda``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from lean import HERE, STAND_IN, Conda, build_home, build_tools, built
from packages import ROOT


@pytest.fixture(scope="session")
def conda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conda]:
    """The lean machine, with a channel of all that the environments in envs name."""
    if sys.platform != "linux":
        pytest.skip("links and wheels are made as on Linux")
    needed = HERE / "requirements.txt"
    code = [ROOT / "tests/packages.py", HERE / "assemble.py", HERE / "channel.py", needed]
    inputs = [*code, ROOT / "requirements.lock", *sorted((ROOT / "envs").glob("*.yaml"))]
    with built("tools", [needed], build_tools) as tools:
        python = tools / "bin/python"
        with built("conda", inputs, partial(build_home, tools=python)) as home:
            command = tmp_path_factory.mktemp("bin") / "conda"
            command.write_text(f'#!/bin/sh\nexec {shlex.join([str(python), str(STAND_IN)])} "$@"\n')
            command.chmod(0o755)
            yield Conda(home, command.parent, home / "lean/bin/python")

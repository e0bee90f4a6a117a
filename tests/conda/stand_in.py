"""Stand-in for the ``conda`` command: the sub-commands Snakemake calls, served from one local channel.

Solver and installer are those of py-rattler. The folder in SPADEWORK_TEST_CONDA holds the channel (``channel``),
the wheels of pip sections (``wheels``), unpacked packages (``pkgs``) and the base installation (``base``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import rattler
import yaml

HOME = Path(os.environ["SPADEWORK_TEST_CONDA"])


async def install(specs: list[str], prefix: Path) -> None:
    """Solve for packages of the channel, whatever channel the file names, and install them."""
    channel = rattler.Channel((HOME / "channel").as_uri())
    platforms = [str(rattler.Platform.current()), "noarch"]
    records = await rattler.solve([channel], specs, platforms=platforms)
    await rattler.install(records, prefix, cache_dir=HOME / "pkgs", show_progress=False)


def create(file: Path, prefix: Path) -> None:
    """Make the environment of a YAML file, its pip section included."""
    dependencies = yaml.safe_load(file.read_text())["dependencies"]
    asyncio.run(install([d for d in dependencies if isinstance(d, str)], prefix))
    wanted = [r for d in dependencies if isinstance(d, dict) for r in d["pip"]]
    if wanted:
        # The one allowed difference: the CPU build of the same version stands in for TensorFlow's GPU build.
        wanted = [re.sub(r"^tensorflow\[and-cuda\]==", "tensorflow-cpu==", r) for r in wanted]
        offline = ["--no-index", "--find-links", str(HOME / "wheels"), "--no-compile", "--quiet"]
        python = str(prefix / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", *offline, *wanted], check=True)


def main(arguments: list[str]) -> None:
    """Do what one call of conda does."""
    parser = argparse.ArgumentParser()
    for option in ("--file", "--prefix"):
        parser.add_argument(option, type=Path)
    options, words = parser.parse_known_args(arguments)
    command = " ".join(word for word in words if not word.startswith("--"))
    if words == ["--version"]:
        print("conda 24.7.1")
    elif command == "info":
        print(json.dumps({"conda_prefix": str(HOME / "base"), "platform": str(rattler.Platform.current())}))
    elif command == "config channel_priority":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:1] == ["clean"]:
        pass  # packages are kept: they are linked into environments
    elif command == "env create":
        create(options.file, options.prefix)
    else:
        sys.exit(f"the stand-in for conda does not know: {' '.join(arguments)}")


main(sys.argv[1:])
# py-rattler's threads may outlive the interpreter, which then dies of them: end without taking it down.
sys.stdout.flush()
os._exit(0)

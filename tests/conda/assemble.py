"""Turn staged packages into an indexed conda channel.

Usage: assemble.py RECIPES.json CHANNEL (run with the Python that has py-rattler-build).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import rattler
import rattler_build


def main(recipes: Path, channel: Path) -> None:
    """Write one package per recipe (name, version, depends, folder of files)."""
    platform = str(rattler.Platform.current())
    for folder in (platform, "noarch"):
        (channel / folder).mkdir(parents=True, exist_ok=True)
    for recipe in json.loads(recipes.read_text()):
        rattler_build.assemble_package(
            name=recipe["name"],
            version=recipe["version"],
            build_string="local_0",
            target_platform=platform,
            depends=recipe["depends"],
            files_dir=recipe["files"],
            output_dir=channel / platform,
            compression_level=1,
        )
    asyncio.run(rattler.index.index_fs(channel, force=True))


main(Path(sys.argv[1]), Path(sys.argv[2]))
sys.stdout.flush()
os._exit(0)  # py-rattler's threads may outlive the interpreter, which then dies of them

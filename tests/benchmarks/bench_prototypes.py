"""Prototypes of planted textures: are they found, and where they are?

python tests/benchmarks/bench_prototypes.py [seeds] [setting=value ...]

600 patches of noise to train on and 300 to test on; three of four classes have a square of texture somewhere.
Settings are those of prototypes in the configuration. CPU seconds are those of training, without the import of Keras.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import machine
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import planted_textures

# One best cell, and cells that are smaller than the squares: the textures are objects.
PLANTED = {"pool": 2, "top_cells": 1, "per_class": 5}


def main() -> None:
    """Print a row per seed, with true and with shuffled classes."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    changed = {key: yaml.safe_load(value) for key, value in (setting.split("=") for setting in sys.argv[2:])}
    print(machine.describe())
    rows = []
    for seed in range(seeds):
        for shuffled in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                began = machine.cpu()
                trained = planted_textures.trained(seed, Path(folder), shuffled=shuffled, **PLANTED | changed)
                spent = machine.cpu() - began
            rows.append(
                {"seed": seed, "classes": "shuffled" if shuffled else "true"} | planted_textures.scores(trained)
            )
            rows[-1]["cpu_s"] = round(spent)
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()

"""Vox2Vox on phantoms: Dice of both classes, beside a threshold tuned on the test volumes.

python tests/benchmarks/bench_vox2vox.py [--full]

Cubes of 48 voxels with ellipsoids of two classes in noise, 20 to train on and 8 to test on. --full: also longer, with
the published loss, and with the weight of Cirillo et al. CPU seconds are those of training, Keras's import left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import machine

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
from phantom import CLASSES, dice, phantoms, threshold_dice

from spadework.volume.architecture import Architecture
from spadework.volume.augmentation import Augmentation
from spadework.volume.training import Recipe, train

FLIPPED = Augmentation(flip=True, rotate=False, gamma=0, elastic=0)
RECIPE = Recipe(crop=48, epochs=8, learning_rate=1e-3, n_samples=0, augmentation=FLIPPED)
SEEDS = (0, 1, 2)


def scored(volumes, recipe, seed):
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        trained = train(volumes, Architecture(1, 3, width=8), recipe, state=Path(folder) / "s.h5", seed=seed)
        seconds = time.process_time() - started
    test = volumes.of("test")
    found = np.stack([trained.last.predict(pair.inputs).argmax(-1) for pair in test])
    truth = np.stack([pair.target for pair in test])
    obeyed = (trained.steps["d_updated"] == (trained.steps["d_accuracy"] <= recipe.d_threshold)).all()
    updated = trained.steps["d_updated"].mean()
    return [dice(found, truth, k) for k in (1, 2)], seconds, updated, obeyed


def main():
    recipes = {"mean Dice, 160 steps": RECIPE}
    if "--full" in sys.argv[1:]:
        recipes["mean Dice, 360 steps"] = replace(RECIPE, epochs=18)
        recipes["flattened Dice (as published), 240 steps"] = replace(RECIPE, epochs=12, voxel_loss="flat_dice")
        recipes["weight 5 (as in Cirillo et al.), 160 steps"] = replace(RECIPE, voxel_weight=5)
    print(f"{machine.describe()} · Keras {keras.__version__} on {keras.backend.backend()}\n")
    print(f"| training | seed | Dice {CLASSES[1]} | Dice {CLASSES[2]} | CPU s | updates of D | gating obeyed |")
    print("|---|---|---|---|---|---|---|")
    for seed in SEEDS:
        volumes = phantoms(seed)
        low, high = threshold_dice(volumes.of("test"))
        print(f"| blur and threshold, tuned on the test volumes | {seed} | {low:.2f} | {high:.2f} | | | |")
        for name, recipe in recipes.items():
            (one, two), seconds, updated, obeyed = scored(volumes, recipe, seed)
            told = "every step" if obeyed else "NO"
            print(f"| {name} | {seed} | {one:.2f} | {two:.2f} | {seconds:.0f} | {updated:.0%} | {told} |", flush=True)


if __name__ == "__main__":
    main()

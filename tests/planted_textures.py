"""Patches of noise, in which a square of texture is planted: what makes a class, and where, is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spadework.prototypes import training
from spadework.prototypes.architecture import Architecture
from spadework.prototypes.architecture import per_class as prototypes_per_class
from spadework.prototypes.boxes import located
from spadework.prototypes.recipe import Recipe, TrainingSet
from spadework.prototypes.training import Trained

PX, PLANTED_PX = 64, 16
CLASSES = ("background", "stripes", "checks", "dots")


@dataclass(frozen=True)
class Planted:
    """Patches (n, 64, 64, 3) uint8, classes (n,), and boxes (n, 4) y1, y2, x1, x2 of the squares (-1: none)."""

    patches: NDArray[np.uint8]
    labels: NDArray[np.int64]
    boxes: NDArray[np.int64]


def plant(n: int, seed: int) -> Planted:
    """Make ``n`` patches; the first class is noise alone."""
    rng = np.random.default_rng([seed, n])
    labels = rng.integers(len(CLASSES), size=n)
    patches = rng.normal(128, 25, (n, PX, PX, 3))
    boxes = np.full((n, 4), -1)
    at = np.arange(PLANTED_PX)
    textures = (
        np.broadcast_to(np.where(at // 2 % 2, 60, -60)[:, None], (PLANTED_PX, PLANTED_PX)),
        np.where((at[:, None] // 4 + at // 4) % 2, 60, -60),
        np.where((at[:, None] % 5 < 2) & (at % 5 < 2), 90, -30),
    )
    for i, label in enumerate(labels):
        if label:
            y, x = rng.integers(0, PX - PLANTED_PX + 1, 2)
            boxes[i] = y, y + PLANTED_PX, x, x + PLANTED_PX
            patches[i, y : y + PLANTED_PX, x : x + PLANTED_PX] += textures[label - 1][..., None]
    return Planted(np.clip(patches, 0, 255).astype(np.uint8), labels, boxes)


@dataclass(frozen=True)
class TrainedOnPlanted:
    """A training, and the patches it was trained and is to be tested on."""

    trained: Trained
    train: Planted
    test: Planted


def trained(
    seed: int, folder: Path, *, shuffled: bool = False, per_class: int = 5, **network: Any
) -> TrainedOnPlanted:
    """Train on 600 patches as the workflow does, with its own recipe; 300 others are there to test it."""
    train, test = plant(600, seed), plant(300, seed + 100)
    labels = np.random.default_rng(seed).permutation(train.labels) if shuffled else train.labels
    data = TrainingSet(train.patches, labels, ["planted"] * 600, [f"patch{i}" for i in range(600)])
    architecture = Architecture(CLASSES, prototypes_per_class(per_class, data.sizes(len(CLASSES))), PX, **network)
    state = folder / f"state_{seed}.h5"
    return TrainedOnPlanted(training.train(data, architecture, Recipe(), state=state, seed=seed), train, test)


def scores(run: TrainedOnPlanted) -> dict[str, float]:
    """Compare with what was planted.

    Returns
    -------
    dict
        ``accuracy`` on the test patches; ``found``, the share of prototypes of textures whose box has an IoU of at
        least 0.4 with the planted square; ``coverage``, the median share of the square that the box of the best
        prototype of its class covers in test patches; ``prototypes``, how many there are.
    """
    model, push = run.trained.model, run.trained.pushes[-1]
    said = model.say(run.test.patches, maps=True)
    of_texture = [j for j, c in enumerate(push.class_of) if c > 0]
    boxes = [located(push.maps[j], PX)[1] for j in of_texture]
    overlap = [_overlap(box, run.train.boxes[push.rows[j]]) for j, box in zip(of_texture, boxes, strict=True)]
    covered = []
    for i in np.flatnonzero(run.test.labels > 0):
        own = model.architecture.of_class(int(run.test.labels[i]))
        best = own[int(said.scores[i, own].argmax())]
        covered.append(_overlap(located(said.maps[i, best], PX)[1], run.test.boxes[i])[1])
    return {
        "accuracy": float((said.predicted == run.test.labels).mean()),
        "found": float(np.mean([iou >= 0.4 for iou, _ in overlap])),
        "coverage": float(np.median(covered)),
        "prototypes": len(push.class_of),
    }


def _overlap(box: Sequence[int], square: Sequence[int]) -> tuple[float, float]:
    """Return the IoU of a box with a square, and the share of the square in the box."""
    height = max(0, min(box[1], square[1]) - max(box[0], square[0]))
    width = max(0, min(box[3], square[3]) - max(box[2], square[2]))
    areas = [(b[1] - b[0]) * (b[3] - b[2]) for b in (box, square)]
    return height * width / (sum(areas) - height * width), height * width / areas[1]

"""Volumes with two kinds of ellipsoids in noise as coarse as they are: what a threshold can only tell in part."""

import numpy as np
from scipy import ndimage

from spadework.volume.pair_table import SETS
from spadework.volume.pairs import VolumePair, Volumes

CLASSES = ("nothing", "dark", "bright")
# How much brighter each class is than its surroundings, in standard deviations of the coarse noise.
CONTRAST = (0.0, -2.5, 2.5)
COARSE, FINE = 2.0, 0.7


def phantom(rng, side=48, name="phantom", of="train"):
    """Return a cube with two ellipsoids of each class, one of them in a corner of its own."""
    at = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
    labels = np.zeros((side,) * 3, np.int16)
    for label in (1, 2, 1, 2):
        centre, radii = rng.uniform(0.2, 0.8, 3) * side, rng.uniform(0.1, 0.22, 3) * side
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        labels[((((at - centre) @ turn) / radii) ** 2).sum(-1) < 1] = label
    coarse = ndimage.gaussian_filter(rng.normal(size=labels.shape), COARSE)
    noise = coarse / coarse.std() + FINE * rng.normal(size=labels.shape)
    pixels = np.array(CONTRAST)[labels] + noise
    return VolumePair(name, pixels.astype(np.float32)[..., None], labels, (1.0, 1.0, 1.0), of)


def phantoms(seed, n_train=20, n_test=8):
    rng = np.random.default_rng([seed, 48])
    sets = ["train"] * n_train + ["test"] * n_test
    pairs = tuple(phantom(rng, name=f"{of}{k}", of=of) for k, of in enumerate(sets))
    assert set(sets) <= set(SETS)
    return Volumes(pairs, ("intensity",), CLASSES, unit="voxels")


def dice(labels, truth, k):
    both, either = ((labels == k) & (truth == k)).sum(), (labels == k).sum() + (truth == k).sum()
    return 2 * both / either


def threshold_dice(pairs):
    """Dice of the two classes by blur and two thresholds, tuned on the very volumes they are scored on."""
    truth = np.stack([pair.target for pair in pairs])
    best = (0.0, 0.0)
    for sigma in (1.0, 2.0, 3.0, 4.0):
        blurred = np.stack([ndimage.gaussian_filter(pair.inputs[..., 0], sigma) for pair in pairs])
        share = np.linspace(0.005, 0.3, 30)
        dark = max(dice(blurred < t, truth == 1, True) for t in np.quantile(blurred, share))
        bright = max(dice(blurred > t, truth == 2, True) for t in np.quantile(blurred, 1 - share))
        best = tuple(map(max, best, (dark, bright)))
    return best

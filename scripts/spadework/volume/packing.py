"""Targets as arrays that a network can look at, or learn from; a channel says where something was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spadework.volume.pairs import NOT_MEASURED, VolumePair, hide

Spread = tuple[float, float, float]
# Shares of the distance between spots; planes; voxels.
_OF_DISTANCE, _LEAST_Z, _LEAST = 0.6, 0.7, 1.0
# Less than that of what was measured around a voxel is rounding.
_NOTHING = 1e-6


def pack(target: NDArray[Any], n_classes: int) -> NDArray[np.float32]:
    """Put targets and where they were measured into one array.

    Parameters
    ----------
    target
        As :attr:`spadework.volume.pairs.VolumePair.target`.
    n_classes
        0 for values.

    Returns
    -------
    numpy.ndarray
        (z, y, x, outputs + 1) float32: one channel per class, 1 where it is that class, or the values; 0 where
        nothing was measured. Last, 1 where something was measured.
    """
    if n_classes:
        measured = target != NOT_MEASURED
        channels = target[..., None] == np.arange(n_classes)
    else:
        measured = ~np.isnan(target).any(axis=-1)
        channels = np.where(measured[..., None], target, 0)
    return np.concatenate([channels, measured[..., None]], axis=-1).astype(np.float32)


def with_given(
    inputs: NDArray[np.float32], target: NDArray[Any], plane: int, n_classes: int, spread: Spread
) -> NDArray[np.float32]:
    """Add to the inputs, as further channels, what was measured in all planes of a stack but one.

    It is spread, as the next section was measured at other places: a Gaussian mean around each voxel. The last
    channel says how much went into it, as a share of where most did. Distances in z are those of the planes' numbers.
    """
    given = hide(target, np.arange(len(target)) == plane)
    blurred = ndimage.gaussian_filter(pack(given, n_classes), (*spread, 0), mode="constant")
    amount = blurred[..., -1:]
    there = amount > _NOTHING
    means = np.divide(blurred[..., :-1], amount, out=np.zeros_like(blurred[..., :-1]), where=there)
    return np.concatenate([inputs, means, amount / max(amount.max(), _NOTHING)], axis=-1)


def one_hidden(
    rng: np.random.Generator, inputs: NDArray[np.float32], target: NDArray[Any], n_classes: int, spread: Spread
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make of a crop of a stack an example of how to fill a section in: one is hidden, the others are given.

    Returns
    -------
    inputs, packed
        The inputs, with what was measured in all planes but one; and what was measured in that one, packed.
    """
    measured = np.flatnonzero(pack(target, n_classes)[..., -1].any(axis=(1, 2)))
    plane = int(rng.choice(measured)) if len(measured) else 0
    wanted = pack(hide(target, np.arange(len(target)) != plane), n_classes)
    return with_given(inputs, target, plane, n_classes, spread), wanted


def spread_of(pair: VolumePair) -> Spread:
    """Return how far to spread what was measured in a stack: standard deviations in z, y and x, voxels.

    By 0.6 of the distance of the spots, gaps between them close and domains keep their shape. In z, so far at least
    that the next section counts.
    """
    um = _OF_DISTANCE * pair.origin["spot_distance_um"]
    z, y, x = (um / spacing for spacing in pair.spacing)
    return max(_LEAST_Z, z), max(_LEAST, y), max(_LEAST, x)

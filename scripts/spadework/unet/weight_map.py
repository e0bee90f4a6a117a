"""Which pixels matter: the weight map that keeps touching objects apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Beyond this many sigma the border term is below 1e-6 of its height.
_REACH = 5.5


def two_nearest(labels: NDArray[np.integer], reach: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the distances of every pixel to the nearest and the second nearest object, (h, w) float32, px.

    Parameters
    ----------
    labels
        (h, w), 0 is background.
    reach
        Distances above this may come out as infinite.
    """
    first = np.full(labels.shape, np.inf, np.float32)
    second = first.copy()
    pad = int(np.ceil(reach)) + 1
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        around = tuple(slice(max(s.start - pad, 0), s.stop + pad) for s in box)
        distance = ndimage.distance_transform_edt(labels[around] != label).astype(np.float32)
        near, far = first[around], second[around]
        np.minimum(far, np.maximum(near, distance), out=far)
        np.minimum(near, distance, out=near)
    return first, second


def part_touching(labels: NDArray[np.integer], gap_px: int) -> NDArray[np.int32]:
    """Take pixels off objects, so that at least ``gap_px`` of background lie between any two.

    Of two objects the one of the higher number gives way: a gap of 1 px costs no more than that.

    Returns
    -------
    numpy.ndarray
        (h, w) int32.
    """
    y, x = np.ogrid[-gap_px : gap_px + 1, -gap_px : gap_px + 1]
    numbered = np.where(labels > 0, labels, np.iinfo(np.int32).max).astype(np.int32)
    lowest = ndimage.minimum_filter(numbered, footprint=np.hypot(y, x) <= gap_px)
    return np.where(lowest == numbered, labels, 0).astype(np.int32)


def weight_map(labels: NDArray[np.integer], w0: float, sigma: float, balance: bool = False) -> NDArray[np.float32]:
    """Weigh background between objects that nearly touch: Ronneberger et al. 2015, equation 2.

    ``w = w_c + w0 exp(-(d1 + d2)² / (2 sigma²))``, the second term on background only, where d1 and d2 are the
    distances to the nearest two objects.

    Parameters
    ----------
    labels
        (h, w), 0 is background.
    w0
        Height of the border term; 0 leaves it out.
    sigma
        Its width, px.
    balance
        Let w_c make up for the share of each class, with mean 1; else it is 1.

    Returns
    -------
    numpy.ndarray
        (h, w) float32.
    """
    weights = np.ones(labels.shape, np.float32)
    inside = labels > 0
    if balance and 0 < inside.mean() < 1:
        weights = np.where(inside, 0.5 / inside.mean(), 0.5 / (1 - inside.mean())).astype(np.float32)
    if w0 and sigma:
        first, second = two_nearest(labels, _REACH * sigma)
        border = w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))
        weights += np.where(inside, 0, border).astype(np.float32)
    return weights

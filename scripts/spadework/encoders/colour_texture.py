"""Colour and texture of a patch: a transparent baseline that needs no weights.

On simulated sections it separates tissue types better than a network with random weights, so it is both a useful
stand-in where no weights can be had and the bar a network should clear.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import hed_from_rgb

from spadework.encoders.base import Encoder

_PERCENTILES = (10, 50, 90)
_SCALES = (0.0, 1.0, 2.0, 4.0)  # standard deviations of the smoothing, px
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


class ColourTextureEncoder(Encoder):
    """Stain densities, their spread, detail energy over scales, gradients and local binary patterns.

    Haematoxylin and eosin densities follow Ruifrok & Johnston (2001); rotation-invariant uniform local binary
    patterns follow Ojala, Pietikäinen & Mäenpää (2002).
    """

    name = "colour_texture"
    same_units = False
    batch_size = 256
    dim = 3 * 2 + 2 * len(_PERCENTILES) + 2 * (len(_SCALES) - 1) + 2 + 10

    def _encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        density = -np.log10((patches.astype(np.float32) + 1) / 256)
        stains = density @ hed_from_rgb.astype(np.float32)
        haematoxylin, eosin = stains[..., 0], stains[..., 1]
        parts = [density.mean(axis=(1, 2)), density.std(axis=(1, 2))]
        for stain in (haematoxylin, eosin):
            parts += [np.percentile(stain, _PERCENTILES, axis=(1, 2)).T, _detail(stain)]
        grey = density.mean(axis=-1)
        gradient = np.hypot(*np.gradient(grey, axis=(1, 2)))
        parts += [
            gradient.mean(axis=(1, 2))[:, None],
            gradient.std(axis=(1, 2))[:, None],
            _binary_patterns(grey),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)


def _detail(stain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of what each smoothing takes away, (n, scales - 1)."""
    smooth = [stain if s == 0 else gaussian_filter(stain, (0, s, s)) for s in _SCALES]
    return np.stack([(a - b).std(axis=(1, 2)) for a, b in pairwise(smooth)], axis=1)


def _binary_patterns(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Histogram of rotation-invariant uniform local binary patterns of the eight neighbours, (n, 10)."""
    height, width = grey.shape[1:]
    centre = grey[:, 1:-1, 1:-1]
    above = np.stack([grey[:, 1 + r : height - 1 + r, 1 + c : width - 1 + c] >= centre for r, c in _NEIGHBOURS])
    changes = (above != np.roll(above, 1, axis=0)).sum(axis=0)
    pattern = np.where(changes <= 2, above.sum(axis=0), 9)
    return np.stack([(pattern == k).mean(axis=(1, 2)) for k in range(10)], axis=1).astype(np.float32)

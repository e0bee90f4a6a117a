"""Sections that were stained on different days, made to look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

from spadework.tissue import TissueModel

_SMALLEST_SD = 1e-3  # Lab units: a section of one colour is moved, not stretched


@dataclass(frozen=True)
class StainStatistics:
    """Colour of the tissue of a section.

    Attributes
    ----------
    mean, sd
        (3,) float64, of L, a and b of its tissue.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def white_glass(rgb: NDArray[np.uint8], tissue: TissueModel) -> NDArray[np.uint8]:
    """Divide by the colour of the glass, so that it becomes white.

    Light that passes glass and stain is a product: optical densities stay as they are.

    Parameters
    ----------
    rgb
        (..., 3) uint8.
    """
    # The + 1 is that of TissueModel.density, so that the density relative to white is that relative to the glass.
    levels = (np.arange(256, dtype=np.float64)[:, None] + 1) * 256 / (np.asarray(tissue.background, float) + 1) - 1
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.stack([table[rgb[..., c], c] for c in range(3)], axis=-1)


def stain_statistics(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> StainStatistics:
    """Mean and SD of the Lab colours of tissue.

    Parameters
    ----------
    rgb, mask
        (h, w, 3) uint8 and (h, w) bool with at least one pixel.

    Raises
    ------
    ValueError
        If there is no tissue.
    """
    if not mask.any():
        raise ValueError("no tissue to measure the stain of")
    lab = rgb2lab(rgb[mask])
    return StainStatistics(lab.mean(axis=0), lab.std(axis=0))


def normalise_stain(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], reference: StainStatistics | None
) -> NDArray[np.uint8]:
    """Give the tissue of a section the colours of a reference, and paint everything else white.

    The method is that of Reinhard et al. (2001), Color transfer between images, IEEE CG&A 21:34-41: mean and SD of
    each channel are made those of the reference. They used Ruderman's lαβ; CIE Lab does as well on stains.

    Parameters
    ----------
    rgb, mask
        (h, w, 3) uint8 with white glass, and (h, w) bool.
    reference
        From :func:`stain_statistics`; None leaves the colours as they are.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) uint8.
    """
    out = np.full_like(rgb, 255)
    if not mask.any():
        return out
    if reference is None:
        out[mask] = rgb[mask]
        return out
    own = stain_statistics(rgb, mask)
    lab = (rgb2lab(rgb[mask]) - own.mean) / np.maximum(own.sd, _SMALLEST_SD) * reference.sd + reference.mean
    lab[:, 0] = np.clip(lab[:, 0], 0, 100)
    out[mask] = np.rint(np.clip(lab2rgb(lab), 0, 1) * 255).astype(np.uint8)
    return out

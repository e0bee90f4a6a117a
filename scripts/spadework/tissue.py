"""Where there is tissue: a threshold on optical density, set once per section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

# Otsu splits any image in two; these bounds keep it off the noise of glass and out of the stain.
_LOWEST, _HIGHEST = 0.03, 0.20


@dataclass(frozen=True)
class TissueModel:
    """What counts as tissue in a section.

    Attributes
    ----------
    background
        Colour of empty glass, RGB, 0 to 255. Slides differ: some scanners give pinkish glass.
    threshold
        Mean optical density above which a pixel is tissue.
    """

    background: tuple[float, float, float]
    threshold: float

    def density(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean optical density over the channels, (..., 3) uint8 to (...) float32, relative to the glass."""
        # A table of 256 values per channel is several times faster than a logarithm per pixel.
        levels = np.arange(256, dtype=np.float32)[:, None] + 1
        table = np.maximum(np.log10((np.asarray(self.background, np.float32) + 1) / levels), 0).astype(np.float32)
        return (table[rgb[..., 0], 0] + table[rgb[..., 1], 1] + table[rgb[..., 2], 2]) / 3

    def fraction(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Share of tissue pixels in each patch, (n, h, w, 3) uint8 to (n,) float32."""
        return (self.density(patches) > self.threshold).mean(axis=(1, 2)).astype(np.float32)


def fit_tissue(overview: NDArray[np.uint8]) -> TissueModel:
    """Estimate glass colour and tissue threshold from an overview image, (h, w, 3) uint8.

    The glass is taken as the bright end of the image; the threshold is Otsu's on the optical density.
    """
    pixels = overview.reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    glass = pixels[brightness >= np.percentile(brightness, 90)]
    background = tuple(float(v) for v in np.median(glass, axis=0))
    density = TissueModel(background, 0.0).density(overview)  # type: ignore[arg-type]
    threshold = float(np.clip(threshold_otsu(density), _LOWEST, _HIGHEST)) if density.max() > 0 else _LOWEST
    return TissueModel(background, threshold)  # type: ignore[arg-type]

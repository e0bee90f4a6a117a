"""An image at another scale, read by region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spadework.images import SlideImage
from spadework.patches import ScaledImage, reflect

Span = tuple[int, int]


class Grid:
    """An image at another scale, mirrored without end; a pixel is the same in whatever region it is read.

    Pillow holds the corner of a region in single precision, which makes some pixels depend on it. Here the weights of
    source pixels, those of Pillow's bilinear filter, follow from the place in the whole image.

    Parameters
    ----------
    um_per_px
        Scale wanted. The grid spans the image exactly, so its own scale, ``um_per_px``, differs by a trifle.
    """

    def __init__(self, scaled: ScaledImage, um_per_px: float) -> None:
        self.image: SlideImage = scaled.image
        source = np.array([scaled.image.width, scaled.image.height])
        size = np.maximum(np.rint(source * scaled.um_per_px / um_per_px), 1).astype(int)
        self.width, self.height = (int(n) for n in size)
        self.source_px = source / size
        self.um_per_px = self.source_px * scaled.um_per_px

    def read(self, x: Span, y: Span) -> NDArray[np.uint8]:
        """Return the pixels from x[0] to x[1] and y[0] to y[1], which may lie outside, (h, w, 3) uint8."""
        columns, rows = (reflect(np.arange(*span), n) for span, n in ((x, self.width), (y, self.height)))
        (x0, x1), (y0, y1) = ((int(i.min()), int(i.max()) + 1) for i in (columns, rows))
        inside = self._inside((x0, x1), (y0, y1))
        return inside[(rows - y0)[:, None], columns - x0]

    def _inside(self, x: Span, y: Span) -> NDArray[np.uint8]:
        (left, across), (top, down) = (
            _bilinear(span, scale, n)
            for span, scale, n in zip((x, y), self.source_px, (self.image.width, self.image.height), strict=True)
        )
        width, height = across.shape[1], down.shape[1]
        pixels = self.image.read(left, top, left + width, top + height).astype(np.float32)
        pixels = (down @ pixels.reshape(height, -1)).reshape(-1, width, 3)
        # Rows are mixed; now columns, which take their turn as the first axis.
        pixels = (across @ pixels.transpose(1, 0, 2).reshape(width, -1)).reshape(across.shape[0], -1, 3)
        return np.rint(pixels.transpose(1, 0, 2)).astype(np.uint8)


def _bilinear(span: Span, scale: float, length: int) -> tuple[int, sparse.csr_matrix]:
    """Weights of source pixels for the pixels of a span: first source pixel, and (span, source pixels) float32.

    A triangle around the pixel's centre, as wide as a source pixel or, where the image shrinks, as the new pixel.
    """
    reach = max(scale, 1.0)
    centre = (np.arange(*span) + 0.5) * scale
    first = np.floor(centre - reach).astype(np.int64)
    source = first[:, None] + np.arange(int(2 * reach) + 3)
    weight = np.maximum(1 - np.abs(source + 0.5 - centre[:, None]) / reach, 0)
    weight[(source < 0) | (source >= length)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    row, column = np.nonzero(weight)
    used = source[row, column]
    low, high = int(used.min()), int(used.max()) + 1
    values = weight[row, column].astype(np.float32)
    return low, sparse.csr_matrix((values, (row, used - low)), shape=(len(centre), high - low))

"""Where in a patch a prototype was found: the map over the patch, and boxes around its peak."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

# y1, y2, x1, x2 in px of a patch, ends exclusive.
Box = tuple[int, int, int, int]

_PERCENTILE = 95.0
_ANYWHERE = (slice(None), slice(None))
# Differences below this share of the largest value are rounding of the interpolation, not a pattern.
_FLAT = 1e-5
# Shares of the patch and of the heat map in an overlay, as published.
_PATCH, _HEAT = 0.5, 0.3


def upsample(cells: NDArray[np.floating], px: int) -> NDArray[np.float32]:
    """Enlarge a map of cells to the size of its patch, by cubic interpolation.

    Aligned as images are resized: the first cell lies over the first ``px / cells`` pixels, the last over the last;
    these are the middles of what the cells see, where a patch is a whole number of steps of the network. At the
    border the outermost cells go on. Between cells, values may pass those of the cells a little.

    Parameters
    ----------
    cells
        (cells, cells), any float.
    px
        Edge of the patch, px.

    Returns
    -------
    numpy.ndarray
        (px, px) float32.
    """
    return resize(
        np.asarray(cells, np.float64), (px, px), order=3, mode="edge", clip=False, anti_aliasing=False
    ).astype(np.float32)


def activation_box(
    activation: NDArray[np.floating], percentile: float = _PERCENTILE, within: tuple[slice, slice] = _ANYWHERE
) -> Box:
    """Return the box around the peak of a map.

    Pixels of at least the given percentile count. The published box encloses all of them, so that two far apart make
    it span whatever lies between; this one encloses those that hang together (corners included) with the peak. It is
    the only box there is here, in files with published names, too.

    Parameters
    ----------
    activation
        (h, w) map over a patch, see :func:`upsample`. Of several equal peaks, the first one counts, row by row.
    within
        Where the peak is looked for.

    Returns
    -------
    tuple
        y1, y2, x1, x2, ends exclusive. Everything, if the map is the same everywhere.

    Raises
    ------
    ValueError
        If a value is not finite: there is no peak.
    """
    if not np.isfinite(activation).all():
        raise ValueError("the map has values that are not finite")
    height, width = activation.shape
    if _is_flat(activation):
        return 0, height, 0, width
    part = activation[within]
    peak = part.max()
    y, x = (int(i) for i in np.unravel_index(np.argmax(part), part.shape))
    # Where more of the map than that is its lowest value, what lies above it counts.
    high = (activation >= min(np.percentile(activation, percentile), peak)) & (activation > activation.min())
    parts, _ = ndimage.label(high, structure=np.ones((3, 3)))
    first_y, first_x = (span.start or 0 for span in within)
    rows, columns = ndimage.find_objects(parts)[parts[first_y + y, first_x + x] - 1]
    return rows.start, rows.stop, columns.start, columns.stop


def located(cells: NDArray[np.floating], px: int) -> tuple[NDArray[np.float32], Box, tuple[int, int]]:
    """Return a map of cells over its patch, the box around the cell that is most similar, and that cell.

    Interpolation may put the highest pixel into another cell; the box is that of the highest in this one.

    Parameters
    ----------
    cells
        (cells, cells) similarity.
    px
        Edge of the patch, px; a multiple of the number of cells.
    """
    row, column = (int(i) for i in np.unravel_index(np.argmax(cells), cells.shape))
    activation, edge = upsample(cells, px), px // len(cells)
    within = slice(row * edge, (row + 1) * edge), slice(column * edge, (column + 1) * edge)
    return activation, activation_box(activation, within=within), (row, column)


def crop(patch: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Cut a box out of a patch (h, w, 3)."""
    y1, y2, x1, x2 = box
    return patch[y1:y2, x1:x2]


def relative(activation: NDArray[np.floating]) -> NDArray[np.float32]:
    """Stretch a map to 0..1, for showing; 0 everywhere, if it is the same everywhere."""
    if _is_flat(activation):
        return np.zeros(activation.shape, np.float32)
    low, high = float(activation.min()), float(activation.max())
    return ((activation - low) / (high - low)).astype(np.float32)


def overlay(patch: NDArray[np.uint8], activation: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay a map as colours over a patch, as published: 0.5 x patch + 0.3 x heat map (blue to red).

    Parameters
    ----------
    patch
        (h, w, 3) uint8.
    activation
        (h, w), any range; shown from its lowest to its highest value.
    """
    heat = colormaps["jet"](relative(activation))[..., :3]
    return np.clip(255 * (_PATCH * patch / 255 + _HEAT * heat), 0, 255).round().astype(np.uint8)


def outlined(patch: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return a copy of a patch (h, w, 3) with the outermost pixels of a box in yellow."""
    y1, y2, x1, x2 = box
    inside = np.zeros(patch.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    inside[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = False
    return np.where(inside[..., None], np.array([255, 255, 0], np.uint8), patch)


def _is_flat(activation: NDArray[np.floating]) -> bool:
    return bool(np.ptp(activation) <= _FLAT * max(float(np.abs(activation).max()), 1e-12))

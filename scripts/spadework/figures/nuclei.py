"""Nuclei: their outlines over the H&E image, and what they say per spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tifffile
import zarr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from skimage.measure import find_contours, regionprops

from spadework.figures.maps import Canvas, draw_tissue, section_canvas, value_map
from spadework.figures.style import SEQUENTIAL, TEXT, UNLABELLED, WIDTH
from spadework.keys import Keys
from spadework.nuclei.slide import LARGEST_UM
from spadework.patches import ScaledImage

_OUTLINE = "#00F0C8"
_CLUMP = "#FF7A00"
_FRAME = "#FFD500"
_EDGED = [Stroke(linewidth=1.7, foreground="black"), Normal()]
# Share of the spots with fewer nuclei -> title of its close-up.
_PLACES = {1.0: "densest spot", 0.75: "upper quartile", 0.5: "median spot", 0.0: "sparsest spot"}
_CLOSE_UP_UM = 120.0
_CLOSE_UP_SPOTS = 1.6
# Column of the spots -> title and label of its map.
_MAPS = {
    Keys.NUCLEI_DENSITY: ("density", "nuclei per mm²"),
    Keys.NUCLEI_AREA: ("size", "mean area, µm²"),
    Keys.NUCLEI_ECCENTRICITY: ("elongation", "mean eccentricity"),
    Keys.NUCLEI_HAEMATOXYLIN: ("darkness", "mean optical density of haematoxylin"),
}


def nuclei_over_tissue(
    section: ad.AnnData,
    scaled: ScaledImage,
    labels: str | Path,
    nuclei: pd.DataFrame,
    clumps: pd.DataFrame,
    spots: pd.DataFrame,
    sample: str,
) -> Figure:
    """Show the section, and close-ups of spots with many and with few nuclei, each nucleus and clump outlined.

    Parameters
    ----------
    labels
        Label image of :func:`spadework.nuclei.slide.label_slide`.
    nuclei, clumps
        Its tables.
    spots
        Table of :func:`spadework.nuclei.spots.count_nuclei`.
    """
    lattice = section.uns[Keys.SPADE]["lattice"]
    canvas = section_canvas(section.uns[Keys.SPATIAL][sample], lattice, section.obsm[Keys.SPATIAL])
    edge = max(_CLOSE_UP_UM, _CLOSE_UP_SPOTS * canvas.spot_um)
    figure = plt.figure(figsize=(WIDTH, 3.6), layout="constrained")
    grid = figure.add_gridspec(2, 4)
    whole = figure.add_subplot(grid[:, :2])
    draw_tissue(whole, canvas.for_width(WIDTH / 2 * figure.dpi), wash=0)
    left_out = ""
    if len(clumps):
        share = nuclei.attrs["left_out"]["too_large_share"]
        left_out = f"\nleft out: clumps wider than {LARGEST_UM:g} µm (orange), {share:.1%} of the area of both"
        place = clumps[["x", "y"]].to_numpy(float) * _um_per_px(lattice)
        whole.scatter(place[:, 0], place[:, 1], s=0.1, c=_CLUMP, linewidths=0)
    whole.set_title(f"{len(nuclei):,} nuclei{left_out}", y=1)
    store: Any = zarr.open(tifffile.imread(labels, aszarr=True, series=0, level=0), mode="r")
    for k, (rank, i) in enumerate(_places(canvas, spots, scaled, edge)):
        corner = canvas.xy[i] - edge / 2
        whole.add_patch(Rectangle(tuple(corner), edge, edge, fill=False, ec=_FRAME, lw=1.1))
        letter: dict[str, Any] = {"ha": "right", "weight": "bold", "color": _FRAME, "path_effects": _EDGED}
        whole.annotate("abcd"[k], tuple(corner), (-2, 0), textcoords="offset points", **letter)
        ax = figure.add_subplot(grid[k // 2, 2 + k % 2])
        _close_up(ax, canvas, i, scaled, store, nuclei.attrs["um_per_px"], edge)
        if len(clumps):
            _outline(ax, _clump_outlines(clumps, lattice, corner, corner + edge), _CLUMP)
        count = int(spots[Keys.NUCLEI_COUNT].iloc[i])
        ax.set_title(f"{'abcd'[k]}  {_PLACES[rank]}: {_count(count)} centred in it", y=1, fontsize=TEXT)
    segmenter = nuclei.attrs["segmenter"]
    source = segmenter.get("origin", {}).get("source")
    by = {"unet": "a U-Net", "stardist": "StarDist"}.get(segmenter["engine"], segmenter["engine"])
    figure.suptitle(f"{sample}: nuclei by {by}" + (f", trained on {source}" if source else ""))
    return figure


def _places(canvas: Canvas, spots: pd.DataFrame, scaled: ScaledImage, edge: float) -> list[tuple[float, int]]:
    """Choose spots by density, of those whose close-up lies in the image where there are any."""
    density = spots[Keys.NUCLEI_DENSITY].fillna(0).to_numpy()
    image_um = np.array([scaled.image.width, scaled.image.height]) * scaled.um_per_px
    inside = np.all((canvas.xy >= edge / 2) & (canvas.xy <= image_um - edge / 2), axis=1)
    order = np.argsort(density, kind="stable")
    order = order[inside[order]] if inside.any() else order
    return [(rank, int(order[round(rank * (len(order) - 1))])) for rank in _PLACES]


def _close_up(
    ax: Axes,
    canvas: Canvas,
    i: int,
    scaled: ScaledImage,
    store: Any,  # noqa: ANN401  (a zarr array)
    label_um: list[float],
    edge: float,
) -> None:
    """Draw the image around a spot, the spot, and the outlines of the nuclei."""
    low, high = canvas.xy[i] - edge / 2, canvas.xy[i] + edge / 2
    source = (scaled.image.width, scaled.image.height)
    (x0, x1), (y0, y1) = _pixels(low, high, scaled.um_per_px, source)
    um_x, um_y = scaled.um_per_px
    view = Canvas(
        scaled.image.read(x0, y0, x1, y1),
        (x0 * um_x, x1 * um_x, y1 * um_y, y0 * um_y),
        canvas.xy[[i]],
        canvas.spot_um,
        canvas.square,
    )
    draw_tissue(ax, view, wash=0)
    (left, right), (top, bottom) = _pixels(low, high, label_um, store.shape[::-1])
    lines = outlines(np.asarray(store[top:bottom, left:right]))
    _outline(ax, [(line + np.array([left, top])) * label_um for line in lines], _OUTLINE)
    style: dict[str, Any] = {"fill": False, "ec": "white", "lw": 0.8, "ls": (0, (4, 3)), "path_effects": _EDGED}
    if canvas.square:
        half = canvas.spot_um / 2
        ax.add_patch(Rectangle(tuple(canvas.xy[i] - half), 2 * half, 2 * half, **style))
    else:
        ax.add_patch(Circle(tuple(canvas.xy[i]), canvas.spot_um / 2, **style))
    ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))


def _outline(ax: Axes, lines: list[NDArray[np.float64]], colour: str) -> None:
    ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.7))


def _clump_outlines(
    clumps: pd.DataFrame, lattice: dict[str, Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Trace the clumps of a region, in µm: cells that are covered for the most part."""
    um = _um_per_px(lattice)
    cell_um = np.asarray(clumps.attrs["cell_px"]) * um
    place = clumps[["x", "y"]].to_numpy(float) * um
    # Those just outside, too: a clump does not end where the view does.
    near = np.all((place > low - cell_um) & (place < high + cell_um), axis=1)
    seen = near & (clumps["area_um2"] > cell_um.prod() / 2)
    column, row = np.floor(place[seen] / cell_um).astype(int).T
    if not len(row):
        return []
    corner = np.array([column.min(), row.min()])
    covered = np.zeros((row.max() - corner[1] + 1, column.max() - corner[0] + 1), np.int64)
    covered[row - corner[1], column - corner[0]] = 1
    return [(line + corner) * cell_um for line in outlines(covered)]


def _um_per_px(lattice: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([lattice["um_per_px_x"], lattice["um_per_px_y"]], float)


def _count(n: int) -> str:
    return f"{n} nucle{'us' if n == 1 else 'i'}"


def _pixels(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    um_per_px: Sequence[float],
    size: tuple[int, int],
) -> list[tuple[int, int]]:
    """Return the pixels, from and to in x and in y, that hold a region in µm, at least one."""
    spans = []
    for a, b, um, n in zip(low, high, um_per_px, size, strict=True):
        start = min(max(int(a / um), 0), n - 1)
        spans.append((start, min(max(int(np.ceil(b / um)), start + 1), n)))
    return spans


def outlines(labels: NDArray[np.integer]) -> list[NDArray[np.float64]]:
    """Trace the outline of every label, (n, 2) x and y each, where pixel k spans k to k + 1."""
    lines = []
    for region in regionprops(labels.astype(np.int64)):
        padded = np.pad(region.image, 1).astype(float)
        top, left = region.bbox[:2]
        lines += [contour[:, ::-1] + (left - 0.5, top - 0.5) for contour in find_contours(padded, 0.5)]
    return lines


def nuclei_per_spot(section: ad.AnnData, spots: pd.DataFrame, sample: str) -> Figure:
    """Map density, size, elongation and darkness of the nuclei; spots without any are grey."""
    lattice = section.uns[Keys.SPADE]["lattice"]
    canvas = section_canvas(section.uns[Keys.SPATIAL][sample], lattice, section.obsm[Keys.SPATIAL])
    width = WIDTH
    height = 2 * (width / 2 * canvas.aspect * 0.82 + 0.25) + 0.3
    figure, axes = plt.subplots(2, 2, figsize=(width, height), layout="constrained")
    canvas = canvas.for_width(width / 2 * figure.dpi)
    colours = mpl.colormaps[SEQUENTIAL].with_extremes(bad=UNLABELLED)
    for ax, (column, (title, unit)) in zip(axes.flat, _MAPS.items(), strict=True):
        values = spots[column].to_numpy(float)
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, (1, 99)) if len(finite) else (0.0, 1.0)
        limits = (float(low), float(high) if high > low else float(low) + 1)
        value_map(ax, canvas, values, limits=limits, colours=colours, title=title, label=unit)
    empty = int((spots[Keys.NUCLEI_COUNT] == 0).sum())
    figure.suptitle(
        f"{sample}: nuclei per spot" + (f" (grey: without any, {empty} of {len(spots)})" if empty else "")
    )
    return figure

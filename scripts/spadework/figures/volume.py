"""Sections of a block: what is measured and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spadework.figures.maps import Canvas, draw_spots, draw_tissue
from spadework.figures.style import TEXT, shortened
from spadework.figures.volume_content import Content
from spadework.volume.evaluation import NEIGHBOUR, NETWORK, Predicted
from spadework.volume.stack import Stack

_RIGHT, _WRONG = "white", "black"  # no colour of a domain
_MARGIN = 6  # voxels around the tissue
_MOST_SECTIONS = 8  # on the page of sections


def sections_figure(
    stack: Stack,
    predicted: Predicted,
    contents: Mapping[str, Content],
    spot_um: Mapping[str, float],
    heading: str,
) -> tuple[Figure, str]:
    """Draw each section left out: stain, measured, predicted, right or wrong, and a copy of its neighbour.

    Parameters
    ----------
    contents
        Section left out -> what the network that has not seen its spots says, in the whole volume.
    spot_um
        Section -> diameter of its spots.

    Returns
    -------
    figure, note
        And what is to be said at its foot.
    """
    shown = evenly(list(contents), _MOST_SECTIONS)
    rows, columns = frame(stack)
    aspect = (rows.stop - rows.start) / (columns.stop - columns.start)
    panel = 1.3
    figure, axes = plt.subplots(
        len(shown),
        5,
        figsize=(5 * panel + 0.6, len(shown) * (panel * aspect + 0.2) + 0.7),
        layout="constrained",
        squeeze=False,
    )
    for line, section in zip(axes, shown, strict=True):
        content, k = contents[section], stack.samples.index(section)
        own = (predicted.spots["sample"] == section).to_numpy()
        spots = predicted.spots[own]
        extent = extent_um(stack, rows, columns)
        canvas = Canvas(
            stack.stain[k, rows, columns], extent, spots[["x_um", "y_um"]].to_numpy(float), spot_um[section], False
        ).for_width(panel * figure.dpi)
        truth, network, copy = (
            values[own] if values.ndim == 1 else values[own, 0]
            for values in (predicted.truth, predicted.says[NETWORK], predicted.says[NEIGHBOUR])
        )
        draw_tissue(line[0], canvas, wash=0)
        _draw(line[1], canvas, content.rgba(truth))
        draw_tissue(line[2], canvas, wash=0.6)
        line[2].imshow(content.rgba(content.volume[k, rows, columns]), extent=extent, interpolation="nearest")
        if content.names:
            _draw(line[3], canvas, [_RIGHT if r else _WRONG for r in truth == network])
        else:
            _draw(line[3], canvas, content.rgba(network - truth))
        _draw(line[4], canvas, content.rgba(copy))
        z = stack.z_um[k]
        line[0].set_title(f"{shortened(section, 20)} (z = {z:g} µm)", fontsize=TEXT, y=1)
        if content.names:
            share, copied = np.mean(truth == network), np.mean(truth == copy)
            line[3].set_title(f"{share:.0%} of {len(truth)} spots right", fontsize=TEXT, y=1)
            line[4].set_title(f"{copied:.0%} right", fontsize=TEXT, y=1)
        else:
            line[3].set_title(f"r = {_correlation(truth, network)}", fontsize=TEXT, y=1)
            line[4].set_title(f"r = {_correlation(truth, copy)}", fontsize=TEXT, y=1)
    content = contents[shown[0]]
    difference = "right or wrong" if content.names else "predicted − measured"
    titles = ("stain", "measured", "predicted by the network", difference, "copy of the neighbour")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(f"{title}\n{ax.get_title()}", fontsize=TEXT, y=1)
    content.explain(figure, list(axes.flat))
    figure.suptitle(heading)
    note = "Each section is predicted by a network that has not seen its spots."
    if content.names:
        note += " Right is white, wrong is black."
    if len(shown) < len(contents):
        note += f" {len(shown)} of {len(contents)} sections are drawn."
    return figure, note


def evenly(items: list, most: int) -> list:
    """Choose so many of the items at most, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(k)] for k in np.linspace(0, len(items) - 1, most)]


def frame(stack: Stack) -> tuple[slice, slice]:
    """Return rows and columns with tissue on any section, and a margin."""
    there = np.asarray(stack.tissue.any(axis=0))
    if not there.any():
        return slice(0, there.shape[0]), slice(0, there.shape[1])
    limits = []
    for axis in (1, 0):
        found = np.flatnonzero(there.any(axis=axis))
        limits.append(
            slice(max(int(found[0]) - _MARGIN, 0), min(int(found[-1]) + 1 + _MARGIN, there.shape[1 - axis]))
        )
    return limits[0], limits[1]


def extent_um(stack: Stack, rows: slice, columns: slice) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a part of the planes, µm."""
    um = stack.voxel_um
    return columns.start * um, columns.stop * um, rows.stop * um, rows.start * um


def _draw(ax: Axes, canvas: Canvas, colours: Sequence[str] | NDArray[np.floating]) -> None:
    draw_tissue(ax, canvas)
    draw_spots(ax, canvas, facecolors=colours, linewidths=0.15, edgecolors="#555555")


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> str:
    return f"{np.corrcoef(a, b)[0, 1]:.2f}" if np.ptp(a) > 0 and np.ptp(b) > 0 else "not defined"

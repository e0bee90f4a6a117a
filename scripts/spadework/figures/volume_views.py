"""The volume that serial sections make: cuts through it, and all sections above each other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from spadework.figures.style import SMALL, TINY, TITLE, shortened
from spadework.figures.volume import evenly, extent_um, frame
from spadework.figures.volume_content import Content
from spadework.volume.stack import Stack

_HALO = [Stroke(linewidth=2, foreground="white"), Normal()]
_MOST_PLANES = 24  # in the view
_LABEL = 8  # points that the name of a section needs in height
_LABELS = 1.2  # inches that it needs in width
_BARS = (5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
_FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def cuts_figure(stack: Stack, content: Content, heading: str) -> tuple[Figure, str]:
    """Draw the stain and what is predicted in three cuts through the volume, with scale bars.

    Sections are bands that reach half way to the next one; depth is drawn enlarged where the stack is flat.

    Returns
    -------
    figure, note
        And what is to be said at its foot.
    """
    rows, columns = frame(stack)
    k, i, j = _most_tissue(stack.tissue)
    left, right, bottom, top = extent_um(stack, rows, columns)
    width, height = right - left, bottom - top
    edges = _edges(stack)
    depth = edges[-1] - edges[0]
    factor = next((f for f in _FACTORS if f * depth >= 0.22 * width), _FACTORS[-1])
    drawn = depth * factor
    sheet = 3.1
    unit = sheet / (width + drawn)
    figure = plt.figure(figsize=(2 * sheet + 0.9, (height + drawn) * unit + 1), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1 if content.names else 1.14))
    volumes = {"stain": stack.stain / 255.0, "predicted": content.rgba(content.volume)}
    for half, (title, volume) in zip(halves, volumes.items(), strict=True):
        axes = half.subplots(2, 2, width_ratios=(width, drawn), height_ratios=(height, drawn))
        axes[1, 1].axis("off")
        xy, yz, xz = axes[0, 0], axes[0, 1], axes[1, 0]
        xy.imshow(volume[k, rows, columns], extent=(left, right, bottom, top), interpolation="nearest")
        for plane, (low, high) in enumerate(pairwise(edges)):
            line = volume[plane, i, columns][None]
            xz.imshow(line, extent=(left, right, high, low), interpolation="nearest")
            line = volume[plane, rows, j][:, None]
            yz.imshow(line, extent=(low, high, bottom, top), interpolation="nearest")
        xy.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        xz.set(xlim=(left, right), ylim=(edges[-1], edges[0]), aspect=factor)
        yz.set(xlim=(edges[0], edges[-1]), ylim=(bottom, top), aspect=1 / factor)
        x, y = (j + 0.5) * stack.voxel_um, (i + 0.5) * stack.voxel_um
        for where in (xy.axhline(y), xy.axvline(x)):
            where.set(color="black", lw=0.5, ls=(0, (4, 3)))
        for ax, name in ((xy, "x and y"), (yz, "z and y"), (xz, "x and z")):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="#999999", linewidth=0.4)
            ax.set_title(name if ax is not xy else f"{shortened(stack.samples[k], 20)}, z = {stack.z_um[k]:g} µm",
                         fontsize=SMALL)  # fmt: skip
        _bar(xy, width)
        _depth_bar(yz, depth, factor)
        half.suptitle(f"{title}{'' if title == 'stain' else f' {content.label}'}", fontsize=TITLE)
    content.explain(figure, list(axes.flat))
    figure.suptitle(heading)
    how = "Depth is drawn to scale" if factor == 1 else f"Depth (z) is drawn {factor} times enlarged"
    note = (
        f"{how}. Each section is a band that reaches half way to the next; nothing is measured or predicted between "
        "sections. Dashed: where the other two cuts are."
    )
    return figure, note


def view_figure(stack: Stack, content: Content, heading: str) -> tuple[Figure, str]:
    """Draw the sections above each other, seen obliquely from above, in the colours of what is predicted.

    Returns
    -------
    figure, note
        And what is to be said at its foot.
    """
    rows, columns = frame(stack)
    left, right, bottom, top = extent_um(stack, rows, columns)
    width, height = right - left, bottom - top
    planes = evenly(list(range(len(stack.samples))), _MOST_PLANES)
    depth = float(stack.z_um[planes[-1]] - stack.z_um[planes[0]])
    # a parallel projection: the y axis leans back, depth goes straight down
    lean, squash = 0.45, 0.5
    wanted = 0.32 * height * min(len(planes) - 1, 5)
    factor = min(_FACTORS, key=lambda f: abs(np.log(f * depth / wanted))) if depth else 1
    drop = depth * factor
    page = (width + lean * height * squash, height * squash + drop)
    scale = min(5.0 / page[0], 5.0 / page[1])
    figure, ax = plt.subplots(figsize=(page[0] * scale + _LABELS + 0.7, page[1] * scale + 1.1), layout="constrained")
    alpha = 0.9 if len(planes) <= 6 else 0.6
    for plane in reversed(planes):  # the deepest first
        down = (stack.z_um[plane] - stack.z_um[planes[0]]) * factor
        # x to the right; y towards the viewer, which is down and to the left
        project = Affine2D(np.array([[1, -lean * squash, 0], [0, squash, down], [0, 0, 1]])) + ax.transData
        colours = content.rgba(content.volume[plane, rows, columns], alpha)
        glass = np.ones((*colours.shape[:2], 4)) * [1, 1, 1, 0.25]
        for image in (glass, colours):
            ax.imshow(image, extent=(0, width, height, 0), transform=project, interpolation="nearest", clip_on=False)
        ax.plot([0, width, width, 0, 0], [0, 0, height, height, 0], transform=project, color="#777777", lw=0.4)
    # to the right of all frames; where sections lie close, some names are left out
    last = -np.inf
    for plane in planes:
        down = (stack.z_um[plane] - stack.z_um[planes[0]]) * factor
        if (down - last) * scale * 72 < _LABEL:
            continue
        ax.annotate(
            f"{shortened(stack.samples[plane], 18)}, {stack.z_um[plane]:g} µm", (width, down), (4, 0),
            textcoords="offset points", fontsize=SMALL, va="center", annotation_clip=False,
        )  # fmt: skip
        last = down
    room = _LABELS / scale
    ax.set(xlim=(-lean * squash * height, width + room), ylim=(height * squash + drop + 0.1 * height, -0.03 * height))
    ax.set_aspect("equal")
    ax.axis("off")
    bar = next(b for b in _BARS if b <= width / 4)
    y = height * squash + drop + 0.06 * height
    start = -lean * squash * height
    ax.plot([start, start + bar], [y, y], color="black", lw=1.7, solid_capstyle="butt")
    ax.annotate(
        f"{_length(bar)} along x", (start + bar, y), (3, 0), textcoords="offset points", fontsize=SMALL, va="center"
    )
    content.explain(figure, [ax])
    figure.suptitle(heading)
    how = "to scale" if factor == 1 else f"{factor} times enlarged"
    note = f"The sections lie above each other, the first on top; their distance in depth is drawn {how}."
    if len(planes) < len(stack.samples):
        note += f" {len(planes)} of {len(stack.samples)} sections are drawn."
    return figure, note


def _edges(stack: Stack) -> NDArray[np.float64]:
    """Return where the bands of the sections begin and end, (z + 1,)."""
    z = np.asarray(stack.z_um, float)
    if len(z) == 1:
        return np.array([z[0] - stack.voxel_um / 2, z[0] + stack.voxel_um / 2])
    middle = (z[1:] + z[:-1]) / 2
    return np.concatenate([[2 * z[0] - middle[0]], middle, [2 * z[-1] - middle[-1]]])


def _most_tissue(tissue: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return the plane, row and column with most tissue, the middle one of several."""
    found = []
    for axis in range(3):
        n = tissue.sum(axis=tuple(a for a in range(3) if a != axis))
        if axis == 0:
            found.append(len(n) // 2)
        else:
            best = np.flatnonzero(n == n.max())
            found.append(int(best[len(best) // 2]))
    return found[0], found[1], found[2]


def _length(um: float) -> str:
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm"


def _bar(ax: Axes, width: float) -> None:
    bar = next(b for b in _BARS if b <= width / 4)
    x, y = 0.03, 0.03
    style: dict[str, Any] = {
        "transform": ax.transAxes,
        "color": "black",
        "lw": 1.7,
        "solid_capstyle": "butt",
        "path_effects": _HALO,
    }
    ax.plot([x, x + bar / width], [y, y], **style)
    ax.annotate(
        _length(bar), (x, y), (0, 2), xycoords="axes fraction", textcoords="offset points", fontsize=TINY,
        path_effects=_HALO,
    )  # fmt: skip


def _depth_bar(ax: Axes, depth: float, factor: int) -> None:
    """Draw a bar of depth below the cut through z and y, where the paper is empty."""
    bar = next((b for b in _BARS if b <= depth * 0.8), _BARS[-1])
    ax.annotate(
        "", (0, -0.03), (bar / depth, -0.03), xycoords="axes fraction", textcoords="axes fraction",
        arrowprops={"arrowstyle": "-", "lw": 1.7, "shrinkA": 0, "shrinkB": 0}, annotation_clip=False,
    )  # fmt: skip
    times = "" if factor == 1 else f" (× {factor})"
    ax.annotate(
        f"{_length(bar)} of z{times}", (0, -0.03), (0, -3), xycoords="axes fraction", textcoords="offset points",
        fontsize=TINY, va="top", annotation_clip=False,
    )  # fmt: skip

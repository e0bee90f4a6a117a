"""Whether the sections of a block lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spadework.figures.style import SMALL, TINY, shortened
from spadework.volume.block import Block
from spadework.volume.placement import Placement, grid_points, warp
from spadework.volume.registration import Registered

_OUTLINE = "#D55E00"
_PER_COLUMN = 6  # sections below each other
_DARK = 0.6  # optical density that is shown as full colour
_NOTE = (
    "Orange: outline of the neighbour's tissue. Overlays of stain density: the section in cyan, its neighbour in "
    "red, grey to black where both have stain. Overlap: Dice coefficient of the tissues; correlation: of the stain "
    "density over the tissue of either, with that of the best other orientation in brackets."
)


def registration_figure(block: Block, heading: str) -> tuple[Figure, str]:
    """Draw every section in the block with its neighbour's outline, and both before and after the registration.

    Parameters
    ----------
    block
        From :func:`spadework.volume.block.build_block`.

    Returns
    -------
    figure, note
        And what the reader must know, for its foot.
    """
    stack, n = block.stack, len(block.registered)
    groups = -(-n // _PER_COLUMN)
    rows = -(-n // groups)
    height, width = stack.tissue.shape[1:]
    side = 2.0
    figure, axes = plt.subplots(
        rows,
        3 * groups,
        figsize=(3 * side * groups, rows * (side * min(1.4, max(0.6, height / width)) + 0.5) + 0.7),
        layout="constrained",
        squeeze=False,
    )
    names = [section.picture.name for section in block.registered]
    for ax in axes.flat:
        ax.axis("off")
        ax.set_anchor("N")
    for k, section in enumerate(block.registered):
        row, group = k % rows, k // rows
        stain, before, after = axes[row, 3 * group : 3 * group + 3]
        stain.imshow(stack.stain[k])
        stain.set_title(_title(block, k), fontsize=SMALL, loc="left")
        if not section.to:
            _scale_bar(stain, stack.voxel_um, width, height)
            continue
        neighbour = block.registered[names.index(section.to)]
        outline = stack.tissue[names.index(section.to)].astype(float)
        if outline.any():
            stain.contour(outline, levels=[0.5], colors=_OUTLINE, linewidths=0.6)
        before.imshow(_overlay(*_as_they_lay(section, neighbour, stack.voxel_um)))
        before.set_title("\n\nbefore", fontsize=SMALL, loc="left")
        shape = (height, width)
        after.imshow(_overlay(*(_shown(s, s.placement, shape, stack.voxel_um) for s in (section, neighbour))))
        after.set_title(f"\n\nafter, on {shortened(section.to, 24)}", fontsize=SMALL, loc="left")
    figure.suptitle(heading)
    return figure, _NOTE


def _title(block: Block, k: int) -> str:
    row = block.table.iloc[k]
    lines = [f"{shortened(row['sample'], 28)} · {row['z_um']:g} µm deep"]
    side = "mirrored, " if row["mirrored"] == "yes" else ""
    if not row["registered_to"]:
        return "\n".join([*lines, f"{side}all others are brought to it", ""])
    bent = f", bent by {row['displacement_um']:.0f} µm" if np.isfinite(row["displacement_um"]) else ""
    lines.append(f"{side}turned by {row['rotation_deg']:.1f}°{bent}")
    lines.append(f"overlap {row['overlap']:.2f}, correlation {row['correlation']:.2f} ({_bracket(row['runner_up'])})")
    return "\n".join(lines)


def _bracket(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "no other"


def _shown(
    section: Registered,
    placement: Placement,
    shape: tuple[int, int],
    um: float,
    origin: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    picture = section.picture
    return warp(picture.density * picture.tissue, picture.um_per_px, placement, shape, um, origin=origin)


def _as_they_lay(a: Registered, b: Registered, um: float) -> list[NDArray[np.float32]]:
    """Show two sections as they lie in their images, the corners of the images on each other."""
    corners: list[NDArray[np.float64]] = []
    for section in (a, b):
        mask = section.picture.tissue
        points = grid_points(mask.shape, section.picture.um_per_px)[mask.ravel()]
        corners += [points.min(axis=0), points.max(axis=0)]
    low, high = np.min(corners, axis=0) - 4 * um, np.max(corners, axis=0) + 4 * um
    columns, rows = (int(v) for v in np.ceil((high - low) / um))
    origin = (float(low[0]), float(low[1]))
    return [_shown(section, Placement.rigid(0.0), (rows, columns), um, origin) for section in (a, b)]


def _overlay(section: NDArray[np.float32], neighbour: NDArray[np.float32]) -> NDArray[np.float32]:
    shades: Sequence[NDArray[np.float32]] = (section, neighbour, neighbour)
    return np.clip(1 - np.stack(shades, axis=-1) / _DARK, 0, 1)


def _scale_bar(ax: Axes, um: float, width: int, height: int) -> None:
    length = next((s for s in (2000, 1000, 500, 200, 100, 50) if s <= width * um / 3), 20)
    ax.plot([2, 2 + length / um], [height - 3, height - 3], color="black", lw=1.3, solid_capstyle="butt")
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length} µm"
    ax.annotate(label, (2, height - 3), (0, 2), textcoords="offset points", fontsize=TINY)

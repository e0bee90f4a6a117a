"""Where each kind of tissue lies: outline, compartments, and the cells that give them their borders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import RoundedCells, enlarge, fractal_field, smooth_field, stream
from .geometry import MARGIN_UM, Canvas, Float

PLAN_UM_PER_PX = 8.0
"""Resolution at which compartments are laid out before their borders are drawn in full."""

COVERAGE = 0.85
"""Share of the capture area that tissue covers."""

FAR_UM = np.float32(-1e3)
"""Depth recorded where there is no cell near."""


class Tissue(IntEnum):
    """Labels of the tissue map."""

    GLASS = 0
    STROMA = 1
    TUMOUR = 2
    GLAND = 3
    FAT = 4
    LYMPHOID = 5


COMPARTMENTS = (Tissue.STROMA, Tissue.TUMOUR, Tissue.GLAND, Tissue.FAT, Tissue.LYMPHOID)
AREA_SHARES = np.array([0.26, 0.35, 0.18, 0.14, 0.07])
LENGTHS_UM = (260.0, 240.0, 220.0, 220.0, 85.0)


@dataclass(frozen=True)
class TissueMap:
    """The anatomy of a section; every array has the shape of the canvas.

    Attributes
    ----------
    canvas : Canvas
        Pixel grid of the arrays.
    kind : ndarray of uint8
        Label of every pixel, see `Tissue`.
    gland_depth_um : ndarray of float32
        Depth inside a gland's outer wall; negative outside.
    fat_depth_um : ndarray of float32
        Depth inside an adipocyte's membrane; negative in the corners between adipocytes.
    wall_um : ndarray of float32
        Thickness of the gland's epithelium; 0 outside glands.
    fibre_angle : ndarray of float32
        Direction of the stroma's fibres, radians.
    """

    canvas: Canvas
    kind: NDArray[np.uint8]
    gland_depth_um: Float
    fat_depth_um: Float
    wall_um: Float
    fibre_angle: Float


def tissue_outline(seed: int, canvas: Canvas) -> NDArray[np.bool_]:
    """Draw an irregular outline that covers `COVERAGE` of the capture area, with a little beyond it."""
    rng = stream(seed, "outline")
    plan = canvas.coarser(PLAN_UM_PER_PX)
    half_y, half_x = (0.5 * side * canvas.um_per_px - MARGIN_UM for side in canvas.shape)
    size = min(half_y, half_x)
    y, x = (axis * plan.um_per_px for axis in np.ogrid[: plan.height, : plan.width])
    y = (y - MARGIN_UM - half_y * rng.uniform(0.95, 1.05)) / half_y
    x = (x - MARGIN_UM - half_x * rng.uniform(0.95, 1.05)) / half_x
    roundness = rng.uniform(2.6, 3.6)
    radius = (np.abs(y) ** roundness + np.abs(x) ** roundness) ** (1.0 / roundness)
    bumps = fractal_field(rng, plan, (0.28 * size, 0.14 * size, 0.06 * size))
    depth = size * (1.0 - radius).astype(np.float32) + np.float32(0.075 * size) * bumps

    margin = int(MARGIN_UM / plan.um_per_px)
    level = np.quantile(depth[margin:-margin, margin:-margin], 1.0 - COVERAGE)
    fringe = fractal_field(rng, canvas, (24.0, 10.0, 5.0))
    return enlarge(depth, plan, canvas) + np.float32(7.0) * fringe > level


def _compartment_scores(seed: int, plan: Canvas, inside: NDArray[np.bool_]) -> Float:
    """Score of each compartment (5, height, width); offsets make the argmax meet `AREA_SHARES`."""
    scores = np.stack(
        [
            fractal_field(stream(seed, f"compartment {kind.name}"), plan, (length, 0.4 * length, 0.15 * length))
            for kind, length in zip(COMPARTMENTS, LENGTHS_UM, strict=True)
        ]
    )
    sample = scores[:, inside][:, ::3]
    offsets = np.zeros(len(COMPARTMENTS), np.float32)
    for _ in range(80):
        winner = np.argmax(sample + offsets[:, None], axis=0)
        shares = np.bincount(winner, minlength=len(COMPARTMENTS)) / winner.size
        offsets += 0.25 * np.log(AREA_SHARES / np.maximum(shares, 1e-3)).astype(np.float32)
    return scores + offsets[:, None, None]


def _lead(scores: Float, kind: Tissue) -> Float:
    """By how much a compartment's score exceeds the best of the others."""
    index = COMPARTMENTS.index(kind)
    return scores[index] - np.delete(scores, index, axis=0).max(axis=0)


@dataclass(frozen=True)
class _Depths:
    """Depth of every pixel inside the chosen cells of one tiling, and the pixel's cell (-1 where far)."""

    depth_um: Float
    owner: NDArray[np.int32]


def _chosen_cells(
    cells: RoundedCells, lead: Float, plan: Canvas, canvas: Canvas, warp: tuple[Float, Float], gap_um: float
) -> _Depths:
    """Draw the cells whose seed lies where `lead` is positive, and only those.

    Whole cells are kept or dropped, so a compartment's border follows its cells.
    """
    reach = int(np.ceil(cells.spacing_um / plan.um_per_px))
    near = ndimage.maximum_filter(lead, size=2 * reach + 1) > 0.0
    row, column = np.nonzero(enlarge(near.astype(np.float32), plan, canvas) > 0.5)
    y = (row * canvas.um_per_px).astype(np.float32) + warp[0][row, column]
    x = (column * canvas.um_per_px).astype(np.float32) + warp[1][row, column]
    owner, depth = cells.depth(y, x, gap_um)
    chosen = plan.sample(lead, cells.y_um.ravel(), cells.x_um.ravel()) > 0.0
    keep = chosen[owner]

    depth_um = np.full(canvas.shape, FAR_UM, np.float32)
    owners = np.full(canvas.shape, -1, np.int32)
    depth_um[row[keep], column[keep]] = depth[keep]
    owners[row[keep], column[keep]] = owner[keep]
    return _Depths(depth_um, owners)


def _fibre_angle(seed: int, plan: Canvas, canvas: Canvas, obstacle_um: Float) -> Float:
    """Direction of the fibres: a slow field with waves, bent to run along the walls of nests and glands.

    Parameters
    ----------
    obstacle_um : ndarray of float32, shape (plan.height, plan.width)
        Depth inside the structure that fibres go round; negative outside.
    """
    rng = stream(seed, "fibres")
    angle = 1.5 * smooth_field(rng, plan, 420.0) + 0.32 * smooth_field(rng, plan, 38.0)
    angle += np.float32(rng.uniform(0.0, np.pi))
    blurred = ndimage.gaussian_filter(np.clip(obstacle_um, -50.0, 30.0), 10.0 / plan.um_per_px)
    slope_y, slope_x = np.gradient(blurred)
    weight = np.exp(-np.square(blurred / 28.0)) * np.clip(4.0 * np.hypot(slope_y, slope_x) / plan.um_per_px, 0, 1)
    tangent = np.arctan2(slope_x, -slope_y)
    # directions without a head are averaged as doubled angles
    cosine = (1 - weight) * np.cos(2 * angle) + weight * np.cos(2 * tangent)
    sine = (1 - weight) * np.sin(2 * angle) + weight * np.sin(2 * tangent)
    return np.float32(0.5) * np.arctan2(enlarge(sine, plan, canvas), enlarge(cosine, plan, canvas))


def _warp(seed: int, canvas: Canvas, strength: float = 1.0) -> tuple[Float, Float]:
    """Draw displacements (y, x) in µm that make the walls of cells uneven."""
    rng = stream(seed, "warp")
    slow_y, slow_x = (np.float32(14.0 * strength) * smooth_field(rng, canvas, 70.0) for _ in range(2))
    quick_y, quick_x = (np.float32(3.0 * strength) * smooth_field(rng, canvas, 16.0) for _ in range(2))
    return slow_y + quick_y, slow_x + quick_x


def lay_out_tissue(seed: int, canvas: Canvas) -> TissueMap:
    """Lay out the anatomy of a section (deterministic in `seed`)."""
    plan = canvas.coarser(PLAN_UM_PER_PX)
    inside = tissue_outline(seed, canvas)
    inside_plan = enlarge(inside.astype(np.float32), canvas, plan) > 0.5
    scores = _compartment_scores(seed, plan, inside_plan)

    warp = _warp(seed, canvas)
    rng = stream(seed, "cells")
    gland_cells = RoundedCells.scattered(rng, canvas, 122.0, (36.0, 66.0), 1.8)
    fat_cells = RoundedCells.scattered(rng, canvas, 76.0, (46.0, 60.0), 1.15)
    nest_cells = RoundedCells.scattered(rng, canvas, 185.0, (90.0, 140.0), 2.2)
    glands = _chosen_cells(gland_cells, _lead(scores, Tissue.GLAND), plan, canvas, warp, 5.0)
    fat = _chosen_cells(fat_cells, _lead(scores, Tissue.FAT), plan, canvas, warp, 0.0)
    # nests are larger than the other cells and are bent more
    plan_warp = _warp(seed, plan, 1.6)
    nests = _chosen_cells(nest_cells, _lead(scores, Tissue.TUMOUR), plan, plan, plan_warp, 7.0)

    rough = fractal_field(stream(seed, "rough borders"), canvas, (22.0, 9.0, 4.0))
    nest_depth = enlarge(np.maximum(nests.depth_um, -60.0), plan, canvas)
    lymphoid_lead = enlarge(_lead(scores, Tissue.LYMPHOID), plan, canvas)
    gland_lead = enlarge(_lead(scores, Tissue.GLAND), plan, canvas)

    kind = np.full(canvas.shape, Tissue.STROMA, np.uint8)
    kind[gland_lead + 0.12 * rough > 0.0] = Tissue.GLAND
    kind[nest_depth + 4.0 * rough > 0.0] = Tissue.TUMOUR
    kind[lymphoid_lead + 0.15 * rough > 0.0] = Tissue.LYMPHOID
    # the wider gaps between adipocytes hold stroma
    kind[fat.depth_um > -5.0] = Tissue.FAT
    kind[glands.depth_um > 0.0] = Tissue.GLAND
    kind[~inside] = Tissue.GLASS

    thickness = stream(seed, "epithelium").uniform(15.0, 24.0, gland_cells.y_um.size).astype(np.float32)
    wall_um = np.where(glands.depth_um > 0.0, thickness[glands.owner], np.float32(0.0))
    obstacle = np.maximum(nests.depth_um, enlarge(np.maximum(glands.depth_um, -60.0), canvas, plan))
    return TissueMap(
        canvas=canvas,
        kind=kind,
        gland_depth_um=glands.depth_um,
        fat_depth_um=fat.depth_um,
        wall_um=wall_um,
        fibre_angle=_fibre_angle(seed, plan, canvas, obstacle),
    )


def lymphocyte_share(tissue: TissueMap, plan: Canvas) -> Float:
    """Density of lymphocytes on `plan`, relative to the core of an aggregate: they spill over its border."""
    row, column = (np.arange(side) * plan.um_per_px for side in plan.shape)
    aggregate = tissue.canvas.sample(tissue.kind, row[:, None], column[None, :]) == Tissue.LYMPHOID
    return ndimage.gaussian_filter(aggregate.astype(np.float32), 12.0 / plan.um_per_px)

"""The sections of a block, registered: a stack, spots in its frame, and how each section got there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.volume.architecture import MULTIPLE, SMALLEST
from spadework.volume.bending import bend, bounds, median_displacement
from spadework.volume.placement import Placement, warp
from spadework.volume.registration import Registered, compare_in_block, register
from spadework.volume.sections import View
from spadework.volume.stack import Stack
from spadework.volume.stains import normalise_stain, stain_statistics

MARGIN_VOXELS = 4
SPOT_COLUMNS = ["sample", "barcode", "x_um", "y_um", "z_um", "spot_um"]


@dataclass(frozen=True)
class Block:
    """A registered block.

    Attributes
    ----------
    stack
        Planes in the order of depth.
    registered
        Placement of every section, in the same order; block µm are those of the stack.
    reference
        Which of them the others were brought to.
    spots
        :data:`SPOT_COLUMNS`, one row per spot of the sequenced sections, block µm.
    table
        One row per section: how it got there.
    """

    stack: Stack
    registered: list[Registered]
    reference: int
    spots: pd.DataFrame
    table: pd.DataFrame


def build_block(
    views: Sequence[View],
    voxel_um: float,
    *,
    um_per_px: float = 20.0,
    min_overlap: float = 0.5,
    nonrigid: bool = False,
    stain_normalisation: bool = True,
) -> Block:
    """Register sections and lay them out as planes of a volume.

    The frame is that of the section in the middle, shifted so that the volume just holds all tissue and a margin of
    four voxels; its sides are those that a network takes.

    Parameters
    ----------
    views
        In the order of depth.
    voxel_um
        Edge of a voxel in x and y.
    um_per_px, min_overlap
        As of :func:`spadework.volume.registration.register`.
    nonrigid
        Bend sections after that.
    stain_normalisation
        Make the stain of all sections that of the reference.

    Raises
    ------
    spadework.errors.InputError
        If the sections do not make a block.
    """
    registered, reference = register([view.picture for view in views], um_per_px, min_overlap)
    if nonrigid:
        registered = bend(registered, reference, um_per_px)
    registered, shape = _framed(registered, voxel_um)
    stain = np.empty((len(views), *shape, 3), np.uint8)
    tissue = np.empty((len(views), *shape), bool)
    for k, (view, section) in enumerate(zip(views, registered, strict=True)):
        um = view.picture.um_per_px
        colour = warp(view.rgb, um, section.placement, shape, voxel_um, fill=255)
        stain[k] = np.rint(np.clip(colour, 0, 255))
        share = warp(view.picture.tissue.astype(np.float32), um, section.placement, shape, voxel_um)
        tissue[k] = share > 0.5
    target = stain_statistics(stain[reference], tissue[reference]) if stain_normalisation else None
    for k in range(len(views)):
        stain[k] = normalise_stain(stain[k], tissue[k], None if k == reference else target)
    stack = Stack(
        tuple(view.picture.name for view in views),
        np.array([view.picture.z_um for view in views]),
        float(voxel_um),
        stain,
        tissue,
        tuple(view.spots is not None for view in views),
    )
    return Block(stack, registered, reference, _spots(views, registered), registration_table(registered, um_per_px))


def _framed(registered: Sequence[Registered], voxel_um: float) -> tuple[list[Registered], tuple[int, int]]:
    """Move the origin to the corner of a volume that holds all tissue; return its rows and columns, too."""
    low, high = bounds(registered, MARGIN_VOXELS * voxel_um)
    sides = np.ceil((high - low) / voxel_um).astype(int)
    padded = np.maximum(SMALLEST, -(-sides // MULTIPLE) * MULTIPLE)
    # What is added is the same on all sides, in whole voxels.
    shift = -low + (padded - sides) // 2 * voxel_um
    moved = [replace(r, placement=r.placement.moved(shift)) for r in registered]
    return moved, (int(padded[1]), int(padded[0]))


def _spots(views: Sequence[View], registered: Sequence[Registered]) -> pd.DataFrame:
    tables = []
    for view, section in zip(views, registered, strict=True):
        if view.spots is not None:
            xy = section.placement.to_block(view.spots[["x_um", "y_um"]].to_numpy(float))
            placed = {"sample": view.picture.name, "x_um": xy[:, 0], "y_um": xy[:, 1], "z_um": view.picture.z_um}
            tables.append(view.spots.assign(**placed)[SPOT_COLUMNS])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=SPOT_COLUMNS)


def registration_table(registered: Sequence[Registered], um_per_px: float) -> pd.DataFrame:
    """Say of every section how it came to where it is.

    Returns
    -------
    pandas.DataFrame
        ``sample``, ``z_um``, ``registered_to`` (empty for the reference), ``rotation_deg`` (clockwise, after the
        mirroring), ``shift_x_um``, ``shift_y_um`` (what the centre of the tissue moved by), ``mirrored`` (left to
        right: yes or no), ``overlap`` (Dice), ``correlation`` of the stain over all that is tissue in the section or
        its neighbour and ``runner_up`` (that of the best other orientation), ``texture`` (the correlation where both
        have tissue), ``displacement_um`` (median, if it was bent), the affine map ``xx`` ... ``y0`` from own µm to
        block µm (before the bending), and a ``note``.
    """
    by_name = {section.picture.name: section for section in registered}
    rows = []
    for section in registered:
        placement, found = section.placement, section.match
        overlap, correlation, texture = (
            (found.overlap, found.correlation, found.texture) if found else (np.nan, np.nan, np.nan)
        )
        if placement.field is not None or (found and by_name[section.to].placement.field is not None):
            overlap, correlation, texture = compare_in_block(section, by_name[section.to], um_per_px)
        shift = _shift(section)
        rows.append(
            {
                "sample": section.picture.name,
                "z_um": section.picture.z_um,
                "registered_to": section.to,
                "rotation_deg": placement.rotation_deg,
                "shift_x_um": shift[0],
                "shift_y_um": shift[1],
                "mirrored": "yes" if placement.mirrored else "no",
                "overlap": overlap,
                "correlation": correlation,
                "runner_up": found.runner_up if found else np.nan,
                "texture": texture,
                "displacement_um": median_displacement(section),
                "xx": placement.linear[0, 0],
                "xy": placement.linear[0, 1],
                "x0": placement.shift[0],
                "yx": placement.linear[1, 0],
                "yy": placement.linear[1, 1],
                "y0": placement.shift[1],
                "note": section.note,
            }
        )
    return pd.DataFrame(rows)


def _shift(section: Registered) -> NDArray[np.float64]:
    rows, columns = np.nonzero(section.picture.tissue)
    um = section.picture.um_per_px
    centre = np.array([[(columns.mean() + 0.5) * um[0], (rows.mean() + 0.5) * um[1]]])
    rigid = Placement(section.placement.linear, section.placement.shift)
    return (rigid.to_block(centre) - centre)[0]

"""Sections bent to fit their neighbours, after the rigid registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import optical_flow_tvl1

from spadework.volume.placement import STEEPEST, Displacement, grid_points, steepness, warp
from spadework.volume.registration import Registered, compare_in_block

_BLUR_UM = 60.0  # cells do not repeat from section to section: what is matched is larger
_SMOOTH_UM = 100.0  # of the field, more where it would fold
_ATTACHMENT = 5.0  # of the flow to the image: less is smoother
_MARGIN_UM = 200.0
_UNBENT = "not bent: it would not fit better"


def bend(registered: Sequence[Registered], reference: int, um_per_px: float) -> list[Registered]:
    """Bend every section to fit its neighbour towards the reference, by optical flow between stain densities.

    The flow is TV-L1 (Zach, Pock and Bischof 2007, A duality based approach for realtime TV-L1 optical flow), made
    smooth until space neither folds nor tears. A section it does not help stays rigid.

    Parameters
    ----------
    registered, reference
        From :func:`spadework.volume.registration.register`.
    um_per_px
        Resolution of densities and fields.
    """
    low, high = bounds(registered, _MARGIN_UM)
    shape = tuple(int(n) for n in np.ceil((high - low)[::-1] / um_per_px))
    origin = (float(low[0]), float(low[1]))

    def shown(section: Registered) -> NDArray[np.float32]:
        picture = section.picture
        density = warp(
            picture.density * picture.tissue,
            picture.um_per_px,
            section.placement,
            shape,  # type: ignore[arg-type]
            um_per_px,
            origin=origin,
        )
        density = ndimage.gaussian_filter(density, _BLUR_UM / um_per_px)
        return density / max(float(density.max()), 1e-6)

    bent = list(registered)
    outwards = [(k, k - 1) for k in range(reference + 1, len(bent))]
    for k, neighbour in [*outwards, *((k, k + 1) for k in range(reference - 1, -1, -1))]:
        fixed, moving = shown(bent[neighbour]), shown(bent[k])
        rows, columns = optical_flow_tvl1(fixed, moving, attachment=_ATTACHMENT)
        values = smoothed(np.stack([columns, rows]).astype(float) * um_per_px, um_per_px)
        field = Displacement(values, um_per_px, (origin[0] + um_per_px / 2, origin[1] + um_per_px / 2))
        candidate = replace(bent[k], placement=replace(bent[k].placement, field=field))
        rigid, curved = (compare_in_block(c, bent[neighbour], um_per_px)[1] for c in (bent[k], candidate))
        bent[k] = candidate if curved > rigid else replace(bent[k], note=_joined(bent[k].note, _UNBENT))
    return bent


def smoothed(values: NDArray[np.float64], spacing_um: float) -> NDArray[np.float64]:
    """Smooth a field (2, h, w) in µm, and more and more until it is nowhere too steep to be inverted."""
    sigma = _SMOOTH_UM / spacing_um
    out = values
    while True:
        out = np.stack([ndimage.gaussian_filter(v, sigma, mode="nearest") for v in values])
        if steepness(out, spacing_um) <= STEEPEST:
            return out
        sigma *= 1.25


def bounds(registered: Sequence[Registered], margin_um: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners (x, y) of the smallest box around all tissue, with a margin, µm of the block."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for section in registered:
        mask, um = section.picture.tissue, section.picture.um_per_px
        points = section.placement.to_block(grid_points(mask.shape, um)[mask.ravel()])
        half = max(um) / 2
        low, high = np.minimum(low, points.min(axis=0) - half), np.maximum(high, points.max(axis=0) + half)
    return low - margin_um, high + margin_um


def median_displacement(section: Registered) -> float:
    """Median length of the displacement in the tissue of a section, µm; NaN if it is not bent."""
    placement = section.placement
    if placement.field is None:
        return float("nan")
    mask = section.picture.tissue
    own = grid_points(mask.shape, section.picture.um_per_px)[mask.ravel()]
    moved = placement.to_block(own) - replace(placement, field=None).to_block(own)
    return float(np.median(np.hypot(*moved.T)))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)

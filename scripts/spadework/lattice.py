"""The capture lattice: which pattern the spots follow and how many micrometres a pixel is.

Spot centres are known twice, as integer array coordinates with a known physical pitch and as pixels of the
image. The affine map between the two gives µm/px in x and in y, rotation, mirroring and a residual, and it does
so without trusting ``spot_diameter_fullres``, whose meaning changed between Space Ranger versions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from spadework.keys import Keys

# What Space Ranger's spot_diameter_fullres stands for on most Visium slides (70 µm on early ones).
NOMINAL_SPOT_UM = 65.0

# Nearest neighbours of a spot.
NEIGHBOURS = {"hexagonal": 6, "square": 4, "checkerboard": 4, "none": 6}

LatticeKind = Literal["hexagonal", "square", "checkerboard", "none"]


@dataclass(frozen=True)
class Lattice:
    """A capture lattice and its scale.

    Attributes
    ----------
    kind
        ``hexagonal`` (Visium), ``square`` (HD bins, legacy ST), ``checkerboard`` (legacy ST read at half
        pitch, every second position used) or ``none`` (segmented cells).
    pitch_um
        Distance in µm between neighbours in a row of the array.
    spot_um
        Diameter of a spot, or edge of a bin, in µm.
    um_per_px_x, um_per_px_y
        Scale of the full-resolution image along its columns and its rows.
    rotation_deg, mirrored
        How the array lies in the image.
    residual_um
        Root mean square distance of the recorded centres from the fitted lattice, µm.
    """

    kind: LatticeKind
    pitch_um: float
    spot_um: float
    um_per_px_x: float
    um_per_px_y: float
    rotation_deg: float = 0.0
    mirrored: bool = False
    residual_um: float = 0.0

    @property
    def um_per_px(self) -> float:
        """Geometric mean of the two scales, µm/px."""
        return float(np.sqrt(self.um_per_px_x * self.um_per_px_y))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, fit for ``uns`` and JSON."""
        return asdict(self)


def is_checkerboard(row: NDArray[np.integer], col: NDArray[np.integer]) -> bool:
    """Tell whether all positions have the same parity of row + column."""
    parity = (np.asarray(row) + np.asarray(col)) % 2
    return len(parity) > 1 and bool(np.all(parity == parity[0]))


def array_to_um(kind: LatticeKind, pitch_um: float, row: NDArray, col: NDArray) -> NDArray[np.float64]:
    """Physical position, (n, 2) float64 in µm (x, y), of array coordinates.

    On the hexagonal and checkerboard lattices neighbours in a row are two columns apart.
    """
    row, col = np.asarray(row, float), np.asarray(col, float)
    if kind == "hexagonal":
        return np.column_stack([col * pitch_um / 2, row * pitch_um * np.sqrt(3) / 2])
    if kind == "checkerboard":
        return np.column_stack([col, row]) * pitch_um / 2
    return np.column_stack([col, row]) * pitch_um


def fit_lattice(
    kind: LatticeKind,
    pitch_um: float,
    spot_um: float,
    row: NDArray[np.integer],
    col: NDArray[np.integer],
    spatial: NDArray[np.float64],
) -> Lattice:
    """Fit the affine map from array to pixels and read the scale off it.

    Parameters
    ----------
    row, col
        (n,) array coordinates.
    spatial
        (n, 2) float64, x and y in full-resolution pixels.

    Raises
    ------
    ValueError
        If the spots do not span a plane (fewer than three, or all on one line of the array or the image).
    """
    um = array_to_um(kind, pitch_um, row, col)
    if len(um) < 3:
        raise ValueError(f"{len(um)} spots are on one line, which does not fix a scale")
    design = np.column_stack([um - um.mean(axis=0), np.ones(len(um))])
    solution, _, rank, _ = np.linalg.lstsq(design, spatial, rcond=None)
    if rank < 3:
        raise ValueError(f"{len(um)} spots on one line do not fix a scale")
    px_per_um = solution[:2].T  # (2, 2): pixels (x, y) per µm along the array's columns and rows
    residual_px = spatial - design @ solution
    longest, shortest = np.linalg.svd(px_per_um, compute_uv=False)
    if not shortest > 1e-6 * longest:
        raise ValueError(f"{len(um)} spots on one line of the image do not fix a scale")
    um_per_px = 1 / np.linalg.norm(px_per_um, axis=1)
    return Lattice(
        kind=kind,
        pitch_um=float(pitch_um),
        spot_um=float(spot_um),
        um_per_px_x=float(um_per_px[0]),
        um_per_px_y=float(um_per_px[1]),
        rotation_deg=float(np.degrees(np.arctan2(px_per_um[1, 0], px_per_um[0, 0]))),
        mirrored=bool(np.linalg.det(px_per_um) < 0),
        residual_um=float(np.sqrt(np.mean(np.sum((residual_px * um_per_px) ** 2, axis=1)))),
    )


def positions_um(section: ad.AnnData) -> NDArray[np.float64]:
    """Return the spot centres of a section of any stage, (n, 2) float64: x and y of the image in µm."""
    lattice = section.uns[Keys.SPADE]["lattice"]
    return np.asarray(section.obsm[Keys.SPATIAL]) * np.array([lattice["um_per_px_x"], lattice["um_per_px_y"]], float)

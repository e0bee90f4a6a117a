"""What the nuclei under a spot say: how many, how dense, how large, of what shape, how dark, how close."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree

from spadework.keys import NUCLEI, Keys
from spadework.lattice import positions_um

# Points of a spot, per axis, that say how much of it lies in the image.
_SAMPLED = 64
# Column of a spot -> column of the nuclei that it is the mean of.
_MEANS = {
    Keys.NUCLEI_AREA: "area_um2",
    Keys.NUCLEI_ECCENTRICITY: "eccentricity",
    Keys.NUCLEI_HAEMATOXYLIN: "haematoxylin",
    Keys.NUCLEI_NEAREST: "nearest_um",
}


def count_nuclei(section: ad.AnnData, nuclei: pd.DataFrame, clumps: pd.DataFrame) -> pd.DataFrame:
    """Count and average the nuclei whose centroid lies in each spot: a disc, or the square of a bin.

    Parameters
    ----------
    section
        AnnData of the ingest stage, with centres and lattice.
    nuclei, clumps
        Tables of :func:`spadework.nuclei.slide.label_slide`.

    Returns
    -------
    pandas.DataFrame
        By barcode, :data:`spadework.keys.NUCLEI`: the count, nuclei per mm² of the part of the spot that lies in the
        image (NaN where none does), means (NaN where a spot has no nucleus), and the area of clumps left out.
    """
    lattice = section.uns[Keys.SPADE]["lattice"]
    um_per_px = np.array([lattice["um_per_px_x"], lattice["um_per_px_y"]], float)
    spots = positions_um(section)
    spot, nucleus = _inside(spots, nuclei[["x", "y"]].to_numpy(float) * um_per_px, lattice)
    count = np.bincount(spot, minlength=len(spots))
    table = pd.DataFrame(index=pd.Index(section.obs_names, name="barcode"))
    table[Keys.NUCLEI_COUNT] = count
    area = _area_mm2(spots, np.asarray(nuclei.attrs["image_px"]) * um_per_px, lattice)
    table[Keys.NUCLEI_DENSITY] = np.divide(count, area, out=np.full(len(spots), np.nan), where=area > 0)
    for column, source in _MEANS.items():
        total = np.bincount(spot, nuclei[source].to_numpy(float)[nucleus], minlength=len(spots))
        table[column] = np.divide(total, count, out=np.full(len(spots), np.nan), where=count > 0)
    spot, cell = _inside(spots, clumps[["x", "y"]].to_numpy(float) * um_per_px, lattice)
    clumped = clumps["area_um2"].to_numpy(float)[cell]
    table[Keys.NUCLEI_LEFT_OUT] = np.bincount(spot, clumped, minlength=len(spots))
    return table[list(NUCLEI)]


def _is_bin(lattice: dict[str, Any]) -> bool:
    return lattice["kind"] == "square" and float(lattice["pitch_um"]) == float(lattice["spot_um"])


def _inside(
    spots: NDArray[np.float64], places: NDArray[np.float64], lattice: dict[str, Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """List pairs of a spot and a place that lies in it, both in µm."""
    size = float(lattice["spot_um"])
    if not len(places):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    if _is_bin(lattice):
        # Bins lie side by side, so the nearest is the one; what is on the edge of two belongs to one of them.
        nearest = KDTree(spots).query(places)[1]
        offset = _along_array(places - spots[nearest], lattice)
        place = np.flatnonzero((np.abs(offset) <= size / 2 * (1 + 1e-9)).all(axis=1))
        return nearest[place], place
    near = KDTree(spots).query_ball_point(places, size / 2)
    place = np.repeat(np.arange(len(near)), [len(found) for found in near])
    return np.concatenate([*near, []]).astype(np.intp), place


def _along_array(offset: NDArray[np.float64], lattice: dict[str, Any]) -> NDArray[np.float64]:
    """Turn offsets (n, 2) in the image to those along the edges of a bin."""
    angle = np.deg2rad(float(lattice["rotation_deg"]))
    return offset @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _area_mm2(
    spots: NDArray[np.float64], image_um: NDArray[np.float64], lattice: dict[str, Any]
) -> NDArray[np.float64]:
    """Area of each spot inside the image, mm²."""
    size = float(lattice["spot_um"])
    step = (np.arange(_SAMPLED) + 0.5) / _SAMPLED - 0.5
    points = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
    if _is_bin(lattice):
        whole, points = size**2, points @ _along_array(np.eye(2), lattice).T
    else:
        whole, points = np.pi * size**2 / 4, points[(points**2).sum(axis=1) <= 0.25]
    share = np.ones(len(spots))
    crosses = ((spots < size) | (spots > image_um - size)).any(axis=1)
    for i in np.flatnonzero(crosses):
        place = spots[i] + points * size
        share[i] = ((place >= 0) & (place <= image_um)).all(axis=1).mean()
    return share * whole * 1e-6

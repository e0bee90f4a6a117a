"""What was measured at spots, as voxels of a block: nothing between spots, nothing between sections."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from spadework.labels import UNLABELLED, categorical
from spadework.volume.pairs import VolumePair, Volumes
from spadework.volume.stack import Stack

log = logging.getLogger("spadework")

DOMAINS, LATENTS = "domains", "latents"


def spot_voxels(stack: Stack, spots: pd.DataFrame, diameters: float = 1.0) -> sparse.csr_matrix:
    """Find the voxels whose centres lie under each spot, in the plane of its section.

    The voxel that holds the centre of the spot is always one of them, however small the spot.

    Parameters
    ----------
    spots
        ``sample``, ``x_um``, ``y_um`` (block frame) and ``spot_um`` (diameter, µm).
    diameters
        Take discs of so many diameters instead.

    Returns
    -------
    scipy.sparse.csr_matrix
        (spots, voxels) float64: 1 where a voxel (numbered as in ``stack.tissue.ravel()``) is under a spot. A spot
        whose centre is not in the volume has none.
    """
    depth, height, width = stack.tissue.shape
    plane = pd.Series(np.arange(depth), list(stack.samples)).reindex(spots["sample"]).to_numpy()
    # in voxels, with the centre of voxel 0 at 0
    x, y = (spots[axis].to_numpy(float) / stack.voxel_um - 0.5 for axis in ("x_um", "y_um"))
    radius = spots["spot_um"].to_numpy(float) * diameters / 2 / stack.voxel_um
    column, row = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & np.isfinite(plane)
    reach = int(np.ceil(radius.max(initial=0.0)))
    steps = np.arange(-reach, reach + 1)
    dy, dx = (offset.ravel() for offset in np.meshgrid(steps, steps, indexing="ij"))
    i, j = row[:, None] + dy, column[:, None] + dx
    under = (j - x[:, None]) ** 2 + (i - y[:, None]) ** 2 <= radius[:, None] ** 2
    under |= (dy == 0) & (dx == 0)
    under &= inside[:, None] & (i >= 0) & (i < height) & (j >= 0) & (j < width)
    spot, _ = np.nonzero(under)
    voxel = (plane[spot].astype(int) * height + i[under]) * width + j[under]
    return sparse.csr_matrix((np.ones(len(spot)), (spot, voxel)), (len(spots), depth * height * width))


def rasterise(
    stack: Stack, spots: pd.DataFrame, domains: pd.DataFrame, *, target: str, name: str = "block"
) -> Volumes:
    """Write what was measured at each spot into the voxels under it.

    Where spots share a voxel (bins smaller than a voxel, or spots that registration pushed together), it gets the
    domain of most of them, of several the one nearest to its centre, or the mean of their latents.
    All else is not measured: between spots, under unlabelled ones, and in sections that were only stained.

    Parameters
    ----------
    spots
        ``sample``, ``barcode``, ``x_um``, ``y_um``, ``spot_um``.
    domains
        Of :func:`spadework.volume.domains.share_domains`. Spots that are not there are not measured.
    target
        ``domains`` or ``latents``.

    Returns
    -------
    Volumes
        One pair: inputs of the stain, RGB / 127.5 - 1; its target int16 (z, y, x), the index of a domain or -1
        where not measured, or float32 (z, y, x, k), NaN where not measured.

    Raises
    ------
    ValueError
        If the target is neither, or no spot that has one lies in the volume.
    """
    if target not in (DOMAINS, LATENTS):
        raise ValueError(f"target {target!r}; expected {DOMAINS} or {LATENTS}")
    measured = measured_spots(spots, domains)
    if target == DOMAINS:
        measured = measured[measured["domain"] != UNLABELLED]
    under = spot_voxels(stack, measured)
    outside = int((np.diff(under.indptr) == 0).sum())
    log.log(
        logging.WARNING if outside else logging.INFO,
        "%d of %d measured spots lie outside the volume",
        outside,
        len(measured),
    )
    if outside == len(measured):
        raise ValueError(f"none of {len(measured)} measured spots lies in the volume")
    shape = stack.tissue.shape
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    if target == DOMAINS:
        labels = categorical(measured["domain"])
        classes = tuple(labels.categories)
        volume = _most(under, labels.codes, len(classes), stack, measured).reshape(shape)
    else:
        values = tuple(c for c in domains.columns if c.startswith("latent_"))
        n = np.asarray(under.sum(axis=0)).ravel()
        sums = under.T @ measured[list(values)].to_numpy(float)
        means = np.divide(sums, n[:, None], out=np.full(sums.shape, np.nan), where=n[:, None] > 0)
        volume = means.astype(np.float32).reshape(*shape, len(values))
    pair = VolumePair(
        name=name,
        inputs=(stack.stain / np.float32(127.5) - 1).astype(np.float32),
        target=volume,
        spacing=(plane_spacing(stack), stack.voxel_um, stack.voxel_um),
        set="train",
        origin={"spot_distance_um": _spot_distance(measured)},
    )
    return Volumes(
        pairs=(pair,),
        classes=classes,
        values=values,
        inputs=("red", "green", "blue"),
        unit="µm",
        planes=tuple(stack.samples),
    )


def measured_spots(spots: pd.DataFrame, domains: pd.DataFrame) -> pd.DataFrame:
    """Join places and domains of spots; those without (they failed the quality control) leave."""
    return spots.merge(domains, on=["sample", "barcode"], how="inner", validate="one_to_one")


def _spot_distance(spots: pd.DataFrame) -> float:
    """Return the median distance of a spot from the nearest of its section, µm."""
    sections = [of[["x_um", "y_um"]].to_numpy(float) for _, of in spots.groupby("sample") if len(of) > 1]
    if not sections:
        return float(spots["spot_um"].median())
    return float(np.median(np.concatenate([cKDTree(xy).query(xy, 2)[0][:, 1] for xy in sections])))


def plane_spacing(stack: Stack) -> float:
    """Return the median distance between sections, µm; of a single section, the edge of a voxel."""
    return float(np.median(np.diff(stack.z_um))) if len(stack.z_um) > 1 else float(stack.voxel_um)


def _most(
    under: sparse.csr_matrix, codes: NDArray[np.integer], n: int, stack: Stack, spots: pd.DataFrame
) -> NDArray[np.int16]:
    """Return the most frequent class of the spots over every voxel, -1 where there is none."""
    spot, voxel = under.nonzero()
    _, height, width = stack.tissue.shape
    centre = np.column_stack([voxel % width, voxel // width % height]) + 0.5
    away = np.hypot(*(spots[["x_um", "y_um"]].to_numpy(float)[spot] / stack.voxel_um - centre).T)
    # nearness only decides between classes of as many spots
    votes = sparse.csr_matrix((1 + 1e-6 / (1 + away), (voxel, codes[spot])), (under.shape[1], n))
    most = np.full(under.shape[1], -1, np.int16)
    covered = np.unique(voxel)
    most[covered] = np.asarray(votes[covered].argmax(axis=1)).ravel()
    return most


def at_spots(
    volume: NDArray[np.floating], stack: Stack, spots: pd.DataFrame, diameters: float = 1.0
) -> NDArray[np.float64]:
    """Return the mean of a volume (z, y, x, k) over the voxels of every spot, (n, k); NaN for spots outside it."""
    under = spot_voxels(stack, spots, diameters)
    columns = np.flatnonzero(under.getnnz(axis=0))
    return over_discs(volume.reshape(-1, volume.shape[-1])[columns], under[:, columns])


def over_discs(values: NDArray[np.floating], under: sparse.csr_matrix) -> NDArray[np.float64]:
    """Return the mean of values (voxels, k) under each spot, (n, k); NaN for spots without voxels."""
    n = np.diff(under.indptr)[:, None]
    sums = under @ values.astype(np.float64)
    return np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0)

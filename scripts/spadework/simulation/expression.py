"""Genes of a simulated section: which follow the morphology, which follow space alone, and their counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft

from .fields import stream
from .geometry import PITCH_UM, ROW_STEP_UM, Lattice

Matrix = NDArray[np.float64]

STRENGTHS = (0.15, 0.30, 0.60)
RANGES_PITCHES = (3, 6, 12)
DISPERSION_THETA = 10.0
UMI_PER_CELL = 210.0
LIBRARY_SPREAD = 0.3
MITOCHONDRIAL = (
    "MT-ND1",
    "MT-ND2",
    "MT-CO1",
    "MT-CO2",
    "MT-ATP8",
    "MT-ATP6",
    "MT-CO3",
    "MT-ND3",
    "MT-ND4L",
    "MT-ND4",
    "MT-ND5",
    "MT-ND6",
    "MT-CYB",
)


@dataclass(frozen=True)
class GeneNumbers:
    """How many genes of each class to simulate."""

    morphology: int = 141
    spatial: int = 143
    null: int = 562
    bulk: int = 2600


def plan_genes(seed: int, numbers: GeneNumbers, drivers: list[str]) -> pd.DataFrame:
    """Draw the table of genes, in the order of the matrix.

    Parameters
    ----------
    drivers : list of str
        Names of what morphology and bulk genes can follow.

    Returns
    -------
    DataFrame
        ``gene_id``, ``gene``, ``class``, ``driver`` ("" where there is none), ``beta`` (slope of the log mean
        per standard deviation of the driver) and ``abundance`` (mean before the driver acts, relative units).
    """
    rng = stream(seed, "genes")
    n_mitochondrial = min(len(MITOCHONDRIAL), numbers.bulk)
    n_other_bulk = numbers.bulk - n_mitochondrial
    scored = numbers.morphology + numbers.spatial + numbers.null
    combinations = [(driver, beta) for driver in drivers for beta in STRENGTHS]
    fields = [(f"field_range_{pitches}", beta) for pitches in RANGES_PITCHES for beta in STRENGTHS]
    morphology = [combinations[i % len(combinations)] for i in range(numbers.morphology)]
    spatial = [fields[i % len(fields)] for i in range(numbers.spatial)]
    bulk = list(zip(rng.choice(drivers, numbers.bulk), rng.normal(0.0, 0.25, numbers.bulk), strict=True))
    planted = [*morphology, *spatial, *[("", 0.0)] * numbers.null, *bulk]

    names = [f"MORPH{i:03d}" for i in range(1, numbers.morphology + 1)]
    names += [f"SPAT{i:03d}" for i in range(1, numbers.spatial + 1)]
    names += [f"NULL{i:03d}" for i in range(1, numbers.null + 1)]
    names += [f"BULK{i:04d}" for i in range(1, n_other_bulk + 1)]
    names += MITOCHONDRIAL[:n_mitochondrial]
    classes = np.repeat(
        ["morphology", "spatial", "null", "bulk"],
        [numbers.morphology, numbers.spatial, numbers.null, numbers.bulk],
    )
    log_abundance = np.concatenate(
        [
            rng.normal(0.3, 0.8, scored),
            rng.normal(-0.5, 1.3, n_other_bulk),
            rng.normal(3.0, 0.4, n_mitochondrial),
        ]
    )
    return pd.DataFrame(
        {
            "gene_id": [f"ENSGSIM{i:08d}" for i in range(1, len(names) + 1)],
            "gene": names,
            "class": classes,
            "driver": [driver for driver, _ in planted],
            "beta": [float(beta) for _, beta in planted],
            "abundance": np.exp(log_abundance),
        }
    )


def lattice_fields(rng: np.random.Generator, lattice: Lattice, range_pitches: float, n_fields: int) -> Matrix:
    """Independent Gaussian random fields with covariance ``exp(-distance / range)`` at the lattice's spots.

    The lattice is every other node of a rectangular grid (half a pitch by one row), on which the fields are
    drawn by circulant embedding in a torus four ranges wider than the section.

    Returns
    -------
    ndarray of float64, shape (n_spots, n_fields)
    """
    steps = np.array([ROW_STEP_UM / PITCH_UM, 0.5])
    size = np.array([lattice.rows, 2 * lattice.columns])
    torus = [fft.next_fast_len(int(n), real=True) for n in size + np.ceil(4.0 * range_pitches / steps).astype(int)]
    lags = [step * np.minimum(np.arange(n), n - np.arange(n)) for step, n in zip(steps, torus, strict=True)]
    covariance = np.exp(-np.hypot(lags[0][:, None], lags[1][None, :]) / range_pitches)
    # the embedding is not exactly positive definite; what is clipped is negligible
    amplitude = np.sqrt(np.clip(fft.rfft2(covariance).real, 0.0, None))
    noise = rng.standard_normal((n_fields, *torus))
    values = fft.irfft2(fft.rfft2(noise) * amplitude, s=torus)
    return np.ascontiguousarray(values[:, lattice.array_row, lattice.array_col].T)


def standardised(values: Matrix) -> Matrix:
    """Centre and scale each column; constant columns become zero."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 0.0, spread, 1.0)


def _linear_predictors(
    seed: int, genes: pd.DataFrame, drivers: pd.DataFrame, lattice: Lattice, spots: NDArray[np.intp]
) -> Matrix:
    """Log of each gene's relative mean in each spot (n_spots, n_genes), before the bulk is balanced."""
    effects = np.zeros((len(spots), len(genes)))
    driver_of = genes["driver"].to_numpy()
    columns = standardised(drivers.to_numpy(float))
    for index, name in enumerate(drivers.columns):
        effects[:, driver_of == name] = columns[:, [index]]
    for pitches in RANGES_PITCHES:
        followers = np.flatnonzero(driver_of == f"field_range_{pitches}")
        rng = stream(seed, f"field {pitches}")
        effects[:, followers] = standardised(lattice_fields(rng, lattice, pitches, len(followers))[spots])
    return np.log(genes["abundance"].to_numpy()) + genes["beta"].to_numpy() * effects


def _balanced_shares(predictors: Matrix, is_bulk: NDArray[np.bool_]) -> Matrix:
    """Turn log means into shares that sum to one in every spot by scaling the bulk genes alone.

    Dividing by each spot's total would push down every null gene wherever planted genes go up, and all of
    them would then follow the morphology. Here the bulk gives way instead.

    Raises
    ------
    ValueError
        If the bulk is too small to make up for the scored genes.
    """
    means = np.exp(predictors)
    means /= means.sum(axis=1).mean()
    room = 1.0 - means[:, ~is_bulk].sum(axis=1)
    if not is_bulk.any() or room.min() <= 0.05:
        msg = f"{is_bulk.sum()} bulk genes cannot balance {np.sum(~is_bulk)} scored genes: too few"
        raise ValueError(msg)
    means[:, is_bulk] *= (room / means[:, is_bulk].sum(axis=1))[:, None]
    return means


def draw_counts(
    seed: int,
    genes: pd.DataFrame,
    drivers: pd.DataFrame,
    nuclei: NDArray[np.int64],
    lattice: Lattice,
    spots: NDArray[np.intp],
) -> NDArray[np.int32]:
    """Draw negative binomial counts whose depth grows with the number of nuclei under the spot.

    Parameters
    ----------
    genes : DataFrame
        From `plan_genes`.
    drivers : DataFrame, shape (n_spots, n_drivers)
        What genes follow; standardised here.
    nuclei : ndarray of int64, shape (n_spots,)
        Nuclei under each spot.
    spots : ndarray of intp, shape (n_spots,)
        Places of the spots in the lattice.

    Returns
    -------
    ndarray of int32, shape (n_spots, n_genes)
    """
    is_bulk = (genes["class"] == "bulk").to_numpy()
    shares = _balanced_shares(_linear_predictors(seed, genes, drivers, lattice, spots), is_bulk)
    rng = stream(seed, "counts")
    library = UMI_PER_CELL * (nuclei + 2.0) * np.exp(rng.normal(0.0, LIBRARY_SPREAD, len(spots)))
    means = shares * library[:, None]
    means *= rng.standard_gamma(DISPERSION_THETA, means.shape) / DISPERSION_THETA
    return rng.poisson(means).astype(np.int32)

"""Null latents: Gaussian random fields that vary over a section as an image latent does, whatever its genes do.

The correlation of two spots is taken to fall with their distance as an exponential or a Matérn function of
smoothness 3/2, apart from a nugget, the share of the variance that a spot shares with no other.

A latent's class sums S_h = z' W_h z (notation of :mod:`spadework.spatial_null`, B = I - 11'/n, z = B latent) are
biased as estimates of the correlation: taking out the mean lowers all of them, the more the longer the range. They
are therefore compared with their expectation under the model, not with the model. If rho_h is the mean correlation
of the pairs in class h and c that of the pairs beyond the last class::

    E S_h / variance = tr(B W_h B Sigma) = sum_h' T_hh' (rho_h' - c)

as B takes any constant out of Sigma. Taking means by class is an approximation: from sums without noise it gives a
range of a quarter of the largest distance 1.5 % too short, of half of it 8 %, far less than ranges scatter.

Variance and nugget enter linearly; the range is searched for. Squares are weighted by 1 / (n_h h): for independent
spots var(S_h) = 2 n_h, but sums at longer distances depend more on each other and say less about the model. Over
simulated fields, correlations fitted this way are on average as close to the true ones as those by restricted
maximum likelihood, whose cost grows with the cube of the number of spots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, fft2, irfft2, next_fast_len, rfft2
from scipy.optimize import minimize_scalar, nnls

from spadework.spatial_null import SpatialNull

Family = Literal["exponential", "matern32"]

# Shortest range fitted, in pitches: neighbours correlate by no more than 0.14, hardly to be told from a nugget.
MIN_RANGE = 0.5

# Side of the torus in ranges at which clipped eigenvalues add up to less than 1e-4 of the variance in both families.
_TORUS_RANGES = 10


@dataclass(frozen=True)
class FieldModel:
    """Correlation of a stationary, isotropic field.

    Attributes
    ----------
    family
        ``exponential``, exp(-u), or ``matern32``, (1 + sqrt(3) u) exp(-sqrt(3) u), of u = distance / range.
    range_
        In spot pitches.
    nugget
        Share of the variance, 0 to 1, that is independent between spots.

    Raises
    ------
    ValueError
        If the family is unknown, the range not positive and finite, or the nugget not between 0 and 1.
    """

    family: Family
    range_: float
    nugget: float

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise ValueError(f"family {self.family!r}, not one of {', '.join(get_args(Family))}")
        if not 0 < self.range_ < np.inf:
            raise ValueError(f"a range of {self.range_} pitches")
        if not 0 <= self.nugget <= 1:
            raise ValueError(f"a nugget of {self.nugget}, not between 0 and 1")

    def correlation(self, distance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Correlation, float64, of two spots ``distance`` pitches apart; 1 at distance 0."""
        smooth = (1 - self.nugget) * _smooth_correlation(self.family, distance / self.range_)
        return np.where(distance > 0, smooth, 1.0)


def fit_field(cells: NDArray[np.integer], step: tuple[float, float], latent: NDArray[np.floating]) -> FieldModel:
    """Fit the correlation of the field that a latent is a sample of.

    Covariates have no place here: the field is to resemble what it is given, be it a latent or what covariates leave
    of one. Scale and mean of the latent do not matter. In a latent without autocorrelation the nugget is 1
    (the range then means nothing), or the smooth part small or of short range.

    Parameters
    ----------
    cells
        (n, 2) integer array coordinates (row, column).
    step
        Physical size of one row and one column, in spot pitches (``spatial_null.STEPS``).
    latent
        (n,).

    Returns
    -------
    FieldModel
        Of the family that fits better; its range is between 0.5 pitches and the largest distance in the section.

    Raises
    ------
    ValueError
        If the latent is constant, not finite or not of n values, or the spots are none that
        :class:`~spadework.spatial_null.SpatialNull` takes.
    """
    if np.shape(latent) != (len(cells),):
        raise ValueError(f"a latent of shape {np.shape(latent)} for {len(cells)} spots")
    correlogram = _Correlogram.of(cells, step, latent)
    _, family, range_ = min(_best_range(correlogram, family) for family in get_args(Family))
    (smooth, nugget), _ = correlogram.regress(family, range_)
    # Without a smooth part all ranges fit alike, and a short one is drawn on a small torus.
    return FieldModel(family, range_ if smooth > 0 else MIN_RANGE, float(nugget / (smooth + nugget)))


def simulate_fields(
    cells: NDArray[np.integer],
    step: tuple[float, float],
    model: FieldModel,
    n_fields: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw independent Gaussian fields by circulant embedding (Wood & Chan 1994, J Comput Graph Stat 3:409-432).

    The array is laid on a torus at least twice as long each way, so that no two spots are nearer around it, and at
    least ten ranges long. Eigenvalues that are negative even so are set to zero. This changes covariances by about
    1e-4 at most, mostly by nothing.

    Parameters
    ----------
    cells
        (n, 2) integer array coordinates (row, column).
    step
        Physical size of one row and one column, in spot pitches.
    model
        Correlation of each field.
    n_fields
        Number of fields; the first ones are the same however many follow.
    rng
        Source of the noise.

    Returns
    -------
    ndarray
        (n, n_fields) float64. Mean 0 and variance 1 are those of the model: a field's own mean and variance over
        the spots differ from them, the more the longer its range.
    """
    row, column = (cells - cells.min(axis=0)).astype(np.intp).T
    size = np.array([row.max() + 1, column.max() + 1])
    sides = np.maximum(2 * size - 1, np.ceil(_TORUS_RANGES * model.range_ / np.array(step)).astype(int))
    shape = (next_fast_len(int(sides[0])), next_fast_len(int(sides[1])))
    eigenvalues = np.maximum(fft2(model.correlation(_offset_lengths(shape, step))).real, 0)
    amplitude = np.sqrt(eigenvalues / eigenvalues.sum())
    fields = np.empty((len(cells), n_fields))
    for first in range(0, n_fields, 2):
        noise = rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]
        noise *= amplitude
        # Rows of the torus outside the section are not needed.
        rows = fft(noise, axis=0, overwrite_x=True)[: size[0]]
        values = fft(rows, axis=1)[row, column]
        # Real and imaginary part are two independent fields.
        fields[:, first] = values.real
        fields[:, first + 1 : first + 2] = values.imag[:, None]
    return fields


@dataclass(frozen=True)
class _Correlogram:
    """The class sums of a latent, and all distances in its section to compare them with a model.

    Attributes
    ----------
    T
        (classes, classes), of :class:`~spadework.spatial_null.SpatialNull`.
    sums
        (classes,) S_h of the residuals, scaled to unit length.
    weight
        (classes,) root of the weight of each squared difference.
    distance, pairs
        (distances,) that occur, in pitches and ascending, and the number of ordered pairs of spots at each.
    classes
        (distances,) class of each distance, ``len(T)`` beyond the last.
    """

    T: NDArray[np.float64]
    sums: NDArray[np.float64]
    weight: NDArray[np.float64]
    distance: NDArray[np.float64]
    pairs: NDArray[np.float64]
    classes: NDArray[np.intp]

    @classmethod
    def of(cls, cells: NDArray[np.integer], step: tuple[float, float], latent: NDArray[np.floating]) -> _Correlogram:
        null = SpatialNull(cells, step)
        distance, pairs = _pairs_by_distance(cells, step)
        n_pairs = null.n_pairs
        return cls(
            T=null.T,
            sums=null.covariances(np.asarray(latent)[:, None])[:, 0] * n_pairs,
            weight=1 / np.sqrt(np.maximum(n_pairs, 1) * np.maximum(np.arange(len(n_pairs)), 1)),
            distance=distance,
            pairs=pairs,
            # Classes are intervals of distance, so that counts of pairs tell where one ends.
            classes=np.searchsorted(np.cumsum(n_pairs), np.cumsum(pairs)),
        )

    def regress(self, family: Family, range_: float) -> tuple[NDArray[np.float64], float]:
        """Fit the variances of smooth part and nugget, neither negative.

        Returns
        -------
        variances
            (2,), in units of the sums.
        misfit
            Root of the weighted sum of squares.
        """
        correlation = _smooth_correlation(family, self.distance / range_)
        n_pairs = np.bincount(self.classes, self.pairs, len(self.T) + 1)
        mean = np.bincount(self.classes, self.pairs * correlation, len(self.T) + 1) / np.maximum(n_pairs, 1)
        expected = np.column_stack([self.T @ (mean[:-1] - mean[-1]), self.T[:, 0]])
        return nnls(self.weight[:, None] * expected, self.weight * self.sums)


def _best_range(correlogram: _Correlogram, family: Family) -> tuple[float, Family, float]:
    """Return the misfit, the family and its best range."""

    def misfit(log_range: float) -> float:
        return correlogram.regress(family, float(np.exp(log_range)))[1]

    bounds = np.log([MIN_RANGE, correlogram.distance[-1]])
    found = minimize_scalar(misfit, bounds=bounds, method="bounded")
    return float(found.fun), family, float(np.exp(found.x))


def _smooth_correlation(family: Family, u: NDArray[np.floating]) -> NDArray[np.float64]:
    if family == "exponential":
        return np.exp(-u)
    return (1 + np.sqrt(3) * u) * np.exp(-np.sqrt(3) * u)


def _pairs_by_distance(
    cells: NDArray[np.integer], step: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances between spots in pitches, ascending from 0, and the ordered pairs at each."""
    row, column = (cells - cells.min(axis=0)).astype(np.intp).T
    shape = (next_fast_len(2 * int(row.max()) + 1), next_fast_len(2 * int(column.max()) + 1, real=True))
    occupied = np.zeros(shape)
    occupied[row, column] = 1
    spectrum = rfft2(occupied)
    pairs = np.rint(irfft2(spectrum.real**2 + spectrum.imag**2, s=shape))
    distance, index = np.unique(np.round(_offset_lengths(shape, step)[pairs > 0], 9), return_inverse=True)
    counts: NDArray[np.float64] = np.bincount(index, weights=pairs[pairs > 0]).astype(np.float64)
    return distance, counts


def _offset_lengths(shape: tuple[int, int], step: tuple[float, float]) -> NDArray[np.float64]:
    """Distance in pitches of each node of a torus from the first, the short way around."""
    rows, columns = (size * np.minimum(np.arange(n), n - np.arange(n)) for n, size in zip(shape, step, strict=True))
    return np.hypot(rows[:, None], columns)

"""What a gene's counts are beyond sequencing depth: Pearson residuals, of regressions or of an analytic model.

Regressions: one per gene, ``log mean = b0 + b1 z``, z the standardised log10 UMI of the spots (and further
covariates). The dispersion is estimated by moments from the Poisson fit ("Poisson" is theta 10,000 throughout), then
the regression is repeated with it: for counts with log link and known dispersion iteratively reweighted least squares
is Fisher scoring (McCullagh & Nelder 1989, Generalized Linear Models, chapter 2). Residuals are
(y - mu) / sqrt(mu + mu^2 / theta).

Analytic (Lause, Berens & Kobak 2021, Genome Biology 22:258): mu is the gene's share of all counts times the spot's
counts, theta 100 for all genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A theta beyond this is a Poisson distribution.
MAX_THETA = 1e4
ANALYTIC_THETA = 100.0
_MAX_ROUNDS = 50
_TOLERANCE = 1e-8
_LARGEST_STEP = 2.0
# Changes the steps, not where they end.
_RIDGE = 1e-10


@dataclass(frozen=True)
class NegativeBinomialFit:
    """Regressions of a block of genes.

    Attributes
    ----------
    theta
        (genes,) float64: variance = mean + mean^2 / theta; no larger than 10,000, which is Poisson.
    coefficients
        (genes, 1 + covariates) float64, intercept first, log scale.
    residuals
        (spots, genes) float64 Pearson residuals; 0 for genes without counts.
    """

    theta: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    residuals: NDArray[np.float64]


def fit_negative_binomial(counts: NDArray[np.number], covariates: NDArray[np.floating]) -> NegativeBinomialFit:
    """Regress the counts of every gene on covariates.

    Parameters
    ----------
    counts
        (spots, genes) dense, raw counts; a block of genes, because everything here is dense.
    covariates
        (spots, c) float, without an intercept, best standardised.

    Raises
    ------
    ValueError
        If shapes do not match, or covariates are collinear or not finite.
    """
    y: NDArray[np.float64] = np.asarray(counts, np.float64)
    z: NDArray[np.float64] = np.asarray(covariates, np.float64)
    if z.ndim != 2 or len(z) != len(y):
        raise ValueError(f"covariates of shape {z.shape} for {len(y)} spots")
    if not np.isfinite(z).all():
        raise ValueError("covariates hold NaN or infinite values")
    x = np.column_stack([np.ones(len(y)), z])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError("a covariate is constant, or a combination of the others")
    counted: NDArray[np.bool_] = y.sum(axis=0) > 0
    start = np.zeros((x.shape[1], y.shape[1]))
    start[0, counted] = np.log(y[:, counted].mean(axis=0))
    beta, mean = _score(y, x, start, np.full(y.shape[1], MAX_THETA), counted)
    excess = ((y - mean) ** 2 - mean).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = np.where(excess > 0, (mean**2).sum(axis=0) / excess, MAX_THETA)
    theta = np.where(counted, np.minimum(theta, MAX_THETA), MAX_THETA)
    beta, mean = _score(y, x, beta, theta, counted)
    deviation = np.sqrt(np.maximum(mean + mean**2 / theta, np.finfo(float).tiny))
    residuals = np.where(counted, (y - mean) / deviation, 0.0)
    beta[:, ~counted] = np.nan
    return NegativeBinomialFit(theta, beta.T, residuals)


def _score(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    beta: NDArray[np.float64],
    theta: NDArray[np.float64],
    counted: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fisher scoring of all genes at once, until none moves; (coefficients, genes) and (spots, genes) means."""
    k = x.shape[1]
    # Row by row, the products of the columns: the information of all genes is one matrix product.
    products = np.einsum("ni,nj->nij", x, x).reshape(len(x), k * k)
    beta, active = beta.copy(), np.flatnonzero(counted)
    mean = np.exp(x @ beta)
    for _ in range(_MAX_ROUNDS):
        mu = mean[:, active]
        shrink = 1 + mu / theta[active]
        gradient = x.T @ ((y[:, active] - mu) / shrink)
        information = (products.T @ (mu / shrink)).T.reshape(-1, k, k)
        # A gene found in the deepest spot alone has its maximum at infinity and no information left on the way there.
        information += _RIDGE * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(k)
        step = np.clip(np.linalg.solve(information, gradient.T[..., None])[..., 0].T, -_LARGEST_STEP, _LARGEST_STEP)
        beta[:, active] += step
        mean[:, active] = np.exp(np.minimum(x @ beta[:, active], 50))
        active = active[np.abs(step).max(axis=0) > _TOLERANCE]
        if not len(active):
            break
    return beta, mean


def analytic_pearson(counts: NDArray[np.number], totals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Analytic Pearson residuals of a block of genes, cut off at the root of the number of spots.

    Parameters
    ----------
    counts
        (spots, genes) dense, raw counts.
    totals
        (spots,) counts of all genes.

    Returns
    -------
    numpy.ndarray
        (spots, genes) float64; 0 for genes without counts.
    """
    y: NDArray[np.float64] = np.asarray(counts, np.float64)
    mean = np.outer(totals, y.sum(axis=0) / totals.sum())
    deviation = np.sqrt(mean + mean**2 / ANALYTIC_THETA)
    limit = np.sqrt(len(y))
    return np.clip((y - mean) / np.where(deviation > 0, deviation, 1.0), -limit, limit)

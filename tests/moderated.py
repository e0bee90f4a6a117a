"""Moderated t statistics from their definition: dense least squares, the prior by a general root finder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import polygamma, psi
from statsmodels.stats.multitest import multipletests


@dataclass(frozen=True)
class Moderated:
    """(genes, columns) results, the intercept left out; the prior of the model."""

    coef: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    df_prior: float
    var_prior: float

    @property
    def fdr(self) -> NDArray[np.float64]:
        """Benjamini-Hochberg over genes."""
        return np.column_stack([multipletests(p, method="fdr_bh")[1] for p in self.p.T])


def prior(variance: NDArray[np.floating], df: float) -> tuple[float, float]:
    """Estimate degrees of freedom and variance of the prior by Smyth (2004), section 6.2."""
    lifted = np.maximum(variance, 1e-5 * np.median(variance))
    e = np.log(lifted) - psi(df / 2) + np.log(df / 2)
    scatter = np.var(e, ddof=1) - polygamma(1, df / 2)
    if scatter <= 0:
        return np.inf, float(lifted.mean())
    half = optimize.brentq(lambda y: float(polygamma(1, y)) - scatter, 1e-6, 1e9, xtol=1e-14, rtol=1e-14)
    return 2 * half, float(np.exp(e.mean() + psi(half) - np.log(half)))


def squeezed(variance: NDArray[np.floating], df: float, df_prior: float, var_prior: float) -> NDArray[np.float64]:
    """Return the weighted mean of each variance and the prior's."""
    if np.isinf(df_prior):
        return np.full(len(variance), var_prior)
    return (df * variance + df_prior * var_prior) / (df + df_prior)


def moderated(values: NDArray[np.floating], columns: NDArray[np.floating]) -> Moderated:
    """Fit ``gene ~ 1 + columns`` to every gene (column) of dense ``values``."""
    n, genes = values.shape
    design = np.column_stack([np.ones(n), columns])
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    df = n - design.shape[1]
    variance = ((values - design @ solution) ** 2).sum(axis=0) / df
    df_prior, var_prior = prior(variance, df)
    posterior = squeezed(variance, df, df_prior, var_prior)
    unscaled = np.diag(np.linalg.inv(design.T @ design))
    t = solution / np.sqrt(np.outer(unscaled, posterior))
    p = 2 * stats.t.sf(np.abs(t), min(df + df_prior, df * genes))
    return Moderated(solution[1:].T, t[1:].T, p[1:].T, df_prior, var_prior)

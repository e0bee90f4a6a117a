"""Genes associated with image latents: linear models with moderated t, Pearson and Spearman.

One linear model per gene, ``expression ~ 1 + latent`` (marginal) or ``~ 1 + all latents`` (joint), fitted for all
genes at once from inner products, so that a sparse matrix stays sparse. Variances are moderated by empirical Bayes
as in limma (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3:3; robust and trend off). For
the same genes and the same design the numbers are limma's, constant genes and collinear latents included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import betaln, digamma, hyp2f1, polygamma
from scipy.stats import false_discovery_control, rankdata
from scipy.stats import t as student
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

from spadework.columns import PUBLISHED
from spadework.keys import Keys

Design = Literal["marginal", "joint"]
Expression: TypeAlias = sparse.csr_matrix | sparse.csc_matrix | NDArray[np.floating]
# R's qr and lm take a column as a combination of those before it when less than this share of its length is new.
COLLINEAR = 1e-7


@dataclass(frozen=True)
class Association:
    """Results for all genes and latents.

    Attributes
    ----------
    coef
        Slope: expression units per unit of the latent.
    coef_std
        Slope of the standardised gene on the standardised latent.
    r, rho
        Pearson and Spearman correlation.
    t, p
        Moderated t statistic and its two-sided p-value.
    fdr
        Benjamini-Hochberg over genes, within each latent.
    log10_p
        log10 of p, exact where p itself underflows.
    df_prior, var_prior
        (latents,) the empirical Bayes prior of each model.

    All but the last two are (genes, latents) float64. A latent that is a combination of those before it is NaN, as
    in limma. Constant genes have slope 0 and p 1, and no correlation (NaN).
    """

    coef: NDArray[np.float64]
    coef_std: NDArray[np.float64]
    r: NDArray[np.float64]
    rho: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    fdr: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    df_prior: NDArray[np.float64]
    var_prior: NDArray[np.float64]


def associate(
    expression: Expression,
    latents: NDArray[np.floating],
    *,
    design: Design = "marginal",
    unit: NDArray[np.floating] | None = None,
    fit: Fit | None = None,
    block: int = 2000,
) -> Association:
    """Associate every gene with every latent.

    Parameters
    ----------
    expression
        (spots, genes), sparse or dense.
    latents
        (spots, k).
    design
        ``marginal`` tests one latent at a time; ``joint`` puts all in one model, as the published script does.
    unit
        (genes,) what a gene's values are divided by, for expression that is scaled but must stay sparse.
    fit
        Fits the models; :func:`fit_model` unless another engine has done it.
    block
        Genes worked on at a time.

    Raises
    ------
    ValueError
        If there are too few spots for the model, or a latent is constant or not finite.
    """
    values: NDArray[np.float64] = np.asarray(latents, np.float64)
    _check(expression.shape[0], values, design)
    moments = gene_moments(expression, values, np.empty((len(values), 0)), unit, block=block)
    latent_norm = np.sqrt((moments.centred**2).sum(axis=0))
    gene_norm = np.sqrt(moments.sum_of_squares)[:, None]
    k = values.shape[1]
    coef, t, log10_p = (np.full((len(gene_norm), k), np.nan) for _ in range(3))
    df_prior, var_prior = np.empty(k), np.empty(k)
    for columns in models(design, k):
        model = (fit or fit_model)(moments, columns)
        coef[:, columns], t[:, columns], log10_p[:, columns] = model.coef, model.t, model.log10_p
        df_prior[columns], var_prior[columns] = model.df_prior, model.var_prior
    # A table of doubles ends at 2e-308; log10_p goes on.
    p = np.maximum(10.0**log10_p, np.finfo(float).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Association(
            coef=coef,
            coef_std=coef * latent_norm / gene_norm,
            r=np.clip(moments.products / (gene_norm * latent_norm), -1, 1),
            rho=spearman(expression, values, block=block),
            t=t,
            p=p,
            fdr=benjamini_hochberg(p),
            log10_p=log10_p,
            df_prior=df_prior,
            var_prior=var_prior,
        )


def models(design: Design, k: int) -> list[list[int]]:
    """List the latents (from 0) of each model that ``design`` makes of k latents."""
    return [[j] for j in range(k)] if design == "marginal" else [list(range(k))]


def _check(n: int, latents: NDArray[np.float64], design: Design) -> None:
    if latents.ndim != 2 or len(latents) != n:
        raise ValueError(f"latents of shape {latents.shape} for {n} spots")
    if not np.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinite values")
    n_coefficients = 1 + (latents.shape[1] if design == "joint" else 1)
    if n <= n_coefficients:
        raise ValueError(f"{n} spots cannot fit a model of {n_coefficients} coefficients")
    spread = latents.std(axis=0)
    if (spread <= 1e-12 * np.maximum(np.abs(latents).max(axis=0), 1e-300)).any():
        raise ValueError(f"latent {int(np.argmin(spread)) + 1} is constant")


@dataclass(frozen=True)
class Moments:
    """What every linear model of a gene needs, summed over spots in double precision.

    Attributes
    ----------
    centred
        (spots, q + k) covariates, then latents, less their means. Centring makes the intercept implicit and keeps
        the digits that a large mean would cost.
    length
        (q + k,) lengths of the columns before centring.
    n_covariates
        q.
    sum_of_squares
        (genes,) about the gene's mean; exactly 0 for constant genes.
    products
        (genes, q + k) inner products with the centred columns.
    """

    centred: NDArray[np.float64]
    length: NDArray[np.float64]
    n_covariates: int
    sum_of_squares: NDArray[np.float64]
    products: NDArray[np.float64]


def gene_moments(
    expression: Expression,
    latents: NDArray[np.float64],
    covariates: NDArray[np.float64],
    unit: NDArray[np.floating] | None = None,
    *,
    block: int = 2000,
) -> Moments:
    """Go through the genes once, ``block`` at a time, without making a sparse matrix dense."""
    columns = np.hstack([covariates, latents])
    centred = columns - columns.mean(axis=0)
    squares, products = [], []
    for part in _blocks(expression, block):
        varies = varying(part)
        if isinstance(part, np.ndarray):
            values = part - part.mean(axis=0)
            squares.append(np.where(varies, (values**2).sum(axis=0), 0.0))
        else:
            values = part
            squares.append(np.where(varies, mean_variance_axis(part, axis=0)[1] * part.shape[0], 0.0))
        products.append(np.where(varies[:, None], values.T @ centred, 0.0))
    size = np.ones(expression.shape[1]) if unit is None else np.asarray(unit, np.float64)
    return Moments(
        centred=centred,
        length=np.sqrt((columns**2).sum(axis=0)),
        n_covariates=covariates.shape[1],
        sum_of_squares=np.concatenate(squares) / size**2,
        products=np.concatenate(products) / size[:, None],
    )


def _blocks(expression: Expression, block: int) -> Iterator[Expression]:
    """Yield ``block`` genes at a time, in double precision."""
    by_gene = expression if isinstance(expression, np.ndarray) else sparse.csc_matrix(expression)
    for start in range(0, expression.shape[1], block):
        yield by_gene[:, start : start + block].astype(np.float64)


def varying(expression: Expression) -> NDArray[np.bool_]:
    """Tell the genes (columns) that do not have the same value in every spot."""
    if isinstance(expression, np.ndarray):
        return np.ptp(expression, axis=0) > 0
    low, high = min_max_axis(sparse.csc_matrix(expression), axis=0)
    return high > low


def spearman(expression: Expression, latents: NDArray[np.floating], *, block: int = 2000) -> NDArray[np.float64]:
    """Rank correlation of every gene with every latent, (genes, k); NaN for constant genes.

    A sparse matrix stays sparse: the zeros of a gene are one tie, whose rank follows from their number.
    """
    ranks = rankdata(latents, axis=0) - (len(latents) + 1) / 2
    spread = np.sqrt((ranks**2).sum(axis=0))
    out = []
    for part in _blocks(expression, block):
        if isinstance(part, np.ndarray):
            gene_ranks = rankdata(part, axis=0) - (len(part) + 1) / 2
            squares = (gene_ranks**2).sum(axis=0)
        else:
            gene_ranks, squares = _sparse_ranks(part)
        squares = np.where(varying(part), squares, np.nan)
        out.append(np.clip(gene_ranks.T @ ranks / (np.sqrt(squares)[:, None] * spread), -1, 1))
    return np.concatenate(out)


def _sparse_ranks(part: sparse.csc_matrix) -> tuple[sparse.csc_matrix, NDArray[np.float64]]:
    """Rank the spots of each gene; ranks are counted from that of zero, which is then 0 itself.

    Returns
    -------
    ranks
        Like ``part``. What they are counted from drops out against centred ranks.
    squares
        (genes,) sum of squares of the ranks about their mean.
    """
    n = part.shape[0]
    shifted, squares = np.empty(part.nnz), np.zeros(part.shape[1])
    middle = (n + 1) / 2
    for j in np.flatnonzero(np.diff(part.indptr)):
        where = slice(part.indptr[j], part.indptr[j + 1])
        values = part.data[where]
        n_zero = n - len(values)
        rank = _mean_ranks(values)
        # Zeros rank between the negative and the positive values.
        zero_rank = (values < 0).sum() + (n_zero + 1) / 2
        rank[values >= 0] += n_zero
        squares[j] = ((rank - middle) ** 2).sum() + n_zero * (zero_rank - middle) ** 2
        shifted[where] = rank - zero_rank
    return sparse.csc_matrix((shifted, part.indices, part.indptr), shape=part.shape), squares


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties averaged: scipy's ``rankdata`` without its cost per call."""
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    last = np.r_[first[1:], len(values)]
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((first + 1 + last) / 2, last - first)
    return ranks


@dataclass(frozen=True)
class ModelFit:
    """One model fitted to all genes: (genes, latents of the model) arrays, and the prior of the variances."""

    coef: NDArray[np.float64]
    t: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    df_prior: float
    var_prior: float


Fit = Callable[[Moments, list[int]], ModelFit]


def fit_model(moments: Moments, latents: list[int]) -> ModelFit:
    """Fit ``gene ~ 1 + covariates + latents`` to all genes and moderate the variances."""
    q = moments.n_covariates
    columns = np.array([*range(q), *(q + j for j in latents)])
    columns = columns[estimable(moments.centred[:, columns], moments.length[columns])]
    upper = np.linalg.qr(moments.centred[:, columns], mode="r")
    inverse = np.linalg.inv(upper)
    effects = moments.products[:, columns] @ inverse
    df = len(moments.centred) - 1 - len(columns)
    variance = np.maximum(moments.sum_of_squares - (effects**2).sum(axis=1), 0.0) / df
    df_prior, var_prior = fit_prior(variance, df)
    posterior = posterior_variance(variance, df, df_prior, var_prior)
    slopes = effects @ inverse.T
    with np.errstate(divide="ignore", invalid="ignore"):
        t_values = slopes / np.sqrt(posterior[:, None] * (inverse**2).sum(axis=1))
    coef, t = (np.full((len(slopes), len(latents)), np.nan) for _ in range(2))
    for to, j in enumerate(latents):
        if q + j in columns:
            source = int(np.flatnonzero(columns == q + j)[0])
            coef[:, to], t[:, to] = slopes[:, source], t_values[:, source]
    # As in limma, no gene is credited with more than all residual degrees of freedom there are.
    log10_p = two_sided_log10_p(t, min(df + df_prior, float(df * len(variance))))
    return ModelFit(coef, t, log10_p, df_prior, var_prior)


def estimable(centred: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the columns that are no combination of the intercept and the columns before them, as R's ``lm`` does.

    Parameters
    ----------
    centred
        (spots, k) columns less their means.
    length
        (k,) lengths before centring.
    """
    kept: list[int] = []
    basis = np.empty((len(centred), 0))
    for j, column in enumerate(centred.T):
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        norm = np.linalg.norm(rest)
        if norm >= COLLINEAR * length[j] and norm > 0:
            kept.append(j)
            basis = np.hstack([basis, rest[:, None] / norm])
    return np.array(kept, np.intp)


def fit_prior(variance: NDArray[np.float64], df: float) -> tuple[float, float]:
    """Estimate the prior of gene variances by moments of their logarithms (limma's ``fitFDist``).

    Parameters
    ----------
    variance
        (genes,) residual variances, each on ``df`` degrees of freedom.

    Returns
    -------
    df_prior, var_prior
        ``df_prior`` is infinite where the variances scatter no more than chance allows.
    """
    if len(variance) == 0:
        return 0.0, 1.0
    if len(variance) == 1:
        return 0.0, float(variance[0])
    positive = np.maximum(variance, 0)
    median = np.median(positive)
    # limma lifts zero variances so that their logarithm exists.
    positive = np.maximum(positive, 1e-5 * (median if median > 0 else 1.0))
    e = np.log(positive) - digamma(df / 2) + np.log(df / 2)
    scatter = e.var(ddof=1) - polygamma(1, df / 2)
    if scatter <= 0:
        return np.inf, float(positive.mean())
    df_prior = 2 * trigamma_inverse(float(scatter))
    return df_prior, float(np.exp(e.mean() + digamma(df_prior / 2) - np.log(df_prior / 2)))


def posterior_variance(
    variance: NDArray[np.float64], df: float, df_prior: float, var_prior: float
) -> NDArray[np.float64]:
    """Shrink variances towards the prior (limma's ``squeezeVar``)."""
    if np.isinf(df_prior):
        return np.full_like(variance, var_prior)
    return (df * variance + df_prior * var_prior) / (df + df_prior)


def trigamma_inverse(x: float) -> float:
    """Solve trigamma(y) = x for y by Newton's method on 1/trigamma, which is nearly linear (Smyth 2004)."""
    if x > 1e7:
        return float(1 / np.sqrt(x))
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        value = float(polygamma(1, y))
        step = value * (1 - value / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return float(y)


def two_sided_log10_p(t: NDArray[np.float64], df: float) -> NDArray[np.float64]:
    """log10 of the two-sided p-value of a t statistic, also where p itself underflows.

    Far out, the incomplete beta function is its leading term times a hypergeometric series.
    """
    size = np.abs(t)
    p = 2 * student.sf(size, df)
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
        far = p < 1e-290
        x = df / (df + size[far] ** 2)
        series = np.log(hyp2f1((df + 1) / 2, 1.0, df / 2 + 1, x))
        log_p[far] = df / 2 * np.log(x) + 0.5 * np.log1p(-x) - np.log(df / 2) - betaln(df / 2, 0.5) + series
    return log_p / np.log(10)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """False discovery rate (Benjamini & Hochberg 1995) within each column; NaN is not counted as a test."""
    out = np.full_like(p, np.nan)
    for j in range(p.shape[1]):
        tested = np.isfinite(p[:, j])
        if tested.any():
            out[tested, j] = false_discovery_control(p[tested, j])
    return out


def to_table(
    result: Association,
    genes: pd.DataFrame,
    mean: NDArray[np.float64],
    n_spots: NDArray[np.integer],
    further: dict[str, NDArray[np.float64]] | None = None,
) -> pd.DataFrame:
    """Lay the results out as one row per gene and latent, surest first within each latent, by the strictest test.

    Parameters
    ----------
    genes
        (genes,) table by name, with ``gene_ids``.
    mean, n_spots
        (genes,) mean expression and number of spots with the gene.
    further
        More columns, each (genes, latents).
    """
    frames = []
    for j in range(result.coef.shape[1]):
        frame = pd.DataFrame(
            {
                "latent": j + 1,
                "gene": genes.index.to_numpy(str),
                "gene_id": genes[Keys.GENE_IDS].to_numpy(str),
                "mean_expression": mean,
                "n_spots": n_spots,
                **{name: getattr(result, name)[:, j] for name in PUBLISHED},
                "log10_p": result.log10_p[:, j],
                **{name: values[:, j] for name, values in (further or {}).items()},
            }
        )
        strength = next(
            c for c in ("log10_p_spatial", "log10_p_depth", "log10_p") if c in frame and frame[c].notna().any()
        )
        frames.append(frame.sort_values(strength, kind="stable", na_position="last"))
    return pd.concat(frames, ignore_index=True)

"""Association beyond sequencing depth, and beyond what neighbouring spots have in common anyway.

Deep spots are deep because of what the tissue is, so an image latent that follows depth finds every gene; and two
smooth patterns that have nothing to do with each other correlate (docs of :mod:`spadework.spatial_null`). Counts are
therefore replaced by residuals of negative binomial regressions on log10 UMI, log10 UMI stays in the model, and spots
are counted at their effective number. Latents are tested one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spadework.association import Moments, benjamini_hochberg, fit_model, gene_moments
from spadework.residuals import fit_negative_binomial
from spadework.spatial_null import SpatialNull

STATISTICS = ("r_depth", "t_depth", "p_depth", "fdr_depth", "t_spatial", "p_spatial", "fdr_spatial", "ess")
COLUMNS = (*STATISTICS, "log10_p_depth", "log10_p_spatial")
# Counts regressed at a time: what fits the cache is fastest, and large sections stay small in memory.
_BLOCK_VALUES = 1_000_000


@dataclass(frozen=True)
class Adjusted:
    """Adjusted tests, (genes, latents) float64.

    Attributes
    ----------
    r_depth
        Partial correlation of residuals and latent, given log10 UMI.
    t_depth, p_depth, fdr_depth
        Moderated t of the residuals, log10 UMI in the model; spots taken as independent.
    t_spatial, p_spatial, fdr_spatial
        The same association at the effective number of spots; NaN without a lattice.
    ess
        Effective number of spots.
    log10_p_depth, log10_p_spatial
        log10 of p, exact where p itself underflows.

    Genes that depth explains to the last count are NaN.
    """

    r_depth: NDArray[np.float64]
    t_depth: NDArray[np.float64]
    p_depth: NDArray[np.float64]
    fdr_depth: NDArray[np.float64]
    t_spatial: NDArray[np.float64]
    p_spatial: NDArray[np.float64]
    fdr_spatial: NDArray[np.float64]
    ess: NDArray[np.float64]
    log10_p_depth: NDArray[np.float64]
    log10_p_spatial: NDArray[np.float64]


def associate_adjusted(
    counts: sparse.csc_matrix,
    latents: NDArray[np.float64],
    log10_umi: NDArray[np.float64],
    null: SpatialNull | None,
) -> Adjusted:
    """Test every gene against every latent, adjusted for depth, and for depth and space.

    Parameters
    ----------
    counts
        (spots, genes) raw counts.
    latents
        (spots, k).
    log10_umi
        (spots,).
    null
        The section's lattice, with log10 UMI as covariate; None where spots lie on no lattice.

    Raises
    ------
    ValueError
        If depth does not vary, or a latent is a combination of it.
    """
    depth = ((log10_umi - log10_umi.mean()) / log10_umi.std())[:, None] if log10_umi.std() > 0 else log10_umi[:, None]
    moments, spatial = [], []
    for block in _residuals(counts, depth):
        moments.append(gene_moments(block, latents, depth))
        if null is not None:
            spatial.append(null.test(block, latents))
    whole = _joined(moments)
    fits = [fit_model(whole, [j]) for j in range(latents.shape[1])]
    t_depth = np.hstack([fit.t for fit in fits])
    log10_p_depth = np.hstack([fit.log10_p for fit in fits])
    p_depth = np.maximum(10.0**log10_p_depth, np.finfo(float).tiny)
    missing = np.full(t_depth.shape, np.nan)

    def of(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(test, name) for test in spatial]) if spatial else missing

    p_spatial = of("p")
    return Adjusted(
        r_depth=_partial_correlations(whole),
        t_depth=t_depth,
        p_depth=p_depth,
        fdr_depth=benjamini_hochberg(p_depth),
        t_spatial=of("t"),
        p_spatial=p_spatial,
        fdr_spatial=benjamini_hochberg(p_spatial),
        ess=of("ess"),
        log10_p_depth=log10_p_depth,
        log10_p_spatial=of("log10_p"),
    )


def _residuals(counts: sparse.csc_matrix, covariates: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    block = max(1, _BLOCK_VALUES // counts.shape[0])
    for start in range(0, counts.shape[1], block):
        yield fit_negative_binomial(counts[:, start : start + block].toarray(), covariates).residuals


def _joined(parts: list[Moments]) -> Moments:
    return Moments(
        centred=parts[0].centred,
        length=parts[0].length,
        n_covariates=parts[0].n_covariates,
        sum_of_squares=np.concatenate([part.sum_of_squares for part in parts]),
        products=np.concatenate([part.products for part in parts]),
    )


def _partial_correlations(moments: Moments) -> NDArray[np.float64]:
    """Correlate what covariates leave of every gene with what they leave of every latent."""
    q = moments.n_covariates
    basis, upper = np.linalg.qr(moments.centred[:, :q])
    explained = moments.products[:, :q] @ np.linalg.inv(upper)
    along = basis.T @ moments.centred[:, q:]
    gene = moments.sum_of_squares - (explained**2).sum(axis=1)
    latent = (moments.centred[:, q:] ** 2).sum(axis=0) - (along**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (moments.products[:, q:] - explained @ along) / np.sqrt(gene[:, None] * latent)
    return np.clip(r, -1, 1)

"""Association beyond sequencing depth, and beyond what neighbouring spots have in common anyway.

Deep spots are deep because of what the tissue is, so an image latent that follows depth finds every gene; and two
smooth patterns that have nothing to do with each other correlate (docs of :mod:`spadework.spatial_null`). Counts are
therefore replaced by residuals of regressions on depth, covariates (log10 UMI first of all) stay in the model, and
spots are counted at their effective number. Latents are tested one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spadework.association import Moments, benjamini_hochberg, fit_model, gene_moments
from spadework.columns import ADJUSTED
from spadework.mixed_model import SpatialMixedModel
from spadework.residuals import analytic_pearson, fit_negative_binomial
from spadework.spatial_null import SpatialNull, orthonormal_basis
from spadework.surrogates import PermutedLatents

Residuals = Literal["nb", "pearson"]
Columns = dict[str, NDArray[np.float64]]
# Counts regressed at a time: what fits the cache is fastest, and large sections stay small in memory.
_BLOCK_VALUES = 1_000_000


@dataclass(frozen=True)
class Depth:
    """How sequencing depth is taken out of the counts.

    Attributes
    ----------
    log10_umi
        (spots,).
    residuals
        ``nb``: Pearson residuals of a negative binomial regression per gene on log10 UMI; ``pearson``: analytic
        Pearson residuals, which take every gene's share of the counts as the same in all spots.
    """

    log10_umi: NDArray[np.float64]
    residuals: Residuals = "nb"

    def blocks(self, counts: sparse.csc_matrix) -> Iterator[NDArray[np.float64]]:
        """Yield residuals (spots, genes) of a block of genes after the other.

        Raises
        ------
        ValueError
            If depth does not vary.
        """
        z = self.log10_umi - self.log10_umi.mean()
        z = (z / (z.std() or 1.0))[:, None]
        size = max(1, _BLOCK_VALUES // counts.shape[0])
        for start in range(0, counts.shape[1], size):
            block = counts[:, start : start + size].toarray()
            if self.residuals == "nb":
                yield fit_negative_binomial(block, z).residuals
            else:
                yield analytic_pearson(block, 10.0**self.log10_umi)


@dataclass(frozen=True)
class SpatialTests:
    """The tests that need a lattice; the last two on demand.

    All know the same covariates.
    """

    null: SpatialNull
    mixed: SpatialMixedModel | None = None
    permuted: PermutedLatents | None = None


def associate_adjusted(
    counts: sparse.csc_matrix,
    latents: NDArray[np.float64],
    depth: Depth,
    covariates: NDArray[np.float64],
    spatial: SpatialTests | None,
) -> Columns:
    """Test every gene against every latent, adjusted for depth, and for depth and space.

    Parameters
    ----------
    counts
        (spots, genes) raw counts.
    latents
        (spots, k).
    covariates
        (spots, c) what stays in the model, usually log10 UMI; c may be 0.
    spatial
        None where spots lie on no lattice.

    Returns
    -------
    dict
        Name -> (genes, latents) float64:

        ``r_depth``
            Partial correlation of residuals and latent, given the covariates.
        ``t_depth``, ``p_depth``, ``fdr_depth``
            Moderated t of the residuals; spots taken as independent.
        ``t_spatial``, ``p_spatial``, ``fdr_spatial``, ``ess``
            The same association at the effective number of spots ``ess``; NaN without a lattice.
        ``t_mixed``, ``p_mixed``, ``fdr_mixed``
            Second opinion: spatial mixed model.
        ``spatial_share``, ``spatial_range``
            Of the gene, whatever the latent: share of its variance that this model takes for spatial, and the range
            of that in pitches.
        ``p_permuted``, ``fdr_permuted``, ``ess_permuted``
            Third: effective number of spots from permuted latents.
        ``log10_p_depth``, ``log10_p_spatial``
            log10 of p, exact where p itself underflows.

        Genes that depth explains to the last count are NaN.

    Raises
    ------
    ValueError
        If depth does not vary, or a latent is a combination of the covariates.
    """
    # An orthonormal basis of what the covariates span: collinear ones change nothing.
    design = orthonormal_basis(len(latents), covariates)[:, 1:]
    null = spatial.null.against(latents) if spatial else None
    moments: list[Moments] = []
    parts: list[Columns] = []
    for block in depth.blocks(counts):
        moments.append(gene_moments(block, latents, design))
        part: Columns = {}
        if spatial and null:
            test = null.test(block)
            part = {"t_spatial": test.t, "p_spatial": test.p, "ess": test.ess, "log10_p_spatial": test.log10_p}
            if spatial.mixed:
                mixed = spatial.mixed.test(block, latents)
                part |= {"t_mixed": mixed.t, "p_mixed": mixed.p}
                for name, values in (("spatial_share", mixed.spatial_share), ("spatial_range", mixed.range_)):
                    part[name] = np.tile(values[:, None], latents.shape[1])
            if spatial.permuted:
                permuted = spatial.permuted.test(block, test.r)
                part |= {"p_permuted": permuted.p, "ess_permuted": permuted.ess}
        parts.append(part)
    whole = _joined(moments)
    fits = [fit_model(whole, [j]) for j in range(latents.shape[1])]
    log10_p_depth = np.hstack([fit.log10_p for fit in fits])
    columns = {
        "r_depth": _partial_correlations(whole),
        "t_depth": np.hstack([fit.t for fit in fits]),
        "p_depth": np.maximum(10.0**log10_p_depth, np.finfo(float).tiny),
        "log10_p_depth": log10_p_depth,
    }
    missing = dict.fromkeys(
        ("t_spatial", "p_spatial", "ess", "log10_p_spatial"), np.full(log10_p_depth.shape, np.nan)
    )
    columns |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} or missing
    for test_name in ("depth", "spatial", "mixed", "permuted"):
        if f"p_{test_name}" in columns:
            columns[f"fdr_{test_name}"] = benjamini_hochberg(columns[f"p_{test_name}"])
    further = ("spatial_share", "spatial_range", "log10_p_depth", "log10_p_spatial")
    order = [name for name in (*ADJUSTED, *further) if name in columns]
    return {name: columns[name] for name in order}


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

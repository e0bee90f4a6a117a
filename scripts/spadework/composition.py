"""What image latents add to what a spot is made of: nested models of every gene.

The smaller model knows depth, the share of tissue in the patch and the expression cluster of a spot, the larger one
the latents besides. Clusters are made from the same counts, so the comparison is a strict one: a latent that does no
more than tell the clusters apart adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from spadework.adjusted import Residuals
from spadework.association import benjamini_hochberg
from spadework.covariates import covariate_matrix
from spadework.keys import LOG10_UMI, Keys
from spadework.lattice import array_to_um
from spadework.section_association import ModelInput, counts_and_depth, on_lattice
from spadework.spatial_null import SpatialNull, orthonormal_basis

COMPOSITION = (LOG10_UMI, Keys.TISSUE_FRACTION, Keys.CLUSTER)
N_FOLDS = 5


@dataclass(frozen=True)
class Nested:
    """Two models of every gene, (genes,) float64 each; NaN for genes without residual variance.

    Attributes
    ----------
    r2_composition
        Share of the variance the smaller model explains.
    partial_r2
        Share of the rest that the latents explain.
    cv_r2_composition, cv_r2_latents
        Share of the variance that the smaller and the larger model predict in parts of the section they were not
        fitted on; negative where the mean of the other parts predicts better.
    """

    r2_composition: NDArray[np.float64]
    partial_r2: NDArray[np.float64]
    cv_r2_composition: NDArray[np.float64]
    cv_r2_latents: NDArray[np.float64]


class NestedModels:
    """Fits both models to blocks of genes.

    Parameters
    ----------
    composition
        (n, c), without an intercept.
    latents
        (n, k).
    fold
        (n,) part of the section each spot is in.
    """

    def __init__(
        self, composition: NDArray[np.float64], latents: NDArray[np.float64], fold: NDArray[np.integer]
    ) -> None:
        n = len(latents)
        designs = (composition, np.hstack([composition, latents]))
        # An orthonormal basis: columns of any unit and collinear ones are the same to what follows.
        self._bases = [orthonormal_basis(n, design) for design in designs]
        self._folds = [fold == f for f in np.unique(fold)]
        self._fits = [[np.linalg.pinv(basis[~out]) for out in self._folds] for basis in self._bases]

    def fit(self, values: NDArray[np.float64]) -> Nested:
        """Fit to values (n, genes)."""
        centred = values - values.mean(axis=0)
        total = (centred**2).sum(axis=0)
        total = np.where(np.ptp(values, axis=0) > 0, total, np.nan)
        small, large = (((basis.T @ centred) ** 2).sum(axis=0) / total for basis in self._bases)
        around_others = sum(((values[out] - values[~out].mean(axis=0)) ** 2).sum(axis=0) for out in self._folds)
        predicted = [
            1
            - sum(
                ((values[out] - basis[out] @ (fit @ values[~out])) ** 2).sum(axis=0)
                for out, fit in zip(self._folds, fits, strict=True)
            )
            / np.where(np.isnan(total), np.nan, around_others)
            for basis, fits in zip(self._bases, self._fits, strict=True)
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            partial = (large - small) / (1 - small)
        return Nested(small, partial, *predicted)


def blocks_of_space(um: NDArray[np.float64], n_folds: int, seed: int) -> NDArray[np.integer]:
    """Cut a section into parts of connected spots (k-means of the positions (n, 2)), (n,) int."""
    return KMeans(n_folds, n_init=4, random_state=seed).fit_predict(um)


def beyond_composition(
    section: ad.AnnData, tested: ModelInput, sample: str, *, residuals: Residuals, seed: int
) -> pd.DataFrame:
    """Ask of every gene what the latents add to depth, tissue and cluster.

    Parameters
    ----------
    section
        AnnData of the expression stage, with the patches' tissue fraction in ``obs``.

    Returns
    -------
    pandas.DataFrame
        A row per gene, surest first: ``gene``, ``gene_id``, the numbers of :class:`Nested`, ``cv_gain`` (their
        difference), ``latent`` (the one that adds most surely), ``p`` (spatial test of that latent given composition,
        times the number of latents) and ``fdr``; the last three are missing without a lattice.

    Raises
    ------
    ValueError
        If a latent is a combination of depth, tissue and cluster.
    """
    composition = covariate_matrix(section.obs, COMPOSITION, sample)
    cells = section.obs[[Keys.ARRAY_ROW, Keys.ARRAY_COL]].to_numpy()
    kind = section.uns[Keys.SPADE]["lattice"]["kind"]
    um = section.obsm[Keys.SPATIAL] if kind == "none" else array_to_um(kind, 1.0, *cells.T)
    models = NestedModels(composition, tested.latents, blocks_of_space(um, min(N_FOLDS, section.n_obs // 2), seed))
    lattice = on_lattice(section, sample)
    null = SpatialNull(*lattice, composition).against(tested.latents) if lattice else None
    counts, depth = counts_and_depth(section, tested, residuals)
    parts, log10_p = [], []
    for block in depth.blocks(counts):
        parts.append(models.fit(block))
        if null:
            log10_p.append(null.test(block).log10_p)
    table = pd.DataFrame(
        {"gene": tested.genes.index.to_numpy(str), "gene_id": tested.genes[Keys.GENE_IDS].to_numpy(str)}
        | {name: np.concatenate([getattr(part, name) for part in parts]) for name in Nested.__dataclass_fields__}
    )
    table["cv_gain"] = table["cv_r2_latents"] - table["cv_r2_composition"]
    return _with_test(table, np.concatenate(log10_p) if log10_p else None)


def _with_test(table: pd.DataFrame, log10_p: NDArray[np.float64] | None) -> pd.DataFrame:
    """Add the best latent of each gene, its p over all latents, and the false discovery rate."""
    if log10_p is None:
        return table.assign(latent=pd.array([pd.NA] * len(table), "Int64"), p=np.nan, fdr=np.nan)
    known = np.isfinite(log10_p).all(axis=1)
    best = np.where(known, np.nan_to_num(log10_p, nan=0.0).argmin(axis=1), 0)
    p = np.minimum(10.0 ** log10_p[np.arange(len(best)), best] * log10_p.shape[1], 1.0)
    p = np.where(known, np.maximum(p, np.finfo(float).tiny), np.nan)
    table["latent"] = pd.array(best + 1, "Int64")
    table.loc[~known, "latent"] = pd.NA
    table["p"], table["fdr"] = p, benjamini_hochberg(p[:, None])[:, 0]
    return table.sort_values("p", kind="stable", na_position="last", ignore_index=True)

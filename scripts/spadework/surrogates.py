"""Spatially permuted latents: the test of last resort, by brute force, and the null of gene sets.

A latent's own values are laid out anew, in the order of a random field with the latent's autocorrelation, many times
over (the idea of spatial surrogate maps: Burt et al. 2020, NeuroImage 220:117038). How much a gene's correlation with
these scatters gives its variance without unrelated patterns, and so an effective number of spots that owes nothing
to the gene's own correlogram. All genes meet the same permutations, so that genes correlated with each other stray
together; :mod:`spadework.enrichment` makes use of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spadework.null_fields import fit_field, simulate_fields
from spadework.spatial_null import MAX_VARIANCE, SpatialTest, t_test, unit_residuals


@dataclass(frozen=True)
class PermutedLatents:
    """Permutations of each latent of a section.

    Attributes
    ----------
    basis
        (n, q) float64, orthonormal: intercept and covariates.
    fields
        (k, n, permutations) float32 unit residuals, single precision for memory of the permuted latents.
    """

    basis: NDArray[np.float64]
    fields: NDArray[np.float32]

    @classmethod
    def draw(
        cls,
        latents: NDArray[np.float64],
        cells: NDArray[np.integer],
        step: tuple[float, float],
        basis: NDArray[np.float64],
        n_permutations: int,
        seed: int,
    ) -> PermutedLatents:
        """Permute what the covariates leave of latents (n, k), by fields with its autocorrelation, on a lattice.

        The latents themselves can be far smoother than what is tested, or far rougher: one that follows depth, say.
        """
        rng = np.random.default_rng(seed)
        permuted = []
        for values in unit_residuals(basis, latents)[0].T:
            model = fit_field(cells, step, values)
            rank = simulate_fields(cells, step, model, n_permutations, rng).argsort(axis=0).argsort(axis=0)
            permuted.append(unit_residuals(basis, np.sort(values)[rank])[0].astype(np.float32))
        return cls(basis, np.stack(permuted))

    @classmethod
    def shuffle(
        cls, latents: NDArray[np.float64], basis: NDArray[np.float64], n_permutations: int, seed: int
    ) -> PermutedLatents:
        """Permute what the covariates leave of latents (n, k) at random, where spots are taken as independent."""
        rng = np.random.default_rng(seed)
        copies = np.repeat(unit_residuals(basis, latents)[0].T[:, :, None], n_permutations, axis=2)
        permuted = [unit_residuals(basis, rng.permuted(copy, axis=0))[0].astype(np.float32) for copy in copies]
        return cls(basis, np.stack(permuted))

    def correlations(self, expression: NDArray[np.floating]) -> NDArray[np.float32]:
        """Correlate expression (n, genes) with the permuted latents, given the covariates.

        Returns
        -------
        numpy.ndarray
            (k, genes, permutations) float32; 0 for genes that the covariates explain.
        """
        y, varies = unit_residuals(self.basis, expression)
        y[:, ~varies] = 0
        y = y.astype(np.float32)
        return np.stack([y.T @ field for field in self.fields])

    def test(self, expression: NDArray[np.floating], r: NDArray[np.float64]) -> SpatialTest:
        """Test partial correlations r (genes, k) of expression (n, genes) against those with the permuted latents."""
        n, q = self.basis.shape
        variance = (self.correlations(expression) ** 2).mean(axis=2, dtype=np.float64).T
        variance = np.where(np.isnan(r), np.nan, np.clip(variance, 1 / (n - q), MAX_VARIANCE))
        return t_test(r, 1 + 1 / variance)

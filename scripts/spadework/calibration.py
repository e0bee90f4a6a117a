"""Do the p-values of this section mean what they say? The tests on latents that have nothing to do with any gene.

A null latent is a random field with the spatial autocorrelation of one of the section's own latents. Whatever a test
finds for it is a false discovery, and five percent of its p-values should be below 0.05.
"""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.adjusted import Columns
from spadework.association import benjamini_hochberg, fit_model, gene_moments
from spadework.columns import LEVEL
from spadework.null_fields import fit_field, simulate_fields
from spadework.section_association import Adjustment, ModelInput, adjust, on_lattice
from spadework.spatial_null import SpatialNull

# Null latents tested together: some hundred would need all memory there is.
_AT_A_TIME = 50


def calibrate(
    section: ad.AnnData, tested: ModelInput, sample: str, adjustment: Adjustment, *, n_fields: int, fdr: float
) -> pd.DataFrame:
    """Run all tests on null latents.

    Parameters
    ----------
    section
        AnnData of the expression stage.
    n_fields
        Null latents; as many imitate each of the section's latents as the others, give or take one.
    fdr
        A gene below this false discovery rate counts as found.

    Returns
    -------
    pandas.DataFrame
        A row per null latent and test: ``field``, ``imitates`` (a latent), ``range_pitches``, ``nugget``,
        ``neighbours_latent`` and ``neighbours_field`` (correlation of adjacent spots in either), ``test``, ``genes``,
        ``share_below_05`` and ``found``. No rows without a lattice.

    Raises
    ------
    ValueError
        If latents or depth do not vary.
    """
    columns = ["field", "imitates", "range_pitches", "nugget", "neighbours_latent", "neighbours_field"]
    columns += ["test", "genes", "share_below_05", "found"]
    lattice = on_lattice(section, sample)
    if lattice is None:
        return pd.DataFrame(columns=columns)
    plain = SpatialNull(*lattice)
    models = [fit_field(*lattice, values) for values in tested.latents.T]
    rng = np.random.default_rng(adjustment.seed)
    imitated = np.sort(np.arange(n_fields) % len(models))
    numbers = np.bincount(imitated, minlength=len(models))
    fields = np.hstack([simulate_fields(*lattice, *drawn, rng) for drawn in zip(models, numbers, strict=True)])
    alike = [_neighbours(plain, values) for values in (tested.latents, fields)]
    rows = []
    for start in range(0, n_fields, _AT_A_TIME):
        part = fields[:, start : start + _AT_A_TIME]
        for test, p in p_values(section, replace(tested, latents=part), sample, adjustment).items():
            for i, of_field in enumerate(p.T, start):
                j, of_field = imitated[i], of_field[np.isfinite(of_field)]
                found = int((benjamini_hochberg(of_field[:, None]) < fdr).sum())
                known = [i + 1, j + 1, models[j].range_, models[j].nugget, alike[0][j], alike[1][i]]
                rows.append([*known, test, len(of_field), float((of_field < LEVEL).mean()), found])
    return pd.DataFrame(rows, columns=columns)


def p_values(
    section: ad.AnnData, tested: ModelInput, sample: str, adjustment: Adjustment
) -> dict[str, NDArray[np.float64]]:
    """Return the p-values (genes, latents) of each test there is, the published one with a model per latent."""
    no_covariates = np.empty((len(tested.latents), 0))
    moments = gene_moments(tested.expression, tested.latents, no_covariates, tested.unit)
    naive = np.hstack([fit_model(moments, [j]).log10_p for j in range(tested.latents.shape[1])])
    adjusted: Columns = adjust(section, tested, sample, adjustment)
    return {"published": 10.0**naive} | {
        name.removeprefix("p_"): values for name, values in adjusted.items() if name.startswith("p_")
    }


def _neighbours(null: SpatialNull, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of spots one pitch apart, (m,)."""
    covariance = null.covariances(values)
    return covariance[1] / covariance[0]

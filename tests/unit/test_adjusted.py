"""Tests adjusted for depth and space, against statsmodels, the spatial test itself, and the reference values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from moderated import moderated
from scipy import sparse, stats
from statsmodels.stats.multitest import multipletests

from spadework import adjusted
from spadework.adjusted import Depth, SpatialTests, associate_adjusted
from spadework.mixed_model import SpatialMixedModel
from spadework.residuals import MAX_THETA, analytic_pearson, fit_negative_binomial
from spadework.spatial_null import STEPS, SpatialNull

N, GENES, K = 144, 30, 3


@pytest.fixture(scope="module")
def section() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts, latents, log10 UMI and lattice cells; the first latent follows depth, some genes follow the second."""
    rng = np.random.default_rng(2)
    log10_umi = rng.normal(3.5, 0.3, N)
    latents = rng.normal(size=(N, K))
    latents[:, 0] += 5 * log10_umi
    effect = np.where(np.arange(GENES) < 5, 0.5, 0.0)
    rate = np.exp(np.log(10) * (log10_umi[:, None] - 3.5) + rng.normal(0.5, 1, GENES) + effect * latents[:, [1]])
    counts = rng.poisson(rng.gamma(8, rate / 8)).astype(np.int32)
    return counts, latents, log10_umi, np.column_stack([np.arange(N) // 12, np.arange(N) % 12])


def by_statsmodels(y: np.ndarray, z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    x = sm.add_constant(z)
    nearly_poisson = sm.families.NegativeBinomial(alpha=1 / MAX_THETA)
    mean = sm.GLM(y, x, family=nearly_poisson).fit(tol=1e-12, maxiter=100).mu
    excess = ((y - mean) ** 2 - mean).sum()
    theta = min((mean**2).sum() / excess, MAX_THETA) if excess > 0 else MAX_THETA
    fit = sm.GLM(y, x, family=sm.families.NegativeBinomial(alpha=1 / theta)).fit(tol=1e-12, maxiter=100)
    return theta, fit.params, fit.resid_pearson


@pytest.mark.parametrize("n_covariates", [1, 2])
def test_regressions_equal_statsmodels(section, n_covariates):
    counts, latents, log10_umi, _ = section
    z = stats.zscore(np.column_stack([log10_umi, latents[:, 2]])[:, :n_covariates])
    ours = fit_negative_binomial(counts, z)
    for g in range(GENES):
        theta, params, residuals = by_statsmodels(counts[:, g].astype(float), z)
        assert ours.theta[g] == pytest.approx(theta, rel=1e-5)
        np.testing.assert_allclose(ours.coefficients[g], params, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(ours.residuals[:, g], residuals, rtol=1e-6, atol=1e-8)


def test_genes_do_not_depend_on_their_company(section):
    counts, _, log10_umi, _ = section
    z = stats.zscore(log10_umi)[:, None]
    whole = fit_negative_binomial(counts, z).residuals
    np.testing.assert_allclose(fit_negative_binomial(counts[:, 3:5], z).residuals, whole[:, 3:5], atol=1e-9)


def test_genes_without_counts_or_with_one_are_finite(section):
    z = stats.zscore(section[2])[:, None]
    counts = np.zeros((N, 3), int)
    counts[7, 1], counts[:, 2] = 400, 3
    fit = fit_negative_binomial(counts, z)
    assert np.isfinite(fit.residuals).all()
    assert (fit.residuals[:, 0] == 0).all()
    assert np.isnan(fit.coefficients[0]).all()
    assert fit.theta[2] == MAX_THETA


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        (np.ones((N, 1)), "constant"),
        (np.arange(N)[:, None] * [1.0, -2.0], "combination"),
        (np.full((N, 1), np.nan), "NaN"),
        (np.ones((3, 1)), "for 144 spots"),
    ],
)
def test_covariates_that_cannot_be_used_are_refused(section, covariates, message):
    with pytest.raises(ValueError, match=message):
        fit_negative_binomial(section[0], covariates)


@pytest.mark.shared
def test_regressions_equal_the_reference(shared_data):
    folder = shared_data / "spade_reference" / "C2"
    with np.load(folder / "spatial_golden.npz", allow_pickle=True) as golden:
        genes, theta, beta = golden["genes"].astype(str), golden["nbglm_theta"], golden["nbglm_beta"]
    log_umi = pd.read_csv(folder / "covariates.csv", index_col=0)["logUMI"]
    counts = pd.read_csv(shared_data / "her2st/C2/counts.tsv.gz", sep="\t", index_col=0).loc[log_umi.index, genes]
    ours = fit_negative_binomial(counts.to_numpy(), stats.zscore(log_umi.to_numpy())[:, None])
    np.testing.assert_allclose(ours.theta, theta, rtol=1e-8)
    np.testing.assert_allclose(ours.coefficients, beta, atol=2e-5)


def test_adjusted_tests_equal_those_of_the_residuals(section, monkeypatch):
    counts, latents, log10_umi, cells = section
    z = stats.zscore(log10_umi)[:, None]
    null = SpatialNull(cells, STEPS["square"], log10_umi[:, None])
    monkeypatch.setattr(adjusted, "_BLOCK_VALUES", 7 * N)
    ours = associate_adjusted(
        sparse.csc_matrix(counts), latents, Depth(log10_umi), log10_umi[:, None], SpatialTests(null)
    )
    residuals = np.column_stack([by_statsmodels(y.astype(float), z)[2] for y in counts.T])
    spatial = null.against(latents).test(residuals)
    for name in ("t", "p", "ess"):
        value = ours[name if name == "ess" else f"{name}_spatial"]
        np.testing.assert_allclose(value, getattr(spatial, name), rtol=1e-4)
    np.testing.assert_allclose(ours["r_depth"], spatial.r, atol=1e-6)
    for j in range(K):
        expected = moderated(residuals, np.hstack([z, latents[:, [j]]]))
        np.testing.assert_allclose(ours["t_depth"][:, j], expected.t[:, 1], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours["fdr_depth"][:, j], expected.fdr[:, 1], rtol=1e-3)
        bh = multipletests(spatial.p[:, j], method="fdr_bh")[1]
        np.testing.assert_allclose(ours["fdr_spatial"][:, j], bh, rtol=1e-3)


def test_a_latent_that_follows_depth_finds_nothing_and_a_planted_one_is_found(section):
    counts, latents, log10_umi, cells = section
    null = SpatialNull(cells, STEPS["square"], log10_umi[:, None])
    ours = associate_adjusted(
        sparse.csc_matrix(counts), latents, Depth(log10_umi), log10_umi[:, None], SpatialTests(null)
    )
    assert (ours["fdr_spatial"][:, 0] < 0.05).sum() <= 1
    assert (ours["fdr_spatial"][:5, 1] < 0.05).sum() >= 3


def test_depth_that_is_the_same_everywhere_is_refused(section):
    counts, latents, _, _ = section
    with pytest.raises(ValueError, match="constant"):
        associate_adjusted(sparse.csc_matrix(counts), latents, Depth(np.full(N, 3.0)), np.empty((N, 0)), None)


def test_analytic_residuals_equal_scanpy(section):
    import anndata as ad
    import scanpy as sc

    counts = section[0]
    adata = ad.AnnData(counts.astype(np.float64))
    sc.experimental.pp.normalize_pearson_residuals(adata, theta=100)
    np.testing.assert_allclose(analytic_pearson(counts, counts.sum(axis=1)), adata.X, rtol=1e-9, atol=1e-12)
    # Totals are of all genes: a block alone would not know them.
    np.testing.assert_allclose(analytic_pearson(counts[:, 4:6], counts.sum(axis=1)), adata.X[:, 4:6], atol=1e-9)
    assert (analytic_pearson(np.zeros((N, 1)), counts.sum(axis=1)) == 0).all()


@pytest.mark.parametrize("residuals", ["nb", "pearson"])
def test_covariates_are_held_constant(section, residuals):
    counts, latents, log10_umi, cells = section
    covariates = np.column_stack([log10_umi, latents[:, 2], latents[:, 2] * 3 + 1])  # the last adds nothing
    null = SpatialNull(cells, STEPS["square"], covariates)
    depth = Depth(log10_umi, residuals)
    ours = associate_adjusted(sparse.csc_matrix(counts), latents[:, :2], depth, covariates, SpatialTests(null))
    values = np.hstack(list(depth.blocks(sparse.csc_matrix(counts))))
    x = np.column_stack([np.ones(N), covariates[:, :2]])
    left = [v - x @ np.linalg.lstsq(x, v, rcond=None)[0] for v in (values, latents[:, :2])]
    expected = np.corrcoef(*left, rowvar=False)[:GENES, GENES:]
    np.testing.assert_allclose(ours["r_depth"], expected, atol=1e-9)
    for j in range(2):
        fit = moderated(values, np.hstack([covariates[:, :2], latents[:, [j]]]))
        np.testing.assert_allclose(ours["t_depth"][:, j], fit.t[:, 2], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours["p_spatial"], null.against(latents[:, :2]).test(values).p, rtol=1e-9)


def test_without_covariates_there_is_only_the_intercept(section):
    counts, latents, log10_umi, _ = section
    depth = Depth(log10_umi, "pearson")
    ours = associate_adjusted(sparse.csc_matrix(counts), latents, depth, np.empty((N, 0)), None)
    values = next(depth.blocks(sparse.csc_matrix(counts)))
    expected = np.corrcoef(values, latents, rowvar=False)[:GENES, GENES:]
    np.testing.assert_allclose(ours["r_depth"], expected, atol=1e-12)
    assert np.isnan(ours["p_spatial"]).all()
    assert "p_mixed" not in ours


@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize("end", ["deepest", "shallowest"])
def test_a_gene_in_the_deepest_or_shallowest_spot_alone_harms_no_other(n, end):
    rng = np.random.default_rng(3)
    z = stats.zscore(np.sort(rng.normal(size=n)))[:, None]
    counts = rng.poisson(2, (n, 3))
    counts[:, 1] = 0
    counts[-1 if end == "deepest" else 0, 1] = 1
    fit = fit_negative_binomial(counts, z)
    assert np.isfinite(fit.residuals).all()
    expected = fit_negative_binomial(counts[:, [0, 2]], z).residuals
    np.testing.assert_allclose(fit.residuals[:, [0, 2]], expected, atol=1e-9)


def test_the_mixed_model_says_of_every_gene_how_spatial_it_is(section):
    counts, latents, log10_umi, cells = section
    covariates = log10_umi[:, None]
    tests = SpatialTests(
        SpatialNull(cells, STEPS["square"], covariates), SpatialMixedModel(cells, STEPS["square"], covariates)
    )
    depth = Depth(log10_umi)
    ours = associate_adjusted(sparse.csc_matrix(counts), latents, depth, covariates, tests)
    expected = tests.mixed.test(np.hstack(list(depth.blocks(sparse.csc_matrix(counts)))), latents)
    np.testing.assert_allclose(ours["p_mixed"], expected.p, rtol=1e-9)
    for j in range(K):
        np.testing.assert_array_equal(ours["spatial_share"][:, j], expected.spatial_share)
        np.testing.assert_array_equal(ours["spatial_range"][:, j], expected.range_)
    bh = multipletests(expected.p[:, 1], method="fdr_bh")[1]
    np.testing.assert_allclose(ours["fdr_mixed"][:, 1], bh, rtol=1e-9)

"""Association against independent implementations: R limma's output, statsmodels, scipy, and integration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, sparse, stats
from scipy.special import polygamma
from statsmodels.stats.multitest import multipletests

from spadework.association import (
    associate,
    benjamini_hochberg,
    fit_prior,
    posterior_variance,
    to_table,
    trigamma_inverse,
    two_sided_log10_p,
)

N, GENES, LATENTS = 60, 40, 3


@pytest.fixture(scope="module")
def data() -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(1)
    latents = rng.normal(3, 2, (N, LATENTS))
    counts = rng.poisson(np.exp(0.2 * latents[:, [0]] * rng.normal(0, 1, GENES)))
    return sparse.csr_matrix(np.log1p(counts)), latents


@pytest.mark.shared
@pytest.mark.parametrize(("pixels", "latent"), [("255", 1), ("255", 2), ("01", 1)])
def test_equals_limma_on_its_own_input(shared_data, pixels, latent):
    folder = shared_data / "spade_reference" / "C2"
    lognorm = pd.read_csv(folder / "lognorm.csv.gz", index_col=0)
    design = pd.read_csv(folder / f"design_pcs_range{pixels}.csv", index_col=0).loc[lognorm.columns]
    limma = pd.read_csv(folder / f"limma_range{pixels}_PC{latent}.csv.gz", index_col=0).loc[lognorm.index]
    centred = lognorm.sub(lognorm.mean(axis=1), axis=0)
    scaled = centred.div(lognorm.std(axis=1, ddof=1), axis=0).clip(upper=10)
    ours = associate(scaled.to_numpy().T, design.iloc[:, :2].to_numpy(), design="joint")
    j = latent - 1
    assert np.max(np.abs(ours.t[:, j] / limma["t"] - 1)) < 1e-8
    assert np.max(np.abs(ours.log10_p[:, j] - np.log10(limma["P.Value"]))) < 1e-6
    assert np.max(np.abs(ours.fdr[:, j] - limma["adj.P.Val"])) < 1e-8
    assert np.max(np.abs(ours.coef[:, j] - limma["logFC"])) < 1e-10
    assert np.isinf(ours.df_prior[j])


@pytest.mark.shared
def test_prior_equals_limmas_on_unscaled_expression(shared_data):
    # R limma 3.54.1 on this input, ~ 1 + PC1 + PC2 of range01: df.prior 5.53.
    folder = shared_data / "spade_reference" / "C2"
    lognorm = pd.read_csv(folder / "lognorm.csv.gz", index_col=0)
    design = pd.read_csv(folder / "design_pcs_range01.csv", index_col=0).loc[lognorm.columns]
    ours = associate(lognorm.to_numpy().T, design.iloc[:, :2].to_numpy(), design="joint")
    assert ours.df_prior[0] == pytest.approx(5.53, abs=0.005)


@pytest.mark.parametrize("design", ["marginal", "joint"])
def test_slopes_equal_ordinary_least_squares(data, design):
    expression, latents = data
    ours = associate(expression, latents, design=design)
    dense = expression.toarray()
    for g in range(0, GENES, 7):
        if design == "joint":
            coef = sm.OLS(dense[:, g], sm.add_constant(latents)).fit().params[1:]
        else:
            coef = [sm.OLS(dense[:, g], sm.add_constant(x)).fit().params[1] for x in latents.T]
        np.testing.assert_allclose(ours.coef[g], coef, rtol=1e-10)


def test_moderated_t_is_the_ordinary_one_with_the_squeezed_variance(data):
    expression, latents = data
    ours = associate(expression, latents[:, :1])
    fits = [sm.OLS(y, sm.add_constant(latents[:, 0])).fit() for y in expression.toarray().T]
    variance = np.array([f.mse_resid for f in fits])
    df_prior, var_prior = fit_prior(variance, N - 2)
    squeezed = posterior_variance(variance, N - 2, df_prior, var_prior)
    ordinary = np.array([f.tvalues[1] for f in fits])
    np.testing.assert_allclose(ours.t[:, 0], ordinary * np.sqrt(variance / squeezed), rtol=1e-9)
    assert not np.allclose(ours.t[:, 0], ordinary, rtol=1e-3)


def test_correlations_equal_scipys(data):
    expression, latents = data
    ours = associate(expression, latents)
    dense = expression.toarray()
    for g in range(GENES):
        for j in range(LATENTS):
            assert ours.r[g, j] == pytest.approx(stats.pearsonr(dense[:, g], latents[:, j])[0], abs=1e-12)
            assert ours.rho[g, j] == pytest.approx(stats.spearmanr(dense[:, g], latents[:, j])[0], abs=1e-12)


@given(
    st.lists(st.lists(st.integers(-2, 3), min_size=12, max_size=12), min_size=1, max_size=5),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_sparse_dense_and_any_block_agree(columns, block):
    dense = np.array(columns, float).T
    latents = np.random.default_rng(0).normal(size=(12, 2))
    from_sparse = associate(sparse.csr_matrix(dense), latents, block=block)
    from_dense = associate(dense, latents)
    for name in ("coef", "r", "rho", "t", "fdr"):
        np.testing.assert_allclose(getattr(from_sparse, name), getattr(from_dense, name), rtol=1e-8, atol=1e-10)


def test_large_means_cost_no_digits():
    rng = np.random.default_rng(2)
    latents, noise = rng.normal(size=(200, 1)), rng.normal(size=(200, 20))
    near, far = associate(noise, latents), associate(sparse.csc_matrix(noise + 1e6), latents)
    np.testing.assert_allclose(far.r, near.r, rtol=1e-6)


def test_a_sparse_matrix_stays_sparse(data, monkeypatch):
    expression, latents = data

    def refuse(*_args, **_kwargs):
        raise AssertionError("made dense")

    for cls in (sparse.csr_matrix, sparse.csc_matrix):
        for name in ("toarray", "todense"):
            monkeypatch.setattr(cls, name, refuse)
    associate(expression, latents)


def test_constant_genes_are_tested_as_limma_does(data):
    expression, latents = data
    with_constant = sparse.hstack([expression, sparse.csr_matrix((N, 2)), np.full((N, 1), 2.5)]).tocsr()
    ours = associate(with_constant, latents)
    for name, value in (("coef", 0.0), ("t", 0.0), ("p", 1.0), ("fdr", 1.0)):
        np.testing.assert_array_equal(getattr(ours, name)[GENES:], value, err_msg=name)
    for name in ("r", "rho", "coef_std"):
        assert np.isnan(getattr(ours, name)[GENES:]).all(), name
    # They count in the prior, which a few of them wreck.
    assert (ours.df_prior < associate(expression, latents).df_prior).all()


def test_marginal_standardised_slope_is_the_correlation(data):
    ours = associate(*data)
    np.testing.assert_allclose(ours.coef_std, ours.r, rtol=1e-12)


def test_scaling_a_latent_changes_the_raw_slope_only(data):
    expression, latents = data
    one, hundred = associate(expression, latents), associate(expression, latents * 100 + 7)
    np.testing.assert_allclose(hundred.coef, one.coef / 100, rtol=1e-9)
    np.testing.assert_allclose(hundred.t, one.t, rtol=1e-9)
    np.testing.assert_allclose(hundred.coef_std, one.coef_std, rtol=1e-9)


@pytest.mark.parametrize("df", [5.0, 183.0, 3998.0])
def test_log10_p_is_right_near_and_far(df):
    near = np.array([0.0, 0.5, 3.0, 8.0])
    np.testing.assert_allclose(two_sided_log10_p(near, df), np.log10(2 * stats.t.sf(near, df)), atol=1e-12)
    far = 10.0 ** np.array([2.0, 3.0]) if df > 100 else np.array([1e60, 1e80])
    for t, ours in zip(far, two_sided_log10_p(far, df), strict=True):
        # Integrate the density relative to its value at t, in u = log(x / t).
        log_pdf = stats.t.logpdf(t, df)
        ratio = integrate.quad(
            lambda u, t=t, lp=log_pdf: np.exp(stats.t.logpdf(t * np.exp(u), df) - lp + u), 0, 50 / df + 1, limit=500
        )[0]
        tail = log_pdf + np.log(t * ratio) + np.log(2)
        assert ours == pytest.approx(tail / np.log(10), rel=1e-8)


def test_p_never_becomes_zero():
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(2000, 1))
    ours = associate(
        np.hstack([latent * 2 + 1e-6 * rng.normal(size=latent.shape), rng.normal(size=(2000, 5))]), latent
    )
    assert ours.p[0, 0] > 0
    assert ours.log10_p[0, 0] < -308
    assert ours.fdr[0, 0] < 1e-200


def test_benjamini_hochberg_counts_no_missing_tests():
    p = np.random.default_rng(4).uniform(size=(50, 2))
    p[::7, 0] = np.nan
    ours = benjamini_hochberg(p)
    tested = np.isfinite(p[:, 0])
    np.testing.assert_allclose(ours[tested, 0], multipletests(p[tested, 0], method="fdr_bh")[1])
    np.testing.assert_allclose(ours[:, 1], multipletests(p[:, 1], method="fdr_bh")[1])
    assert np.isnan(ours[~tested, 0]).all()


@given(st.floats(1e-9, 1e9))
def test_trigamma_inverse(y):
    assert trigamma_inverse(float(polygamma(1, y))) == pytest.approx(y, rel=1e-6)


@pytest.mark.parametrize(
    ("latents", "design", "message"),
    [
        (np.ones((N, 1)), "marginal", "constant"),
        (np.full((N, 1), np.nan), "marginal", "NaN"),
        (np.zeros((5, 1)), "marginal", "for 60 spots"),
        (np.random.default_rng(0).normal(size=(N, N)), "joint", "cannot fit"),
        (np.full((N, 3), [1.0, 0.0, np.inf]), "joint", "NaN or infinite"),
    ],
)
def test_latents_that_cannot_be_modelled_are_refused(data, latents, design, message):
    with pytest.raises(ValueError, match=message):
        associate(data[0], latents, design=design)


def test_table_has_a_row_per_gene_and_latent_strongest_first(data):
    result = associate(*data)
    genes = pd.DataFrame({"gene_ids": [f"id{g}" for g in range(GENES)]}, index=[f"g{g}" for g in range(GENES)])
    table = to_table(result, genes, np.zeros(GENES), np.zeros(GENES, int))
    assert len(table) == GENES * LATENTS
    for latent, rows in table.groupby("latent"):
        assert rows["p"].is_monotonic_increasing
        best = rows.iloc[0]
        assert best["t"] == result.t[int(best["gene"][1:]), latent - 1]
        assert best["gene_id"] == best["gene"].replace("g", "id")

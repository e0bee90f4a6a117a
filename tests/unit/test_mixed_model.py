"""The mixed model against least squares in dense matrices, reference values and simulated null sections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.linalg import null_space
from scipy.spatial.distance import cdist

from spadework import mixed_model
from spadework.mixed_model import MARGIN, RANGES, SHARES, SpatialMixedModel
from spadework.spatial_null import STEPS

HEX = STEPS["hexagonal"]


def hexagonal(rows: int, columns: int, *, missing: int = 0) -> np.ndarray:
    """Array positions of a Visium section of ``columns`` spots per row, some of them left out."""
    row, column = (index.ravel() for index in np.indices((rows, 2 * columns)))
    cells = np.column_stack([row, column])[(row + column) % 2 == 1]
    keep = np.random.default_rng(0).permutation(len(cells))[missing:]
    return cells[np.sort(keep)] + [7, -4]


def fields(cells, step, m: int, *, reach: float, share: float, seed: int) -> np.ndarray:
    """Random fields (n, m) of variance 1, ``share`` of it of exponential covariance, the rest noise."""
    at = cells * np.asarray(step)
    covariance = share * np.exp(-cdist(at, at) / reach) + (1 - share + 1e-9) * np.eye(len(at))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).normal(size=(len(at), m))


def gene_kinds(cells, step, each: int, shares=(0.1, 0.3, 0.6), reaches=(2, 5, 12)) -> np.ndarray:
    kinds = [(reach, share) for reach in reaches for share in shares]
    return np.hstack([fields(cells, step, each, reach=r, share=s, seed=i) for i, (r, s) in enumerate(kinds)])


def full_covariance_test(cells, step, covariates, expression, latents) -> np.ndarray:
    """p-values (genes, latents) of the same model with the exponential covariance itself, without a series."""
    n = len(cells)
    design = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    contrasts = null_space(design.T)
    m = contrasts.shape[1]
    at = cells * np.asarray(step)
    lowest = np.full(expression.shape[1], np.inf)
    p = np.empty((expression.shape[1], latents.shape[1]))
    for reach in RANGES:
        K = contrasts.T @ np.exp(-cdist(at, at) / reach) @ contrasts
        size, vectors = np.linalg.eigh(K * m / np.trace(K))
        y, x = (vectors.T @ contrasts.T @ values for values in (expression, latents))
        for share in SHARES:
            variance = (share * size + 1 - share)[:, None]
            yy, xx, xy = (y**2 / variance).sum(axis=0), (x**2 / variance).sum(axis=0), (y / variance).T @ x
            deviance = np.log(variance).sum() + m * np.log(yy)
            r = xy / np.sqrt(np.outer(yy, xx))
            better = deviance < lowest
            p[better] = 2 * stats.t.sf(np.abs(r * np.sqrt((m - 1) / (1 - r**2))), m - 1)[better]
            lowest = np.minimum(lowest, deviance)
    return p


def ordinary_p(covariates, expression, latents) -> np.ndarray:
    n = len(expression)
    design = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    B = np.eye(n) - design @ np.linalg.pinv(design)
    y, x = (B @ values / np.linalg.norm(B @ values, axis=0) for values in (expression, latents))
    r, df = y.T @ x, n - design.shape[1] - 1
    return 2 * stats.t.sf(np.abs(r) * np.sqrt(df / (1 - r**2)), df)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    return stats.spearmanr(one.ravel(), other.ravel()).statistic


def brute_force(cells, step, covariates, gene, latent, n_functions: int) -> tuple[float, float, float]:
    """t, share and range of one gene and latent: the series term by term, then textbook REML and GLS."""
    n = len(cells)
    at = cells * np.asarray(step)
    low, high = at.min(axis=0) - MARGIN, at.max(axis=0) + MARGIN
    terms = sorted(
        (np.pi**2 * ((i / (high[0] - low[0])) ** 2 + (j / (high[1] - low[1])) ** 2), i, j)
        for i in range(n_functions + 1)
        for j in range(n_functions + 1)
    )[: n_functions + 1]
    X = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    B = np.eye(n) - X @ np.linalg.pinv(X)
    best, choice = np.inf, None
    for reach in RANGES:
        K = np.zeros((n, n))
        for squared, i, j in terms:
            wave = np.cos(np.pi * i * (at[:, 0] - low[0]) / (high[0] - low[0]))
            wave *= np.cos(np.pi * j * (at[:, 1] - low[1]) / (high[1] - low[1]))
            mean_square = (0.5 if i else 1) * (0.5 if j else 1)
            K += np.outer(wave, wave) / mean_square / (1 / reach**2 + squared) ** 1.5
        K *= np.trace(B) / np.trace(B @ K @ B)
        for share in SHARES:
            V = share * K + (1 - share) * np.eye(n)
            inverse = np.linalg.inv(V)
            P = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
            deviance = np.linalg.slogdet(V)[1] + np.linalg.slogdet(X.T @ inverse @ X)[1]
            deviance += (n - X.shape[1]) * np.log(gene @ P @ gene)
            if deviance < best - 1e-9:
                best, choice = deviance, (share, reach if share > 0 else np.nan, inverse)
    share, reach, inverse = choice
    design = np.column_stack([X, latent])
    spread = np.linalg.inv(design.T @ inverse @ design)
    beta = spread @ design.T @ inverse @ gene
    rest = gene - design @ beta
    variance = rest @ inverse @ rest / (n - design.shape[1])
    return beta[-1] / np.sqrt(variance * spread[-1, -1]), share, reach


SMALL = {
    "hexagonal": (hexagonal(8, 8, missing=6), HEX, 1),
    "no covariate": (hexagonal(6, 10, missing=3), HEX, 0),
    "one row": (np.column_stack([np.zeros(40, int), np.arange(40)]), STEPS["square"], 1),
    "hardly more spots than covariates": (hexagonal(5, 6), HEX, 20),
}


@pytest.mark.parametrize("n_functions", [25, 576])
@pytest.mark.parametrize("name", SMALL)
def test_equals_generalised_least_squares_with_the_same_covariance(name, n_functions, monkeypatch):
    cells, step, n_covariates = SMALL[name]
    monkeypatch.setattr(mixed_model, "MAX_FUNCTIONS", n_functions)
    covariates = np.random.default_rng(5).normal(size=(len(cells), n_covariates)) if n_covariates else None
    expression = gene_kinds(cells, step, 1, shares=(0.3, 0.9), reaches=(2, 8)) + 3
    latents = fields(cells, step, 2, reach=4, share=0.8, seed=20)
    result = SpatialMixedModel(cells, step, covariates).test(expression, latents)
    for g, gene in enumerate(expression.T):
        for k, latent in enumerate(latents.T):
            t, share, reach = brute_force(cells, step, covariates, gene, latent, min(n_functions, len(cells)))
            assert result.spatial_share[g] == share
            np.testing.assert_equal(result.range_[g], reach)
            assert result.t[g, k] == pytest.approx(t, rel=1e-8, abs=1e-10)
            df = len(cells) - n_covariates - 2
            assert result.p[g, k] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-7)
    assert (result.spatial_share > 0).any()
    np.testing.assert_allclose(result.log10_p, np.log10(result.p), atol=1e-12)


@pytest.fixture(scope="module")
def section() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """306 spots: cells, expression, latents."""
    cells = hexagonal(18, 17)
    return cells, gene_kinds(cells, HEX, 20), fields(cells, HEX, 4, reach=6, share=0.8, seed=30)


def test_is_close_to_the_test_with_the_full_exponential_covariance(section):
    cells, expression, latents = section
    covariates = fields(cells, HEX, 1, reach=4, share=0.5, seed=31)
    full = full_covariance_test(cells, HEX, covariates, expression, latents)
    result = SpatialMixedModel(cells, HEX, covariates).test(expression, latents)
    assert rank_correlation(result.p, full) > 0.99
    assert np.median(np.abs(result.log10_p - np.log10(full))) < 0.03
    # The test without space is another one.
    assert rank_correlation(ordinary_p(covariates, expression, latents), full) < 0.6


@pytest.mark.shared
def test_ranks_genes_as_the_reference_does(shared_data):
    folder = shared_data / "spade_reference" / "C2"
    golden = np.load(folder / "spatial_golden.npz")
    lognorm = pd.read_csv(folder / "lognorm.csv.gz", index_col=0)
    covariates = pd.read_csv(folder / "covariates.csv", index_col=0).loc[lognorm.columns, ["logUMI"]].to_numpy()
    expression, latents, expected = lognorm.to_numpy().T, golden["X"], golden["p_lmm10_logumi"]
    result = SpatialMixedModel(golden["rc"], STEPS["square"], covariates).test(expression, latents)
    full = full_covariance_test(golden["rc"], STEPS["square"], covariates, expression, latents)
    spatial = result.spatial_share > 0.2
    assert spatial.sum() > 100
    for k in range(latents.shape[1]):
        # A series of 10 x 10 cosines, on a rectangle and a grid of its own.
        assert rank_correlation(result.p[:, k], expected[:, k]) > 0.985
        assert rank_correlation(result.p[:, k], full[:, k]) > 0.997
    # Most genes of this section are noise in space; of the others, the modified t-test says something else (0.75).
    assert rank_correlation(result.p[spatial], expected[spatial]) > 0.97
    assert rank_correlation(golden["p_logumi"][spatial], expected[spatial]) < 0.9


def test_genes_without_spatial_variance_get_the_ordinary_test():
    cells = hexagonal(12, 12)
    rng = np.random.default_rng(1)
    covariates = rng.normal(size=(len(cells), 2))
    expression, latents = rng.normal(size=(len(cells), 60)), fields(cells, HEX, 2, reach=4, share=0.7, seed=2)
    result = SpatialMixedModel(cells, HEX, covariates).test(expression, latents)
    without = np.flatnonzero(result.spatial_share == 0)
    assert 0.3 < len(without) / 60 < 0.9
    assert np.median(result.spatial_share) < 0.05
    np.testing.assert_array_equal(np.isnan(result.range_), result.spatial_share == 0)
    for g in without:
        for k in range(2):
            fit = sm.OLS(expression[:, g], sm.add_constant(np.column_stack([covariates, latents[:, k]]))).fit()
            assert result.t[g, k] == pytest.approx(fit.tvalues[-1], rel=1e-9)
            assert result.p[g, k] == pytest.approx(fit.pvalues[-1], rel=1e-9)


def test_share_and_range_are_those_of_the_field():
    cells = hexagonal(30, 30)
    model = SpatialMixedModel(cells, HEX)
    latent = fields(cells, HEX, 1, reach=4, share=0.5, seed=1)
    for reach, share in [(3, 0.3), (3, 0.6), (8, 0.3), (8, 0.6)]:
        result = model.test(fields(cells, HEX, 60, reach=reach, share=share, seed=3), latent)
        assert np.median(result.spatial_share) == pytest.approx(share, abs=0.11)
        assert reach / 1.5 < np.median(result.range_) < reach * 1.5


def test_unrelated_fields_are_found_as_often_as_chance_allows():
    cells = hexagonal(28, 28, missing=60)
    expression = gene_kinds(cells, HEX, 25, shares=(0.4, 0.8), reaches=(3, 8))
    latents = fields(cells, HEX, 60, reach=6, share=0.8, seed=11)
    result = SpatialMixedModel(cells, HEX).test(expression, latents)
    assert np.mean(ordinary_p(None, expression, latents) < 0.05) > 0.35
    # 6,000 tests of 100 + 60 fields.
    assert 0.03 < np.mean(result.p < 0.05) < 0.07
    assert np.mean(result.p < 0.001) < 0.003


def test_an_effect_on_top_of_space_is_found(section):
    cells, expression, latents = section
    planted = expression + 0.5 * latents[:, [0]] - 0.5 * latents[:, [1]]
    result = SpatialMixedModel(cells, HEX).test(planted, latents)
    assert np.mean(result.p[:, :2] < 1e-3) > 0.9
    assert (result.t[:, 0] > 0).all()
    assert (result.t[:, 1] < 0).all()


def assert_same(one, other, *, rtol: float = 1e-8) -> None:
    for name, first in vars(one).items():
        assert first.dtype == np.float64
        np.testing.assert_allclose(first, getattr(other, name), rtol=rtol, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("block", [1, 7, 180, 1000])
def test_blocks_and_storage_change_nothing(section, block):
    cells, expression, latents = section
    expression = np.maximum(expression, 0)
    model = SpatialMixedModel(cells, HEX)
    whole = model.test(expression, latents)
    assert whole.t.shape == (180, 4)
    assert whole.spatial_share.shape == whole.range_.shape == (180,)
    assert_same(model.test(expression, latents, block=block), whole)


def test_each_latent_is_tested_by_itself(section):
    cells, expression, latents = section
    model = SpatialMixedModel(cells, HEX)
    one, whole = model.test(expression, latents[:, [2]]), model.test(expression, latents)
    np.testing.assert_allclose(one.t[:, 0], whole.t[:, 2], rtol=1e-9)
    np.testing.assert_array_equal(one.spatial_share, whole.spatial_share)


def test_units_place_and_direction_do_not_matter(section):
    cells, expression, latents = section
    expected = SpatialMixedModel(cells, HEX).test(expression, latents)
    scale = np.random.default_rng(5).uniform(1e-3, 1e3, expression.shape[1])
    assert_same(SpatialMixedModel(cells, HEX).test(expression * scale + 40, 1e-4 * latents - 7), expected, rtol=1e-6)
    assert_same(SpatialMixedModel([1000, 3] - cells, HEX).test(expression, latents), expected)
    assert_same(SpatialMixedModel(cells[:, ::-1], HEX[::-1]).test(expression, latents), expected)
    order = np.random.default_rng(6).permutation(len(cells))
    assert_same(SpatialMixedModel(cells[order], HEX).test(expression[order], latents[order]), expected)


def test_redundant_covariates_change_nothing(section):
    cells, expression, latents = section
    covariates = np.random.default_rng(3).normal(size=(len(cells), 2))
    more = np.column_stack([covariates, covariates @ [2, -1] + 3, np.full(len(cells), 0.1)])
    expected = SpatialMixedModel(cells, HEX, covariates).test(expression, latents)
    assert_same(SpatialMixedModel(cells, HEX, more).test(expression, latents), expected)


def test_genes_that_the_covariates_explain_are_nan(section):
    cells, expression, latents = section
    covariates = np.random.default_rng(3).normal(size=(len(cells), 2))
    model = SpatialMixedModel(cells, HEX, covariates)
    expected = model.test(expression, latents)
    spoiled = expression.copy()
    spoiled[:, 0] = 0
    spoiled[:, 3] = 0.1
    spoiled[:, 4] = (covariates @ [1, 2] + 5).astype(np.float32)
    result = model.test(spoiled, latents)
    rest = np.setdiff1d(np.arange(expression.shape[1]), [0, 3, 4])
    for name, values in vars(result).items():
        assert np.isnan(values[[0, 3, 4]]).all()
        np.testing.assert_allclose(values[rest], getattr(expected, name)[rest], rtol=1e-9, err_msg=name)


def test_log10_p_goes_on_where_p_underflows():
    cells = hexagonal(40, 40)
    rng = np.random.default_rng(7)
    latents = rng.normal(size=(len(cells), 30))
    model = SpatialMixedModel(cells, HEX)
    result = model.test(latents + 0.3 * rng.normal(size=latents.shape), latents)
    assert (np.diag(result.p) == np.finfo(float).tiny).all()
    assert np.diag(result.log10_p).max() < -400
    # Genes that are the latents, but for rounding.
    same = model.test(2 * latents + 1, latents)
    assert np.isfinite([same.t, same.log10_p]).all()
    assert np.diag(same.log10_p).max() < np.diag(result.log10_p).min()


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (lambda c: np.ones((len(c), 2)), "latent 1 is constant"),
        (lambda c: np.column_stack([c[:, 1] ** 2, c @ [2, 1]]), "latent 2 is constant or a combination"),
        (lambda c: np.where(np.arange(len(c)) == 3, np.nan, 1.0)[:, None], "NaN"),
        (lambda c: np.ones((len(c) - 1, 1)), "latents of shape"),
        (lambda c: np.ones(len(c)), "latents of shape"),
    ],
)
def test_impossible_latents_are_refused(latents, message):
    cells = hexagonal(8, 8)
    model = SpatialMixedModel(cells, HEX, cells.astype(float))
    with pytest.raises(ValueError, match=message):
        model.test(np.random.default_rng(0).normal(size=(len(cells), 3)), latents(cells))


def test_impossible_expression_and_sections_are_refused():
    cells = hexagonal(5, 4)
    model = SpatialMixedModel(cells, HEX)
    values = np.random.default_rng(0).normal(size=(20, 17))
    with pytest.raises(ValueError, match="expression of 19"):
        model.test(values[:-1], values)
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.test(np.where(values == values.max(), np.inf, values), values)
    with pytest.raises(ValueError, match="cells of shape"):
        SpatialMixedModel(cells.ravel(), HEX)
    with pytest.raises(ValueError, match="covariates hold"):
        SpatialMixedModel(cells, HEX, np.full((20, 1), np.nan))
    with pytest.raises(ValueError, match="given 17 covariates"):
        SpatialMixedModel(cells, HEX, values)
    SpatialMixedModel(cells, HEX, values[:, :16])

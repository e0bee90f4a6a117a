"""Nested models against statsmodels and scikit-learn, one gene at a time."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from spadework.composition import NestedModels, blocks_of_space

N, GENES, K = 150, 8, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    composition = np.column_stack([rng.normal(size=N), rng.integers(0, 2, (N, 2))]).astype(float)
    latents = rng.normal(size=(N, K)) + composition[:, [0]]
    values = rng.normal(size=(N, GENES)) + composition @ rng.normal(size=(3, GENES))
    values[:, 0] += 1.5 * latents[:, 1]
    return composition, latents, values, rng.integers(0, 5, N)


def test_shares_of_variance_equal_statsmodels(data):
    composition, latents, values, fold = data
    nested = NestedModels(composition, latents, fold).fit(values)
    for g in range(GENES):
        small = sm.OLS(values[:, g], sm.add_constant(composition)).fit()
        large = sm.OLS(values[:, g], sm.add_constant(np.hstack([composition, latents]))).fit()
        assert nested.r2_composition[g] == pytest.approx(small.rsquared, rel=1e-9)
        assert nested.partial_r2[g] == pytest.approx((small.ssr - large.ssr) / small.ssr, rel=1e-8)


def test_predictions_are_of_parts_not_fitted_on(data):
    composition, latents, values, fold = data
    nested = NestedModels(composition, latents, fold).fit(values)
    for design, ours in (
        (composition, nested.cv_r2_composition),
        (np.hstack([composition, latents]), nested.cv_r2_latents),
    ):
        predicted, mean = np.empty_like(values), np.empty_like(values)
        for f in range(5):
            out = fold == f
            predicted[out] = LinearRegression().fit(design[~out], values[~out]).predict(design[out])
            mean[out] = values[~out].mean(axis=0)
        expected = 1 - ((values - predicted) ** 2).sum(axis=0) / ((values - mean) ** 2).sum(axis=0)
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert nested.cv_r2_latents[0] > nested.cv_r2_composition[0] + 0.2
    assert r2_score(values[:, 0], predicted[:, 0]) > 0.3


def test_a_cluster_missing_from_the_other_parts_does_no_harm(data):
    _, latents, values, fold = data
    only_in_one = (fold == 2).astype(float)[:, None]
    nested = NestedModels(only_in_one, latents, fold).fit(values)
    assert np.isfinite(nested.cv_r2_latents).all()


def test_constant_genes_have_no_numbers(data):
    composition, latents, values, fold = data
    values = values.copy()
    values[:, 3] = 7
    nested = NestedModels(composition, latents, fold).fit(values)
    for name in ("r2_composition", "partial_r2", "cv_r2_composition", "cv_r2_latents"):
        missing = np.isnan(getattr(nested, name))
        assert missing[3], name
        assert missing.sum() == 1, name


def test_blocks_are_connected_and_of_similar_size():
    um = np.column_stack([index.ravel() for index in np.indices((20, 30))]).astype(float)
    fold = blocks_of_space(um, 5, seed=0)
    size = np.bincount(fold)
    assert len(size) == 5
    assert size.min() > 60
    for f in range(5):
        part = um[fold == f]
        assert connected_components(cdist(part, part) < 1.1, directed=False)[0] == 1

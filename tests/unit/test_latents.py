"""Principal components, their sign, and the embeddings."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from spadework.errors import InputError
from spadework.latents import OPENTSNE_FROM, LatentModel, fit_latents, fit_sections, tsne


@pytest.fixture
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(80, 5)) @ rng.normal(size=(5, 30)) + 0.1 * rng.normal(size=(80, 30)) + 4).astype(
        np.float32
    )


def test_components_equal_a_plain_singular_value_decomposition(features):
    model = fit_latents(features, 4, standardize=False)
    centred = features.astype(float) - features.astype(float).mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    scores = model.project(features)
    np.testing.assert_allclose(np.abs(scores), np.abs(u[:, :4] * s[:4]), atol=1e-9)
    np.testing.assert_allclose(model.variance_ratio, (s**2 / (s**2).sum())[:4], rtol=1e-12)
    np.testing.assert_allclose(np.abs(model.components), np.abs(vt[:4]), atol=1e-9)


def test_the_largest_loading_is_positive_whatever_the_data_s_sign(features):
    for data in (features, -features):
        components = fit_latents(data, 4, standardize=False).components
        assert (components[np.arange(4), np.abs(components).argmax(axis=1)] > 0).all()


def test_latents_do_not_depend_on_the_order_of_spots(features):
    order = np.random.default_rng(1).permutation(len(features))
    one = fit_latents(features, 4, standardize=False).project(features)
    two = fit_latents(features[order], 4, standardize=False).project(features[order])
    np.testing.assert_allclose(two, one[order], atol=1e-9)


def test_standardizing_makes_units_irrelevant_and_leaves_constants_alone(features):
    units = np.r_[1e4, np.ones(28), 0.0]
    one = fit_latents(features * np.r_[np.ones(29), 0.0], 3, standardize=True)
    two = fit_latents(features * units, 3, standardize=True)
    np.testing.assert_allclose(
        two.project(features * units), one.project(features * np.r_[np.ones(29), 0.0]), atol=1e-6
    )
    assert np.isfinite(two.components).all()


def test_a_model_survives_its_file(features, tmp_path):
    model = fit_latents(features, 4, standardize=True)
    model.save(tmp_path / "m.npz")
    np.testing.assert_array_equal(LatentModel.load(tmp_path / "m.npz").project(features), model.project(features))


def _sections(features, same_units=True):
    parts = {"a": features[:30], "b": features[30:]}
    out = {name: ad.AnnData(x) for name, x in parts.items()}
    for section in out.values():
        section.uns["encoder"] = {"same_units": same_units}
    return out


def test_shared_latents_are_those_of_the_stacked_features(features):
    model = fit_sections(_sections(features), 3, 10, "auto")
    np.testing.assert_allclose(model.components, fit_latents(features, 10, standardize=False).components)
    assert list(model.fitted_on) == ["a", "b"]
    assert (model.scale == 1).all()
    assert (fit_sections(_sections(features, same_units=False), 3, 10, "auto").scale != 1).any()


def test_too_few_spots_say_how_many_latents_are_possible(features):
    with pytest.raises(InputError, match=r"a, b(.|\n)*n_latents to 30"):
        fit_sections(_sections(features), 31, 31, False)


@pytest.mark.parametrize("n", [60, OPENTSNE_FROM])
def test_tsne_is_repeatable_and_keeps_neighbours(n):
    rng = np.random.default_rng(2)
    groups = np.arange(n) % 3
    points = rng.normal(size=(n, 6)) + 30 * np.eye(6)[groups]
    one, two = (tsne(points, perplexity=10, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    centres = np.array([one[groups == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(one[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == groups).mean() > 0.95


def test_perplexity_is_lowered_where_spots_are_few():
    assert tsne(np.random.default_rng(0).normal(size=(5, 3)), perplexity=30, seed=0).shape == (5, 2)
    with pytest.raises(ValueError, match="at least 4"):
        tsne(np.zeros((3, 2)), perplexity=30, seed=0)

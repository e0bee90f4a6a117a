"""Null fields: covariances against the kernels of scikit-learn, fits against fields from dense Cholesky factors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Matern

from spadework.null_fields import FieldModel, fit_field, simulate_fields
from spadework.spatial_null import STEPS, SpatialNull


def lattice(kind: str, rows: int, columns: int, *, missing: int = 0) -> np.ndarray:
    """Array positions of a section with holes; every second position is used where rows are staggered."""
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    used = (row + column) % 2 == 1 if kind in {"hexagonal", "checkerboard"} else row >= 0
    cells = np.column_stack([row, column])[used]
    keep = np.random.default_rng(0).permutation(len(cells))[missing:]
    return cells[np.sort(keep)] + [7, -4]


SECTIONS = {
    "square": (lattice("square", 9, 12, missing=20), STEPS["square"]),
    "hexagonal": (lattice("hexagonal", 11, 18, missing=15), STEPS["hexagonal"]),
    "checkerboard": (lattice("checkerboard", 12, 15, missing=10), STEPS["checkerboard"]),
    "long": (lattice("hexagonal", 2, 70, missing=8), STEPS["hexagonal"]),
    "one row": (lattice("square", 1, 40, missing=6), STEPS["square"]),
}
MODELS = {
    "rough": FieldModel("exponential", 2.0, 0.25),
    "smooth": FieldModel("matern32", 1.5, 0.1),
    "long range": FieldModel("matern32", 4.0, 0.0),
}


def covariance(cells: np.ndarray, step: tuple[float, float], model: FieldModel) -> np.ndarray:
    at = cells * step
    kernel = Matern(length_scale=model.range_, nu={"exponential": 0.5, "matern32": 1.5}[model.family])
    return (1 - model.nugget) * kernel(at) + model.nugget * np.eye(len(at))


def cholesky_fields(cells, step, model: FieldModel, n_fields: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(cells), n_fields))
    return np.linalg.cholesky(covariance(cells, step, model)) @ noise


class Impulses:
    """In place of a random generator: a single one among zeros, at the next place with each call."""

    def __init__(self):
        self.calls = 0
        self.size = 0

    def standard_normal(self, shape):
        noise = np.zeros(shape)
        self.size = noise.size
        noise.flat[self.calls] = 1
        self.calls += 1
        return noise


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SECTIONS)
def test_fields_have_the_covariance_of_the_model(name, model):
    # Fields are linear in the noise, so that responses to all single impulses hold the whole distribution.
    cells, step = SECTIONS[name]
    probe = Impulses()
    simulate_fields(cells, step, MODELS[model], 1, probe)
    responses = simulate_fields(cells, step, MODELS[model], 2 * probe.size, Impulses())
    even, odd = responses[:, ::2], responses[:, 1::2]
    expected = covariance(cells, step, MODELS[model])
    np.testing.assert_allclose(even @ even.T, expected, atol=1e-4)
    np.testing.assert_allclose(odd @ odd.T, expected, atol=1e-4)
    np.testing.assert_allclose(even @ odd.T, 0, atol=1e-10)


def test_fields_are_independent_samples_of_a_normal_distribution():
    cells, step = SECTIONS["hexagonal"]
    model = MODELS["rough"]
    fields = simulate_fields(cells, step, model, 3001, np.random.default_rng(1))
    assert fields.shape == (len(cells), 3001)
    assert fields.dtype == np.float64
    white = np.linalg.solve(np.linalg.cholesky(covariance(cells, step, model)), fields)
    assert stats.kstest(white.ravel(), "norm").pvalue > 0.01
    n = white.shape[1]
    expected = np.eye(len(cells))
    errors = (white @ white.T / n - expected) / np.sqrt((1 + expected) / n)
    assert 0.9 < np.sqrt(np.mean(errors**2)) < 1.1
    # Spots times pairs of fields that follow each other.
    lagged = np.mean(white[:, 1:] * white[:, :-1]) * np.sqrt(white[:, 1:].size)
    assert abs(lagged) < 3


def test_fields_depend_on_the_generator_alone():
    cells, step = SECTIONS["square"]
    fields = simulate_fields(cells, step, MODELS["rough"], 5, np.random.default_rng(3))
    np.testing.assert_array_equal(fields, simulate_fields(cells, step, MODELS["rough"], 5, np.random.default_rng(3)))
    for n_fields in (1, 2, 4):
        fewer = simulate_fields(cells, step, MODELS["rough"], n_fields, np.random.default_rng(3))
        np.testing.assert_array_equal(fewer, fields[:, :n_fields])
    other = simulate_fields(cells, step, MODELS["rough"], 5, np.random.default_rng(4))
    assert np.abs(np.corrcoef(fields, other, rowvar=False)[:5, 5:]).max() < 0.6


def test_place_and_order_of_the_spots_do_not_matter_to_fields():
    cells, step = SECTIONS["hexagonal"]
    fields = simulate_fields(cells, step, MODELS["rough"], 2, np.random.default_rng(3))
    order = np.random.default_rng(6).permutation(len(cells))
    moved = simulate_fields(cells[order] + [100, -31], step, MODELS["rough"], 2, np.random.default_rng(3))
    np.testing.assert_array_equal(moved, fields[order])


def test_a_field_on_50000_bins_has_the_correlation_of_the_model():
    cells, model = lattice("square", 224, 224, missing=176), FieldModel("exponential", 3.0, 0.2)
    fields = simulate_fields(cells, STEPS["square"], model, 4, np.random.default_rng(5))
    images = np.full((224, 224, 4), np.nan)
    images[tuple((cells - cells.min(axis=0)).T)] = fields
    assert np.nanmean(images**2) == pytest.approx(1, abs=0.05)
    for lag in (1, 4):
        assert np.nanmean(images[lag:] * images[:-lag]) == pytest.approx(0.8 * np.exp(-lag / 3), abs=0.05)
        assert np.nanmean(images[:, lag:] * images[:, :-lag]) == pytest.approx(0.8 * np.exp(-lag / 3), abs=0.05)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_correlations_are_those_of_the_kernels(model):
    cells = np.array([[0, 0], [0, 1], [3, 4], [60, 80]])
    np.testing.assert_allclose(model.correlation(cdist(cells, cells)), covariance(cells, (1, 1), model), atol=1e-12)


def expected_covariances(cells: np.ndarray, step: tuple[float, float], model: FieldModel) -> np.ndarray:
    """Expected class means of the residuals of a field from its mean, pair by pair."""
    n = len(cells)
    distance = cdist(cells * step, cells * step)
    centring = np.eye(n) - 1 / n
    residual = centring @ covariance(cells, step, model) @ centring
    classes = np.ceil(distance - 0.5 - 1e-9) + ((distance > 0) & (distance <= 0.5))
    last = int(np.ceil(distance.max() / 2 - 0.5 - 1e-9))
    means = np.array([residual[classes == h].mean() for h in range(last + 1)])
    return means / np.trace(residual)


@pytest.mark.parametrize(
    "model",
    [
        FieldModel("exponential", 1.0, 0.3),
        FieldModel("exponential", 2.5, 0.2),
        FieldModel("matern32", 1.3, 0.4),
        FieldModel("matern32", 3.0, 0.0),
        FieldModel("exponential", 6.0, 0.2),
    ],
    ids=lambda model: f"{model.family} {model.range_}",
)
@pytest.mark.parametrize("kind", ["square", "hexagonal", "checkerboard"])
def test_a_correlogram_without_noise_gives_the_model_back(kind, model, monkeypatch):
    cells, step = lattice(kind, 20, 20 if kind == "square" else 40, missing=70), STEPS[kind]
    means = expected_covariances(cells, step, model)
    assert len(means) == len(SpatialNull(cells, step).n_pairs)
    monkeypatch.setattr(SpatialNull, "covariances", lambda self, values: means[:, None])
    fit = fit_field(cells, step, np.arange(len(cells)))
    assert fit.family == model.family
    assert fit.range_ == pytest.approx(model.range_, rel=0.02)
    assert fit.nugget == pytest.approx(model.nugget, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "model", "tolerance"),
    [
        ("square", 13, 17, FieldModel("exponential", 3.0, 0.2), 0.05),
        ("square", 13, 17, FieldModel("matern32", 1.31, 0.38), 0.04),
        ("hexagonal", 30, 54, FieldModel("exponential", 3.0, 0.2), 0.03),
        ("checkerboard", 30, 30, FieldModel("matern32", 1.5, 0.3), 0.04),
    ],
)
def test_fitted_correlations_are_right_on_average(kind, rows, columns, model, tolerance):
    cells, step = lattice(kind, rows, columns, missing=36), STEPS[kind]
    fields = cholesky_fields(cells, step, model, 100, seed=2)
    distance = np.array([1.0, 2.0, 4.0])
    fits = np.array([fit_field(cells, step, field).correlation(distance) for field in fields.T])
    np.testing.assert_allclose(fits.mean(axis=0), model.correlation(distance), rtol=0, atol=tolerance)


def neighbour_correlation(cells, step, values: np.ndarray) -> np.ndarray:
    """Moran's I of each column with the spots one pitch away as neighbours."""
    distance = cdist(cells * step, cells * step)
    neighbours = (distance > 0) & (distance < 1.01)
    centred = values - values.mean(axis=0)
    moran = np.einsum("im,ij,jm->m", centred, neighbours, centred) / (centred**2).sum(axis=0)
    return moran * len(cells) / neighbours.sum()


@pytest.mark.parametrize("model", [FieldModel("exponential", 2.0, 0.1), FieldModel("matern32", 2.5, 0.5)])
def test_null_fields_are_as_autocorrelated_as_the_latents_they_stand_for(model):
    cells, step = lattice("hexagonal", 20, 36, missing=36), STEPS["hexagonal"]
    latents = cholesky_fields(cells, step, model, 60, seed=7)
    rng = np.random.default_rng(8)
    nulls = [simulate_fields(cells, step, fit_field(cells, step, latent), 20, rng) for latent in latents.T]
    expected = neighbour_correlation(cells, step, latents)
    found = np.array([neighbour_correlation(cells, step, fields).mean() for fields in nulls])
    assert found.mean() == pytest.approx(expected.mean(), abs=0.03)
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def test_independent_spots_are_seen_to_be_independent():
    cells, step = lattice("hexagonal", 30, 54, missing=36), STEPS["hexagonal"]
    noise = np.random.default_rng(4).normal(size=(len(cells), 40))
    correlations = [fit_field(cells, step, latent).correlation(np.array([1.0, 2.0])) for latent in noise.T]
    assert np.mean(correlations) < 0.015
    assert np.max(correlations) < 0.1


def test_neighbours_that_repel_each_other_are_given_a_nugget_of_1():
    cells, step = SECTIONS["square"]
    fit = fit_field(cells, step, cells.sum(axis=1) % 2)
    assert (fit.range_, fit.nugget) == (0.5, 1)


def assert_same(one: FieldModel, other: FieldModel) -> None:
    assert one.family == other.family
    assert one.range_ == pytest.approx(other.range_, rel=1e-4)
    assert one.nugget == pytest.approx(other.nugget, abs=1e-4)


def test_units_place_and_order_do_not_matter_to_the_fit():
    cells, step = SECTIONS["hexagonal"]
    latent = cholesky_fields(cells, step, MODELS["rough"], 1, seed=1)[:, 0]
    fit = fit_field(cells, step, latent)
    assert 0 < fit.nugget < 1
    assert_same(fit_field(cells, step, 1e-5 * latent), fit)
    assert_same(fit_field(cells, step, 1e4 - 300 * latent), fit)
    assert_same(fit_field([1000, 3] - cells, step, latent), fit)
    assert_same(fit_field(cells[:, ::-1], step[::-1], latent), fit)
    order = np.random.default_rng(6).permutation(len(cells))
    assert_same(fit_field(cells[order], step, latent[order]), fit)


def test_the_range_stays_within_the_section():
    cells, step = SECTIONS["square"]
    longest = cdist(cells, cells).max()
    fit = fit_field(cells, step, cells @ [1.0, 0.5])
    assert fit.range_ <= longest * (1 + 1e-9)
    assert fit.correlation(np.array([1.0]))[0] > 0.9
    noise = np.random.default_rng(0).normal(size=(len(cells), 20))
    assert min(fit_field(cells, step, latent).range_ for latent in noise.T) >= 0.5 * (1 - 1e-9)


@pytest.mark.shared
def test_a_real_latent_is_fitted_as_by_maximum_likelihood(shared_data):
    golden = np.load(shared_data / "spade_reference" / "C2" / "spatial_golden.npz")
    cells, step, latent = golden["rc"], STEPS["square"], golden["X"][:, 0]
    fit = fit_field(cells, step, latent)
    assert fit.family == "matern32"
    # Range and nugget by maximum likelihood.
    distance = np.array([1.0, 2.0, 4.0])
    by_likelihood = FieldModel("matern32", 1.31, 0.38).correlation(distance)
    np.testing.assert_allclose(fit.correlation(distance), by_likelihood, atol=0.1)
    nulls = neighbour_correlation(cells, step, simulate_fields(cells, step, fit, 200, np.random.default_rng(0)))
    assert abs(neighbour_correlation(cells, step, latent[:, None])[0] - nulls.mean()) < nulls.std()


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (lambda n: np.full(n, 0.1), "constant"),
        (lambda n: np.r_[np.nan, np.arange(n - 1)], "NaN"),
        (lambda n: np.arange(n - 1), "latent of shape"),
        (lambda n: np.eye(n)[:, :1], "latent of shape"),
    ],
)
def test_impossible_latents_are_refused(latent, message):
    cells, step = SECTIONS["square"]
    with pytest.raises(ValueError, match=message):
        fit_field(cells, step, latent(len(cells)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (("gaussian", 1.0, 0.5), "family 'gaussian', not one of exponential, matern32"),
        (("exponential", 0.0, 0.5), "range of 0.0"),
        (("exponential", np.inf, 0.5), "range of inf"),
        (("matern32", np.nan, 0.5), "range of nan"),
        (("matern32", 1.0, -0.1), "nugget of -0.1"),
        (("matern32", 1.0, 1.1), "nugget of 1.1"),
        (("matern32", 1.0, np.nan), "nugget of nan"),
    ],
)
def test_impossible_models_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        FieldModel(*parameters)

"""The modified t-test against its definition in dense matrices, reference values and simulated null sections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, sparse, stats
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.special import gammaln

from spadework.lattice import array_to_um
from spadework.spatial_null import STEPS, SpatialNull

GENES, LATENTS = 25, 4


def lattice(kind: str, rows: int, columns: int, *, missing: int = 0, seed: int = 0) -> np.ndarray:
    """Array positions of a section; ``columns`` counts array columns, every second of them used where staggered."""
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    used = (row + column) % 2 == 1 if kind in {"hexagonal", "checkerboard"} else row >= 0
    cells = np.column_stack([row, column])[used]
    keep = np.random.default_rng(seed).permutation(len(cells))[missing:]
    return cells[np.sort(keep)] + [7, -4]


SECTIONS = {
    "square": (lattice("square", 11, 14), STEPS["square"]),
    "square with holes": (lattice("square", 13, 12, missing=50), STEPS["square"]),
    "hexagonal": (lattice("hexagonal", 12, 25), STEPS["hexagonal"]),
    "hexagonal with holes": (lattice("hexagonal", 15, 24, missing=70), STEPS["hexagonal"]),
    "checkerboard": (lattice("checkerboard", 14, 15, missing=20), STEPS["checkerboard"]),
    "long": (lattice("hexagonal", 3, 90, missing=11), STEPS["hexagonal"]),
    "tall": (lattice("hexagonal", 90, 4, missing=11), STEPS["hexagonal"]),
    "one row": (lattice("square", 1, 60, missing=9), STEPS["square"]),
    "other steps": (lattice("square", 9, 17, missing=9), (1.7, 0.8)),
    "less than half a pitch": (lattice("square", 20, 9, missing=9), (0.3, 1.1)),
    "smallest": (lattice("square", 4, 4, missing=6), STEPS["square"]),
}


def smooth(cells: np.ndarray, step: tuple[float, float], m: int, *, reach: float, seed: int) -> np.ndarray:
    """Random fields (n, m) with an exponential covariance and some noise of their own."""
    at = cells * step
    covariance = np.exp(-cdist(at, at) / reach) + 0.1 * np.eye(len(at))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).normal(size=(len(at), m))


def dense_test(cells, step, covariates, expression, latents) -> dict[str, np.ndarray]:
    """The definition, pair by pair and matrix by matrix."""
    n = len(cells)
    at = cells * step
    distance = cdist(at, at)
    # The last class is the one that holds half the largest distance.
    n_classes = 1
    while n_classes - 0.5 < distance.max() / 2 - 1e-9:
        n_classes += 1
    W = [np.eye(n)]
    above = [0, *np.arange(1.5, n_classes - 1) + 1e-9]
    W += [((distance > low) & (distance <= h + 0.5 + 1e-9)).astype(float) for h, low in enumerate(above, 1)]
    n_pairs = np.array([w.sum() for w in W])
    design = np.column_stack([np.ones(n)] if covariates is None else [np.ones(n), covariates])
    rank = np.linalg.matrix_rank(design)
    B = np.eye(n) - design @ np.linalg.pinv(design)
    BW = [B @ w for w in W]
    T = np.array([[np.sum(a * b.T) for b in BW] for a in BW])
    trace = np.array([np.trace(a) for a in BW])

    def residuals(values):
        z = B @ values
        return z / np.linalg.norm(z, axis=0)

    y, x = residuals(expression), residuals(latents)
    with np.errstate(invalid="ignore"):
        C_y, C_x = ([np.einsum("im,ij,jm->m", z, w, z) for w in W] / np.maximum(n_pairs, 1)[:, None] for z in (y, x))
    variance = np.maximum((C_y.T @ T @ C_x) / np.outer(trace @ C_y, trace @ C_x), 1 / (n - rank))
    assert (trace @ C_y > 0).all()
    assert (trace @ C_x > 0).all()
    ess = np.maximum(1 + 1 / variance, 3)
    r = y.T @ x
    t = r * np.sqrt((ess - 2) / (1 - r**2))
    p = 2 * stats.t.sf(np.abs(t), ess - 2)
    return {"n_pairs": n_pairs, "T": T, "trace": trace, "r": r, "ess": ess, "t": t, "p": p}


@pytest.mark.parametrize("n_covariates", [0, 1, 3])
@pytest.mark.parametrize("name", SECTIONS)
def test_equals_the_definition(name, n_covariates):
    cells, step = SECTIONS[name]
    covariates = smooth(cells, step, n_covariates, reach=5, seed=3) if n_covariates else None
    expression = np.hstack([smooth(cells, step, GENES, reach=reach, seed=1) for reach in (0.1, 2, 20)])
    latents = smooth(cells, step, LATENTS, reach=4, seed=2)
    expected = dense_test(cells, step, covariates, expression, latents)
    null = SpatialNull(cells, step, covariates)
    np.testing.assert_array_equal(null.n_pairs, expected["n_pairs"])
    np.testing.assert_allclose(null.T, expected["T"], rtol=1e-10, atol=1e-10 * expected["T"].max())
    np.testing.assert_allclose(null.trace, expected["trace"], rtol=1e-10, atol=1e-10 * len(cells))
    result = null.against(latents).test(expression)
    np.testing.assert_allclose(result.r, expected["r"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.ess, expected["ess"], rtol=1e-8)
    np.testing.assert_allclose(result.t, expected["t"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.p, expected["p"], rtol=1e-7)
    np.testing.assert_allclose(result.log10_p, np.log10(expected["p"]), atol=1e-7)


def test_comparisons_cover_few_and_many_effective_spots():
    # Else agreement with the definition would say little.
    cells, step = SECTIONS["hexagonal with holes"]
    latents = smooth(cells, step, LATENTS, reach=4, seed=2)
    null = SpatialNull(cells, step)
    assert null.against(latents).test(smooth(cells, step, GENES, reach=20, seed=1)).ess.min() < len(cells) / 5
    ess = null.against(latents).test(smooth(cells, step, GENES, reach=0.1, seed=1)).ess
    assert (np.abs(ess - len(cells)) < 1e-9).any()
    assert ess.max() < len(cells) + 1e-9


def test_two_pieces_of_tissue_far_apart_leave_one_degree_of_freedom():
    piece = lattice("square", 5, 5)
    cells = np.vstack([piece, piece + np.array([0, 40])])
    rng = np.random.default_rng(9)
    side = np.repeat([0.0, 1.0], len(piece))[:, None] + 0.05 * rng.normal(size=(len(cells), 3))
    result = SpatialNull(cells, STEPS["square"]).against(side[:, :1]).test(side)
    np.testing.assert_allclose(result.ess, 3)
    assert result.r.min() > 0.98
    np.testing.assert_allclose(result.p[1:, 0], 2 * stats.t.sf(result.t[1:, 0], 1))
    assert result.p[1:].min() > 0.02


@pytest.mark.shared
def test_equals_the_reference_values(shared_data):
    folder = shared_data / "spade_reference" / "C2"
    golden = np.load(folder / "spatial_golden.npz")
    lognorm = pd.read_csv(folder / "lognorm.csv.gz", index_col=0)
    assert list(lognorm.index) == list(golden["genes"])
    covariates = pd.read_csv(folder / "covariates.csv", index_col=0).loc[lognorm.columns, ["logUMI"]].to_numpy()
    null = SpatialNull(golden["rc"], STEPS["square"], covariates)
    np.testing.assert_array_equal(null.n_pairs, golden["nh_logumi"])
    np.testing.assert_allclose(null.T, golden["T_logumi"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(null.trace, golden["tr_logumi"], rtol=0, atol=1e-8)
    result = null.against(golden["X"]).test(lognorm.to_numpy().T)
    for name in ("r", "ess", "p"):
        np.testing.assert_allclose(getattr(result, name), golden[f"{name}_logumi"], rtol=0, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
def test_unrelated_smooth_fields_are_found_as_often_as_chance_allows(kind):
    side = 36
    rng = np.random.default_rng(8)
    fields = gaussian_filter(rng.normal(size=(120, side + 24, 2 * side + 24)), sigma=(0, 2.5, 5), mode="wrap")
    cells = lattice(kind, side, 2 * side if kind == "hexagonal" else side, missing=100)
    at = cells - cells.min(axis=0)
    values = fields[:, at[:, 0], at[:, 1]].T
    values /= values.std(axis=0)
    values += 0.3 * rng.normal(size=values.shape)
    expression, latents = values[:, :80], values[:, 80:]
    result = SpatialNull(cells, STEPS[kind]).against(latents).test(expression)
    df = len(cells) - 2
    naive = 2 * stats.t.sf(np.abs(result.r) * np.sqrt(df / (1 - result.r**2)), df)
    assert np.mean(naive < 0.05) > 0.4
    # 3,200 tests of 80 + 40 fields.
    assert 0.02 < np.mean(result.p < 0.05) < 0.08
    assert np.mean(result.p < 0.001) < 0.004
    assert np.median(result.ess) < len(cells) / 5


def test_independent_spots_get_the_ordinary_test():
    cells, step = SECTIONS["square"]
    rng = np.random.default_rng(4)
    expression, latents = rng.normal(size=(len(cells), 400)), rng.normal(size=(len(cells), 3))
    result = SpatialNull(cells, step).against(latents).test(expression)
    ordinary = stats.pearsonr(expression, latents[:, [0]], axis=0)
    np.testing.assert_allclose(result.r[:, 0], ordinary.statistic, atol=1e-12)
    at_bound = result.ess[:, 0] > len(cells) - 1e-6
    assert 0.3 < at_bound.mean() < 0.7
    np.testing.assert_allclose(result.p[at_bound, 0], ordinary.pvalue[at_bound], rtol=1e-8)
    assert np.median(result.ess) > 0.95 * len(cells)


@pytest.fixture(scope="module")
def section() -> tuple[SpatialNull, np.ndarray, np.ndarray]:
    cells, step = SECTIONS["hexagonal with holes"]
    covariates = smooth(cells, step, 2, reach=5, seed=3)
    expression = np.maximum(smooth(cells, step, GENES, reach=2, seed=1), 0)
    return SpatialNull(cells, step, covariates), expression, smooth(cells, step, LATENTS, reach=4, seed=2)


def assert_same(one, other, *, rtol: float = 1e-9) -> None:
    for name in ("r", "ess", "t", "p", "log10_p"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == np.float64
        np.testing.assert_allclose(first, second, rtol=rtol, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("block", [1, 7, GENES, 1000])
def test_blocks_and_storage_change_nothing(section, block):
    null, expression, latents = section
    whole = null.against(latents).test(expression)
    assert whole.r.shape == (GENES, LATENTS)
    assert_same(null.against(latents).test(expression, block=block), whole)
    assert_same(null.against(latents).test(sparse.csc_matrix(expression), block=block), whole)
    assert_same(null.against(latents).test(sparse.csr_matrix(expression), block=block), whole)


def test_each_latent_is_tested_by_itself(section):
    null, expression, latents = section
    assert_same(null.against(latents[:, [2]]).test(expression), _column(null.against(latents).test(expression), 2))


def _column(result, j):
    return type(result)(**{name: value[:, [j]] for name, value in vars(result).items()})


def test_units_and_offsets_do_not_matter(section):
    null, expression, latents = section
    scale = np.random.default_rng(5).uniform(1e-3, 1e3, GENES)
    assert_same(
        null.against(1e-4 * latents - 7).test(expression * scale + 40),
        null.against(latents).test(expression),
        rtol=1e-7,
    )
    # A pedestal of 2^30 leaves a gene six digits, which must all count.
    raised = null.against(latents).test(expression + 2.0**30)
    np.testing.assert_allclose(raised.r, null.against(latents).test(expression).r, atol=1e-6)
    negative = null.against(latents).test(-expression)
    np.testing.assert_allclose(negative.r, -null.against(latents).test(expression).r, atol=1e-12)
    np.testing.assert_allclose(negative.p, null.against(latents).test(expression).p, rtol=1e-9)


def test_gene_and_latent_are_interchangeable(section):
    null, expression, latents = section
    swapped = null.against(expression).test(latents)
    np.testing.assert_allclose(swapped.ess.T, null.against(latents).test(expression).ess, rtol=1e-9)


def test_place_and_direction_of_the_array_do_not_matter(section):
    cells, step = SECTIONS["hexagonal with holes"]
    _, expression, latents = section
    expected = SpatialNull(cells, step).against(latents).test(expression)
    assert_same(SpatialNull([1000, 3] - cells, step).against(latents).test(expression), expected)
    assert_same(SpatialNull(cells[:, ::-1], step[::-1]).against(latents).test(expression), expected)
    order = np.random.default_rng(6).permutation(len(cells))
    assert_same(SpatialNull(cells[order], step).against(latents[order]).test(expression[order]), expected)


def test_one_spot_off_the_stagger_changes_little_but_the_grid(section):
    # It needs the full grid, twice as large; without it, the same pairs are in the same classes.
    cells, step = SECTIONS["hexagonal with holes"]
    off = np.vstack([cells, cells[:1] + np.array([0, 1])])
    staggered, full = SpatialNull(cells, step)._grid, SpatialNull(off, step)._grid
    assert full.classes.size > 1.5 * staggered.classes.size
    values = section[1]
    padded = np.vstack([values, np.zeros(values.shape[1])])
    np.testing.assert_allclose(full.class_sums(padded), staggered.class_sums(values), atol=1e-10)


def test_redundant_covariates_change_nothing(section):
    cells, step = SECTIONS["hexagonal with holes"]
    null, expression, latents = section
    covariates = smooth(cells, step, 2, reach=5, seed=3)
    more = np.column_stack([covariates, covariates @ [2, -1] + 3, np.full(len(cells), 0.1)])
    assert null.basis.shape[1] == 3
    again = SpatialNull(cells, step, more)
    assert again.basis.shape[1] == 3
    assert_same(again.against(latents).test(expression), null.against(latents).test(expression))
    np.testing.assert_allclose(again.basis.T @ again.basis, np.eye(3), atol=1e-14)


def test_genes_that_the_covariates_explain_are_nan(section):
    cells, step = SECTIONS["hexagonal with holes"]
    null, expression, latents = section
    covariates = smooth(cells, step, 2, reach=5, seed=3)
    expected = null.against(latents).test(expression)
    spoiled = expression.copy()
    spoiled[:, 0] = 0
    spoiled[:, 3] = 0.1
    spoiled[:, 4] = (covariates @ [1, 2] + 5).astype(np.float32)
    result = null.against(latents).test(sparse.csc_matrix(spoiled))
    assert np.isnan([getattr(result, name)[[0, 3, 4]] for name in vars(result)]).all()
    rest = np.setdiff1d(np.arange(GENES), [0, 3, 4])
    for name in vars(result):
        np.testing.assert_allclose(getattr(result, name)[rest], getattr(expected, name)[rest], rtol=1e-9, atol=1e-12)
    assert np.isnan(null.against(latents).test(np.ones((len(cells), 3))).p).all()


def test_log10_p_goes_on_where_p_underflows():
    cells = lattice("square", 40, 40)
    rng = np.random.default_rng(7)
    latent = rng.normal(size=(len(cells), 1))
    gene = latent + 0.3 * rng.normal(size=latent.shape)
    result = SpatialNull(cells, STEPS["square"]).against(latent).test(np.hstack([gene, latent]))
    assert result.p[0, 0] == np.finfo(float).tiny
    assert result.log10_p[0, 0] < -400
    # The density of t, integrated on a log scale: exp(-1e3) fits into no double.
    t, df = result.t[0, 0], result.ess[0, 0] - 2
    peak = -(df + 1) / 2 * np.log1p(t**2 / df)
    tail, _ = integrate.quad(lambda s: np.exp(-(df + 1) / 2 * np.log1p(s**2 / df) - peak), t, 3 * t)
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
    expected = (np.log(2) + constant + peak + np.log(tail)) / np.log(10)
    assert result.log10_p[0, 0] == pytest.approx(expected, rel=1e-9)
    # A gene that is the latent itself.
    assert result.r[1, 0] == pytest.approx(1)
    assert np.isfinite([result.t[1, 0], result.log10_p[1, 0]]).all()
    assert result.log10_p[1, 0] < result.log10_p[0, 0]


@pytest.mark.parametrize("kind", STEPS)
def test_steps_are_the_geometry_of_the_lattice(kind):
    cells = lattice(kind, 5, 6)
    um = array_to_um(kind, 100.0, cells[:, 0], cells[:, 1])
    np.testing.assert_allclose(cells * STEPS[kind] * 100, um[:, ::-1], atol=1e-9)


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
    cells, step = SECTIONS["square"]
    null = SpatialNull(cells, step, cells.astype(float))
    with pytest.raises(ValueError, match=message):
        null.against(latents(cells)).test(np.random.default_rng(0).normal(size=(len(cells), 3)))


def test_impossible_expression_is_refused(section):
    null, expression, latents = section
    with pytest.raises(ValueError, match="expression of"):
        null.against(latents).test(expression[:-1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        null.against(latents).test(np.where(expression == expression.max(), np.inf, expression))


def test_impossible_sections_are_refused():
    cells, step = lattice("square", 4, 5), STEPS["square"]
    with pytest.raises(ValueError, match="9 spots"):
        SpatialNull(cells[:9], step)
    SpatialNull(cells[:10], step)
    with pytest.raises(ValueError, match="share a position"):
        SpatialNull(np.vstack([cells, cells[:1]]), step)
    with pytest.raises(ValueError, match="integers"):
        SpatialNull(cells + 0.5, step)
    with pytest.raises(ValueError, match="covariates hold"):
        SpatialNull(cells, step, np.full((20, 1), np.nan))
    with pytest.raises(ValueError, match="covariates of shape"):
        SpatialNull(cells, step, np.ones((19, 1)))
    with pytest.raises(ValueError, match="given 17 covariates"):
        SpatialNull(cells, step, np.random.default_rng(0).normal(size=(20, 17)))
    SpatialNull(cells, step, np.random.default_rng(0).normal(size=(20, 16)))

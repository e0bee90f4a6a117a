"""From a section to its association table: genes chosen, values z-scored, models with covariates, limma's results."""

from __future__ import annotations

import gzip
import logging

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from moderated import moderated, prior, squeezed
from scipy import sparse, stats

from spadework.association import ModelFit, associate, fit_model, gene_moments, models
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.section_association import (
    Adjustment,
    associate_section,
    read_limma,
    select,
    write_values,
    zscored,
)
from spadework.section_association import ModelInput as Material

FIELDS = ("coef", "coef_std", "r", "rho", "t", "p", "fdr", "log10_p")


def dense_z(values: np.ndarray) -> np.ndarray:
    """ScaleData by its definition."""
    sd = values.std(axis=0, ddof=1)
    constant = np.ptp(values, axis=0) == 0
    z = (values - values.mean(axis=0)) / np.where(constant, 1, sd)
    z[:, constant] = 0
    return np.minimum(z, 10)


def as_tested(expression: sparse.csc_matrix, latents: np.ndarray, *, zscore: bool = True) -> Material:
    genes = expression.shape[1]
    mean, unit = np.zeros(genes), np.ones(genes)
    if zscore:
        expression, mean, unit = zscored(expression)
    table = pd.DataFrame({Keys.GENE_IDS: [f"id{g}" for g in range(genes)]}, index=[f"g{g}" for g in range(genes)])
    return Material(expression, mean, unit, latents, table, expression.getnnz(axis=0))


def as_section(tested: Material, *, lattice: str = "square", seed: int = 0) -> ad.AnnData:
    """Lay a section out with the genes of the models, on a square of spots; counts and depth are drawn."""
    rng = np.random.default_rng(seed)
    n = len(tested.latents)
    counts = sparse.csr_matrix(rng.poisson(2, tested.expression.shape).astype(np.int32))
    obs = pd.DataFrame(index=[f"b{i}" for i in range(n)])
    obs[Keys.ARRAY_ROW], obs[Keys.ARRAY_COL] = np.arange(n) // 8, np.arange(n) % 8
    obs[Keys.TOTAL_COUNTS] = rng.integers(500, 5000, n)
    section = ad.AnnData(counts, obs=obs, var=tested.genes, layers={Keys.COUNTS: counts})
    section.uns[Keys.SPADE] = {"lattice": {"kind": lattice}}
    return section


def log_counts(n: int, genes: int, seed: int, *, outliers: int = 0) -> np.ndarray:
    """Log counts of genes rare and common; the first ``outliers`` have one spot far above all others."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.exp(rng.normal(-0.5, 1.2, genes)), (n, genes))
    counts[:, :outliers] = rng.poisson(0.02, (n, outliers))
    counts[rng.integers(0, n, outliers), np.arange(outliers)] = 10 ** rng.integers(2, 6, outliers)
    return np.log1p(counts)


@given(
    n=st.integers(2, 160),
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([0.0, 3.0, 1e4]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=60, deadline=None)
def test_zscores_equal_the_dense_formula(n, seed, shift, dtype):
    values = log_counts(n, 6, seed, outliers=3) + shift
    values = np.column_stack([values, np.zeros(n), np.full(n, 0.1 + shift)]).astype(dtype)
    tested = as_tested(sparse.csc_matrix(values), np.zeros((n, 1)))
    np.testing.assert_allclose(tested.dense(), dense_z(values.astype(float)), rtol=1e-7, atol=1e-9)


def test_only_the_upper_side_is_cut_and_from_102_spots_on():
    # The largest z among n spots is (n - 1) / sqrt(n): 9.95 for 101 spots, 10.0005 for 102, 12.6 for 160.
    for n, largest in ((101, 100 / np.sqrt(101)), (102, 10), (160, 10)):
        high, low = np.zeros(n), np.ones(n)
        high[7], low[7] = 4.0, 0.0
        z = as_tested(sparse.csc_matrix(np.column_stack([high, low])), np.zeros((n, 1))).dense()
        assert z[7, 0] == pytest.approx(largest, rel=1e-12)
        assert z[7, 1] == pytest.approx(-(n - 1) / np.sqrt(n), rel=1e-12)


def test_mean_and_sd_are_those_before_the_cut_and_the_input_is_left_alone():
    values = log_counts(150, 5, 0, outliers=5)
    matrix = sparse.csc_matrix(values)
    cut, mean, sd = zscored(matrix)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, values.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(matrix.toarray(), values)
    assert (cut.max(axis=0).toarray().ravel() < values.max(axis=0)).all()


@pytest.mark.parametrize("design", ["marginal", "joint"])
def test_models_of_the_sparse_cut_matrix_are_those_of_dense_zscores(design):
    n = 180
    values = np.column_stack([log_counts(n, 40, 1, outliers=12), np.zeros(n), np.full(n, 2.5)])
    latents = np.random.default_rng(2).normal(1, 2, (n, 3))
    # An outlier on an extreme spot: uncut, it would tell another story.
    latents[values[:, 0].argmax(), 0] = 12
    z = dense_z(values)
    assert (z.max(axis=0) == 10).sum() >= 10
    cut, _, unit = zscored(sparse.csc_matrix(values))
    ours = associate(cut, latents, design=design, unit=unit)
    dense = associate(z, latents, design=design)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(ours, name), getattr(dense, name), rtol=1e-9, atol=1e-11, err_msg=name)
    # and what both are, from elsewhere
    sets = [[0, 1, 2]] if design == "joint" else [[0], [1], [2]]
    by_definition = [moderated(z, latents[:, columns]) for columns in sets]
    for name in ("coef", "t", "p", "fdr"):
        expected = np.hstack([getattr(m, name) for m in by_definition])
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-8, atol=1e-11, err_msg=name)
    for g in range(40):
        assert ours.rho[g, 0] == pytest.approx(stats.spearmanr(z[:, g], latents[:, 0])[0], abs=1e-12)
        assert ours.r[g, 0] == pytest.approx(stats.pearsonr(z[:, g], latents[:, 0])[0], abs=1e-12)
    plain = associate(values, latents, design=design)
    assert np.abs(plain.t[0] - ours.t[0]).max() > 0.1


def test_a_zscored_matrix_stays_sparse(monkeypatch):
    matrix = sparse.csc_matrix(log_counts(150, 30, 3, outliers=5))
    latents = np.random.default_rng(0).normal(size=(150, 2))

    def refuse(*_args, **_kwargs):
        raise AssertionError("made dense")

    for cls in (sparse.csr_matrix, sparse.csc_matrix):
        for name in ("toarray", "todense", "__array__"):
            monkeypatch.setattr(cls, name, refuse, raising=False)
    cut, _, unit = zscored(matrix)
    assert cut.nnz == matrix.nnz
    associate(cut, latents, unit=unit)


@pytest.fixture(scope="module")
def confounded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expression, two covariates and three latents that share something with them."""
    rng = np.random.default_rng(4)
    covariates = rng.normal(5, 2, (90, 2))
    latents = rng.normal(size=(90, 3)) + covariates @ rng.normal(size=(2, 3)) * 0.5
    effects = rng.normal(size=(2, 60)), rng.normal(size=(3, 60))
    noise = rng.normal(size=(90, 60)) * rng.gamma(2, 1, 60)
    return covariates @ effects[0] + latents @ effects[1] + noise, covariates, latents


def fits_given(expression, latents, design, covariates) -> dict[int, tuple[ModelFit, int]]:
    """Fit the models of a design beside covariates: latent -> its model, and its place there."""
    moments = gene_moments(expression, latents, covariates)
    groups = models(design, latents.shape[1])
    return {j: (fit_model(moments, group), at) for group in groups for at, j in enumerate(group)}


def t_given(*arguments) -> np.ndarray:
    return np.column_stack([fit.t[:, at] for fit, at in fits_given(*arguments).values()])


@pytest.mark.parametrize("design", ["marginal", "joint"])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_covariates_are_in_every_model(confounded, design, as_sparse):
    expression, covariates, latents = confounded
    matrix = sparse.csr_matrix(expression) if as_sparse else expression
    ours = fits_given(matrix, latents, design, covariates)
    q = covariates.shape[1]
    for columns in [[0, 1, 2]] if design == "joint" else [[0], [1], [2]]:
        full = sm.add_constant(np.hstack([covariates, latents[:, columns]]))
        fits = [sm.OLS(y, full).fit() for y in expression.T]
        df = fits[0].df_resid
        variance = np.array([f.mse_resid for f in fits])
        df_prior, var_prior = prior(variance, df)
        posterior = squeezed(variance, df, df_prior, var_prior)
        for position, j in enumerate(columns):
            at = 1 + q + position
            coef = np.array([f.params[at] for f in fits])
            t = np.array([f.tvalues[at] for f in fits]) * np.sqrt(variance / posterior)
            fit, place = ours[j]
            assert place == position
            np.testing.assert_allclose(fit.coef[:, place], coef, rtol=1e-9)
            np.testing.assert_allclose(fit.t[:, place], t, rtol=1e-8)
            p = 2 * stats.t.sf(np.abs(t), df + df_prior)
            np.testing.assert_allclose(10 ** fit.log10_p[:, place], p, rtol=1e-6)
            assert fit.df_prior == pytest.approx(df_prior, rel=1e-8)
            assert fit.var_prior == pytest.approx(var_prior, rel=1e-8)
    without = associate(expression, latents, design=design).t
    assert np.abs(t_given(matrix, latents, design, covariates) - without).max() > 1


def test_a_combination_of_earlier_latents_has_no_results_and_changes_no_others(confounded):
    expression, covariates, latents = confounded
    a, b, c = latents.T
    with_copy = np.column_stack([a, b, 3 + a - 2 * b, c])
    ours, without = (associate(expression, x, design="joint") for x in (with_copy, latents))
    for name in ("coef", "t", "p", "fdr", "log10_p", "coef_std"):
        assert np.isnan(getattr(ours, name)[:, 2]).all(), name
        kept = getattr(ours, name)[:, [0, 1, 3]]
        np.testing.assert_allclose(kept, getattr(without, name), rtol=1e-8, err_msg=name)
    # marginally it is a latent like any other
    assert np.isfinite(associate(expression, with_copy).t).all()
    given, plain = (t_given(expression, x, "joint", covariates) for x in (with_copy, latents))
    assert np.isnan(given[:, 2]).all()
    np.testing.assert_allclose(given[:, [0, 1, 3]], plain, rtol=1e-8)


def test_a_latent_the_covariates_explain_has_no_results(confounded):
    expression, covariates, latents = confounded
    explained = covariates @ [[1.0], [-3.0]] + 2
    for design in ("marginal", "joint"):
        ours = t_given(expression, np.hstack([explained, latents]), design, covariates)
        assert np.isnan(ours[:, 0]).all()
        np.testing.assert_allclose(ours[:, 1:], t_given(expression, latents, design, covariates), rtol=1e-8)


# Gene -> its counts in ten spots: rare, at the limit, common, constant, absent.
COUNTS = {
    "rare": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "limit": [1, 2, 3, 0, 0, 0, 0, 0, 0, 0],
    "common": [1, 2, 3, 1, 2, 3, 1, 0, 0, 5],
    "constant": [2] * 10,
    "absent": [0] * 10,
    "not in sct": [3, 2, 3, 1, 2, 3, 1, 0, 0, 5],
    "constant in sct": [3, 1, 3, 1, 2, 3, 1, 0, 0, 5],
}


def section_and_latents() -> tuple[ad.AnnData, ad.AnnData]:
    counts = np.array(list(COUNTS.values()), np.int32).T
    names = list(COUNTS)
    section = ad.AnnData(
        sparse.csr_matrix(np.log1p(counts).astype(np.float32)),
        obs=pd.DataFrame(index=[f"b{i}" for i in range(10)]),
        var=pd.DataFrame({Keys.GENE_IDS: [f"id {n}" for n in names]}, index=names),
    )
    sct = counts + (counts > 0)
    sct[:, names.index("not in sct")] = 0
    sct[:, names.index("constant in sct")] = 4
    section.layers[Keys.SCT_COUNTS] = sparse.csr_matrix(sct)
    section.var[Keys.IN_SCT] = [n not in ("not in sct", "rare") for n in names]
    # Latents name more spots, in an order of their own; latent k of spot i is 100 k + i.
    order = np.random.default_rng(0).permutation(14)
    latents = ad.AnnData(np.zeros((14, 1), np.float32), obs=pd.DataFrame(index=[f"b{i}" for i in order]))
    latents.obsm["pca"] = (order[:, None] + 100 * np.arange(5)).astype(np.float32)
    return section, latents


def choose(**settings_) -> Material:
    given_ = {"values": "lognorm", "zscore": False, "min_spots_fraction": 0.3, "n_latents": None} | settings_
    return select(*section_and_latents(), "s", **given_)


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({}, ["limit", "common", "not in sct", "constant in sct"]),
        ({"min_spots_fraction": 0.31}, ["common", "not in sct", "constant in sct"]),
        ({"min_spots_fraction": 1e-9}, ["rare", "limit", "common", "not in sct", "constant in sct"]),
        ({"min_spots_fraction": 0}, list(COUNTS)),
        ({"values": "sct"}, ["limit", "common"]),
        ({"values": "sct", "min_spots_fraction": 0}, ["limit", "common", "constant", "absent", "constant in sct"]),
    ],
)
@pytest.mark.parametrize("zscore", [False, True])
def test_genes_in_enough_spots_that_vary_are_tested(settings_, expected, zscore):
    tested = choose(**settings_, zscore=zscore)
    assert list(tested.genes.index) == expected
    assert list(tested.genes[Keys.GENE_IDS]) == [f"id {n}" for n in expected]
    assert tested.n_spots.tolist() == [int(np.count_nonzero(COUNTS[n])) for n in expected]
    section, _ = section_and_latents()
    if settings_.get("values") == "sct":
        values = np.log1p(section[:, expected].layers[Keys.SCT_COUNTS].toarray().astype(float))
    else:
        values = section[:, expected].X.toarray().astype(float)
    np.testing.assert_allclose(tested.dense(), dense_z(values) if zscore else values, rtol=1e-6, atol=1e-12)


def test_a_share_of_all_spots_means_every_spot():
    with pytest.raises(InputError, match=r"no gene in at least 100% of 10 spots(.|\n)*min_spots_fraction"):
        choose(min_spots_fraction=1.0)


def test_latents_are_joined_by_barcode_and_counted():
    for n_latents, k in ((None, 5), (2, 2), (1, 1), (5, 5)):
        expected = np.arange(10)[:, None] + 100 * np.arange(k)
        np.testing.assert_array_equal(choose(n_latents=n_latents).latents, expected)
    section, latents = section_and_latents()
    arguments = {"values": "lognorm", "zscore": False, "min_spots_fraction": 0.3, "n_latents": None}
    shuffled = select(section[::-1].copy(), latents, "s", **arguments)
    np.testing.assert_array_equal(shuffled.latents[:, 0], np.arange(10)[::-1])
    np.testing.assert_array_equal(shuffled.dense(), choose().dense()[::-1])
    with pytest.raises(KeyError):
        select(section, latents[latents.obs_names != "b3"].copy(), "s", **arguments)


@pytest.mark.parametrize("zscore", [False, True])
def test_the_table_speaks_of_the_genes_and_says_which_latents_are_combinations(caplog, zscore):
    rng = np.random.default_rng(5)
    latents = rng.normal(size=(60, 2))
    values = log_counts(60, 15, 6) + 1
    tested = as_tested(sparse.csc_matrix(values), np.column_stack([latents, latents.sum(axis=1)]), zscore=zscore)
    with caplog.at_level(logging.WARNING, logger="spadework"):
        table = associate_section(as_section(tested), tested, "sec", design="joint", adjustment=Adjustment())
    assert [r.getMessage() for r in caplog.records] == [
        "sec: latent 3 is a combination of the others and has no results"
    ]
    assert table.loc[table["latent"] == 3, ["coef", "t", "p", "fdr"]].isna().all(axis=None)
    expected = moderated(dense_z(values) if zscore else values, latents)
    for j in (1, 2):
        rows = table[table["latent"] == j].set_index("gene").loc[tested.genes.index]
        np.testing.assert_allclose(rows["coef"], expected.coef[:, j - 1], rtol=1e-8)
        np.testing.assert_allclose(rows["t"], expected.t[:, j - 1], rtol=1e-8)
        np.testing.assert_allclose(rows["fdr"], expected.fdr[:, j - 1], rtol=1e-7)
        np.testing.assert_allclose(rows["mean_expression"], values.mean(axis=0), rtol=1e-9)
        assert rows["n_spots"].tolist() == (values > 0).sum(axis=0).tolist()


@pytest.mark.parametrize(
    ("n", "lattice", "message"),
    [
        (60, "none", "no spatial test: spots without array positions"),
        (29, "square", "no spatial test: 29 spots, fewer than 30"),
    ],
)
def test_without_a_lattice_there_is_no_spatial_test(n, lattice, message, caplog):
    latents = np.random.default_rng(8).normal(size=(n, 2))
    tested = as_tested(sparse.csc_matrix(log_counts(n, 15, 6)), latents, zscore=False)
    with caplog.at_level(logging.WARNING, logger="spadework"):
        table = associate_section(
            as_section(tested, lattice=lattice), tested, "sec", design="marginal", adjustment=Adjustment()
        )
    assert f"sec: {message}" in caplog.text
    assert table[["t_spatial", "p_spatial", "fdr_spatial", "ess"]].isna().all(axis=None)
    assert table[["t_depth", "p_depth", "fdr_depth", "r_depth"]].notna().any(axis=None)


def test_latents_that_cannot_be_modelled_name_the_section():
    tested = as_tested(sparse.csc_matrix(log_counts(20, 4, 7)), np.ones((20, 1)))
    with pytest.raises(InputError, match=r"^sec\n(.|\n)*latent 1 is constant(.|\n)*preflight overlay"):
        associate_section(as_section(tested), tested, "sec", design="marginal", adjustment=Adjustment())


def test_r_gets_the_values_the_models_see(tmp_path):
    tested = as_tested(
        sparse.csc_matrix(log_counts(150, 12, 8, outliers=4)), np.random.default_rng(0).normal(size=(150, 3))
    )
    write_values(tested, tmp_path / "values.h5")
    with h5py.File(tmp_path / "values.h5") as handle:
        assert sorted(handle) == ["latents", "values"]
        z = dense_z(log_counts(150, 12, 8, outliers=4))
        np.testing.assert_allclose(handle["values"][:], z, atol=1e-12)
        np.testing.assert_array_equal(handle["latents"][:], tested.latents)
        assert handle["values"].dtype == handle["latents"].dtype == np.float64


def write_as_r(path, sets, fits, missing=()) -> None:
    """Write what ``write_exactly`` of job.R does, a row per gene and latent; NA and Inf as R spells them."""

    def number(x: float) -> str:
        return "NA" if np.isnan(x) else ("Inf" if np.isinf(x) else f"{x:.17g}")

    lines = ["latent,gene,coef,t,log10_p,df_prior,var_prior,engine"]
    for columns, fit in zip(sets, fits, strict=True):
        estimated = iter(range(fit.t.shape[1]))
        for j in columns:
            at = None if j in missing else next(estimated)
            for g in range(len(fit.t)):
                row = [np.nan] * 3 if at is None else [fit.coef[g, at], fit.t[g, at], np.log10(fit.p[g, at])]
                cells = ",".join(map(number, [*row, fit.df_prior, fit.var_prior]))
                lines.append(f"{j + 1},{g + 1},{cells},R 4.2.2; limma 3.54.1")
    with gzip.open(path, "wt") as handle:
        handle.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("design", ["marginal", "joint"])
def test_limmas_results_are_taken_over_number_by_number(tmp_path, design):
    values = log_counts(70, 130, 9)
    # Eleven latents: the tenth must not come before the second.
    latents = np.random.default_rng(1).normal(size=(70, 11))
    sets = [list(range(11))] if design == "joint" else [[j] for j in range(11)]
    fits = [moderated(values, latents[:, columns]) for columns in sets]
    write_as_r(tmp_path / "limma.csv.gz", sets, fits)
    fit, engine = read_limma(tmp_path / "limma.csv.gz", design)
    assert engine == "R 4.2.2; limma 3.54.1"
    # Another expression, so that nothing can be right by being computed again.
    ours = associate(values[:, ::-1], latents, design=design, fit=fit)
    for name in ("coef", "t", "p", "fdr"):
        np.testing.assert_allclose(getattr(ours, name), np.hstack([getattr(f, name) for f in fits]), rtol=1e-11)
    for name in ("df_prior", "var_prior"):
        expected = np.concatenate([np.repeat(getattr(f, name), f.t.shape[1]) for f in fits])
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-13)
    if design == "joint":
        assert len(set(ours.df_prior)) == 1
    else:
        assert len(set(ours.df_prior)) == 11


def test_limmas_missing_coefficients_and_infinite_prior_are_read(tmp_path):
    values = np.random.default_rng(2).normal(size=(40, 8))
    values /= values.std(axis=0)  # variances that scatter less than chance would have them
    latents = np.random.default_rng(3).normal(size=(40, 2))
    result = moderated(values, latents)
    assert np.isinf(result.df_prior)
    write_as_r(tmp_path / "limma.csv.gz", [[0, 1, 2]], [result], missing=(1,))
    fit, _ = read_limma(tmp_path / "limma.csv.gz", "joint")
    collinear = np.column_stack([latents[:, 0], 2 * latents[:, 0], latents[:, 1]])
    ours = associate(values, collinear, design="joint", fit=fit)
    assert np.isnan(ours.t[:, 1]).all()
    np.testing.assert_allclose(ours.t[:, [0, 2]], result.t, rtol=1e-12)
    assert np.isinf(ours.df_prior).all()
    np.testing.assert_allclose(ours.fdr, associate(values, collinear, design="joint").fdr, rtol=1e-9)


def test_models_limma_did_not_fit_are_refused(tmp_path):
    values, latents = log_counts(40, 20, 10), np.random.default_rng(4).normal(size=(40, 3))
    path = tmp_path / "limma.csv.gz"
    write_as_r(path, [[0, 1, 2]], [moderated(values, latents)])
    joint, marginal = read_limma(path, "joint")[0], read_limma(path, "marginal")[0]
    with pytest.raises(ValueError, match="limma fitted"):
        associate(values, latents, fit=joint)
    with pytest.raises(ValueError, match="limma fitted"):
        associate(values, latents, design="joint", fit=marginal)
    with pytest.raises(ValueError, match="limma fitted"):
        associate(values, latents[:, :2], design="joint", fit=joint)
    tested = as_tested(sparse.csc_matrix(values), latents, zscore=False)
    with pytest.raises(InputError, match="limma fitted"):
        associate_section(as_section(tested), tested, "sec", design="marginal", adjustment=Adjustment(), fit=joint)
    with pytest.raises(ValueError):
        associate(values[:, :10], latents, design="joint", fit=joint)

"""Null latents through every test: a small section shows that smooth patterns fool the published test only."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from spadework.calibration import calibrate
from spadework.composition import beyond_composition
from spadework.figures.calibration import verdict
from spadework.keys import Keys
from spadework.section_association import Adjustment, ModelInput, associate_section, select
from spadework.spatial_null import STEPS, SpatialNull
from spadework.surrogates import PermutedLatents

SIDE, GENES = 20, 160
DEFAULT = Adjustment(mixed_model=True)


@pytest.fixture(scope="module")
def smooth_section() -> tuple[ad.AnnData, ad.AnnData]:
    """Genes that all vary smoothly, one that follows the first latent, and two smooth latents."""
    rng = np.random.default_rng(11)
    row, column = (index.ravel() for index in np.indices((SIDE, SIDE)))
    n = len(row)
    at = np.column_stack([row, column]) * STEPS["square"]
    root = np.linalg.cholesky(np.exp(-cdist(at, at) / 3) + 1e-9 * np.eye(n))
    fields = root @ rng.normal(size=(n, GENES + 3))
    latents = fields[:, GENES : GENES + 2]
    depth = np.exp(rng.normal(0, 0.3, n) + 0.4 * fields[:, -1])
    rate = np.exp(0.7 * fields[:, :GENES] + 1.5)
    rate[:, 0] = np.exp(1.5 + 0.8 * latents[:, 0])
    counts = sparse.csr_matrix(rng.poisson(rate * depth[:, None]).astype(np.int32))
    total = np.asarray(counts.sum(axis=1)).ravel() * 20.0
    genes = pd.DataFrame({Keys.GENE_IDS: [f"id{g}" for g in range(GENES)]}, index=[f"g{g}" for g in range(GENES)])
    obs = pd.DataFrame(
        {
            Keys.ARRAY_ROW: row,
            Keys.ARRAY_COL: column,
            Keys.TOTAL_COUNTS: total,
            Keys.TISSUE_FRACTION: rng.uniform(0.5, 1, n),
            Keys.CLUSTER: pd.Categorical(np.where(fields[:, 1] > 0, "1", "0")),
        },
        index=[f"b{i}" for i in range(n)],
    )
    lognorm = sparse.csr_matrix(np.log1p(counts.toarray() / total[:, None] * 1e4))
    section = ad.AnnData(lognorm, obs=obs, var=genes, layers={Keys.COUNTS: counts}, obsm={Keys.SPATIAL: at * 100})
    section.uns[Keys.SPADE] = {"lattice": {"kind": "square"}}
    return section, ad.AnnData(obs=obs[[]], obsm={"pca": latents})


def chosen(section: ad.AnnData, latents: ad.AnnData) -> ModelInput:
    return select(section, latents, "s", values="lognorm", zscore=False, min_spots_fraction=0.1, n_latents=None)


def test_smooth_patterns_fool_the_published_test_and_not_the_spatial_ones(smooth_section):
    section, latents = smooth_section
    table = calibrate(section, chosen(section, latents), "s", DEFAULT, n_fields=30, fdr=0.05)
    assert list(table["test"].unique()) == ["published", "depth", "spatial", "mixed"]
    assert table.groupby("test").size().eq(30).all()
    share = table.groupby("test")["share_below_05"].mean()
    assert share["published"] > 0.2
    assert share["depth"] > 0.2
    assert 0.03 < share["spatial"] < 0.07
    assert 0.03 < share["mixed"] < 0.08
    any_found = (table["found"] > 0).groupby(table["test"]).mean()
    assert any_found["published"] > 0.9
    assert any_found["spatial"] <= 0.1
    assert table.groupby("imitates")["field"].nunique().tolist() == [15, 15]
    assert (table["neighbours_latent"] - table["neighbours_field"]).abs().mean() < 0.15


def test_the_sentence_says_how_many(smooth_section):
    section, latents = smooth_section
    tested = chosen(section, latents)
    table = calibrate(section, tested, "s", DEFAULT, n_fields=3, fdr=0.05)
    table.loc[table["test"] == "spatial", ["found", "share_below_05"]] = [[0, 0.04], [2, 0.05], [1, 0.06]]
    words = verdict(table, 0.05)
    assert words.startswith("3 random patterns")
    assert "the spatial test for 2 of them (1 genes on average; p < 0.05 in 5.0% of tests)" in words
    assert "cannot be shown" in verdict(table.iloc[:0], 0.05)


def test_the_same_seed_gives_the_same_fields(smooth_section):
    section, latents = smooth_section
    tested = chosen(section, latents)
    first, again, other = (
        calibrate(section, tested, "s", replace(DEFAULT, seed=seed), n_fields=2, fdr=0.05) for seed in (4, 4, 5)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_permuted_latents_agree_with_the_spatial_test(smooth_section):
    section, latents = smooth_section
    adjustment = Adjustment(permutations=300)
    table = associate_section(section, chosen(section, latents), "s", design="marginal", adjustment=adjustment)
    assert np.corrcoef(table["ess"], table["ess_permuted"])[0, 1] > 0.5
    assert np.median(table["ess_permuted"] / table["ess"]) == pytest.approx(1, abs=0.25)
    assert table.loc[(table["gene"] == "g0") & (table["latent"] == 1), "fdr_permuted"].item() < 0.01
    unrelated = table[table["gene"] != "g0"]
    assert 0.01 < (unrelated["p_permuted"] < 0.05).mean() < 0.09


def test_a_gene_that_follows_a_latent_is_beyond_composition(smooth_section):
    section, latents = smooth_section
    table = beyond_composition(section, chosen(section, latents), "s", residuals="nb", seed=0)
    best = table.iloc[0]
    assert (best["gene"], best["latent"]) == ("g0", 1)
    assert best["fdr"] < 0.01
    assert best["cv_gain"] > 0.2
    assert (table["fdr"] < 0.05).sum() <= 3
    # The second gene is what the clusters are made from.
    assert table.set_index("gene")["r2_composition"].rank(ascending=False)["g1"] <= 8


@pytest.mark.parametrize("rough", [True, False])
def test_permutations_are_as_smooth_as_what_covariates_leave_of_a_latent(rough):
    rng = np.random.default_rng(8)
    cells = np.column_stack([index.ravel() for index in np.indices((26, 26))])
    root = np.linalg.cholesky(np.exp(-cdist(cells, cells) / 4) + 1e-9 * np.eye(len(cells)))
    smooth, noise = root @ rng.normal(size=(len(cells), 201)), rng.normal(size=(len(cells), 2))
    # The latent is depth and something else, one of the two smooth and the other not.
    depth, other = (noise[:, 0], smooth[:, 0]) if not rough else (smooth[:, 0], noise[:, 0])
    latent = (depth + 0.8 * other)[:, None]
    null = SpatialNull(cells, STEPS["square"], depth[:, None])
    permuted = PermutedLatents.draw(latent, cells, STEPS["square"], null.basis, 200, seed=0)
    test = null.against(latent).test(smooth[:, 1:])
    p = permuted.test(smooth[:, 1:], test.r).p
    assert 0.015 < (p < 0.05).mean() < 0.1
    assert np.median(permuted.test(smooth[:, 1:], test.r).ess / test.ess) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("reason", ["no lattice", "few spots"])
def test_without_a_lattice_or_with_few_spots_nothing_is_claimed(reason, smooth_section, caplog):
    section, latents = smooth_section
    section = section[:25].copy() if reason == "few spots" else section.copy()
    section.uns[Keys.SPADE] = {"lattice": {"kind": "none" if reason == "no lattice" else "square"}}
    tested = chosen(section, latents)
    table = associate_section(section, tested, "s", design="marginal", adjustment=DEFAULT)
    assert table[["p_spatial", "fdr_spatial", "ess"]].isna().all(axis=None)
    assert table["p_depth"].notna().any()
    message = "spots without array positions" if reason == "no lattice" else "25 spots, fewer than 30"
    assert message in caplog.text
    assert calibrate(section, tested, "s", DEFAULT, n_fields=5, fdr=0.05).empty
    beyond = beyond_composition(section, tested, "s", residuals="nb", seed=0)
    assert beyond[["latent", "p", "fdr"]].isna().all(axis=None)
    assert beyond["partial_r2"].notna().all()


def test_pieces_of_tissue_are_named_in_the_log_and_can_be_held_constant(smooth_section, caplog):
    section, latents = smooth_section
    apart = section[(section.obs[Keys.ARRAY_COL] < 8) | (section.obs[Keys.ARRAY_COL] > 11)].copy()
    tested = chosen(apart, latents)
    within = Adjustment(covariates=("log10_umi", "tissue_piece"))
    table = associate_section(apart, tested, "s", design="marginal", adjustment=within)
    assert "tissue in 2 pieces (160, 160 spots)" in caplog.text
    left = apart.obs[Keys.ARRAY_COL].to_numpy() < 8
    moved = replace(tested, latents=tested.latents + 100 * left[:, None])
    shifted = associate_section(apart, moved, "s", design="marginal", adjustment=within)
    np.testing.assert_allclose(shifted["p_spatial"], table["p_spatial"], rtol=1e-6)

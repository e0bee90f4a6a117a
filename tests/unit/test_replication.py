"""Agreement between sections against brute force, pooled effects against statsmodels and limma, and their page."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from rscript import needs_r, run_r
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from spadework.figures.replication import IN_BOTH, replication_page
from spadework.headline import headline
from spadework.replication import align, fisher, pairwise, random_effects

BY = headline(pd.DataFrame({"fdr_spatial": [0.5]}), "spatial")


def table(r: np.ndarray, ess: np.ndarray, *, names: list[str] | None = None) -> pd.DataFrame:
    """An association table of (genes, latents) effects, tested as spadework.spatial_null does; no order in it."""
    genes, latents = r.shape
    names = names or [f"GENE{i}" for i in range(genes)]
    p = 2 * stats.t.sf(np.abs(r) * np.sqrt((ess - 2) / (1 - r**2)), ess - 2)
    frames = []
    for j in range(latents):
        fdr, tested = np.full(genes, np.nan), np.isfinite(p[:, j])
        fdr[tested] = multipletests(p[tested, j], method="fdr_bh")[1]
        columns = {"r_depth": r[:, j], "ess": ess[:, j], "p_spatial": p[:, j], "fdr_spatial": fdr}
        frames.append(pd.DataFrame({"latent": j + 1, "gene": names, "gene_id": names, **columns}))
    out = pd.concat(frames)
    out["log10_p_spatial"] = np.log10(out["p_spatial"])
    return out.sample(frac=1, random_state=genes)


def effects(
    rng: np.random.Generator, true: np.ndarray, sections: int, *, tau: float = 0.0, ess: float = 200.0
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and effective numbers of spots, (sections, genes, latents), around ``true`` values of z."""
    shape = (sections, *true.shape)
    size = ess * rng.uniform(0.5, 1.5, shape)
    own = true + tau * rng.normal(size=shape)
    # A correlation of zero at M spots has t on M - 2 degrees of freedom.
    t = stats.t.rvs(size - 2, random_state=rng)
    return np.tanh(own + np.arctanh(t / np.sqrt(t**2 + size - 2))), size


def three_sections(seed: int = 1, genes: int = 300, sections: int = 3) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(genes, 3)) * [0.3, 0.1, 0.0]
    r, ess = effects(rng, true, sections)
    return {f"s{i}": table(r[i], ess[i]) for i in range(sections)}


def one(pairs: pd.DataFrame, discovery: str, validation: str, latent: int) -> pd.Series:
    chosen = pairs[
        (pairs["discovery"] == discovery) & (pairs["validation"] == validation) & (pairs["latent"] == latent)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


def brute_force(a: pd.DataFrame, b: pd.DataFrame, latent: int, fdr: float) -> dict[str, float]:
    """One pair of sections and one latent, gene by gene."""
    a, b = (t[t["latent"] == latent].set_index("gene").to_dict("index") for t in (a, b))
    names = [g for g in a if g in b and np.isfinite([a[g]["r_depth"], b[g]["r_depth"]]).all()]
    r_a, r_b, p_a, p_b = ({g: t[g][c] for g in names} for c in ("r_depth", "p_spatial") for t in (a, b))
    rho = stats.spearmanr([r_a[g] for g in names], [r_b[g] for g in names]).statistic
    tested = [g for g in names if np.isfinite([p_a[g], p_b[g]]).all()]

    def same(g):
        return r_a[g] * r_b[g] > 0

    def chance(chosen):
        return np.mean([r_a[g] * r_b[h] > 0 for g in chosen for h in tested]) if chosen else np.nan

    found = [g for g in tested if a[g]["fdr_spatial"] < fdr]
    top = sorted(tested, key=lambda g: p_a[g])[:100]
    in_direction = [np.sign(r_a[g]) * np.sign(r_b[g]) * stats.norm.isf(p_b[g] / 2) for g in found]
    replicated = multipletests(stats.norm.sf(in_direction), fdr, method="fdr_bh")[0] if found else np.zeros(0)
    return {
        "n_common": len(names),
        "spearman": rho,
        "n_found": len(found),
        "n_same_sign": sum(map(same, found)),
        "same_sign": np.mean([same(g) for g in found]) if found else np.nan,
        "same_sign_chance": chance(found),
        "n_replicated": replicated.sum(),
        "n_top": len(top),
        "top_same_sign": np.mean([same(g) for g in top]),
        "top_same_sign_chance": chance(top),
    }


def test_pairs_are_compared_as_gene_by_gene():
    tables = three_sections()
    # Genes that one section has not tested, or has no p for.
    tables["s1"] = tables["s1"][tables["s1"]["gene"] != "GENE3"]
    tables["s2"].loc[tables["s2"]["gene"] == "GENE5", ["r_depth", "p_spatial", "log10_p_spatial"]] = np.nan
    tables["s0"].loc[tables["s0"]["gene"] == "GENE7", ["p_spatial", "log10_p_spatial", "fdr_spatial"]] = np.nan
    pairs = pairwise(tables, BY, 0.1)
    assert len(pairs) == 3 * 2 * 3
    for row in pairs.to_dict("records"):
        expected = brute_force(tables[row["discovery"]], tables[row["validation"]], row["latent"], 0.1)
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-9, err_msg=name)
    # Else the comparison would say little.
    shared = one(pairs, "s0", "s1", 1)
    assert shared["n_common"] == 299
    assert 10 < shared["n_replicated"] < shared["n_same_sign"] < shared["n_found"] < 250
    assert (pairs["n_found"] == 0).any()


def test_a_section_with_flipped_signs_agrees_with_none():
    tables = three_sections()
    tables["s2"]["r_depth"] *= -1
    pairs = pairwise(tables, BY, 0.05)
    agrees, flipped = one(pairs, "s0", "s1", 1), one(pairs, "s0", "s2", 1)
    assert agrees["spearman"] > 0.8
    assert agrees["top_same_sign"] > 0.95
    assert agrees["n_replicated"] > 0.8 * agrees["n_found"]
    assert flipped["spearman"] < -0.8
    assert flipped["top_same_sign"] < 0.05
    assert flipped["same_sign"] < 0.05
    assert flipped["n_replicated"] == 0
    assert flipped["n_found"] == agrees["n_found"] > 50


def test_sections_without_anything_in_common_agree_by_chance_where_most_effects_have_one_sign():
    rng = np.random.default_rng(2)
    r = np.abs(rng.normal(size=(2, 4000, 1))) * 0.05 * np.where(rng.uniform(size=(2, 4000, 1)) < 0.9, 1, -1)
    pairs = pairwise({n: table(x, np.full(x.shape, 200.0)) for n, x in zip("ab", r, strict=True)}, BY, 0.05)
    row = one(pairs, "a", "b", 1)
    assert abs(row["spearman"]) < 0.05
    # Twice 0.9 in one direction, or twice 0.1 in the other.
    assert row["top_same_sign_chance"] == pytest.approx(0.82, abs=0.05)
    assert row["top_same_sign"] == pytest.approx(row["top_same_sign_chance"], abs=0.12)


def test_nothing_is_said_of_what_no_section_has_tested():
    tables = three_sections(genes=40)
    untested = ["p_spatial", "log10_p_spatial", "fdr_spatial", "ess"]
    tables["s2"][untested] = np.nan
    tables["s1"].loc[tables["s1"]["latent"] == 2, "r_depth"] = 0.0
    pairs = pairwise(tables, BY, 0.05)
    for latent, pair in ((1, ("s0", "s2")), (1, ("s2", "s0"))):
        row = one(pairs, *pair, latent)
        assert row[["n_found", "n_replicated", "n_top"]].eq(0).all()
        assert row[["same_sign", "same_sign_chance", "top_same_sign", "top_same_sign_chance"]].isna().all()
        assert row["spearman"] > 0.5
    assert np.isnan(one(pairs, "s0", "s1", 2)["spearman"])
    assert one(pairs, "s0", "s1", 2)["top_same_sign"] == 0


def test_genes_are_joined_by_id_where_names_are_of_another_kind():
    tables = three_sections(genes=60)
    expected_pairs, expected = pairwise(tables, BY, 0.05), random_effects(tables)
    number = {name: t["gene"].str.removeprefix("GENE").astype(int) for name, t in tables.items()}
    for name, version in (("s0", ".4"), ("s1", ".11"), ("s2", "")):
        tables[name]["gene_id"] = number[name].map("ENSMUSG{:011d}".format) + version
    # One section is named by id, but for a few genes.
    odd = number["s2"] > 50
    tables["s2"]["gene"] = tables["s2"]["gene"].where(odd, tables["s2"]["gene_id"])
    pd.testing.assert_frame_equal(pairwise(tables, BY, 0.05), expected_pairs)
    pooled = (
        random_effects(tables)
        .set_index(["latent", "gene"])
        .loc[pd.MultiIndex.from_frame(expected[["latent", "gene"]])]
    )
    np.testing.assert_allclose(pooled["p"], expected["p"])
    assert pooled["gene_id"].str.endswith(".4").all()


def test_ids_that_only_look_versioned_stay_apart():
    tables = three_sections(genes=20, sections=2)
    clones = {name: t["gene"].str.replace("GENE", "AC0123.") for name, t in tables.items()}
    tables["s0"] = tables["s0"].assign(gene_id=clones["s0"])
    tables["s1"] = tables["s1"].assign(gene_id=clones["s1"], gene=clones["s1"])
    assert one(pairwise(tables, BY, 0.05), "s0", "s1", 1)["n_common"] == 20


def test_values_stand_beside_each_other_whatever_the_order_of_the_tables():
    tables = three_sections(genes=10)
    tables["s1"] = tables["s1"][tables["s1"]["gene"] != "GENE4"]
    aligned = align(tables, ["r_depth", "ess"])
    assert aligned.sections == ["s0", "s1", "s2"]
    assert len(aligned.genes) == 30
    for i, section in enumerate(tables):
        of = tables[section].set_index(["latent", "gene"])["r_depth"]
        expected = of.reindex(pd.MultiIndex.from_frame(aligned.genes[["latent", "gene"]]))
        np.testing.assert_array_equal(aligned.columns["r_depth"][:, i], expected)
    assert np.isnan(aligned.columns["r_depth"]).sum() == 3
    np.testing.assert_array_equal(aligned.of_latent(2, "ess"), aligned.columns["ess"][aligned.genes["latent"] == 2])


@pytest.mark.parametrize("function", [lambda t: pairwise(t, BY, 0.05), random_effects])
def test_what_cannot_be_compared_is_refused(function):
    tables = three_sections(genes=12)
    with pytest.raises(ValueError, match=r"1 section\(s\) \['s0'\]"):
        function({"s0": tables["s0"]})
    other = tables["s1"].assign(gene=lambda t: "x" + t["gene"], gene_id=lambda t: "x" + t["gene_id"])
    with pytest.raises(ValueError, match=r"no gene is in two sections.*s0 has .*GENE"):
        function({"s0": tables["s0"], "s1": other})
    twice = pd.concat([tables["s1"], tables["s1"].query("gene == 'GENE4' and latent == 2")])
    with pytest.raises(ValueError, match="gene GENE4 is more than once in latent 2 of s1"):
        function({"s0": tables["s0"], "s1": twice})


@pytest.mark.parametrize("ess", [3.0, 4.0, 5.5, 12.0, 150.0])
def test_the_variance_of_z_is_exact_without_correlation(ess):
    # z = arctanh(r), of r = t / sqrt(t^2 + M - 2).
    def second_moment(z):
        t = np.sinh(z) * np.sqrt(ess - 2)
        return z**2 * stats.t.pdf(t, ess - 2) * np.cosh(z) * np.sqrt(ess - 2)

    expected, _ = integrate.quad(second_moment, -40, 40, points=[0], limit=200)
    z, variance = fisher(np.array([0.3]), np.array([ess]))
    assert z[0] == pytest.approx(np.arctanh(0.3))
    assert variance[0] == pytest.approx(expected, rel=1e-6)
    if ess > 100:
        assert variance[0] == pytest.approx(1 / (ess - 3), rel=1e-3)


def single(r: list[float], ess: list[float]) -> pd.Series:
    tables = {f"s{i}": table(np.array([[a]]), np.array([[b]])) for i, (a, b) in enumerate(zip(r, ess, strict=True))}
    return random_effects(tables).iloc[0]


def test_a_gene_alone_is_pooled_as_dersimonian_and_laird_with_hartung_and_knapps_error():
    r, ess = [0.55, 0.1, 0.38, -0.05], [150.0, 90.0, 300.0, 40.0]
    z, variance = fisher(np.array(r), np.array(ess))
    reference = combine_effects(z, variance, method_re="dl", use_t=True)
    row = single(r, ess)
    assert reference.tau2 > 0.02
    assert row["tau2"] == pytest.approx(reference.tau2)
    assert row["tau2_shared"] == pytest.approx(reference.tau2)
    assert row["i2"] == pytest.approx(reference.i2)
    assert np.arctanh(row["r"]) == pytest.approx(reference.mean_effect_re)
    assert row["t"] == pytest.approx(reference.mean_effect_re / reference.sd_eff_w_re_hksj)
    assert (row["df"], row["n_sections"], row["n_same_sign"]) == (3, 4, 3)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["t"]), 3))
    low, high = reference.conf_int()[3]
    np.testing.assert_allclose(np.arctanh(row[["r_low", "r_high"]].astype(float)), [low, high])


def test_sections_that_happen_to_agree_leave_the_error_of_chance():
    r, ess = [0.300, 0.301, 0.299], [150.0, 90.0, 300.0]
    z, variance = fisher(np.array(r), np.array(ess))
    reference = combine_effects(z, variance, method_re="dl")
    row = single(r, ess)
    assert reference.tau2 < 0
    assert row[["tau2", "tau2_shared", "i2"]].eq(0).all()
    assert np.arctanh(row["r"]) == pytest.approx(reference.mean_effect_fe)
    assert row["t"] == pytest.approx(reference.mean_effect_fe / reference.sd_eff_w_fe)


def varied_sections() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(5)
    true = rng.normal(size=(400, 1)) * 0.2
    r, ess = effects(rng, true, 4, tau=0.25)
    return {f"s{i}": table(r[i], ess[i] * [1, 3, 0.5, 1][i]) for i in range(4)}


def test_heterogeneity_is_that_of_statsmodels():
    tables = varied_sections()
    aligned = align(tables, ["r_depth", "ess"])
    z, variance = fisher(aligned.columns["r_depth"], aligned.columns["ess"])
    references = [combine_effects(a, b, method_re="dl") for a, b in zip(z, variance, strict=True)]
    pooled = random_effects(tables).set_index("gene").loc[aligned.genes["gene"]]
    np.testing.assert_allclose(pooled["tau2"], np.maximum(0, [x.tau2 for x in references]), atol=1e-12)
    np.testing.assert_allclose(pooled["i2"], np.maximum(0, [x.i2 for x in references]), atol=1e-9)
    same = np.sign(z) == np.sign([[x.mean_effect_fe if x.tau2 < 0 else x.mean_effect_re] for x in references])
    clear = pooled["p"].to_numpy() < 0.3  # the mean's sign does not hang on the weights
    np.testing.assert_array_equal(pooled["n_same_sign"][clear], same.sum(axis=1)[clear])
    assert (pooled["r"][clear] < 0).sum() > 50
    excess, gain = sum(x.q - 3 for x in references), sum(x.c for x in references)
    np.testing.assert_allclose(pooled["tau2_shared"], excess / gain)
    assert pooled["tau2_shared"].iloc[0] == pytest.approx(0.25**2, rel=0.15)


@needs_r("limma")
def test_the_moderated_test_is_that_of_limma_with_weights(tmp_path):
    tables = varied_sections()
    # The prior is that of the genes in all sections; one in ten is missing in the last.
    tables["s3"] = tables["s3"][~tables["s3"]["gene"].str.endswith("7")]
    aligned = align(tables, ["r_depth", "ess"])
    z, variance = fisher(aligned.columns["r_depth"], aligned.columns["ess"])
    pooled = random_effects(tables).set_index("gene").loc[aligned.genes["gene"]]
    weights = 1 / (variance + pooled["tau2_shared"].to_numpy()[:, None])
    np.savetxt(tmp_path / "z.csv", z, delimiter=",")
    np.savetxt(tmp_path / "weights.csv", weights, delimiter=",")
    script = """
    folder <- commandArgs(TRUE)[1]
    suppressPackageStartupMessages(library(limma))
    read <- function(name) as.matrix(read.csv(file.path(folder, name), header = FALSE, na.strings = "nan"))
    fit <- lmFit(read("z.csv"), matrix(1, 4, 1), weights = read("weights.csv"))
    prior <- eBayes(fit[fit$df.residual == 3, ])
    df <- fit$df.residual + prior$df.prior
    variance <- (fit$df.residual * fit$sigma^2 + prior$df.prior * prior$s2.prior) / df
    error <- fit$stdev.unscaled[, 1] * sqrt(variance)
    write.csv(data.frame(mean = fit$coefficients[, 1], error, df), file.path(folder, "out.csv"))
    """
    run_r(script, tmp_path)
    limma = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(np.arctanh(pooled["r"]), limma["mean"], rtol=1e-8)
    np.testing.assert_allclose(pooled["df"], limma["df"], rtol=1e-6)
    # No error is smaller than chance within sections leaves.
    chance = 1 / np.sqrt(np.nansum(1 / variance, axis=1))
    np.testing.assert_allclose(pooled["t"], limma["mean"] / np.maximum(limma["error"], chance), rtol=1e-6)
    assert np.mean(limma["error"] < chance) < 0.5
    assert pooled["n_sections"].value_counts().to_dict() == {4: 360, 3: 40}
    assert 5 < limma["df"].min() < limma["df"].max() < 300


def test_pooled_p_is_calibrated_where_effects_vary_between_sections():
    rng = np.random.default_rng(6)
    genes = 6000
    r, ess = effects(rng, np.zeros((genes, 1)), 3, tau=0.2)
    pooled = random_effects({f"s{i}": table(r[i], ess[i]) for i in range(3)})
    assert 0.042 < np.mean(pooled["p"] < 0.05) < 0.058
    assert np.mean(pooled["p"] < 0.001) < 0.0025
    assert (pooled["fdr"] < 0.05).sum() <= 2
    # The same genes by DerSimonian & Laird.
    z, variance = (x[..., 0].T for x in fisher(r, ess))
    weights = 1 / (variance + pooled.set_index("gene").loc[[f"GENE{i}" for i in range(genes)], ["tau2"]].to_numpy())
    naive = np.abs((weights * z).sum(axis=1)) / np.sqrt(weights.sum(axis=1))
    assert np.mean(2 * stats.norm.sf(naive) < 0.05) > 0.15


@pytest.mark.parametrize("ess", [8.0, 200.0])
def test_pooled_p_is_calibrated_where_there_is_nothing(ess):
    rng = np.random.default_rng(7)
    r, size = effects(rng, np.zeros((6000, 1)), 3, ess=ess)
    pooled = random_effects({f"s{i}": table(r[i], size[i]) for i in range(3)})
    assert 0.025 < np.mean(pooled["p"] < 0.05) < 0.056
    assert np.mean(pooled["p"] < 0.001) < 0.0022


def test_an_effect_that_all_sections_share_is_found_and_one_that_flips_is_not():
    rng = np.random.default_rng(8)
    true = np.zeros((3000, 1))
    true[:60] = 0.35
    r, ess = effects(rng, true, 3, tau=0.05)
    r[2, 30:60] *= -1
    pooled = random_effects({f"s{i}": table(r[i], ess[i]) for i in range(3)})
    number = pooled["gene"].str[4:].astype(int)
    found = pooled["fdr"] < 0.05
    assert found[number < 30].mean() > 0.9
    assert found[(number >= 30) & (number < 60)].mean() < 0.1
    assert found[number >= 60].mean() < 0.005
    shared, flipped = pooled[number < 30], pooled[(number >= 30) & (number < 60)]
    assert (shared["n_same_sign"] == 3).all()
    assert (flipped["n_same_sign"] == 2).mean() > 0.9
    assert flipped["i2"].min() > 0.7
    covered = shared["r_low"].lt(np.tanh(0.35)) & shared["r_high"].gt(np.tanh(0.35))
    assert covered.mean() > 0.8


def test_genes_need_two_sections_with_a_spatial_test():
    tables = three_sections(genes=50, sections=4)
    for section, gone in (("s0", ["GENE1", "GENE2"]), ("s1", ["GENE1", "GENE2"]), ("s2", ["GENE2"])):
        tables[section] = tables[section][~tables[section]["gene"].isin(gone)]
    tables["s2"].loc[tables["s2"]["gene"] == "GENE3", "r_depth"] = np.nan
    tables["s3"]["ess"] = np.nan
    pooled = random_effects(tables)
    n = pooled[pooled["latent"] == 1].set_index("gene")["n_sections"]
    assert not {"GENE1", "GENE2"} & set(n.index)
    assert n["GENE3"] == 2
    assert (n.drop("GENE3") == 3).all()
    assert np.isfinite(pooled.drop(columns=["gene", "gene_id"]).to_numpy(float)).all()
    # Where it is missing changes nothing: with sections that are the same, two are pooled as two.
    tables["s1"] = tables["s0"].assign(r_depth=lambda t: t["r_depth"] + 0.01)
    two = random_effects({"s0": tables["s0"], "s1": tables["s1"]})
    z, variance = fisher(
        *(tables["s0"].set_index(["latent", "gene"]).loc[(1, "GENE9"), c] for c in ("r_depth", "ess"))
    )
    row = two[(two["latent"] == 1) & (two["gene"] == "GENE9")].iloc[0]
    other = np.arctanh(np.tanh(z) + 0.01)
    assert np.arctanh(row["r"]) == pytest.approx((z + other) / 2)
    assert np.arctanh(row["r"]) / row["t"] == pytest.approx(np.sqrt(variance / 2))


def test_without_spatial_tests_nothing_is_pooled():
    tables = {name: t.assign(ess=np.nan) for name, t in three_sections(genes=20).items()}
    pooled = random_effects(tables)
    assert len(pooled) == 0
    assert {"r", "p", "fdr", "n_sections"} < set(pooled.columns)


def test_pooled_genes_are_ordered_and_corrected_within_each_latent():
    pooled = random_effects(three_sections())
    for _, rows in pooled.groupby("latent"):
        assert rows["log10_p"].is_monotonic_increasing
        np.testing.assert_allclose(rows["fdr"], multipletests(rows["p"], method="fdr_bh")[1])
        np.testing.assert_allclose(rows["p"], 2 * stats.t.sf(np.abs(rows["t"]), rows["df"]), rtol=1e-9)
        reach = stats.t.ppf(0.975, rows["df"]) * np.arctanh(rows["r"]) / rows["t"]
        np.testing.assert_allclose(np.arctanh(rows["r_high"]), np.arctanh(rows["r"]) + reach)
        np.testing.assert_allclose(np.arctanh(rows["r_low"]), np.arctanh(rows["r"]) - reach)
    assert pooled["latent"].is_monotonic_increasing


def test_effects_beyond_all_doubles_stay_finite():
    rng = np.random.default_rng(9)
    r, ess = effects(rng, np.zeros((50, 1)), 3, ess=5000)
    r[:, 0], r[:, 1] = 0.97, 1.0
    pooled = random_effects({f"s{i}": table(r[i], ess[i]) for i in range(3)}).set_index("gene")
    assert pooled.loc["GENE0", "p"] >= np.finfo(float).tiny
    assert np.isfinite(pooled.loc[["GENE0", "GENE1"], ["t", "log10_p", "r_low", "r_high", "fdr"]].to_numpy()).all()


def page(tables: dict[str, pd.DataFrame]) -> plt.Figure:
    figure = replication_page(tables, pairwise(tables, BY, 0.05), random_effects(tables), BY, 0.05, "heading")
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(("sections", "scatters"), [(2, 3), (3, 3), (6, 3)])
def test_the_page_shows_pairs_and_pooled_genes(sections, scatters):
    tables = three_sections(sections=sections)
    pairs, pooled = pairwise(tables, BY, 0.05), random_effects(tables)
    figure = page(tables)
    axes = figure.axes
    assert figure.get_suptitle() == "heading"
    # A dot for each pair of sections and latent, at its correlation.
    dots = axes[0].lines[0]
    once = pairs[pairs["discovery"] < pairs["validation"]]
    assert sorted(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == sorted(
        zip(once["latent"], once["spearman"], strict=True)
    )
    assert sum(len(line.get_xdata()) for line in axes[1].lines) == len(pairs)
    shown = [ax for ax in axes[3:6] if ax.get_visible()]
    assert len(shown) == scatters
    assert shown[0].get_title().startswith("latent 1")
    # Pooled genes, best first, of the two latents that agree best.
    for ax, latent in zip(axes[6:], (1, 2), strict=True):
        best = pooled[pooled["latent"] == latent]
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert 5 < len(names) <= 10
        assert names == list(best["gene"].head(len(names)))
        diamonds = next(line for line in ax.lines if line.get_label() == "pooled")
        np.testing.assert_allclose(diamonds.get_xdata(), best["r"].head(len(names)))
        first = next(line for line in ax.lines if line.get_label() == "s0")
        of = tables["s0"].query(f"latent == {latent}").set_index("gene")["r_depth"]
        np.testing.assert_allclose(first.get_xdata(), of.loc[names])
        assert f"{(best['fdr'] < 0.05).sum()} of 300 genes" in ax.get_title()
    plt.close(figure)


def test_scatters_colour_the_genes_that_are_found():
    tables = three_sections(sections=2)
    figure = page(tables)
    ax = figure.axes[3]
    a, b = (tables[s].query("latent == 1").set_index("gene") for s in ("s0", "s1"))
    found_a, found_b = (set(t.index[t["fdr_spatial"] < 0.05]) for t in (a, b))
    counts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert counts == [
        f"in neither ({300 - len(found_a | found_b)})",
        f"in s0 only ({len(found_a - found_b)})",
        f"in s1 only ({len(found_b - found_a)})",
        f"in both ({len(found_a & found_b)})",
    ]
    both = ax.collections[3]
    assert plt.matplotlib.colors.to_hex(both.get_facecolor()[0]).upper() == IN_BOTH
    names = sorted(found_a & found_b)
    expected = np.column_stack([a["r_depth"][names], b["r_depth"][names]])
    order = both.get_offsets()[np.argsort(both.get_offsets()[:, 0])]
    np.testing.assert_allclose(order, expected[np.argsort(expected[:, 0])])
    plt.close(figure)


def test_the_page_stands_where_there_is_little_to_show():
    tables = {
        name: t[t["latent"] == 1].assign(ess=np.nan, fdr_spatial=1.0)
        for name, t in three_sections(sections=2, genes=30).items()
    }
    figure = page(tables)
    visible = [ax for ax in figure.axes if ax.get_visible()]
    assert len(visible) == 5
    assert [text.get_text() for text in visible[-1].texts] == ["no two sections with a spatial test"]
    assert [text.get_text() for text in visible[2].texts] == ["0 of 0"]
    plt.close(figure)

"""Genes of a page: exact expression, all statistics, and which genes have maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import report_section as made
from test_report_bundle import unpack

from spadework.association import benjamini_hochberg
from spadework.keys import Keys
from spadework.report.bundle import Bundle
from spadework.report.genes import (
    add_counts,
    choose_genes,
    choose_pooled,
    find_gene,
    lay_out,
    places,
    shown_limits,
    statistics,
    strongest,
)


@pytest.fixture(name="section")
def _section():
    return made.section()


def chosen(section, **changes):
    ranked = {"vgg16": (made.association(section), made.spatial())}
    return choose_genes(section, "S1", ranked, **({"fdr": 0.05, "n_genes": 6, "asked": []} | changes))


@pytest.mark.parametrize(("factor", "dtype"), [(1, "uint16"), (10_000, "uint32")])
def test_counts_and_totals_give_the_expression_of_the_section(section, factor, dtype):
    section.layers[Keys.COUNTS] = section.layers[Keys.COUNTS] * factor
    at, bundle = np.array([4, 0, 17]), Bundle()
    added = add_counts(bundle, section, at)
    assert bundle.described[added["counts"]]["dtype"] == dtype
    counts = unpack(bundle, added["counts"]).reshape(3, section.n_obs).astype(float)
    totals = unpack(bundle, added["totals"]).astype(float)
    # As JavaScript computes it, in doubles; X is float32.
    shown = np.log1p(counts / totals * 1e4)
    np.testing.assert_allclose(shown, section.X[:, at].T.toarray(), rtol=1e-6)
    np.testing.assert_array_equal(counts, section.layers[Keys.COUNTS][:, at].T.toarray())


def test_a_spot_without_counts_shows_zero(section):
    counts = section.layers[Keys.COUNTS].tolil()
    counts[3] = 0
    section.layers[Keys.COUNTS] = counts.tocsr()
    bundle = Bundle()
    assert unpack(bundle, add_counts(bundle, section, np.array([0]))["totals"])[3] == 1


def test_colours_of_a_gene_end_at_its_99th_percentile(section):
    at = np.array([5, 2])
    values = section.X[:, at].toarray()
    np.testing.assert_allclose(shown_limits([(section, at)]), np.percentile(values, 99, axis=0), rtol=1e-6)
    twice = shown_limits([(section, at), (section[:10], at)])
    np.testing.assert_allclose(twice, np.percentile(np.vstack([values, values[:10]]), 99, axis=0), rtol=1e-6)


def test_a_gene_in_hardly_a_spot_has_colours_too():
    section = made.section(n_rows=12)
    x = section.X.tolil()
    x[:, 0], x[:, 1] = 0, 0
    x[7, 1] = 2.5
    section.X = x.tocsr()
    assert shown_limits([(section, np.array([0, 1]))]) == [1.0, 2.5]


def test_genes_found_come_first_then_the_surest(section):
    table, by = made.association(section), made.spatial()
    table["fdr_spatial"] = np.where(table["gene"] == "gene5", 0.001, 0.8)
    names = section.var_names
    order = names[strongest({"vgg16": (table, by)}, names, 0.05)]
    assert order[0] == "gene5"
    # p falls with the number of the gene; the last two were not tested
    assert list(order[1:4]) == ["gene17", "gene16", "gene15"]
    assert set(order[-2:]) == {"gene18", "gene19"}


def test_several_encoders_are_looked_through_for_the_best(section):
    one, other = made.association(section), made.association(section)
    other.loc[other["gene"] == "gene3", "log10_p_spatial"] = -300.0
    names, by = section.var_names, made.spatial()
    order = names[strongest({"a": (one, by), "b": (other, by)}, names, 0.0)]
    assert order[0] == "gene3"


def test_the_strongest_and_those_asked_for_are_kept(section):
    genes = chosen(section, asked=["gene3", "ENSG00000000019.3", "gene17"])
    assert genes.kept_names == [*(f"gene{i}" for i in (17, 16, 15, 14, 13, 12)), "gene3", "gene19"]
    # Tested genes, and one that was asked for and not tested
    assert genes.names == [*section.var_names[:18], "gene19"]
    assert "6 genes that go along" in genes.left_out
    assert "2 asked for" in genes.left_out
    assert "of 19" in genes.left_out
    np.testing.assert_allclose(genes.mean[:18], section.X[:, :18].mean(axis=0).A1, rtol=1e-6)
    np.testing.assert_array_equal(genes.n_spots[:18], section.X[:, :18].getnnz(axis=0))


def test_where_all_genes_have_maps_nothing_is_left_out(section):
    genes = chosen(section, n_genes=1000)
    assert sorted(genes.kept_names) == sorted(section.var_names[:18])
    assert genes.left_out == "All genes that were tested have a map."


def test_with_many_spots_fewer_genes_have_maps(section, monkeypatch):
    monkeypatch.setattr("spadework.report.genes._MOST_COUNTS", 3 * section.n_obs + 5)
    genes = chosen(section)
    assert len(genes.kept) == 3
    assert "raising report.n_genes changes nothing" in genes.left_out
    assert "or raise report.n_genes" in chosen(section, n_genes=2).left_out


@pytest.mark.parametrize("asked", ["gene7", "ENSG00000000007.3"])
def test_a_gene_is_found_by_name_and_id(section, asked):
    assert find_gene(section.var, asked) == "gene7"


def test_of_an_unknown_gene_the_page_says_so_and_names_the_nearest(section):
    """Another section of the run may have it: no error."""
    genes = chosen(section, asked=["GENE-7", "gene3", "qqqqqqqq"])
    assert genes.kept_names[6:] == ["gene3"]
    one, other = genes.missing
    assert one.startswith("No map of GENE-7 (report.genes): S1 has no gene of this name or id")
    assert "Similar names are gene7" in one
    assert "qqqqqqqq" in other
    assert "Similar" not in other
    assert chosen(section, asked=["gene3"]).missing == []


def test_ids_are_left_out_where_they_say_no_more_than_names(section):
    bundle = Bundle()
    assert chosen(section).described(bundle, [])["ids"][0] == "ENSG00000000000.3"
    section.var[Keys.GENE_IDS] = section.var_names
    assert chosen(section).described(bundle, [])["ids"] is None


def test_statistics_lie_latent_by_latent_in_the_order_of_the_names(section):
    table, bundle = made.association(section), Bundle()
    names = list(section.var_names)
    described = {s["key"]: s for s in statistics(bundle, table, names, 4)}
    assert list(described) == [
        *("coef_std", "r", "p", "fdr", "r_depth", "p_depth", "fdr_depth"),
        *("p_spatial", "fdr_spatial", "ess", "p_mixed", "fdr_mixed"),
    ]
    for key, of_key in described.items():
        values = unpack(bundle, of_key["values"]).reshape(4, len(names))
        wide = table.pivot(index="latent", columns="gene", values=key).reindex(index=range(1, 5), columns=names)
        expected = np.log10(wide) if of_key["kind"] in ("p", "fdr") else wide
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)
    assert described["ess"]["group"] == "depth and space"


def test_p_values_too_small_for_a_number_are_kept_with_their_false_discovery_rates():
    log10_p = np.array([-400.0, -1000.0, -2.0, -0.5, np.nan, -350.0, -400.0])
    p = 10.0**log10_p
    table = pd.DataFrame({"latent": [1] * 6 + [2], "gene": [*"abcdef", "a"], "log10_p": log10_p, "p": p})
    # With p of 0, as doubles have it, the rates are 0 as well.
    table["fdr"] = np.where(p == 0, 0, np.minimum(p * 5 / np.array([1, 1, 4, 5, 1, 1, 1]), 1))
    bundle = Bundle()
    described = lay_out(bundle, table, list("abcdef"), 2, [("p", "p", "g", "p"), ("fdr", "FDR", "g", "fdr")])
    kept, rates = (unpack(bundle, one["values"]).reshape(2, 6) for one in described)
    np.testing.assert_allclose(kept[0], log10_p[:6])
    # Of five genes tested, ranks 2, 1, 4, 5, -, 3
    first = [-400 + np.log10(5 / 2), -1000 + np.log10(5), -2 + np.log10(5 / 4), -0.5, np.nan, -350 + np.log10(5 / 3)]
    np.testing.assert_allclose(rates[0], first, rtol=1e-6)
    np.testing.assert_allclose(rates[1], [-400, *[np.nan] * 5])


def test_rates_restored_are_those_of_the_association():
    """Where doubles can hold them, both ways agree."""
    p = np.random.default_rng(0).uniform(size=50) ** 3
    log10_p, rates = np.log10(p), benjamini_hochberg(p[:, None])[:, 0]
    table = pd.DataFrame({"latent": 1, "gene": [f"g{i}" for i in range(50)], "log10_p": log10_p, "fdr": 0.0})
    bundle = Bundle()
    [described] = lay_out(bundle, table, list(table["gene"]), 1, [("fdr", "FDR", "g", "fdr")])
    np.testing.assert_allclose(unpack(bundle, described["values"]), np.log10(rates), rtol=1e-5, atol=1e-6)


def test_a_p_value_of_zero_without_its_logarithm_is_the_smallest_there_is():
    table = pd.DataFrame({"latent": [1], "gene": ["a"], "p_mixed": [0.0], "fdr_mixed": [0.0]})
    bundle = Bundle()
    described = lay_out(bundle, table, ["a"], 1, [("p_mixed", "p", "g", "p"), ("fdr_mixed", "FDR", "g", "fdr")])
    for of_key in described:
        np.testing.assert_allclose(unpack(bundle, of_key["values"]), [-323.3], atol=0.1)


def test_genes_of_another_section_are_found_by_name_or_else_by_id(section):
    var = section.var.rename(index={"gene5": "renamed"})
    names = ["gene4", "gene5", "nothing"]
    np.testing.assert_array_equal(places(var, names, ["x", "ENSG00000000005.9", "ENSG00000000099.1"]), [4, 5, -1])


def pooled(genes: list[str], log10_p: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"latent": 1, "gene": genes, "gene_id": genes, "log10_p": log10_p, "fdr": 10.0 ** np.array(log10_p)}
    )


def test_genes_of_a_group_have_maps_where_all_sections_have_them(section):
    other = made.section("S2", seed=1)[:, [i for i in range(20) if i != 9]].copy()
    table, by = pooled(["gene8", "gene9", "gene3"], [-2.0, -30.0, -9.0]), made.spatial()
    by = type(by)("r", "r", "log10_p", "fdr", "")
    sections = {"S1": section, "S2": other}
    genes = choose_pooled(sections, {"e": (table, by)}, fdr=0.05, n_genes=1, asked=["gene9", "gene8"])
    assert genes.names == ["gene8", "gene9", "gene3"]
    assert genes.kept_names == ["gene3", "gene8"]
    assert "1 genes of those that all sections have" in genes.left_out
    np.testing.assert_array_equal(
        genes.n_spots,
        [section[:, g].X.nnz + (other[:, g].X.nnz if g != "gene9" else 0) for g in genes.names],
    )
    both = np.vstack([section[:, "gene3"].X.toarray(), other[:, "gene3"].X.toarray()])
    assert genes.mean[2] == pytest.approx(both.mean(), rel=1e-6)
    assert genes.mean[1] == pytest.approx(section[:, "gene9"].X.mean(), rel=1e-6)
    [missing] = genes.missing
    assert missing.startswith("No map of gene9 (report.genes): S2 has no gene")
    genes = choose_pooled(sections, {"e": (table, by)}, fdr=0.05, n_genes=1, asked=["nowhere", "gene4"])
    assert genes.kept_names == ["gene3"]
    assert "S1, S2 has no gene" in genes.missing[0]
    assert genes.missing[1] == "No map of gene4 (report.genes): it was not tested in these sections."

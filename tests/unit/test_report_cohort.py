"""The page of a group: sections on one scale, and what holds in all of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import report_section as made
from test_report_bundle import unpack

from spadework.keys import Keys
from spadework.replication import pairwise, random_effects
from spadework.report.bundle import Bundle
from spadework.report.cohort import GroupTables, Member, cohort_page


@pytest.fixture(name="sections")
def _sections():
    return {name: made.section(name, n_rows=6 + k, seed=k) for k, name in enumerate(("S1", "S2", "S3"))}


def page_of(sections, bundle=None, *, pooled=None, tables=None, **changes):
    if tables is None:
        tables = {name: made.association(section, seed=k) for k, (name, section) in enumerate(sections.items())}
    by = made.spatial()
    of_group = GroupTables(
        {name: section.obsm["X_vgg16_pca"] * (k + 1) for k, (name, section) in enumerate(sections.items())},
        tables,
        {"S1": made.calibration(share=0.07, found=(0, 2, 0, 0))},
        random_effects(tables) if pooled is None else pooled,
        pairwise(tables, by, 0.05),
        by,
    )
    members = {name: Member(section, made.slide(section)) for name, section in sections.items()}
    given = {"settings": made.SETTINGS, "fdr": 0.05, "warning": "Read twice.", "software": "spadework 1"} | changes
    return cohort_page(Bundle() if bundle is None else bundle, "G", members, {"vgg16": of_group}, **given)


def test_the_page_has_all_sections_and_what_is_pooled(sections):
    bundle = Bundle()
    page = page_of(sections, bundle)
    assert (page["kind"], page["title"]) == ("cohort", "G")
    assert page["subtitle"] == "3 sections (S1, S2, S3), 149 spots"
    assert page["warnings"] == ["Read twice."]
    assert [one["name"] for one in page["sections"]] == ["S1", "S2", "S3"]
    [encoder] = page["encoders"]
    assert encoder["latents"] == [{"k": 1}, {"k": 2}, {"k": 3}]
    n_genes = len(page["genes"]["names"])
    found = {s["key"]: unpack(bundle, s["values"]).reshape(3, n_genes) for s in encoder["statistics"]}
    assert {"r", "p", "fdr", "i2", "n_sections", "n_same_sign"} <= set(found)
    tables = {name: made.association(section, seed=k) for k, (name, section) in enumerate(sections.items())}
    pooled = random_effects(tables).set_index(["latent", "gene"])
    for j, gene in enumerate(page["genes"]["names"]):
        row = pooled.loc[(2, gene)]
        assert found["r"][1, j] == pytest.approx(row["r"], rel=1e-5)
        assert found["p"][1, j] == pytest.approx(row["log10_p"], rel=1e-5)
        assert found["fdr"][1, j] == pytest.approx(np.log10(row["fdr"]), rel=1e-5)
    assert encoder["headline"]["p"] == "p"
    for one, section in zip(page["sections"], sections.values(), strict=True):
        counts = unpack(bundle, one["counts"]).reshape(-1, section.n_obs)
        genes = [page["genes"]["names"][i] for i in page["genes"]["kept"]]
        np.testing.assert_array_equal(counts, section[:, genes].layers[Keys.COUNTS].T.toarray())


def test_columns_mean_the_same_in_all_sections(sections):
    bundle = Bundle()
    page = page_of(sections, bundle)
    by_section = [{c["key"]: c for c in one["columns"]} for one in page["sections"]]
    assert len({tuple(columns) for columns in by_section}) == 1
    for key in by_section[0]:
        several = [columns[key] for columns in by_section]
        assert len({json.dumps([c.get("limits"), c.get("categories"), c["label"]]) for c in several}) == 1
    assert {"vgg16/shared latent 1", "total_counts", Keys.CLUSTER, "layer", "score"} <= set(by_section[0])
    # Their numbers mean nothing in another section.
    assert not {"cluster_scanpy", Keys.IMAGE_CLUSTER, Keys.SPADE_CLUSTER, "vgg16/latent 1"} & set(by_section[0])
    values = unpack(bundle, by_section[2]["vgg16/shared latent 2"]["values"])
    np.testing.assert_allclose(values, sections["S3"].obsm["X_vgg16_pca"][:, 1] * 3, rtol=1e-6)


def test_clusters_of_one_section_alone_are_not_compared(sections):
    del sections["S2"].obs["cluster_scanpy"]  # its clusters are its own
    keys = {c["key"] for c in page_of(sections)["sections"][0]["columns"]}
    assert Keys.CLUSTER not in keys


@pytest.mark.parametrize("scope", ["group", "section"])
def test_prototypes_are_compared_where_the_sections_share_them(sections, scope):
    for section in sections.values():
        section.obs[Keys.PROTOTYPE_CLASS] = pd.Categorical(np.where(np.arange(section.n_obs) % 2, "a", "b"))
        section.obs[Keys.PROTOTYPE_CONFIDENCE] = np.linspace(0, 1, section.n_obs)
        settings = json.loads(section.uns[Keys.SPADE]["parameters"]) | {"prototypes": {"scope": scope}}
        section.uns[Keys.SPADE]["parameters"] = json.dumps(settings)
    keys = {c["key"] for c in page_of(sections)["sections"][0]["columns"]}
    assert (Keys.PROTOTYPE_CLASS in keys) == (Keys.PROTOTYPE_CONFIDENCE in keys) == (scope == "group")


def test_sections_and_latents_are_summed_up(sections):
    page = page_of(sections)
    tables = {table["title"]: table for table in page["tables"]}
    rows = tables["Sections"]["rows"]
    assert rows[0][:2] == ["S1", 36]
    assert rows[0][3] == pytest.approx(sections["S1"].obs[Keys.TOTAL_COUNTS].median())
    assert rows[0][-2:] == [pytest.approx(7.0), "3 of 12"]
    assert rows[1][-2:] == [None, None]
    latents = tables["Shared latents (vgg16)"]
    assert [row[:2] for row in latents["rows"]] == [[k, name] for k in (1, 2, 3) for name in sections]
    table = made.association(sections["S2"], seed=1)
    called = table[(table["latent"] == 3) & (table["fdr_spatial"] < 0.05)]
    depth = np.log10(sections["S2"].obs[Keys.TOTAL_COUNTS])
    r = np.corrcoef(sections["S2"].obsm["X_vgg16_pca"][:, 2], depth)[0, 1]
    assert latents["rows"][7] == [
        *(3, "S2", (called["r_depth"] > 0).sum(), (called["r_depth"] < 0).sum()),
        pytest.approx(r, rel=1e-4),
    ]
    assert len(tables["Replication (vgg16)"]["rows"]) == 6 * 3
    assert tables["Replication (vgg16)"]["tab"] == "replication"


def test_a_latent_that_was_not_tested_has_no_number_of_genes(sections):
    tables = {name: made.association(section, n_latents=2) for name, section in sections.items()}
    page = page_of(sections, tables=tables)
    [latents] = [table for table in page["tables"] if table["title"] == "Shared latents (vgg16)"]
    assert [row[2:4] for row in latents["rows"] if row[0] == 3] == [[None, None]] * 3
    assert all(isinstance(row[2], int) for row in latents["rows"] if row[0] < 3)


def test_a_gene_that_not_all_sections_have_is_a_warning(sections):
    page = page_of(sections, settings=made.SETTINGS | {"genes": ["nowhere"]})
    assert any("nowhere (report.genes)" in warning for warning in page["warnings"])


def test_where_nothing_can_be_pooled_genes_are_those_of_the_sections(sections):
    nothing = random_effects({name: made.association(s).assign(ess=np.nan) for name, s in sections.items()})
    assert nothing.empty
    bundle = Bundle()
    page = page_of(sections, bundle, pooled=nothing)
    assert len(page["genes"]["names"]) == 18
    assert len(page["genes"]["kept"]) == 6
    for statistic in page["encoders"][0]["statistics"]:
        assert np.isnan(unpack(bundle, statistic["values"])).all()

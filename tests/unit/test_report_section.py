"""The data of a section's page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
import report_section as made
from PIL import Image
from test_report_bundle import unpack

from spadework.figures.section import extreme_spots
from spadework.figures.style import category_colours
from spadework.keys import NUCLEI, Keys
from spadework.report.bundle import Bundle
from spadework.report.columns import Column, describe, embeddings, spot_columns
from spadework.report.latents import extreme_patches, terms_of
from spadework.report.section import add_section, same_latents, section_page


@pytest.fixture(name="section")
def _section():
    return made.section()


def page_of(section, bundle=None, **changes):
    given = {
        "preflight": made.PREFLIGHT,
        "settings": made.SETTINGS,
        "fdr": 0.05,
        "species": "human",
        "group": "G",
        "software": "spadework 1",
    }
    tables = changes.pop("tables", made.tables(section))
    bundle = Bundle() if bundle is None else bundle
    return section_page(
        bundle, section, made.slide(section), made.manifest(section), "S1", tables, **(given | changes)
    )


def by_key(columns):
    return {column["key"]: column for column in columns}


def test_the_page_has_all_that_its_readers_take(section):
    bundle = Bundle()
    page = page_of(section, bundle)
    assert page["subtitle"] == "10x Visium, human, 64 spots, 20 genes"
    assert page["warnings"] == []
    [one] = page["sections"]
    assert one["n_spots"] == len(one["barcodes"]) == 64
    for name in ("x", "y", "totals"):
        assert bundle.described[one[name]] == {"dtype": "float32", "length": 64}
    assert bundle.described[one["counts"]]["length"] == 64 * len(page["genes"]["kept"])
    assert len(page["genes"]["limits"]) == len(page["genes"]["kept"]) == 6
    for column in one["columns"]:
        assert bundle.described[column["values"]]["length"] == 64
    [encoder] = page["encoders"]
    for statistic in encoder["statistics"]:
        assert bundle.described[statistic["values"]]["length"] == encoder["n_latents"] * len(page["genes"]["names"])
    assert encoder["headline"]["p"] in by_key(encoder["statistics"])
    assert encoder["headline"]["fdr"] in by_key(encoder["statistics"])
    assert encoder["headline"]["effect"] in by_key(encoder["statistics"])
    for latent in encoder["latents"]:
        assert {"k", "variance_ratio", "moran_i", "genes_up", "trust", "low", "high", "terms"} <= set(latent)
        assert f"vgg16/latent {latent['k']}" in by_key(one["columns"])
    assert {table["tab"] for table in page["tables"]} == {"quality", "methods"}


def test_spots_lie_on_the_slide_where_they_are_on_the_image(section):
    bundle, scaled = Bundle(), made.slide(section)
    longest = 150
    added = add_section(bundle, section, scaled, "S1", longest, np.array([0]))
    slide = added["slide"]
    shrunk = longest / max(scaled.image.width, scaled.image.height)
    x, y = unpack(bundle, added["x"]), unpack(bundle, added["y"])
    np.testing.assert_allclose(np.column_stack([x, y]), section.obsm[Keys.SPATIAL] * shrunk, rtol=0.01)
    # The colours of the slide say where they are.
    content = base64.b64decode(bundle.tiles[slide["tiles"]]["0/0/0"])
    with Image.open(io.BytesIO(content)) as tile:
        pixels = np.asarray(tile.convert("RGB")).astype(int)
    for u, v in zip(x.astype(int), y.astype(int), strict=True):
        assert pixels[v, u, 0] == pytest.approx(u * 255 / slide["width"], abs=12)
        assert pixels[v, u, 1] == pytest.approx(v * 255 / slide["height"], abs=12)
    um = slide["um_per_px"]
    np.testing.assert_allclose(added["spot"]["size_px"], [made.SPOT_UM / um[0], made.SPOT_UM / um[1]])
    np.testing.assert_allclose(added["patch_px"], [30 * shrunk, 27 * shrunk], rtol=0.01)


@pytest.mark.parametrize(
    ("kind", "pitch", "shape"),
    [("square", 100.0, "circle"), ("square", 55.0, "square"), ("hexagonal", 55.0, "circle")],
)
def test_bins_are_squares_and_spots_are_round(section, kind, pitch, shape):
    section.uns[Keys.SPADE]["lattice"] |= {"kind": kind, "pitch_um": pitch}
    assert add_section(Bundle(), section, made.slide(section), "S1", 100, np.array([0]))["spot"]["shape"] == shape


def test_columns_that_say_nothing_are_left_out(section):
    columns = by_key(describe(Bundle(), [spot_columns(section)])[0])
    assert Keys.PADDED_FRACTION not in columns  # the same everywhere
    assert Keys.PCT_MT not in columns  # unknown everywhere
    assert not {Keys.IN_TISSUE, Keys.ARRAY_ROW, "sample"} & set(columns)
    assert {Keys.TOTAL_COUNTS, Keys.N_GENES, Keys.TISSUE_FRACTION, "layer", "score"} <= set(columns)
    wide = pd.Categorical([str(i) for i in range(101)])
    assert describe(Bundle(), [[Column("names of spots", "a", "g", wide)]]) == [[]]


def test_categories_keep_their_order_and_those_without_are_marked(section):
    bundle = Bundle()
    columns = by_key(describe(bundle, [spot_columns(section)])[0])
    layer = columns["layer"]
    assert [category["name"] for category in layer["categories"]] == ["L2", "L1"]
    assert [category["colour"] for category in layer["categories"]] == list(category_colours(["L2", "L1"]).values())
    codes = unpack(bundle, layer["values"])
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, np.where(section.obs["array_col"] == 0, 255, section.obs["array_col"] % 2))
    assert columns[Keys.CLUSTER]["label"] == "clusters of the sample sheet"
    assert columns["cluster_scanpy"]["group"] == columns[Keys.IMAGE_CLUSTER]["group"] == "Clusters"


def test_numbers_are_as_they_were_with_limits_that_leave_out_the_extremes(section):
    bundle = Bundle()
    columns = by_key(page_of(section, bundle)["sections"][0]["columns"])
    score = columns["score"]
    np.testing.assert_array_equal(unpack(bundle, score["values"]), section.obs["score"].astype(np.float32))
    known = section.obs["score"].dropna()
    assert score["limits"] == pytest.approx(np.percentile(known, (1, 99)))
    latent = section.obsm["X_vgg16_pca"][:, 0]
    described = columns["vgg16/latent 1"]
    np.testing.assert_array_equal(unpack(bundle, described["values"]), latent)
    assert described["limits"] == pytest.approx([latent.mean() - 2 * latent.std(), latent.mean() + 2 * latent.std()])
    assert (described["scale"], score["scale"]) == ("diverging", "sequential")
    assert described["label"] == "latent 1 (50.0 % of variance)"


def test_numbers_that_hardly_vary_have_limits_all_the_same():
    values = np.zeros(1000)
    values[0] = 3
    [[column]] = describe(Bundle(), [[Column("a", "a", "g", values)]])
    assert column["limits"] == [0.0, 3.0]


def test_nuclei_and_prototypes_are_columns_where_there_are_some(section):
    for i, key in enumerate(NUCLEI):
        section.obs[key] = np.arange(64.0) + i
    section.obs[Keys.PROTOTYPE_CLASS] = pd.Categorical(np.where(np.arange(64) % 2, "tumour", "NA"))
    section.obs[Keys.PROTOTYPE_CONFIDENCE] = np.linspace(0, 1, 64)
    columns = by_key(describe(Bundle(), [spot_columns(section)])[0])
    assert {key for key, column in columns.items() if column["group"] == "Nuclei"} == set(NUCLEI)
    assert [c["name"] for c in columns[Keys.PROTOTYPE_CLASS]["categories"]] == ["NA", "tumour"]
    assert columns[Keys.PROTOTYPE_CONFIDENCE]["group"] == "Prototypes"


def test_sections_side_by_side_have_one_scale():
    bundle = Bundle()
    one = [Column("a", "a", "g", np.array([0.0, 1.0])), Column("c", "c", "g", pd.Categorical(["x", "y"]))]
    other = [
        *(Column("a", "a", "g", np.array([9.0, np.nan])), Column("c", "c", "g", pd.Categorical(["z", "y"]))),
        Column("only here", "b", "g", np.array([1.0, 2.0])),
    ]
    first, second = describe(bundle, [one, other])
    assert [c["key"] for c in first] == [c["key"] for c in second] == ["a", "c"]
    assert first[0]["limits"] == second[0]["limits"]
    assert first[1]["categories"] == second[1]["categories"]
    assert [c["name"] for c in first[1]["categories"]] == ["x", "y", "z"]
    np.testing.assert_array_equal(unpack(bundle, second[1]["values"]), [2, 1])
    # Numbers in one and names in the other have no scale in common.
    assert describe(bundle, [one[:1], [Column("a", "a", "g", pd.Categorical(["x", "y"]))]]) == [[], []]


def test_embeddings_are_those_of_image_and_expression(section):
    bundle = Bundle()
    described = embeddings(bundle, section)
    assert [one["label"] for one in described] == ["image t-SNE (vgg16)", "image UMAP (vgg16)", "expression UMAP"]
    np.testing.assert_array_equal(unpack(bundle, described[2]["y"]), section.obsm[Keys.UMAP][:, 1])


def test_extreme_patches_are_those_of_the_contact_sheets(section):
    ends = extreme_patches(section, made.slide(section), made.manifest(section), "vgg16")
    latents = section.obsm["X_vgg16_pca"]
    for j, (low, high) in enumerate(extreme_spots(latents, 6)):
        assert [shown["spot"] for shown in ends[j]["low"]] == list(low)
        assert [shown["spot"] for shown in ends[j]["high"]] == list(high)
        assert ends[j]["high"][0]["value"] == latents[:, j].max()
        assert not set(low) & set(high)
    # Latent 2 is the column of the spot: red goes with it.
    red = {}
    for end in ("low", "high"):
        content = base64.b64decode(ends[1][end][0]["image"].removeprefix("data:image/webp;base64,"))
        with Image.open(io.BytesIO(content)) as patch:
            assert patch.size == (112, 112)
            red[end] = np.asarray(patch.convert("RGB"))[..., 0].mean()
    assert red["low"] < 60 < 180 < red["high"]


def test_spots_at_both_ends_of_a_latent_are_never_the_same():
    values = np.arange(5.0)[:, None]
    [(low, high)] = extreme_spots(values, 8)
    assert (list(low), list(high)) == ([0, 1], [4, 3])


def test_terms_of_a_latent_are_the_surest_of_it():
    table = pd.DataFrame(
        {"latent": [1, 2, 2], "set": ["a", "b", "c"], "p": [0.1, 0.5, 0.01], "auc": [0.5, np.nan, 0.6]}
    )
    rows = terms_of(table, 2)
    assert [row["set"] for row in rows] == ["c", "b"]
    assert "latent" not in rows[0]
    page = page_of(made.section(), tables={"vgg16": _with_terms(table)})
    assert [len(latent["terms"]) for latent in page["encoders"][0]["latents"]] == [1, 2, 0]


def _with_terms(terms):
    tables = made.tables(made.section())["vgg16"]
    return type(tables)(tables.association, tables.by, tables.summary, tables.calibration, terms)


def test_a_gene_asked_for_that_is_not_there_is_a_warning(section):
    [warning] = page_of(section, settings=made.SETTINGS | {"genes": ["nowhere"]})["warnings"]
    assert "nowhere (report.genes)" in warning


def test_random_weights_are_a_warning_and_make_every_latent_poor(section):
    section.uns[Keys.SPADE]["vgg16"]["encoder"]["weights"] = "seeded"
    page = page_of(section)
    assert "Random network weights" in page["warnings"][0]
    assert {latent["trust"]["level"] for latent in page["encoders"][0]["latents"]} == {"poor"}
    assert page["encoders"][0]["weights"] == "seeded"


def test_replication_speaks_of_latents_only_if_they_are_those_of_the_group(section):
    pairs = pd.DataFrame({"discovery": "S1", "validation": "S2", "latent": [1, 2, 3], "spearman": -0.5})
    pairs[["n_found", "same_sign", "same_sign_chance", "n_replicated"]] = 1.0
    tables = made.tables(section)["vgg16"]
    tables = {"vgg16": type(tables)(tables.association, tables.by, tables.summary, tables.calibration, None, pairs)}
    page = page_of(section, tables=tables)
    assert {latent["trust"]["level"] for latent in page["encoders"][0]["latents"]} == {"good"}
    [table] = [t for t in page["tables"] if t["title"].startswith("Replication")]
    assert "not the latents of this page" in table["note"]
    section.uns[Keys.SPADE]["vgg16"]["fitted_on"] = np.array(["S1", "S2"])
    page = page_of(section, tables=tables)
    assert {latent["trust"]["level"] for latent in page["encoders"][0]["latents"]} == {"poor"}
    [table] = [t for t in page["tables"] if t["title"].startswith("Replication")]
    assert "not the latents" not in table["note"]


def test_a_latent_much_like_one_of_the_group_is_found(section):
    own = np.asarray(section.obsm["X_vgg16_pca"], float)
    noise = np.random.default_rng(0).normal(size=own.shape) * own.std(axis=0)
    shared = np.column_stack([noise[:, 0], -own[:, 0] + 0.3 * noise[:, 1], own[:, 1]])
    found = same_latents(own, shared)
    assert found[1] == (2, pytest.approx(np.corrcoef(own[:, 0], shared[:, 1])[0, 1]))
    assert found[2] == (3, pytest.approx(1.0))
    assert 3 not in found


def test_an_encoder_without_weights_has_none(section):
    del section.uns[Keys.SPADE]["vgg16"]["encoder"]["weights"]
    assert page_of(section)["encoders"][0]["weights"] == ""

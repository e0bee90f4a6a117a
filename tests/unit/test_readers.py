"""Whatever is on disk, the reader returns every count, every position and the scale, or says what is wrong."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import anndata as ad
import formats
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from scipy import sparse

from spadework.errors import InputError
from spadework.ingest import ingest
from spadework.readers import locate, read_section
from spadework.readers.positions import has_header, read_positions
from spadework.samples import Sample
from spadework.section import keep_tissue, to_anndata


def read(path: Path, bin_um: int = 8, **columns):
    return read_section(Sample("gut", Path(path), **columns), bin_um)


def refused(path: Path, *words: str, bin_um: int = 8, **columns) -> str:
    """The message the reader refuses with, which has the words and the four parts of every message."""
    with pytest.raises(InputError) as caught:
        read(path, bin_um, **columns)
    message = str(caught.value)
    assert all(part in message for part in ("gut", "found:", "expected:", "fix:", *words)), message
    return message


def independent_positions(path: Path) -> pd.DataFrame:
    """Read a file whose layout the test knows: x, y, array_row, array_col, in_tissue by barcode."""
    names = ["barcode", "in_tissue", "array_row", "array_col", "y", "x"]
    if path.suffix == ".parquet":
        table = pd.read_parquet(path).set_axis(names, axis=1)
    else:
        table = pd.read_csv(path, header=None, names=names)
    return table.set_index("barcode").astype(float)


def assert_all_accounted_for(section, n_barcodes: int) -> None:
    left = section.left_out
    assert len(section.positions) + left.get("without_position", 0) == n_barcodes
    kept = len(section.positions)
    tissue = keep_tissue(replace(section, left_out=dict(left)))
    assert len(tissue.positions) + tissue.left_out["off_tissue"] == kept
    assert tissue.counts.shape[0] == len(tissue.positions) == (section.positions["in_tissue"] == 1).sum()


# ---- the layouts of Visium: all hold the same section --------------------------------------------------------------

VISIUM = {
    "Space Ranger 2": lambda outs: outs,
    "folder above outs": lambda outs: outs.parent,
    "Space Ranger 1": formats.spaceranger_1,
    "header in a list file": formats.header_in_list_file,
    "no header in the new file": formats.no_header_in_new_file,
    "MEX gzipped": lambda outs: formats.write_mex(outs, "gz"),
    "MEX plain": lambda outs: formats.write_mex(outs, "plain"),
    "MEX plain called gz": lambda outs: formats.write_mex(outs, "misnamed"),
    "MEX with genes.tsv": lambda outs: formats.write_mex(outs, "genes"),
    "download, spatial packed": lambda outs: formats.download(outs, packed=True),
    "download, spatial unpacked": lambda outs: formats.download(outs, packed=False),
    "download by prefix": lambda outs: formats.download(outs, packed=True) / "Demo_Gut",
    "the matrix itself": lambda outs: outs / formats.H5,
    "a download's matrix": lambda outs: formats.download(outs, packed=True) / f"Demo_Gut_{formats.H5}",
    "h5ad, counts in a layer": lambda outs: formats.h5ad(outs, counts="layer"),
    "h5ad, counts in X": lambda outs: formats.h5ad(outs, counts="X"),
    "h5ad, counts in raw": lambda outs: formats.h5ad(outs, counts="raw"),
    "h5ad, 8 bit images": lambda outs: formats.h5ad(outs, uint8=True),
    "files of the future": formats.add_unknown,
    "future download": lambda outs: formats.add_unknown(formats.download(outs, packed=False)),
    "future MEX": lambda outs: formats.add_unknown(formats.write_mex(outs, "gz")),
}


@pytest.mark.parametrize("layout", VISIUM)
def test_every_layout_of_visium_is_the_same_section(layout: str, simulated: Path, outs: Path):
    counts, positions = formats.matrix_of(simulated / "outs"), formats.positions_of(simulated / "outs")
    section = read(VISIUM[layout](outs))
    assert section.platform == ("h5ad" if "h5ad" in layout else "visium")
    assert list(section.positions.index) == list(counts.obs_names)
    assert list(section.genes["gene_ids"]) == list(counts.var_names)
    assert list(section.genes["gene_name"]) == list(counts.var["symbol"])
    assert section.counts.dtype == np.int32
    assert (section.counts != counts.X.astype(np.int32)).nnz == 0
    expected = positions.loc[counts.obs_names]
    pixels = expected[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    np.testing.assert_allclose(section.spatial, pixels, atol=0.5 if layout == "Space Ranger 1" else 1e-9)
    for column in ("in_tissue", "array_row", "array_col"):
        assert (section.positions[column] == expected[column]).all()
    assert section.lattice.kind == "hexagonal"
    assert section.lattice.um_per_px_x == pytest.approx(formats.UM_PER_PX, rel=0.005)
    assert section.lattice.um_per_px_y == pytest.approx(formats.UM_PER_PX, rel=0.005)
    assert_all_accounted_for(section, counts.n_obs)


@pytest.mark.parametrize("layout", VISIUM)
def test_every_layout_of_visium_has_the_same_images(layout: str, simulated: Path, outs: Path):
    expected = read(simulated / "outs")
    section = read(VISIUM[layout](outs))
    assert set(section.images) == {"hires", "lowres"}
    for kind, image in section.images.items():
        assert image.dtype == np.uint8
        assert np.array_equal(image, expected.images[kind])
    assert section.scalefactors["tissue_hires_scalef"] == expected.scalefactors["tissue_hires_scalef"]
    if section.platform == "visium":
        assert section.fullres is not None
        assert section.fullres.name in ("tissue_image.tif", "Demo_Gut_image.tif")
        assert section.fullres.is_file()


def test_the_raw_matrix_serves_where_the_filtered_one_is_missing(simulated: Path, outs: Path):
    filtered, positions = formats.matrix_of(simulated / "outs"), formats.positions_of(simulated / "outs")
    section = read(formats.raw_only(outs))
    assert section.positions.index.is_monotonic_increasing
    assert set(section.positions.index) == set(positions.index)
    assert section.counts.sum() == filtered.X.sum()
    tissue = keep_tissue(section)
    assert set(tissue.positions.index) == set(positions.index[positions["in_tissue"] == 1])
    assert tissue.left_out["off_tissue"] == (positions["in_tissue"] == 0).sum()


def test_the_filtered_matrix_is_preferred(outs: Path):
    shutil.copy(outs / formats.H5, outs / "kept.h5")
    formats.raw_only(outs)
    (outs / "kept.h5").rename(outs / formats.H5)
    assert locate(Sample("gut", outs)).matrix.name == formats.H5


def test_reading_changes_nothing_on_disk(outs: Path):
    formats.download(outs, packed=True)
    before = {p: p.stat().st_mtime_ns for p in outs.rglob("*")}
    read(outs)
    assert {p: p.stat().st_mtime_ns for p in outs.rglob("*")} == before


def test_the_anndata_holds_the_section_by_barcode(outs: Path):
    section = read(outs)
    adata = to_anndata(section)
    assert list(adata.obs_names) == list(section.positions.index)
    assert list(adata.var_names) == list(section.genes.index)
    assert np.array_equal(adata.obsm["spatial"], section.positions[["x", "y"]].to_numpy())
    assert set(adata.uns["spatial"]["gut"]["images"]) == {"hires", "lowres"}
    assert adata.uns["spade"]["left_out"] == section.left_out


# ---- header, barcodes, genes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n", True),
        ("AAACAACGAATAGTTC-1,0,0,16,1278,2313\n", False),
        ("ACGT,one,1,1,1,1\n", False),
    ],
)
def test_a_header_is_a_line_without_a_digit(line: str, header: bool):
    assert has_header(line) is header


@pytest.mark.parametrize("header", [True, False])
def test_no_row_of_the_positions_is_lost(header: bool, outs: Path, tmp_path: Path):
    table = formats.positions_of(outs)
    table.to_csv(tmp_path / "p.csv", header=header)
    read_back = read_positions("gut", tmp_path / "p.csv")
    assert list(read_back.index) == list(table.index)
    assert np.array_equal(read_back["y"], table["pxl_row_in_fullres"])
    assert np.array_equal(read_back["x"], table["pxl_col_in_fullres"])


def test_a_byte_order_mark_is_no_part_of_the_first_barcode(tmp_path: Path):
    (tmp_path / "p.csv").write_text("AC-1,1,0,0,10,20\nAG-1,0,0,2,10,30\n", encoding="utf-8-sig")
    assert list(read_positions("gut", tmp_path / "p.csv").index) == ["AC-1", "AG-1"]


def test_positions_outside_the_image_are_kept(outs: Path):
    table = formats.positions_of(outs)
    table["pxl_row_in_fullres"] -= 500
    table.to_csv(outs / "spatial" / "tissue_positions.csv")
    section = read(outs)
    assert len(section.positions) == len(formats.matrix_of(outs))
    assert section.positions["y"].min() < 0


def suffixed(barcodes, suffix: str) -> list[str]:
    return [b.removesuffix("-1") + suffix for b in barcodes]


@pytest.mark.parametrize(("in_matrix", "in_positions"), [("", "-1"), ("-1_2", "-1"), ("-1", ""), ("-2", "-1")])
def test_suffixes_other_tools_add_are_seen_through(in_matrix: str, in_positions: str, outs: Path):
    expected = read(outs)
    barcodes = suffixed(expected.positions.index, in_matrix)
    formats.rewrite_h5(outs, barcodes=barcodes)
    table = formats.positions_of(outs)
    table.set_axis(suffixed(table.index, in_positions)).to_csv(outs / "spatial" / "tissue_positions.csv")
    section = read(outs)
    assert list(section.positions.index) == barcodes
    assert np.array_equal(section.spatial, expected.spatial)
    assert section.left_out == expected.left_out


def test_two_sections_in_one_matrix_are_not_laid_on_one_slide(outs: Path):
    adata = sc.read_10x_h5(outs / formats.H5)
    barcodes = [*suffixed(adata.obs_names, "-1"), *suffixed(adata.obs_names, "-2")]
    formats.rewrite_h5(outs, barcodes=barcodes, counts=sparse.vstack([adata.X, adata.X]))
    table = formats.positions_of(outs)
    table.set_axis(suffixed(table.index, "")).to_csv(outs / "spatial" / "tissue_positions.csv")
    refused(outs, "more than once")


def test_barcodes_without_a_position_leave_with_a_count(outs: Path):
    matrix, table = formats.matrix_of(outs), formats.positions_of(outs)
    gone = matrix.obs_names[[0, 5, 9]]
    table.drop(gone).to_csv(outs / "spatial" / "tissue_positions.csv")
    section = read(outs)
    assert list(section.positions.index) == [b for b in matrix.obs_names if b not in gone]
    assert (section.counts != matrix[~matrix.obs_names.isin(gone)].X.astype(np.int32)).nnz == 0
    assert section.left_out["without_position"] == 3
    assert section.left_out["positions_without_counts"] == len(table) - matrix.n_obs
    assert_all_accounted_for(section, matrix.n_obs)


def test_positions_of_another_section_are_refused(outs: Path):
    table = formats.positions_of(outs)
    table.set_axis([f"{b[::-1]}" for b in table.index]).to_csv(outs / "spatial" / "tissue_positions.csv")
    refused(outs, "0 of 257 barcodes", "tissue_positions.csv")


@pytest.mark.parametrize("where", ["matrix", "positions"])
def test_a_repeated_barcode_is_refused(where: str, outs: Path):
    table = formats.positions_of(outs)
    if where == "matrix":
        barcodes = list(formats.matrix_of(outs).obs_names)
        formats.rewrite_h5(outs, barcodes=[barcodes[1], *barcodes[1:]])
    else:
        pd.concat([table, table.iloc[:1]]).to_csv(outs / "spatial" / "tissue_positions.csv", index_label="barcode")
    refused(outs, "more than once")


def test_features_other_than_genes_leave_with_a_count(outs: Path):
    n = formats.matrix_of(outs).n_vars
    types = ["Gene Expression"] * n
    types[3] = types[10] = "Antibody Capture"
    expected = np.delete(formats.matrix_of(outs).X.toarray(), [3, 10], axis=1)
    section = read(formats.rewrite_h5(outs, types=types))
    assert section.left_out["features_other_than_genes"] == 2
    assert np.array_equal(section.counts.toarray(), expected)
    assert set(section.genes["feature_types"]) == {"Gene Expression"}


def test_categories_of_an_h5ad_stay_but_for_results_of_another_run(outs: Path):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    regions = pd.Categorical(np.where(np.arange(adata.n_obs) % 3, "edge", "core"))
    for name in ("region", "clusters", "cluster", "cluster_scanpy", "image_cluster", "spade_cluster_resnet50"):
        adata.obs[name] = regions
    adata.obs["score"] = 0.5
    adata.write_h5ad(path)
    found = to_anndata(keep_tissue(read(path))).obs
    assert set(found.columns) == {"in_tissue", "array_row", "array_col", "region", "clusters"}
    assert (found["region"] == adata.obs["region"].loc[found.index]).all()


def test_antibodies_leave_an_h5ad_too(outs: Path):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    adata.var["feature_types"] = ["Antibody Capture", *["Gene Expression"] * (adata.n_vars - 1)]
    adata.write_h5ad(path)
    section = read(path)
    assert section.left_out["features_other_than_genes"] == 1
    assert list(section.genes["gene_ids"]) == list(adata.var["gene_ids"][1:])


def test_genes_of_one_symbol_stay_apart(outs: Path):
    adata = sc.read_10x_h5(outs / formats.H5)
    names, ids = list(adata.var_names), list(adata.var["gene_ids"])
    names[2] = names[7] = "TWIN"
    names[4] = ""
    section = read(formats.rewrite_h5(outs, names=names))
    assert section.genes.index.is_unique
    assert list(section.genes.index[[2, 7, 4]]) == [f"TWIN_{ids[2]}", f"TWIN_{ids[7]}", ids[4]]
    assert section.genes.index[3] == names[3]
    assert list(section.genes["gene_name"][[2, 7]]) == ["TWIN", "TWIN"]
    assert np.array_equal(section.counts.toarray(), adata.X.toarray())


@pytest.mark.parametrize("layout", ["Space Ranger", "h5ad"])
def test_a_gene_that_is_there_twice_is_refused(layout: str, outs: Path):
    if layout == "h5ad":
        path = formats.h5ad(outs)
        adata = ad.read_h5ad(path)
        del adata.var["gene_ids"]
        adata.var_names = ["TWIN", "TWIN", *adata.var_names[2:]]
        adata.write_h5ad(path)
    else:
        adata = sc.read_10x_h5(outs / formats.H5)
        names, ids = ["TWIN", "TWIN", *adata.var_names[2:]], ["ENS1", "ENS1", *adata.var["gene_ids"][2:]]
        path = formats.rewrite_h5(outs, names=names, ids=ids)
    refused(path, "TWIN")


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan])
def test_values_that_are_no_counts_are_refused(value: float, outs: Path):
    counts = sc.read_10x_h5(outs / formats.H5).X.copy()
    counts.data[7] = value
    refused(formats.rewrite_h5(outs, counts=counts), "whole numbers", formats.H5)


# ---- Visium HD -----------------------------------------------------------------------------------------------------

HD = {
    "outs": formats.visium_hd,
    "links": lambda outs: formats.visium_hd(outs, images="linked"),
    "the bin folder": lambda outs: formats.visium_hd(outs) / "binned_outputs" / "square_008um",
    "the bin's matrix": lambda outs: formats.visium_hd(outs) / "binned_outputs" / "square_008um" / formats.H5,
    "a renamed bin folder": lambda outs: shutil.move(
        formats.visium_hd(outs) / "binned_outputs" / "square_008um", outs / "mine"
    ),
    "download": formats.hd_download,
    "download with links": lambda outs: formats.hd_download(outs, images="linked"),
    "download by prefix": lambda outs: formats.hd_download(outs) / "Demo_HD",
    "files of the future": lambda outs: formats.add_unknown(formats.visium_hd(outs)),
}


@pytest.mark.parametrize("layout", HD)
def test_every_layout_of_visium_hd_is_the_same_section(layout: str, simulated: Path, outs: Path, tmp_path: Path):
    counts = formats.matrix_of(simulated / "outs")
    copy = Path(shutil.copytree(simulated / "outs", tmp_path / "reference"))
    bins = formats.visium_hd(copy) / "binned_outputs" / "square_008um"
    section = read(HD[layout](outs))
    barcodes = sc.read_10x_h5(bins / formats.H5).obs_names
    expected = independent_positions(bins / "spatial" / "tissue_positions.parquet").loc[barcodes]
    assert section.platform == "visium_hd"
    assert list(section.positions.index) == list(barcodes)
    assert (section.counts != counts.X.astype(np.int32)).nnz == 0
    assert np.array_equal(section.positions[expected.columns].to_numpy(float), expected.to_numpy())
    assert section.lattice.kind == "square"
    assert section.lattice.pitch_um == 8
    assert section.lattice.mirrored
    assert section.lattice.um_per_px == pytest.approx(formats.UM_PER_PX)
    assert set(section.images) == {"hires", "lowres"}
    assert any("3.1.2" in note for note in section.notes), "an old Space Ranger is worth a word"
    assert_all_accounted_for(section, counts.n_obs)


@pytest.mark.parametrize(("images", "why"), [("dangling", "leads nowhere"), ("pointer", "too small")])
def test_broken_images_of_a_bin_are_replaced_by_those_above(images: str, why: str, simulated: Path, outs: Path):
    section = read(formats.visium_hd(outs, images=images))
    expected = read(simulated / "outs").images
    assert all(np.array_equal(section.images[kind], expected[kind]) for kind in ("hires", "lowres"))
    assert sum(why in note for note in section.notes) == 2


def test_broken_images_of_a_download_are_replaced_by_its_spatial_archive(simulated: Path, outs: Path):
    formats.visium_hd(outs, images="pointer")
    for name in ("binned_outputs", "spatial"):
        with tarfile.open(outs / f"Demo_{name}.tar.gz", "w:gz") as tar:
            tar.add(outs / name, name)
        shutil.rmtree(outs / name)
    section = read(outs)
    assert np.array_equal(section.images["hires"], read(simulated / "outs").images["hires"])


def test_no_image_anywhere_is_refused(outs: Path):
    formats.visium_hd(outs, images="absent")
    assert read(outs).fullres.name == "tissue_image.tif"
    (outs / "tissue_image.tif").unlink()
    refused(outs, "no image", "tissue_hires_image.png")


def test_the_bin_asked_for_is_read(outs: Path):
    formats.visium_hd(outs, bin_um=16)
    section = read(outs, bin_um=16)
    assert (section.lattice.pitch_um, section.lattice.spot_um) == (16, 16)
    refused(outs, "square_016um", "square_008um", "ingest.bin_um")


def test_segmented_cells_sit_at_the_centre_of_their_polygon(simulated: Path, outs: Path):
    counts, positions = formats.matrix_of(simulated / "outs"), formats.positions_of(simulated / "outs")
    section = read(formats.segmented(outs), platform="visium_hd_cells")
    expected = positions.loc[counts.obs_names, ["pxl_col_in_fullres", "pxl_row_in_fullres"]]
    np.testing.assert_allclose(section.spatial, expected.to_numpy(), atol=1e-6)
    assert section.positions.index[0] == "cellid_000000003-1"
    assert (section.counts != counts.X.astype(np.int32)).nnz == 0
    assert section.lattice.kind == "none"
    assert section.lattice.um_per_px == formats.UM_PER_PX
    assert set(section.images) == {"hires", "lowres"}, "those of outs/spatial"
    assert (section.positions["in_tissue"] == 1).all()
    assert_all_accounted_for(section, counts.n_obs)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {"type": "Polygon", "coordinates": []},
        {"type": "MultiPolygon", "coordinates": []},
    ],
)
def test_a_cell_without_a_polygon_is_left_out_and_counted(geometry: dict | None, outs: Path):
    path = formats.segmented(outs) / "segmented_outputs" / "cell_segmentations.geojson"
    content = json.loads(path.read_text())
    content["features"][0]["geometry"] = geometry
    path.write_text(json.dumps(content))
    section = read(outs, platform="visium_hd_cells")
    assert section.left_out["without_position"] == 1


@pytest.mark.parametrize(
    "ring",
    [
        formats.square(50, 60, 4)[:-1],  # not closed
        [[40, 50], [60, 70], [60, 50], [40, 70.001], [40, 50]],  # crosses itself: the two lobes cancel
        [[50, 60], [50, 60], [50, 60], [50, 60]],  # a point
    ],
)
def test_a_polygon_that_breaks_the_rules_still_has_its_centre(ring: list, outs: Path):
    path = formats.segmented(outs) / "segmented_outputs" / "cell_segmentations.geojson"
    content = json.loads(path.read_text())
    content["features"][-1]["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(json.dumps(content))
    section = read(outs, platform="visium_hd_cells")
    np.testing.assert_allclose(section.spatial[0], (50, 60), atol=3)


def test_segmented_cells_are_read_only_when_asked_for(outs: Path):
    formats.segmented(outs)
    refused(outs.parent / "outs", "segmented_outputs")


# ---- other tools ---------------------------------------------------------------------------------------------------


def test_an_h5ad_off_any_lattice_takes_its_scale_from_the_spot_diameter(outs: Path):
    section = read(formats.h5ad(outs, lattice=False))
    assert section.lattice.kind == "none"
    assert section.lattice.um_per_px == pytest.approx(formats.UM_PER_PX)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda a: a.obsm.clear(), ("obsm['spatial']",)),
        (lambda a: a.uns.clear(), ("uns['spatial']",)),
        (lambda a: a.layers.clear(), ("layers['counts']", "whole numbers")),
        (lambda a: a.uns["spatial"].update(other=a.uns["spatial"]["gut"]), ("2 sections",)),
        (lambda a: a.uns["spatial"]["gut"].pop("images"), ("no image",)),
        (lambda a: a.uns["spatial"]["gut"]["scalefactors"].pop("tissue_hires_scalef"), ("tissue_hires_scalef",)),
        (lambda a: setattr(a, "obs_names", [a.obs_names[1], *a.obs_names[1:]]), ("more than once",)),
    ],
)
def test_an_h5ad_that_lacks_something_is_refused(damage, words: tuple[str, ...], outs: Path):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    damage(adata)
    adata.write_h5ad(path)
    refused(path, *words)


def test_an_h5ad_without_images_takes_the_one_of_the_sheet(outs: Path):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    del adata.uns["spatial"]
    adata.write_h5ad(path)
    section = read(path, image=outs / "tissue_image.tif")
    assert section.images == {}
    assert section.fullres == outs / "tissue_image.tif"


def test_legacy_st_is_joined_by_name(simulated: Path, outs: Path):
    folder = formats.legacy_st(outs)
    section = read(folder)
    counts = formats.matrix_of(simulated / "outs")[:, : len(section.genes)]
    spots = pd.read_csv(folder / "spots.tsv", sep="\t")
    spots = spots.set_index(spots["x"].astype(str) + "x" + spots["y"].astype(str)).loc[section.positions.index]
    assert section.platform == "legacy_st"
    assert np.array_equal(section.counts.toarray(), counts.X.toarray())
    assert np.array_equal(section.spatial, spots[["pixel_x", "pixel_y"]].to_numpy())
    assert np.array_equal(section.positions["array_row"], spots["y"])
    assert np.array_equal(section.positions["array_col"], spots["x"])
    assert np.array_equal(section.positions["in_tissue"], spots["selected"])
    assert section.lattice.kind == "square"
    assert (section.lattice.um_per_px_x, section.lattice.um_per_px_y) == (pytest.approx(4), pytest.approx(5))
    assert_all_accounted_for(section, counts.n_obs)


@pytest.mark.parametrize("change", ["transposed", "fractions in names", "commas", "the table itself", "future"])
def test_variants_of_legacy_st_are_the_same_section(change: str, outs: Path):
    folder = formats.legacy_st(outs)
    expected = read(folder)
    path = folder / "counts.tsv.gz"
    table = pd.read_csv(path, sep="\t", index_col=0)
    if change == "transposed":
        table.T.to_csv(path, sep="\t")
    if change == "fractions in names":
        table.set_axis([n.replace("x", ".04x").replace("2.04", "1.96") for n in table.index]).to_csv(path, sep="\t")
    if change == "commas":
        path.unlink()
        table.to_csv(folder / "counts.csv")
    if change == "future":
        formats.add_unknown(folder)
    section = read(path if change == "the table itself" else folder)
    assert np.array_equal(section.counts.toarray(), expected.counts.toarray())
    assert list(section.positions.index) == list(expected.positions.index)
    assert np.array_equal(section.spatial, expected.spatial)


def test_a_checkerboard_is_known_by_the_parity_of_its_positions(outs: Path):
    folder = formats.legacy_st(outs)
    spots = pd.read_csv(folder / "spots.tsv", sep="\t")
    spots[spots.eval("(x + y) % 2 == 0")].to_csv(folder / "spots.tsv", sep="\t", index=False)
    counts = pd.read_csv(folder / "counts.tsv.gz", sep="\t", index_col=0)
    counts[[sum(map(int, name.split("x"))) % 2 == 0 for name in counts.index]].to_csv(
        folder / "counts.tsv.gz", sep="\t"
    )
    section = read(folder)
    assert section.lattice.kind == "checkerboard"
    assert section.lattice.um_per_px_x == pytest.approx(2)


def several_legacy_sections(outs: Path) -> Path:
    """One folder with the tables and images of MOB1, MOB10 and MOB2, as their authors published them."""
    folder = formats.legacy_st(outs)
    for k, name in enumerate(("MOB1", "MOB10", "MOB2")):
        shutil.copy(folder / "counts.tsv.gz", folder / f"{name}.tsv.gz")
        spots = pd.read_csv(folder / "spots.tsv", sep="\t")
        spots["pixel_x"] += k
        spots.to_csv(folder / f"alignment_table_{name}.tsv", sep="\t", index=False)
        shutil.copy(folder / "image.jpg", folder / f"{name}.jpg")
    for name in ("counts.tsv.gz", "spots.tsv", "image.jpg"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(("name", "shift"), [("MOB1", 0), ("MOB10", 1), ("MOB2", 2)])
def test_a_counts_table_among_several_gets_its_own_spots_and_image(name: str, shift: int, outs: Path):
    section = read(several_legacy_sections(outs) / f"{name}.tsv.gz")
    assert section.fullres.name == f"{name}.jpg"
    assert section.positions["x"].min() == 100 + shift


def test_several_counts_tables_are_refused(outs: Path):
    folder = formats.legacy_st(outs)
    shutil.copy(folder / "counts.tsv.gz", folder / "other_counts.tsv.gz")
    refused(folder, "counts.tsv.gz", "other_counts.tsv.gz", "path")


def test_several_spots_tables_are_refused(outs: Path):
    folder = formats.legacy_st(outs)
    shutil.copy(folder / "spots.tsv", folder / "A1_spots.tsv")
    refused(folder, "A1_spots.tsv", "spots.tsv")


def test_several_images_are_refused_unless_the_sheet_names_one(outs: Path):
    folder = formats.legacy_st(outs)
    other = Path(shutil.copy(folder / "image.jpg", folder / "other.jpg"))
    refused(folder, "image.jpg", "other.jpg", "column `image`")
    assert read(folder, image=other).fullres == other


# ---- what is broken is refused -------------------------------------------------------------------------------------


def rename_barcode_column(outs: Path) -> None:
    (outs / "spatial" / "tissue_positions.csv").write_text("barcode,in_tissue\nA-1,1\n")


def edit_positions(column: str, value):
    def edit(outs: Path) -> None:
        table = formats.positions_of(outs).astype(object)
        table.loc[table.index[3], column] = value
        table.to_csv(outs / "spatial" / "tissue_positions.csv")

    return edit


def truncate(name: str, share: float):
    def cut(outs: Path) -> None:
        path = outs / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return cut


def scale_without(key: str):
    def edit(outs: Path) -> None:
        path = outs / "spatial" / "scalefactors_json.json"
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return edit


def link_positions_nowhere(outs: Path) -> None:
    path = outs / "spatial" / "tissue_positions.csv"
    path.unlink()
    path.symlink_to("/nowhere/tissue_positions.csv")


def on_one_line(outs: Path) -> None:
    table = formats.positions_of(outs)
    table["pxl_row_in_fullres"] = table["pxl_col_in_fullres"]
    table.to_csv(outs / "spatial" / "tissue_positions.csv")


def damage_bytes(name: str):
    def edit(outs: Path) -> None:
        content = bytearray((outs / name).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(b ^ 0x5A for b in content[middle : middle + 400])
        (outs / name).write_bytes(content)

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rename_barcode_column, ("2 columns", "six", "tissue_positions.csv")),
        (edit_positions("pxl_row_in_fullres", "?"), ("data row 4",)),
        (edit_positions("array_col", ""), ("1 of 324 rows",)),
        (edit_positions("array_row", "inf"), ("data row 4",)),
        (edit_positions("in_tissue", 2), ("in_tissue = 2", "0 or 1")),
        (lambda outs: (outs / "spatial" / "tissue_positions.csv").write_text(""), ("unreadable",)),
        (lambda outs: (outs / "spatial" / "tissue_positions.csv").unlink(), ("tissue_positions_list.csv",)),
        (lambda outs: (outs / "spatial" / "scalefactors_json.json").unlink(), ("scalefactors_json.json",)),
        (lambda outs: (outs / "spatial" / "scalefactors_json.json").write_text("[]"), ("JSON",)),
        (scale_without("tissue_hires_scalef"), ("tissue_hires_scalef", "absent")),
        (truncate(formats.H5, 0.6), (formats.H5, "checksum")),
        (damage_bytes(formats.H5), (formats.H5, "checksum")),
        (lambda outs: (outs / formats.H5).write_bytes(b""), (formats.H5,)),
        (lambda outs: (outs / formats.H5).unlink(), ("filtered_feature_bc_matrix.h5",)),
        (link_positions_nowhere, ("leads nowhere", "cp -L")),
        (on_one_line, ("one line", "tissue_positions.csv")),
        (lambda outs: shutil.rmtree(outs / "spatial"), ("spatial",)),
        (damage_bytes("spatial/tissue_hires_image.png"), ("tissue_hires_image.png",)),
    ],
)
def test_a_damaged_visium_folder_is_refused(damage, words: tuple[str, ...], outs: Path):
    damage(outs)
    refused(outs, *words)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "matrix.mtx.gz").unlink(), ("no matrix.mtx",)),
        (truncate("matrix.mtx.gz", 0.5), ("cannot be read",)),
        (damage_bytes("matrix.mtx.gz"), ("cannot be read",)),
        (damage_bytes("features.tsv.gz"), ("cannot be read",)),
        (lambda f: (f / "barcodes.tsv.gz").write_bytes(gzip.compress(b"A-1\n")), ("1 barcodes",)),
        (lambda f: (f / "features.tsv.gz").write_bytes(b""), ("cannot be read",)),
    ],
)
def test_a_damaged_mex_folder_is_refused(damage, words: tuple[str, ...], outs: Path):
    formats.write_mex(outs, "gz")
    damage(outs / "filtered_feature_bc_matrix")
    refused(outs, *words)


@pytest.mark.parametrize("damage", [truncate, lambda name, _: damage_bytes(name)])
def test_a_damaged_archive_is_refused_by_its_own_name(damage, outs: Path):
    damage("Demo_Gut_spatial.tar.gz", 0.5)(formats.download(outs, packed=True))
    refused(outs, str(outs / "Demo_Gut_spatial.tar.gz"), "again")


def test_a_download_without_its_spatial_archive_is_refused(outs: Path):
    formats.download(outs, packed=True)
    (outs / "Demo_Gut_spatial.tar.gz").unlink()
    refused(outs, "Demo_Gut_spatial.tar.gz")


def test_downloads_of_several_samples_are_refused_but_can_be_told_apart(outs: Path):
    formats.download(outs, packed=True)
    for path in list(outs.glob("Demo_Gut*")):
        shutil.copy(path, outs / path.name.replace("Gut", "Skin"))
    refused(outs, "Demo_Gut, Demo_Skin")
    assert read(outs / "Demo_Skin").fullres.name == "Demo_Skin_image.tif"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "spots.tsv").write_text(""), ("spots.tsv",)),
        (lambda f: (f / "spots.tsv").unlink(), ("counts.tsv.gz", "spot positions")),
        (lambda f: (f / "image.jpg").unlink(), ("no image",)),
        (truncate("counts.tsv.gz", 0.5), ("counts.tsv.gz",)),
        (damage_bytes("counts.tsv.gz"), ("counts.tsv.gz",)),
        (lambda f: (f / "counts.tsv.gz").write_bytes(gzip.compress(b"\tG1\n2x1\t1.5\n3x1\t2\n")), ("whole",)),
        (lambda f: (f / "counts.tsv.gz").write_bytes(gzip.compress(b"\tG1\nspot\t1\n")), ("<x>x<y>",)),
        (lambda f: (f / "counts.tsv.gz").write_bytes(gzip.compress(b"\tG1\n2x1\ta\n")), ("as numbers",)),
    ],
)
def test_a_damaged_legacy_folder_is_refused(damage, words: tuple[str, ...], outs: Path):
    folder = formats.legacy_st(outs)
    damage(folder)
    refused(folder, *words)


@pytest.mark.parametrize(("column", "value"), [("selected", "x"), ("new_x", "x"), ("pixel_y", ""), ("x", "?")])
def test_a_spots_table_that_is_not_numbers_is_refused(column: str, value: str, outs: Path):
    folder = formats.legacy_st(outs)
    spots = pd.read_csv(folder / "spots.tsv", sep="\t").astype(object)
    spots.loc[3, column] = value
    spots.to_csv(folder / "spots.tsv", sep="\t", index=False)
    refused(folder, "non-numeric", column)


def test_a_legacy_gene_that_is_there_twice_is_refused(outs: Path):
    folder = formats.legacy_st(outs)
    path = folder / "counts.tsv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    names = lines[0].split("\t")
    names[2] = names[1]
    path.write_bytes(gzip.compress("\n".join(["\t".join(names), *lines[1:]]).encode()))
    refused(folder, names[1], "more than once")


def test_a_path_to_nothing_and_an_unknown_file_are_refused(tmp_path: Path):
    refused(tmp_path / "absent", "no such file", "relative paths")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "nothing", "outs")
    (tmp_path / "a.doc").write_text("words")
    refused(tmp_path / "a.doc", "a.doc", ".h5ad")
    (tmp_path / "a.h5ad").write_text("words")
    refused(tmp_path / "a.h5ad", "a.h5ad", "unreadable")


def test_another_platform_than_the_sheet_says_is_refused(outs: Path):
    refused(outs, "visium", "legacy_st", platform="legacy_st")


def test_a_section_off_tissue_is_refused(outs: Path):
    formats.positions_of(outs).assign(in_tissue=0).to_csv(outs / "spatial" / "tissue_positions.csv")
    with pytest.raises(InputError, match="in tissue"):
        keep_tissue(read(outs))


def test_the_image_of_the_sheet_is_preferred(outs: Path, tmp_path: Path):
    tifffile.imwrite(tmp_path / "better.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    assert read(outs, image=tmp_path / "better.tif").fullres == tmp_path / "better.tif"


# ---- real sections -------------------------------------------------------------------------------------------------

# spots in counts, sum of counts, genes, spots only in spots.tsv, µm/px in x and y (data/README.md; sums measured)
HER2ST = {
    "B4": (283, 935146, 15289, 1, 0.690, 0.685),
    "C2": (187, 1926633, 15706, 0, 0.690, 0.686),
    "C3": (180, 2033498, 15821, 2, 0.690, 0.684),
    "C4": (184, 2213922, 15842, 3, 0.690, 0.686),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", HER2ST)
def test_her2st(name: str, shared_data: Path):
    folder = shared_data / "her2st" / name
    n, total, n_genes, only_positions, um_x, um_y = HER2ST[name]
    section = read(folder)
    assert section.counts.shape == (n, n_genes)
    assert section.counts.sum() == total
    assert section.left_out == {"without_position": 0, "positions_without_counts": only_positions}
    assert section.lattice.kind == "square"
    assert section.lattice.um_per_px_x == pytest.approx(um_x, abs=5e-4)
    assert section.lattice.um_per_px_y == pytest.approx(um_y, abs=5e-4)
    assert section.lattice.residual_um < 0.01
    assert section.fullres == folder / "image.jpg"
    table = pd.read_csv(folder / "counts.tsv.gz", sep="\t", index_col=0)
    assert list(section.positions.index) == list(table.index)
    assert np.array_equal(section.counts.toarray(), table.to_numpy())
    assert list(section.genes.index) == list(table.columns)
    spots = pd.read_csv(folder / "spots.tsv", sep="\t")
    spots.index = [f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)]
    assert np.array_equal(section.spatial, spots.loc[table.index, ["pixel_x", "pixel_y"]].to_numpy())
    assert_all_accounted_for(section, n)


# spots under tissue, count rows without a position, sum of counts
MOB = {"MOB1": (379, 11, 1584380), "MOB2": (407, 8, 1702783), "MOB3": (438, 11, 2846784)}


@pytest.mark.shared
@pytest.mark.parametrize("name", MOB)
def test_mouse_olfactory_bulb(name: str, shared_data: Path):
    folder = shared_data / "mouse_olfactory_bulb" / name
    n_tissue, without, total = MOB[name]
    section = read(folder)
    table = pd.read_csv(folder / "counts.tsv.gz", sep="\t", index_col=0)
    spots = pd.read_csv(folder / "spots.tsv", sep="\t")
    spots.index = [f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)]
    kept = table.loc[table.index.isin(spots.index)]
    assert section.counts.shape[1] == 1000
    assert (section.positions["in_tissue"] == 1).sum() == n_tissue
    assert section.left_out["without_position"] == without
    assert section.counts.sum() == total
    assert np.array_equal(section.counts.toarray(), kept.to_numpy())
    assert np.array_equal(section.spatial, spots.loc[kept.index, ["pixel_x", "pixel_y"]].to_numpy())
    assert section.lattice.kind == "checkerboard"
    assert section.lattice.um_per_px_x == pytest.approx(4.63, abs=0.005)
    assert section.lattice.um_per_px_y == pytest.approx(4.16, abs=0.005)
    assert_all_accounted_for(section, len(table))


# bin, folder of the matrix below outs, matrix, barcodes read, sum, in tissue, without position, kind, µm/px, images
FORMATS = {
    "visiumio_v1_section1": (8, "", "raw_feature_bc_matrix.h5", 50, 607, 22, 0, "hexagonal", 0.725, {"lowres"}),
    "visiumio_v1_section2": (8, "", "raw_feature_bc_matrix.h5", 49, 418, 22, 1, "hexagonal", 0.725, {"lowres"}),
    "seurat_v1": (8, "", formats.H5, 2695, 132231, 2695, 0, "hexagonal", 0.7248, {"hires", "lowres"}),
    "visiumio_hd": (2, "binned_outputs/square_002um", formats.H5, 10, 0, 10, 0, "square", 0.274, {"lowres"}),
    "seurat_hd": (
        8,
        "binned_outputs/square_008um",
        formats.H5,
        2695,
        132231,
        1368,
        0,
        "square",
        0.1369,
        {"hires", "lowres"},
    ),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", FORMATS)
def test_published_space_ranger_folders(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    bin_um, inside, matrix, n, total, n_tissue, without, kind, um_per_px, images = FORMATS[name]
    if name == "seurat_hd":  # 33 million blank pixels that say nothing
        monkeypatch.setattr("spadework.readers.spaceranger.read_rgb", lambda *_: np.zeros((1, 1, 3), np.uint8))
    outs = shared_data / "spaceranger_formats" / name / "outs"
    section = read(outs, bin_um)
    counts = sc.read_10x_h5(outs / inside / matrix)
    counts.var_names = counts.var["gene_ids"]
    counts = counts[counts.obs_names.isin(section.positions.index)]
    assert section.counts.shape == (n, counts.n_vars)
    assert section.counts.sum() == total
    assert (section.counts != counts.X.astype(np.int32)).nnz == 0
    assert list(section.positions.index) == list(counts.obs_names)
    assert list(section.genes["gene_ids"]) == list(counts.var_names)
    assert (section.positions["in_tissue"] == 1).sum() == n_tissue
    assert section.left_out["without_position"] == without
    spatial = outs / inside / "spatial"
    expected = independent_positions(next(spatial.glob("tissue_positions*"))).loc[counts.obs_names]
    assert np.array_equal(section.positions[expected.columns].to_numpy(float), expected.to_numpy())
    assert section.lattice.kind == kind
    assert section.lattice.um_per_px == pytest.approx(um_per_px, rel=1e-3)
    assert set(section.images) == images
    assert section.fullres is None
    assert_all_accounted_for(section, n + without)


@pytest.mark.shared
def test_early_visium_is_0_7263_um_per_pixel_whatever_its_spot_diameter(shared_data: Path):
    section = read(shared_data / "spaceranger_formats" / "seurat_v1")
    assert section.lattice.um_per_px_x == pytest.approx(0.7263, abs=2e-4)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "below", "bin_um", "shape", "total"),
    [
        ("visiumio_v1_section1", "", 8, (50, 50), 682),
        ("visiumio_v1_section2", "", 8, (49, 50), None),
        ("visiumio_hd", "binned_outputs/square_002um", 2, (10, 10), 0),
    ],
)
def test_published_mex_folders(name, below, bin_um, shape, total, shared_data: Path, tmp_path: Path):
    outs = Path(shutil.copytree(shared_data / "spaceranger_formats" / name / "outs", tmp_path / "outs"))
    matrix = next((outs / below).glob("*.h5"))
    matrix.unlink()
    section = read(outs, bin_um)
    assert section.counts.shape == shape
    assert total is None or section.counts.sum() == total
    assert not section.genes.index.str.contains('"').any()
    assert not section.positions.index.str.contains('"').any()


@pytest.mark.shared
def test_published_bins_that_do_not_fit_their_matrix_are_refused(shared_data: Path):
    refused(shared_data / "spaceranger_formats" / "seurat_hd", "642 of 2695 barcodes", "same section", bin_um=16)
    refused(shared_data / "spaceranger_formats" / "visiumio_hd", "square_002um", "square_008um", bin_um=8)


@pytest.mark.shared
def test_positions_alone_are_refused_but_can_be_read(shared_data: Path):
    folder = shared_data / "dlpfc_positions" / "151673"
    refused(folder, "tissue_positions_list.txt", "outs")
    table = read_positions("cortex", folder / "tissue_positions_list.txt")
    assert (len(table), table["in_tissue"].sum()) == (4992, 3639)
    layers = pd.read_csv(folder / "layers.tsv", sep="\t", header=None)
    assert (table.loc[layers[0], "in_tissue"] == 1).all()


@pytest.mark.parametrize("kind", ["square", "checkerboard"])
def test_a_final_anndata_of_a_legacy_section_keeps_its_lattice(outs, tmp_path, kind):
    section = ingest(Sample("s", formats.legacy_st(outs)), 8)
    lattice = section.uns["spade"]["lattice"] | {"kind": kind}
    section.uns["spade"]["lattice"] = lattice
    section.write_h5ad(tmp_path / "s.h5ad")
    assert read_section(Sample("again", tmp_path / "s.h5ad")).lattice.as_dict() == lattice


def test_other_bin_sizes_stay_packed(outs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(tarfile, "data_filter", lambda member, path: seen.append(member.name) or member)
    archive = tmp_path / "x_binned_outputs.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for size in ("002", "008"):
            tar.addfile(tarfile.TarInfo(f"binned_outputs/square_{size}um/raw_feature_bc_matrix.h5"))
    with pytest.raises(InputError):
        read_section(Sample("s", tmp_path / "x"))
    assert seen == ["binned_outputs/square_008um/raw_feature_bc_matrix.h5"]


def test_columns_named_in_a_header_are_taken_by_name(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    before = read_positions("s", path)
    table = pd.read_csv(path)
    table[table.columns[::-1]].to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_positions("s", path), before, check_like=True)
    table.rename(columns={"pxl_row_in_fullres": "row_px"}).to_csv(path, index=False)
    with pytest.raises(InputError, match="row_px"):
        read_positions("s", path)


def test_stored_zeros_are_no_counts(outs):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    counts = sparse.csr_matrix(adata.layers["counts"])
    counts.data[::3] = 0
    adata.layers["counts"] = counts
    adata.write_h5ad(path)
    read_back = read_section(Sample("s", path)).counts
    assert read_back.nnz == np.count_nonzero(counts.data)


def test_spots_without_a_position_in_an_h5ad_are_refused(outs):
    path = formats.h5ad(outs)
    adata = ad.read_h5ad(path)
    adata.obsm["spatial"] = np.where(np.arange(adata.n_obs)[:, None] == 2, np.nan, adata.obsm["spatial"])
    adata.write_h5ad(path)
    with pytest.raises(InputError, match="1 spots without a position"):
        read_section(Sample("s", path))

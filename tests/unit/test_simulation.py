"""The simulator writes a genuine outs folder, and what it plants is really there."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from PIL import Image
from scipy.spatial import cKDTree

from spadework.expression import read_clusters
from spadework.simulation import DEFAULT_COLUMNS, DEFAULT_ROWS, simulate
from spadework.simulation.__main__ import main
from spadework.simulation.cells import Nuclei, hard_core_process
from spadework.simulation.expression import GeneNumbers, _balanced_shares, lattice_fields, plan_genes
from spadework.simulation.fields import RoundedCells, enlarge, smear_along, smooth_field, stream
from spadework.simulation.geometry import Canvas, canvas_around, hexagonal_lattice, spot_fractions
from spadework.simulation.render import stamp_nuclei
from spadework.simulation.spaceranger import random_barcodes
from spadework.simulation.tissue import tissue_outline

ROWS, COLUMNS, UM_PER_PX = 18, 16, 3.0
NUMBERS = {"n_morphology": 36, "n_spatial": 27, "n_null": 60, "n_bulk": 700}


def simulate_small(out: Path, seed: int) -> Path:
    return simulate(out, seed=seed, spot_rows=ROWS, spot_columns=COLUMNS, um_per_px=UM_PER_PX, **NUMBERS)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def outs(tmp_path_factory) -> Path:
    return simulate_small(tmp_path_factory.mktemp("simulated"), seed=5)


@pytest.fixture(scope="module")
def truth(outs) -> Path:
    return outs.parent / "truth"


@pytest.fixture(scope="module")
def matrix(outs):
    return sc.read_10x_h5(outs / "filtered_feature_bc_matrix.h5", gex_only=False)


@pytest.fixture(scope="module")
def counts(matrix) -> np.ndarray:
    return matrix.X.toarray()


@pytest.fixture(scope="module")
def positions(outs) -> pd.DataFrame:
    return pd.read_csv(outs / "spatial" / "tissue_positions.csv")


@pytest.fixture(scope="module")
def genes(truth) -> pd.DataFrame:
    return pd.read_csv(truth / "genes.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def spots(truth) -> pd.DataFrame:
    return pd.read_csv(truth / "spots.csv")


@pytest.fixture(scope="module")
def image(outs) -> np.ndarray:
    return tifffile.imread(outs / "tissue_image.tif")


@pytest.fixture(scope="module")
def residuals(counts) -> np.ndarray:
    """Standardised Pearson residuals, which take the depth out."""
    depth = counts.sum(axis=1, keepdims=True)
    expected = depth * counts.sum(axis=0) / counts.sum() + 1e-9
    values = (counts - expected) / np.sqrt(expected + expected**2 / 10.0)
    return (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)


def test_same_seed_gives_the_same_bytes(outs, tmp_path):
    again = simulate_small(tmp_path, seed=5)
    assert digests(again.parent) == digests(outs.parent)


def test_another_seed_gives_another_section(outs, tmp_path):
    ours, others = digests(outs.parent), digests(simulate_small(tmp_path, seed=6).parent)
    assert ours.keys() == others.keys()
    alike = {name for name in ours if ours[name] == others[name]}
    assert alike == {"outs/spatial/scalefactors_json.json"}


def test_files_are_those_of_space_ranger(outs):
    names = {str(path.relative_to(outs)) for path in outs.rglob("*") if path.is_file()}
    assert names == {
        "filtered_feature_bc_matrix.h5",
        "tissue_image.tif",
        "spatial/tissue_positions.csv",
        "spatial/scalefactors_json.json",
        "spatial/tissue_hires_image.png",
        "spatial/tissue_lowres_image.png",
    }


def test_matrix_is_a_10x_v3_file(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5") as file:
        assert file.attrs["software_version"].startswith("spadework-simulation")
        assert {"chemistry_description", "library_ids", "filetype", "version"} <= set(file.attrs)
        group = file["matrix"]
        kinds = {name: group[name].dtype for name in ("data", "indices", "indptr", "shape")}
        assert kinds == {"data": np.int32, "indices": np.int64, "indptr": np.int64, "shape": np.int32}
        assert set(group["features"]) == {"id", "name", "feature_type", "genome", "_all_tag_keys"}


def test_matrix_holds_the_genes_of_the_truth_in_order(matrix, genes):
    assert matrix.n_vars == len(genes) == sum(NUMBERS.values())
    assert list(matrix.var_names) == list(genes["gene"])
    assert list(matrix.var["gene_ids"]) == list(genes["gene_id"])
    assert genes["gene_id"].is_unique
    assert genes["gene"].is_unique
    assert genes["gene"].str.startswith("MT-").sum() == 13
    assert genes["class"].value_counts().to_dict() == {name.removeprefix("n_"): n for name, n in NUMBERS.items()}


def test_matrix_holds_the_spots_in_tissue_and_no_others(matrix, positions, spots):
    in_tissue = positions.loc[positions["in_tissue"] == 1, "barcode"]
    assert set(matrix.obs_names) == set(in_tissue)
    assert list(matrix.obs_names) == list(spots["barcode"]) == sorted(in_tissue)
    # some glass must remain, and tissue must prevail
    assert 0.7 < len(in_tissue) / len(positions) < 0.95


def test_barcodes_look_like_barcodes(positions):
    assert positions["barcode"].is_unique
    assert all(re.fullmatch("[ACGT]{16}-1", barcode) for barcode in positions["barcode"])


def test_lattice_is_that_of_visium(positions, outs):
    assert len(positions) == ROWS * COLUMNS
    assert ((positions["array_row"] + positions["array_col"]) % 2 == 0).all()
    assert positions["array_row"].max() == ROWS - 1
    assert positions["array_col"].max() == 2 * COLUMNS - 1
    along = positions.sort_values(["array_row", "array_col"]).groupby("array_row")["pxl_col_in_fullres"].diff()
    assert np.allclose(along.dropna() * UM_PER_PX, 100.0, rtol=1e-3)
    # the nearest spots of the next row are a pitch away too
    odd = positions.query("array_row == 1 and array_col == 1").iloc[0]
    even = positions.query("array_row == 0 and array_col == 0").iloc[0]
    down = odd["pxl_row_in_fullres"] - even["pxl_row_in_fullres"]
    right = odd["pxl_col_in_fullres"] - even["pxl_col_in_fullres"]
    assert np.hypot(down, right) * UM_PER_PX == pytest.approx(100.0, rel=1e-3)
    factors = json.loads((outs / "spatial" / "scalefactors_json.json").read_text())
    assert factors["spot_diameter_fullres"] * UM_PER_PX == pytest.approx(65.0)


def test_images_agree_with_their_scale_factors(outs, image):
    factors = json.loads((outs / "spatial" / "scalefactors_json.json").read_text())
    for name in ("hires", "lowres"):
        with Image.open(outs / "spatial" / f"tissue_{name}_image.png") as reduced:
            expected = np.array(image.shape[1::-1]) * factors[f"tissue_{name}_scalef"]
            assert np.abs(np.array(reduced.size) - expected).max() <= 0.5
    with tifffile.TiffFile(outs / "tissue_image.tif") as file:
        page = file.pages[0]
        assert page.is_tiled
        assert page.dtype == np.uint8
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        assert page.compression in {tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE}


def test_every_spot_lies_inside_the_image_with_a_margin(positions, image):
    margin = 300.0 / UM_PER_PX
    assert positions["pxl_row_in_fullres"].between(margin, image.shape[0] - margin).all()
    assert positions["pxl_col_in_fullres"].between(margin, image.shape[1] - margin).all()


def test_fractions_sum_to_one_and_name_the_dominant_type(spots):
    fractions = spots.filter(like="fraction_")
    assert np.allclose(fractions.sum(axis=1), 1.0, atol=1e-5)
    assert (spots["fraction_glass"] <= 0.5).all()
    tissues = fractions.drop(columns="fraction_glass")
    largest = tissues.idxmax(axis=1).str.removeprefix("fraction_")
    tied = np.sort(tissues.to_numpy(), axis=1)[:, -1] - np.sort(tissues.to_numpy(), axis=1)[:, -2] < 1e-6
    assert ((spots["dominant_type"] == largest) | tied).all()
    # every kind of tissue is there
    assert (tissues.max() > 0.9).all()


def test_spots_off_tissue_are_white_and_spots_on_stroma_are_not(positions, spots, image):
    colours = positions.assign(green=green_under(positions, image)).set_index("barcode")
    off = colours.loc[colours["in_tissue"] == 0, "green"]
    stroma = colours.loc[spots.loc[spots["fraction_stroma"] > 0.9, "barcode"], "green"]
    assert off.median() > 225.0
    assert stroma.max() < off.median() - 30.0


def green_under(positions: pd.DataFrame, image: np.ndarray) -> np.ndarray:
    """Mean of the green channel in the square inside each spot."""
    return mean_under(positions, image)[:, 1]


def mean_under(positions: pd.DataFrame, image: np.ndarray) -> np.ndarray:
    half = int(19.0 / UM_PER_PX)
    rows = positions["pxl_row_in_fullres"].round().astype(int)
    columns = positions["pxl_col_in_fullres"].round().astype(int)
    patches = (image[r - half : r + half + 1, c - half : c + half + 1] for r, c in zip(rows, columns, strict=True))
    return np.array([patch.mean(axis=(0, 1)) for patch in patches])


def test_fat_is_pale_and_lymphoid_tissue_blue(positions, spots, image):
    at = positions.set_index("barcode").loc[spots["barcode"]]
    colour = pd.DataFrame(mean_under(at, image), columns=["red", "green", "blue"])
    fat = colour[(spots["fraction_fat"] > 0.8).to_numpy()].mean()
    lymphoid = colour[(spots["fraction_lymphoid"] > 0.8).to_numpy()].mean()
    stroma = colour[(spots["fraction_stroma"] > 0.8).to_numpy()].mean()
    assert fat.min() > 200.0
    assert lymphoid["red"] < fat["red"] - 60.0
    assert lymphoid["blue"] > lymphoid["red"] + 10.0
    assert stroma["red"] > stroma["blue"] > stroma["green"]


def test_dark_nuclei_in_the_image_are_those_of_the_truth(positions, spots, image):
    at = positions.set_index("barcode").loc[spots["barcode"]]
    red = mean_under(at, image)[:, 0]
    assert np.corrcoef(red, spots["nuclei"])[0, 1] < -0.7


def test_depth_follows_the_number_of_nuclei(counts, spots):
    assert np.corrcoef(counts.sum(axis=1), spots["nuclei"])[0, 1] > 0.7


def test_counts_are_as_sparse_as_real_ones(counts):
    assert counts.dtype.kind in "if"
    assert (counts == np.rint(counts)).all()
    assert (counts >= 0).all()
    small, full = counts.sum(axis=1).min(), np.median(counts.sum(axis=1))
    assert small > 20
    assert 500 < full < 6000


def own_correlations(residuals, genes, spots, wanted: pd.Series) -> np.ndarray:
    rows = np.flatnonzero(wanted)
    drivers = genes["driver"].iloc[rows]
    return np.array([np.corrcoef(residuals[:, i], spots[name])[0, 1] for i, name in zip(rows, drivers, strict=True)])


def test_planted_genes_follow_their_driver(residuals, genes, spots):
    planted = genes["class"] == "morphology"
    assert set(genes.loc[planted, "driver"]) <= set(spots.columns)
    assert set(genes.loc[planted, "beta"]) == {0.15, 0.3, 0.6}
    weak = own_correlations(residuals, genes, spots, planted & (genes["beta"] == 0.15)).mean()
    strong = own_correlations(residuals, genes, spots, planted & (genes["beta"] == 0.6)).mean()
    assert strong > 0.3
    assert strong > weak + 0.1


def test_null_genes_follow_nothing(residuals, genes, spots):
    drivers = spots[[*spots.filter(like="fraction_").columns, "nuclei"]].drop(columns="fraction_glass")
    standard = ((drivers - drivers.mean()) / drivers.std(ddof=0)).to_numpy()
    correlations = residuals[:, genes["class"] == "null"].T @ standard / len(spots)
    expected = np.sqrt(2.0 / np.pi / len(spots))
    # were shares not balanced, a composition effect would move all null genes the same way
    assert np.abs(correlations.mean(axis=0)).max() < 0.6 * expected
    assert np.abs(correlations).mean() < 1.3 * expected


def test_spatial_genes_vary_in_space_and_null_genes_do_not(residuals, genes, positions, spots):
    at = positions.set_index("barcode").loc[spots["barcode"]]
    y, x = at["array_row"].to_numpy() * np.sqrt(3.0), at["array_col"].to_numpy()
    near = np.hypot(y[:, None] - y, x[:, None] - x) < 2.1
    np.fill_diagonal(near, False)
    moran = np.einsum("ig,ij,jg->g", residuals, near, residuals, optimize=True) / near.sum()
    strong = (genes["driver"].str.startswith("field_range")) & (genes["beta"] == 0.6)
    assert moran[strong].mean() > 0.12
    assert abs(moran[genes["class"] == "null"].mean()) < 0.03


def test_types_are_those_of_the_truth_as_a_sample_sheet_takes_clusters(truth, spots):
    types = read_clusters(truth / "types.csv", pd.Index(spots["barcode"]), "section")
    assert list(types) == list(spots["dominant_type"])


def test_readme_records_what_was_asked_for(truth, spots):
    recorded = json.loads((truth / "README.json").read_text())
    assert recorded["seed"] == 5
    assert (recorded["spot_rows"], recorded["spot_columns"], recorded["um_per_px"]) == (
        ROWS,
        COLUMNS,
        UM_PER_PX,
    )
    assert recorded["spots_in_tissue"] == len(spots)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1, "spot_rows": 2}, "lattice"),
        ({"seed": 1, "um_per_px": 0.01}, "um_per_px"),
        ({"seed": 1, "spot_rows": 8, "spot_columns": 8, "um_per_px": 8.0, "n_bulk": 5}, "bulk"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_command_line_prints_two_lines(tmp_path, capsys):
    size = ["--spot-rows", "10", "--spot-columns", "9", "--um-per-px", "6"]
    assert main([str(tmp_path / "section"), "--seed", "3", *size]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "3446 genes" in lines[0]
    with pytest.raises(SystemExit):
        main([str(tmp_path / "section"), "--seed", "-3", *size])


def test_default_section_has_two_thousand_spots_in_tissue():
    # the outline covers a set share of the capture area, so rows x columns decide
    lattice = hexagonal_lattice(DEFAULT_ROWS, DEFAULT_COLUMNS)
    canvas = canvas_around(lattice, 8.0)
    for seed in range(3):
        inside = tissue_outline(seed, canvas).astype(np.uint8)
        covered = spot_fractions(inside, 2, canvas, lattice)[:, 1]
        assert 2000 <= (covered >= 0.5).sum() < len(lattice)


def test_streams_are_independent_of_each_other():
    assert stream(1, "a").random() == stream(1, "a").random()
    assert len({stream(1, "a").random(), stream(1, "b").random(), stream(2, "a").random()}) == 3


def test_smooth_field_has_the_length_asked_for():
    canvas = Canvas(600, 600, 2.0)
    field = smooth_field(stream(3, "x"), canvas, 30.0)
    assert field.shape == canvas.shape

    def correlation(lag_px: int) -> float:
        return float(np.corrcoef(field[:, :-lag_px].ravel(), field[:, lag_px:].ravel())[0, 1])

    # noise blurred by a Gaussian of sd s has correlation exp(-d^2 / 4 s^2)
    assert correlation(15) == pytest.approx(np.exp(-0.25), abs=0.08)
    assert abs(correlation(75)) < 0.15


def test_enlarging_keeps_places():
    source, target = Canvas(50, 40, 8.0), Canvas(200, 160, 2.0)
    ramp = np.tile(np.arange(40, dtype=np.float32), (50, 1))
    enlarged = enlarge(ramp, source, target)
    assert enlarged.shape == target.shape
    assert enlarged[100, 80] == pytest.approx(80 / 4, abs=0.5)


def test_smearing_averages_along_the_direction_only():
    noise = stream(1, "n").standard_normal((200, 200)).astype(np.float32)
    smeared = smear_along(noise, np.zeros_like(noise), (1.0, 3.0))
    along = np.corrcoef(smeared[:, :-1].ravel(), smeared[:, 1:].ravel())[0, 1]
    across = np.corrcoef(smeared[:-1].ravel(), smeared[1:].ravel())[0, 1]
    assert along > 0.5
    assert abs(across) < 0.05


def test_nearest_cells_are_found():
    canvas = Canvas(300, 300, 2.0)
    rng = stream(2, "cells")
    # equal radii make the tiling an ordinary Voronoi tiling, which brute force can check
    cells = RoundedCells.scattered(rng, canvas, 60.0, (40.0, 40.0), 1.0)
    y, x = rng.uniform(0.0, 598.0, (2, 2000)).astype(np.float32)
    owner, depth = cells.depth(y, x, 0.0)
    distance = np.hypot(y[:, None] - cells.y_um.ravel(), x[:, None] - cells.x_um.ravel())
    assert (owner == distance.argmin(axis=1)).mean() > 0.99
    assert depth.max() <= 40.0


def test_hard_core_process_keeps_its_distance_and_its_rate():
    canvas = Canvas(500, 500, 2.0)
    y, x = hard_core_process(stream(1, "p"), canvas, 6000.0, 6.0, lambda y, _: np.full(y.shape, 6000.0))
    assert len(y) == pytest.approx(6000, rel=0.05)
    assert cKDTree(np.column_stack([y, x])).query_pairs(6.0) == set()


def test_nuclei_cover_their_area():
    one = [np.array([v]) for v in (30.3, 41.1, 8.0, 3.0, 0.7, 0.9, 0.0)]
    density, cover = stamp_nuclei(Nuclei(*one), Canvas(100, 120, 0.5))
    assert cover.sum() * 0.25 == pytest.approx(np.pi * 8.0 * 3.0, rel=0.03)
    assert density.max() == pytest.approx(0.9, rel=1e-3)
    row, column = np.nonzero(cover)
    assert (row.mean() * 0.5, column.mean() * 0.5) == pytest.approx((30.3, 41.1), abs=0.3)


def test_lattice_fields_have_unit_variance_and_the_range_asked_for():
    lattice = hexagonal_lattice(20, 20)
    fields = lattice_fields(stream(4, "f"), lattice, 3.0, 800)
    assert fields.var() == pytest.approx(1.0, abs=0.06)
    by_row = fields.reshape(20, 20, -1)
    for lag in (1, 6):
        together = np.mean(by_row[:, 0] * by_row[:, lag])
        assert together == pytest.approx(np.exp(-lag / 3.0), abs=0.06)


def test_gene_plan_uses_every_driver_and_strength():
    table = plan_genes(1, GeneNumbers(36, 27, 5, 50), ["a", "b"])
    morphology = table[table["class"] == "morphology"]
    assert set(zip(morphology["driver"], morphology["beta"], strict=True)) == {
        (driver, beta) for driver in "ab" for beta in (0.15, 0.3, 0.6)
    }
    assert (table.loc[table["class"] == "null", "beta"] == 0.0).all()
    assert (table.loc[table["class"] == "bulk", "beta"] != 0.0).all()


def test_shares_sum_to_one_and_leave_null_genes_alone():
    predictors = stream(1, "p").normal(size=(30, 50))
    predictors[:, 5:10] = -1.0
    is_bulk = np.arange(50) >= 10
    shares = _balanced_shares(predictors, is_bulk)
    assert np.allclose(shares.sum(axis=1), 1.0)
    # divided by each spot's total, they would vary from spot to spot
    assert np.ptp(shares[:, 5:10], axis=0).max() < 1e-12
    assert np.allclose(np.log(shares[:, :5]) - predictors[:, :5], np.log(shares[0, 0]) - predictors[0, 0])


def test_barcodes_are_distinct_and_follow_the_seed():
    first, again = (random_barcodes(stream(1, "b"), 5000) for _ in range(2))
    assert len(set(first)) == 5000
    assert (first == again).all()

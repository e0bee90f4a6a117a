"""Tiles to train on are cut from the section's image, and their labels are its nuclei."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from test_simulation import digests

from spadework.simulation import simulate
from spadework.simulation.__main__ import main
from spadework.simulation.cells import Nuclei, scatter_nuclei
from spadework.simulation.geometry import Canvas, canvas_around, hexagonal_lattice
from spadework.simulation.render import label_nuclei
from spadework.simulation.tiles import EDGE_PX, MOST_TILES, _choose
from spadework.simulation.tissue import COMPARTMENTS, Tissue, TissueMap, lay_out_tissue

SEED, SPOTS, UM_PER_PX = 5, 8, 0.8
FEW_GENES = {"n_morphology": 12, "n_spatial": 9, "n_null": 20, "n_bulk": 300}


def simulate_small(out: Path, *, nuclei: bool) -> Path:
    simulate(out, seed=SEED, spot_rows=SPOTS, spot_columns=SPOTS, um_per_px=UM_PER_PX, **FEW_GENES, nuclei=nuclei)
    return out


@pytest.fixture(scope="module")
def section(tmp_path_factory) -> Path:
    return simulate_small(tmp_path_factory.mktemp("tiles"), nuclei=True)


@pytest.fixture(scope="module")
def anatomy() -> tuple[TissueMap, Nuclei]:
    tissue = lay_out_tissue(SEED, canvas_around(hexagonal_lattice(SPOTS, SPOTS), UM_PER_PX))
    return tissue, scatter_nuclei(SEED, tissue)


@pytest.fixture(scope="module")
def tiles(section) -> pd.DataFrame:
    return pd.read_csv(section / "truth/nuclei/tiles.csv")


def read(section: Path, kind: str, name: str) -> np.ndarray:
    return np.asarray(Image.open(section / "truth/nuclei" / kind / name))


def test_the_same_seed_gives_the_same_bytes_and_tiles_change_nothing_else(section, tmp_path):
    with_tiles = digests(section)
    assert digests(simulate_small(tmp_path / "again", nuclei=True)) == with_tiles
    without = digests(simulate_small(tmp_path / "without", nuclei=False))
    more = {name for name in with_tiles if with_tiles[name] != without.get(name)}
    assert {name for name in more if not name.startswith("truth/nuclei/")} == {"truth/README.json"}
    assert without.keys() <= with_tiles.keys()


def test_tiles_are_parts_of_the_image_that_do_not_overlap(section, tiles):
    image = tifffile.imread(section / "outs/tissue_image.tif")
    used = np.zeros(image.shape[:2], int)
    for _, tile in tiles.iterrows():
        where = slice(tile["row"], tile["row"] + EDGE_PX), slice(tile["column"], tile["column"] + EDGE_PX)
        assert np.array_equal(read(section, "image", tile["tile"]), image[where])
        used[where] += 1
    assert used.max() == 1
    assert used.sum() == len(tiles) * EDGE_PX**2


def test_labels_are_the_nuclei_by_place_and_by_area(section, tiles, anatomy):
    tissue, nuclei = anatomy
    whole = alone = labelled = 0
    for _, tile in tiles.iterrows():
        labels = read(section, "label", tile["tile"]).astype(int)
        y, x = (UM_PER_PX * (np.arange(EDGE_PX) + tile[start]) for start in ("row", "column"))
        inside = ellipses(nuclei, y, x)
        tissue_here = tissue.kind[tile["row"] :, tile["column"] :][:EDGE_PX, :EDGE_PX] != Tissue.GLASS
        count = sum((mask.astype(int) for mask in inside.values()), np.zeros(labels.shape, int)) * tissue_here
        # the simulator computes in single precision
        assert np.count_nonzero((labels > 0) != (count > 0)) <= 5
        for i, mask in inside.items():
            rows, columns = np.nonzero(mask)
            cut = min(rows.min(), columns.min()) == 0 or max(rows.max(), columns.max()) == EDGE_PX - 1
            if (count[mask] == 1).all() and not cut:
                number = np.unique(labels[mask])
                assert len(number) == 1
                assert abs(np.count_nonzero(labels == number[0]) - mask.sum()) <= 2
                labelled += mask.sum() * UM_PER_PX**2
                whole += np.pi * nuclei.long_um[i] * nuclei.short_um[i]
                alone += 1
        # one that lies under others shows in part, or not at all
        assert 0.9 * len(inside) <= labels.max() == tile["nuclei"] <= len(inside)
        assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert alone > 0.4 * tiles["nuclei"].sum()
    assert labelled == pytest.approx(whole, rel=0.01)


def ellipses(nuclei: Nuclei, y: np.ndarray, x: np.ndarray) -> dict[int, np.ndarray]:
    """Draw every nucleus that holds the centre of a pixel of the grid."""
    reach = nuclei.long_um
    near = (nuclei.y_um > y[0] - reach) & (nuclei.y_um < y[-1] + reach)
    near &= (nuclei.x_um > x[0] - reach) & (nuclei.x_um < x[-1] + reach)
    drawn = {}
    for i in np.flatnonzero(near):
        z = np.exp(-1j * nuclei.angle[i]) * ((x[None, :] - nuclei.x_um[i]) + 1j * (y[:, None] - nuclei.y_um[i]))
        mask = (z.real / nuclei.long_um[i]) ** 2 + (z.imag / nuclei.short_um[i]) ** 2 <= 1.0
        if mask.any():
            drawn[int(i)] = mask
    return drawn


def test_the_truth_says_how_many(section, tiles):
    said = json.loads((section / "truth/README.json").read_text())["nuclei"]
    assert said["nuclei"] == tiles["nuclei"].sum() > 300
    assert said["tiles"] == len(tiles) == len(list((section / "truth/nuclei/label").iterdir()))
    assert said["edge_px"] == EDGE_PX
    assert read(section, "label", tiles["tile"][0]).dtype == np.uint16


@pytest.mark.parametrize("radius", [4.0, 6.0])  # drawn apart, and together
@pytest.mark.parametrize("darkness", [(0.5, 0.9), (0.9, 0.5)])
def test_where_nuclei_overlap_the_darker_one_shows(radius, darkness):
    nuclei = Nuclei(
        y_um=np.array([20.0, 20.0]),
        x_um=np.array([20.0, 26.0]),
        long_um=np.array([6.0, radius]),
        short_um=np.array([6.0, radius]),
        angle=np.zeros(2),
        darkness=np.array(darkness),
        paleness=np.zeros(2),
    )
    labels = label_nuclei(nuclei, Canvas(80, 100, 0.5))
    assert labels[40, 46:50].tolist() == [1 + int(np.argmax(darkness))] * 4  # in both
    assert (labels[40, 40], labels[40, 54]) == (1, 2)
    in_front = np.count_nonzero(labels == 1 + int(np.argmax(darkness)))
    assert in_front == pytest.approx(np.pi * (6.0, radius)[int(np.argmax(darkness))] ** 2 / 0.25, rel=0.03)


def test_tiles_are_chosen_from_all_kinds_of_tissue_and_not_from_glass():
    kinds = np.full((6, 10), Tissue.STROMA)
    kinds[:, :2] = Tissue.GLASS
    rare = [kind for kind in COMPARTMENTS if kind != Tissue.STROMA]
    for k, kind in enumerate(rare):
        kinds[k, 4] = kind
    chosen = _choose(np.kron(kinds, np.ones((EDGE_PX, EDGE_PX), int)).astype(np.uint8))
    assert len(chosen) == len(set(chosen)) == MOST_TILES
    at = [kinds[row // EDGE_PX, column // EDGE_PX] for row, column in chosen]
    assert set(at[: len(COMPARTMENTS)]) == set(COMPARTMENTS)
    assert Tissue.GLASS not in at


def test_a_section_without_room_for_tiles_is_refused(tmp_path, capsys):
    size = ["--spot-rows", "4", "--spot-columns", "4", "--um-per-px", "4"]
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--seed", "1", *size, "--nuclei"])
    assert "tissue fills 0 tiles of 256 px" in capsys.readouterr().err

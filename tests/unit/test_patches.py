"""Patches are where they should be, whole pixels of the image, and cut without reading it all at once."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from spadework.encoders.run import PatchFile
from spadework.errors import InputError
from spadework.images import ArrayImage, SlideImage
from spadework.patch_file import write_patches
from spadework.patches import (
    ScaledImage,
    cut_patches,
    padded_fraction,
    patch_boxes,
    patch_size_px,
    reflect,
    section_image,
)
from spadework.readers import read_section
from spadework.samples import Sample
from spadework.section import to_anndata
from spadework.tissue import TissueModel

HEIGHT, WIDTH = 41, 67
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
centres = hnp.arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-60, 120, width=32))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


class Recorder(SlideImage):
    """An image that remembers which regions were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.reads = array, []
        self.height, self.width = array.shape[:2]

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        self.reads.append((x0, y0, x1, y1))
        return self.array[y0:y1, x0:x1]


def padded(array: np.ndarray, margin: int) -> np.ndarray:
    return np.pad(array, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")


# ---- boxes ---------------------------------------------------------------------------------------------------------


@given(centres, sizes)
def test_a_box_has_its_size_and_its_centre(centre: np.ndarray, size: tuple[int, int]):
    boxes = patch_boxes(centre, size)
    assert boxes.dtype == np.int64
    assert (boxes[:, 2:] - boxes[:, :2] == size).all()
    assert np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - centre).max() <= 0.5 + 1e-12


def test_width_goes_with_x_and_height_with_y():
    assert patch_boxes(np.array([[100.0, 50.0]]), (20, 10)).tolist() == [[90, 45, 110, 55]]


@pytest.mark.parametrize(
    ("centre", "size", "start"),
    [
        (10.0, 4, 8),
        (10.5, 4, 8),
        (11.5, 4, 10),
        (10.0, 5, 8),
        (9.0, 5, 6),
        (-3.0, 4, -5),
        (10.49, 4, 8),
        (10.51, 4, 9),
    ],
)
def test_halves_round_to_even(centre: float, size: int, start: int):
    assert patch_boxes(np.array([[centre, centre]]), (size, size))[0].tolist() == [start] * 2 + [start + size] * 2


@given(centres, sizes)
def test_the_padded_fraction_is_the_share_of_pixels_outside(centre: np.ndarray, size: tuple[int, int]):
    boxes = patch_boxes(centre, size)
    found = padded_fraction(boxes, WIDTH, HEIGHT)
    for (x0, y0, x1, y1), share in zip(boxes, found, strict=True):
        outside = sum(not (0 <= x < WIDTH and 0 <= y < HEIGHT) for x in range(x0, x1) for y in range(y0, y1))
        assert share == pytest.approx(outside / ((x1 - x0) * (y1 - y0)), abs=1e-6)


@pytest.mark.parametrize(("length", "margin"), [(1, 4), (2, 9), (7, 3), (7, 6), (7, 50), (31, 100)])
def test_reflection_is_that_of_numpy(length: int, margin: int):
    expected = np.pad(np.arange(length), margin, mode="reflect")
    assert np.array_equal(reflect(np.arange(-margin, length + margin), length), expected)


# ---- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("um", "px", "um_per_px", "expected"),
    [
        (100, None, (0.5, 0.5), (200, 200)),
        (100, None, (4.63, 4.16), (22, 24)),  # the olfactory bulb: square in the tissue, not in the image
        (100, None, (0.690, 0.686), (145, 146)),
        (1, None, (8.0, 8.0), (1, 1)),
        (None, 32, (4.63, 4.16), (32, 32)),
    ],
)
def test_a_size_in_um_is_square_in_the_tissue(um, px, um_per_px, expected):
    assert patch_size_px(um, px, um_per_px) == expected


@pytest.mark.parametrize(("um", "px"), [(None, None), (100, 32), (0.5, 1)])
def test_exactly_one_size_is_given(um, px):
    with pytest.raises(ValueError, match="in µm or in px"):
        patch_size_px(um, px, (1.0, 1.0))


# ---- cutting -------------------------------------------------------------------------------------------------------


def brute_force(array: np.ndarray, boxes: np.ndarray, output_px: int) -> np.ndarray:
    """Pad the whole image, slice every box, resize where the size differs."""
    margin = 130
    big = padded(array, margin) + 0
    cut = []
    for x0, y0, x1, y1 in boxes + margin:
        patch = big[y0:y1, x0:x1]
        if patch.shape[:2] != (output_px, output_px):
            patch = np.asarray(Image.fromarray(patch).resize((output_px, output_px), Image.Resampling.BILINEAR))
        cut.append(patch)
    return np.stack(cut)


def cut(image: SlideImage, boxes: np.ndarray, output_px: int) -> np.ndarray:
    patches = np.zeros((len(boxes), output_px, output_px, 3), np.uint8)
    seen = []
    for i, patch in cut_patches(image, boxes, output_px):
        assert patch.dtype == np.uint8
        patches[i] = patch
        seen.append(i)
    assert sorted(seen) == list(range(len(boxes))), "every box once"
    return patches


@given(centres, sizes, st.integers(1, 24))
@settings(max_examples=150, deadline=None)
def test_patches_equal_those_cut_one_by_one(centre: np.ndarray, size: tuple[int, int], output_px: int):
    array = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    boxes = patch_boxes(centre, size)
    assert np.array_equal(cut(ArrayImage(array), boxes, output_px), brute_force(array, boxes, output_px))


@given(centres, st.integers(1, 24), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_boxes_changes_nothing(centre: np.ndarray, edge: int, random):
    array = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    boxes = patch_boxes(centre, (edge, edge))
    order = list(range(len(boxes)))
    random.shuffle(order)
    assert np.array_equal(cut(ArrayImage(array), boxes, 8)[order], cut(ArrayImage(array), boxes[order], 8))


def test_a_patch_of_the_right_size_keeps_its_pixels(pixels: np.ndarray):
    (_, patch), *_ = cut_patches(ArrayImage(pixels), np.array([[10, 5, 26, 21]]), 16)
    assert np.array_equal(patch, pixels[5:21, 10:26])


def test_a_patch_over_the_corner_is_reflected(pixels: np.ndarray):
    (_, patch), *_ = cut_patches(ArrayImage(pixels), np.array([[-4, -6, 12, 10]]), 16)
    assert np.array_equal(patch, padded(pixels, 8)[2:18, 4:20])
    assert np.array_equal(patch[6:, 4:], pixels[:10, :12])


def test_no_boxes_give_no_patches(pixels: np.ndarray):
    assert list(cut_patches(ArrayImage(pixels), np.empty((0, 4), np.int64), 16)) == []


def test_no_more_than_a_band_of_the_image_is_held_at_a_time():
    image = Recorder(np.zeros((4000, 500, 3), np.uint8))
    centre = np.random.default_rng(0).uniform(0, (500, 4000), (2000, 2))
    edge = 60
    for _ in cut_patches(image, patch_boxes(centre, (edge, edge)), edge):
        pass
    heights = [y1 - y0 for _, y0, _, y1 in image.reads]
    assert max(heights) <= 5 * edge
    assert sum(heights) <= 1.5 * image.height, "little is read twice"
    assert [y0 for _, y0, _, _ in image.reads] == sorted(y0 for _, y0, _, _ in image.reads), "from top to bottom"


# ---- the image patches are cut from --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def section(simulated: Path):
    return to_anndata(read_section(Sample("gut", simulated / "outs")))


def test_the_best_image_is_the_full_resolution_one(section, simulated: Path):
    scaled = section_image(section, "gut", "best", simulated / "outs" / "tissue_image.tif")
    assert (scaled.source, scaled.scale) == ("fullres", (1.0, 1.0))
    assert scaled.um_per_px == pytest.approx((4.0, 4.0), rel=1e-6)


def test_without_it_the_next_best_is_taken(section):
    assert section_image(section, "gut", "best", None).source == "hires"
    without = section.copy()
    del without.uns["spatial"]["gut"]["images"]["hires"]
    scaled = section_image(without, "gut", "best", None)
    factor = section.uns["spatial"]["gut"]["scalefactors"]["tissue_lowres_scalef"]
    assert factor < 1
    assert scaled.source == "lowres"
    assert scaled.um_per_px == pytest.approx((4.0 / factor, 4.0 / factor), rel=1e-6)
    np.testing.assert_allclose(scaled.to_px(section.obsm["spatial"]), section.obsm["spatial"] * factor)


@pytest.mark.parametrize("which", ["fullres", "hires"])
def test_an_image_asked_for_by_name_must_be_there(which: str, section):
    without = section.copy()
    del without.uns["spatial"]["gut"]["images"]["hires"]
    with pytest.raises(InputError, match=f"no {which} image"):
        section_image(without, "gut", which, None)


def test_hires_asked_for_is_hires_though_there_is_better(section, simulated: Path):
    assert section_image(section, "gut", "hires", simulated / "outs" / "tissue_image.tif").source == "hires"


# ---- the patch file ------------------------------------------------------------------------------------------------

COLUMNS = [
    "x0",
    "y0",
    "width_px",
    "height_px",
    "centre_x",
    "centre_y",
    "width_um",
    "height_um",
    "um_per_px_x",
    "um_per_px_y",
    "source",
    "output_px",
    "tissue_fraction",
    "padded_fraction",
]


@pytest.fixture
def written(pixels: np.ndarray, tmp_path: Path) -> tuple[Path, pd.DataFrame, np.ndarray]:
    """Eleven patches, not in the order of the image, some over its border; the left half of the image is glass."""
    array = pixels.copy()
    array[:, : WIDTH // 2], array[:, WIDTH // 2 :] = 250, 40
    centre = np.random.default_rng(5).uniform((0, 0), (WIDTH, HEIGHT), (11, 2))
    boxes = patch_boxes(centre, (12, 10))
    scaled = ScaledImage(ArrayImage(array), (0.5, 0.5), (4.0, 5.0), "hires")
    barcodes = pd.Index([f"spot{i}" for i in range(11)])
    tissue = TissueModel((250.0, 250.0, 250.0), 0.1)
    manifest = write_patches(tmp_path / "patches.h5", scaled, boxes, barcodes, 8, tissue)
    return tmp_path / "patches.h5", manifest, brute_force(array, boxes, 8)


def test_the_manifest_says_where_every_patch_is_from(written):
    _, manifest, _ = written
    assert list(manifest.columns) == COLUMNS
    assert manifest.index.name == "barcode"
    assert list(manifest.index) == [f"spot{i}" for i in range(11)]
    assert (manifest[["width_px", "height_px", "output_px"]] == (12, 10, 8)).all(axis=None)
    assert (manifest[["width_um", "height_um", "um_per_px_x", "um_per_px_y"]] == (48, 50, 4, 5)).all(axis=None)
    assert (manifest["centre_x"] == manifest["x0"] + 6).all()
    assert (manifest["centre_y"] == manifest["y0"] + 5).all()
    assert (manifest["source"] == "hires").all()
    boxes = np.column_stack([manifest["x0"], manifest["y0"], manifest["x0"] + 12, manifest["y0"] + 10])
    assert np.array_equal(manifest["padded_fraction"], padded_fraction(boxes, WIDTH, HEIGHT))
    assert manifest["padded_fraction"].between(0, 1, inclusive="neither").any()


def test_the_tissue_fraction_is_that_of_the_patch_of_the_same_row(written):
    _, manifest, patches = written
    dark = (patches[..., 0] < 190).mean(axis=(1, 2))
    assert 0 < dark.mean() < 1
    np.testing.assert_allclose(manifest["tissue_fraction"], dark, atol=0.13)
    assert (manifest["tissue_fraction"][dark == 0] == 0).all()
    assert (manifest["tissue_fraction"][dark == 1] == 1).all()


def test_patches_come_back_in_the_order_of_the_barcodes(written):
    path, manifest, _ = written
    file = PatchFile(path)
    assert (len(file), file.px) == (11, 8)
    assert list(file.barcodes) == list(manifest.index)


@pytest.mark.parametrize("size", [1, 4, 11, 50])
def test_blocks_add_up_to_all_patches(size: int, written):
    path, _, patches = written
    blocks = list(PatchFile(path).blocks(size))
    assert max(len(block) for block in blocks) == min(size, 11)
    assert np.array_equal(np.concatenate(blocks), patches)


def test_patches_are_stored_as_bytes(written):
    with h5py.File(written[0]) as handle:
        assert handle["patches"].dtype == np.uint8


@pytest.mark.shared
def test_published_patches_are_cut_exactly(shared_data: Path):
    """The patches the published method took from C2, at whole pixels of its hires image."""
    folder = shared_data / "spade_reference" / "C2"
    with np.load(folder / "exact_range255.npz", allow_pickle=False) as reference:
        patches, barcodes = reference["patches"], reference["barcodes"].astype(str)
    names = ["barcode", "in_tissue", "row", "col", "y", "x"]
    table = pd.read_csv(folder / "tissue_positions_list.csv", header=None, names=names).set_index("barcode")
    scale = pd.read_json(folder / "scalefactors_json.json", typ="series")["tissue_hires_scalef"]
    image = ArrayImage(np.asarray(Image.open(folder / "tissue_hires_image.png").convert("RGB")))
    boxes = patch_boxes(table.loc[barcodes, ["x", "y"]].to_numpy() * scale, (32, 32))
    assert np.array_equal(cut(image, boxes, 32), patches)

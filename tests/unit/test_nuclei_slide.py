"""Nuclei of a slide: none lost, none double, none cut, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from fake_segmenter import ThresholdSegmenter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import hed_from_rgb
from skimage.draw import ellipse
from skimage.measure import regionprops

from spadework.errors import InputError
from spadework.images import ArrayImage
from spadework.nuclei import slide
from spadework.nuclei.grid import Grid
from spadework.nuclei.slide import check_resolution, label_slide
from spadework.patches import ScaledImage
from spadework.tissue import TissueModel

GLASS = (240, 238, 242)
TISSUE = TissueModel(tuple(map(float, GLASS)), 0.05)
UM = (0.69, 0.71)


def picture(seed: int, width: int = 420, height: int = 350, n: int = 90) -> np.ndarray:
    """Pink tissue with dark ellipses everywhere, also at borders and in clumps, and a corner of glass."""
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), (225, 170, 200), np.uint8)
    for _ in range(n):
        r, c = rng.uniform(-4, height + 4), rng.uniform(-4, width + 4)
        where = ellipse(r, c, *rng.uniform(3, 9, 2), shape=rgb.shape[:2], rotation=rng.uniform(0, np.pi))
        rgb[where] = rng.integers(40, 110), 50, 120
    rgb[:20, 100:260] = 60, 50, 120  # wider than any nucleus, to both sides
    rgb[-150:, -150:] = GLASS
    return rgb + rng.integers(0, 6, rgb.shape, dtype=np.uint8)


def scaled(rgb: np.ndarray, um: tuple[float, float] = UM) -> ScaledImage:
    return ScaledImage(ArrayImage(rgb), (1.0, 1.0), um, "fullres")


def run(rgb: np.ndarray, path, core_px: int, **options) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    segmenter = ThresholdSegmenter(**options)
    table, clumps = label_slide(scaled(rgb), segmenter, TISSUE, path, min_area_um2=12.0, core_px=core_px)
    return table, tifffile.imread(path), clumps


@pytest.fixture(autouse=True)
def narrow_margin(monkeypatch):
    monkeypatch.setattr(slide, "TISSUE_MARGIN_UM", 10.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The picture in one block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide, "TISSUE_MARGIN_UM", 10.0)
        return run(picture(1), tmp_path_factory.mktemp("whole") / "labels.ome.tif", 4096)


@pytest.mark.parametrize("core_px", [32, 64, 100, 256, 500])
def test_nothing_depends_on_the_blocks(whole, tmp_path, core_px):
    table, labels, clumps = run(picture(1), tmp_path / "labels.ome.tif", core_px)
    np.testing.assert_array_equal(labels, whole[1])
    pd.testing.assert_frame_equal(table, whole[0], check_exact=True)
    pd.testing.assert_frame_equal(clumps, whole[2], check_exact=True)
    assert table.attrs == whole[0].attrs
    assert len(table) > 40
    assert table.attrs["left_out"]["too_large_um2"] > 500
    assert table.attrs["left_out"]["too_small"] > 0


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), core_px=st.integers(20, 300), n=st.integers(0, 120))
def test_nothing_depends_on_the_blocks_of_any_picture(tmp_path_factory, seed, core_px, n):
    folder = tmp_path_factory.mktemp("any")
    rgb = picture(seed, 160, 130, n)
    table, labels, clumps = run(rgb, folder / "a.ome.tif", core_px)
    expected, expected_labels, expected_clumps = run(rgb, folder / "b.ome.tif", 4096)
    np.testing.assert_array_equal(labels, expected_labels)
    assert table.attrs == expected.attrs
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    pd.testing.assert_frame_equal(clumps, expected_clumps, check_exact=True)


def test_table_and_labels_say_the_same(whole):
    table, labels, _ = whole
    regions = regionprops(labels)
    assert [r.label for r in regions] == list(table["label"]) == list(range(1, len(table) + 1))
    scale = np.array([420, 350]) / labels.shape[::-1]
    centres = np.array([r.centroid[::-1] for r in regions]) + 0.5
    np.testing.assert_allclose(table[["x", "y"]], centres * scale)
    boxes = np.array([[r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]] for r in regions])
    np.testing.assert_allclose(table[["x0", "y0", "x1", "y1"]], boxes * np.tile(scale, 2))
    um = scale * UM
    np.testing.assert_allclose(um, 0.5, rtol=2e-3)
    np.testing.assert_allclose(table["area_um2"], [r.area * um.prod() for r in regions])
    np.testing.assert_allclose(table["eccentricity"], [r.eccentricity for r in regions])
    apart = np.linalg.norm((centres[:, None] - centres) * um, axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(table["nearest_um"], apart.min(axis=0))
    tops = [(r.coords[0, 0], r.coords[0, 1]) for r in regions]
    assert tops == sorted(tops)
    assert table["area_um2"].min() >= 12
    assert ((table["x1"] - table["x0"]) * UM[0]).max() <= slide.LARGEST_UM


def test_planted_nuclei_are_found_where_they_are_and_as_dark_as_they_are(tmp_path):
    rgb = np.full((300, 300, 3), (225, 170, 200), np.uint8)
    centres = np.array([(50.5, 60.5), (150.5, 100.5), (200.5, 220.5)])  # x, y
    for x, y in centres:
        rgb[ellipse(y - 0.5, x - 0.5, 9, 9)] = 60, 50, 120
    table, *_ = run(rgb, tmp_path / "labels.ome.tif", 64, threshold=142.0)  # half way to the tissue
    np.testing.assert_allclose(table[["x", "y"]], centres[np.argsort(centres[:, 1])], atol=0.5)
    np.testing.assert_allclose(table["area_um2"], np.pi * 81 * np.prod(UM), rtol=0.05)
    density = np.log10((np.array(GLASS) + 1) / np.array([61, 51, 121]))
    np.testing.assert_allclose(table["haematoxylin"], density @ hed_from_rgb[:, 0], rtol=0.15)
    assert (table["eccentricity"] < 0.45).all()


@pytest.mark.parametrize("core_px", [64, 4096])
def test_clumps_are_left_out_where_they_are_and_said(tmp_path, core_px, caplog):
    rgb = np.full((200, 320, 3), (225, 170, 200), np.uint8)
    rgb[40:80, 100:260] = 60, 50, 120  # 112 µm wide
    rgb[ellipse(150, 60, 9, 9)] = 60, 50, 120
    segmenter = ThresholdSegmenter(threshold=142.0)
    with caplog.at_level("WARNING", "spadework"):
        nuclei, clumps = label_slide(
            scaled(rgb), segmenter, TISSUE, tmp_path / "a.ome.tif", min_area_um2=10, core_px=core_px
        )
    assert len(nuclei) == 1
    cell = np.array(clumps.attrs["cell_px"])
    np.testing.assert_allclose(cell * UM, 1, rtol=0.1)
    np.testing.assert_allclose((clumps["x"].min(), clumps["x"].max()), (100, 260), atol=cell[0])
    np.testing.assert_allclose((clumps["y"].min(), clumps["y"].max()), (40, 80), atol=cell[1])
    np.testing.assert_allclose(clumps["area_um2"].sum(), 40 * 160 * np.prod(UM), rtol=0.02)
    assert not clumps.duplicated(["x", "y"]).any()
    assert clumps["area_um2"].max() <= (cell * UM).prod() * 1.001
    share = nuclei.attrs["left_out"]["too_large_share"]
    assert share == pytest.approx(40 * 160 / (40 * 160 + np.pi * 81), rel=0.02)
    assert f"clumps are {100 * share:.0f} % of the area" in caplog.text


@pytest.mark.parametrize("core_px", [64, 4096])
def test_what_lies_far_from_tissue_is_no_nucleus(tmp_path, core_px, caplog):
    rgb = np.full((200, 300, 3), GLASS, np.uint8)
    rgb[:, :100] = 225, 60, 60
    for x in (50, 105, 250):
        rgb[ellipse(100, x, 8, 8)] = 100, 238, 242
    rgb[150:160, 150:290] = 100, 238, 242  # a hair
    tissue = TissueModel(TISSUE.background, 0.3)
    table, clumps = label_slide(
        scaled(rgb), ThresholdSegmenter(), tissue, tmp_path / "a.ome.tif", min_area_um2=10, core_px=core_px
    )
    np.testing.assert_allclose(np.sort(table["x"]), [50, 105], atol=1)
    assert table.attrs["left_out"] == {"too_small": 0, "too_large_um2": 0, "too_large_share": 0}
    assert clumps.empty
    assert "clumps are" not in caplog.text


def test_blocks_of_glass_are_not_looked_at(tmp_path):
    class Counting(ThresholdSegmenter):
        seen = 0

        def segment(self, pixels, part):
            Counting.seen += 1
            return super().segment(pixels, part)

    rgb = np.full((600, 600, 3), GLASS, np.uint8)
    rgb[:100, :100] = picture(0, 250, 250)[:100, :100]
    table, _ = label_slide(scaled(rgb), Counting(), TISSUE, tmp_path / "a.ome.tif", min_area_um2=10, core_px=128)
    assert len(table) > 3
    assert Counting.seen == 4  # of 49


@pytest.mark.parametrize("colour", [(225, 170, 200), GLASS])
def test_an_image_without_nuclei_gives_an_empty_table(tmp_path, colour):
    rgb = np.full((90, 80, 3), colour, np.uint8)
    table, labels, _ = run(rgb, tmp_path / "labels.ome.tif", 64)
    assert len(table) == 0
    assert labels.max() == 0
    assert dict(table.dtypes) == {k: np.dtype(v) for k, v in slide.COLUMNS.items()}
    table.to_parquet(tmp_path / "nuclei.parquet")


def test_a_single_nucleus_has_no_neighbour(tmp_path):
    rgb = np.full((90, 80, 3), (225, 170, 200), np.uint8)
    rgb[ellipse(40, 40, 8, 8)] = 60, 50, 120
    table, *_ = run(rgb, tmp_path / "labels.ome.tif", 64)
    assert len(table) == 1
    assert table["nearest_um"].isna().all()


def test_the_label_image_is_a_pyramid_of_known_scale(tmp_path):
    rgb = np.tile(picture(2, 400, 400), (3, 4, 1))
    path = tmp_path / "labels.ome.tif"
    table, labels, _ = run(rgb, path, 1024)
    with tifffile.TiffFile(path) as handle:
        assert handle.is_ome
        levels = handle.series[0].levels
        assert [level.shape for level in levels] == [
            tuple(-(-n // 2**k) for n in labels.shape) for k in range(len(levels))
        ]
        assert len(levels) > 1
        assert max(levels[-1].shape) <= 1024
        assert levels[0].dtype == np.uint32
        assert levels[0].keyframe.is_tiled
        np.testing.assert_array_equal(levels[1].asarray(), labels[::2, ::2])
        pixels = tifffile.xml2dict(handle.ome_metadata)["OME"]["Image"]["Pixels"]
        assert pixels["PhysicalSizeX"] == pytest.approx(table.attrs["um_per_px"][0])
        assert pixels["PhysicalSizeY"] == pytest.approx(table.attrs["um_per_px"][1])
        assert pixels["PhysicalSizeXUnit"] == "µm"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("um_per_px", [0.25, 0.4, 0.69, 1.3, 3.1])
def test_the_grid_has_pillows_pixels_wherever_it_is_read(um_per_px):
    rgb = np.random.default_rng(0).integers(0, 256, (211, 190, 3), dtype=np.uint8)
    grid = Grid(scaled(rgb, (0.69, 0.69)), um_per_px)
    whole = grid.read((0, grid.width), (0, grid.height))
    pillow = np.asarray(Image.fromarray(rgb).resize((grid.width, grid.height), Image.Resampling.BILINEAR))
    # Pillow rounds between the axes, too.
    assert np.abs(whole.astype(int) - pillow).max() <= 1
    mirrored = np.pad(whole, [(30, 30), (30, 30), (0, 0)], "reflect")
    for x0, y0 in ((-30, -30), (3, -11), (17, 23), (grid.width - 9, grid.height - 5)):
        part = grid.read((x0, x0 + 25), (y0, y0 + 20))
        np.testing.assert_array_equal(part, mirrored[y0 + 30 : y0 + 50, x0 + 30 : x0 + 55])


def test_a_coarse_image_is_refused():
    coarse = scaled(np.zeros((9, 9, 3), np.uint8), (0.9, 3.2))
    with pytest.raises(InputError, match=r"2\.5 px wide[\s\S]*full-resolution image in the column `image`"):
        check_resolution(coarse, 1.0, "S")
    check_resolution(coarse, 4.0, "S")

"""Figures: what is drawn where, how large, and in which colours."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import Normalize
from PIL import Image

from spadework.figures import charts, maps
from spadework.figures.section import top_genes
from spadework.figures.style import CATEGORICAL, UNLABELLED, category_colours, finish, resolution, two_sd_limits
from spadework.headline import headline

PUBLISHED = headline(pd.DataFrame(), "published")
LATTICE = {"kind": "hexagonal", "pitch_um": 100.0, "spot_um": 55.0, "um_per_px_x": 0.5, "um_per_px_y": 0.5}


def _canvas(points_px: np.ndarray, lattice: dict = LATTICE) -> maps.Canvas:
    image = np.full((500, 500, 3), 255, np.uint8)
    spatial = {"images": {"hires": image}, "scalefactors": {"tissue_hires_scalef": 0.25}}
    return maps.section_canvas(spatial, lattice, points_px)


def test_limits_are_mean_plus_minus_two_sd_and_never_empty():
    values = np.random.default_rng(0).normal(5, 2, 1000)
    low, high = two_sd_limits(values)
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert (high - low) / 4 == pytest.approx(values.std())
    assert two_sd_limits(np.ones(4)) == (-1.0, 3.0)


def test_the_canvas_is_the_image_around_the_spots_in_um():
    canvas = _canvas(np.array([[800.0, 900.0], [1200.0, 1000.0]]))
    left, right, bottom, top = canvas.extent
    np.testing.assert_allclose(canvas.xy, [[400, 450], [600, 500]])
    for low, high, values in ((left, right, canvas.xy[:, 0]), (top, bottom, canvas.xy[:, 1])):
        assert values.min() - 220 < low < values.min() - 190
        assert values.max() + 190 < high < values.max() + 220
    # hires pixels are 2 µm here
    assert canvas.image.shape[1] == pytest.approx((right - left) / 2)


@pytest.mark.parametrize("um_per_px_y", [0.5, 0.25])
def test_spots_are_drawn_at_their_true_size_and_place(um_per_px_y):
    lattice = LATTICE | {"um_per_px_y": um_per_px_y}
    canvas = _canvas(np.array([[1000.0, 600.0], [1000.0 + 400, 600.0]]), lattice)
    figure, ax = plt.subplots(figsize=(4, 4), dpi=200)
    maps.draw_tissue(ax, canvas)
    maps.draw_spots(ax, canvas, facecolors=["#FF0000", "#0000FF"], linewidths=0)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 80)
    rows, columns = np.nonzero(red)
    per_um = ax.get_window_extent().width / (canvas.extent[1] - canvas.extent[0])
    assert np.ptp(columns) + 1 == pytest.approx(55 * per_um, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(55 * per_um, abs=2)
    centre = ax.transData.transform(canvas.xy[0])
    assert columns.mean() == pytest.approx(centre[0], abs=1.5)
    assert pixels.shape[0] - rows.mean() == pytest.approx(centre[1], abs=1.5)
    plt.close(figure)


def test_bins_are_squares_of_their_own_size():
    lattice = {"kind": "square", "pitch_um": 8.0, "spot_um": 8.0, "um_per_px_x": 0.5, "um_per_px_y": 0.5}
    canvas = _canvas(np.array([[500.0, 500.0]]), lattice)
    figure, ax = plt.subplots()
    bins = maps.draw_spots(ax, canvas, facecolors=["k"])
    corners = bins.get_paths()[0].vertices[:4]
    np.testing.assert_allclose(np.ptp(corners, axis=0), 8)
    np.testing.assert_allclose(corners.mean(axis=0), canvas.xy[0])
    plt.close(figure)


def test_the_colour_bar_carries_the_limits_and_says_when_values_lie_beyond():
    canvas = _canvas(np.array([[800.0, 900.0], [1200.0, 1000.0], [1000.0, 1000.0]]))
    figure, ax = plt.subplots()
    maps.value_map(ax, canvas, np.array([-5.0, 0.0, 1.0]), limits=(-2, 2), colours="RdBu_r", title="x")
    norm = ax.collections[0].norm
    assert isinstance(norm, Normalize)
    assert (norm.vmin, norm.vmax) == (-2, 2)
    assert ax.collections[0].colorbar.extend == "min"
    assert len(ax.collections[0].colorbar.ax.get_yticklabels()) >= 3
    plt.close(figure)


def test_every_category_has_its_colour_and_the_unlabelled_are_grey():
    colours = category_colours(["b", "unlabelled", "a"])
    assert colours == {"b": CATEGORICAL[0], "a": CATEGORICAL[1], "unlabelled": UNLABELLED}
    many = category_colours([str(i) for i in range(12)])
    assert len(set(many.values())) == 12


def test_the_legend_names_every_cluster_in_order():
    labels = pd.Series(pd.Categorical(["2", "10", "2", "1"], categories=["1", "2", "10"]))
    figure = charts.embeddings({"t-SNE": np.zeros((4, 2))}, {"clusters": labels}, "x")
    legend = figure.axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["1", "2", "10"]
    plt.close(figure)


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    r = np.r_[0.9, -0.8, rng.uniform(-0.1, 0.1, 50)]
    return pd.DataFrame(
        {
            "latent": 1,
            "gene": [f"g{i}" for i in range(52)],
            "coef_std": r,
            "r": r,
            "t": r * 10,
            "log10_p": -100 * r**2,
            "fdr": np.where(np.abs(r) > 0.5, 1e-9, 0.9),
            "r_depth": -r,
            "log10_p_depth": -50 * r**2,
            "fdr_depth": 0.9,
            "log10_p_spatial": -np.arange(52.0),
            "fdr_spatial": np.where(np.arange(52) == 51, 1e-3, 0.9),
        }
    )


def test_the_volcano_names_the_strongest_genes_and_counts_hits():
    figure = charts.volcano(_table(), PUBLISHED, [1], 0.05, 1, "x")
    ax = figure.axes[0]
    assert {t.get_text() for t in ax.texts} == {"g0", "g1"}
    assert "1 down, 1 up" in ax.get_title()
    plt.close(figure)


def test_constant_genes_are_in_no_chart():
    """They have t 0 and no standardised slope, and are in the table where all genes are tested."""
    constant = _table().assign(gene=lambda t: "constant" + t["gene"], coef_std=np.nan, r=np.nan, t=0.0, log10_p=0.0)
    table = pd.concat([_table(), constant])
    figure = charts.volcano(table, PUBLISHED, [1], 0.05, 1, "x")
    assert {t.get_text() for t in figure.axes[0].texts} == {"g0", "g1"}
    assert np.isfinite(figure.axes[0].get_xlim()).all()
    plt.close(figure)
    assert not any(gene.startswith("constant") for gene, *_ in top_genes(table, PUBLISHED, 1, 100))


def test_top_genes_are_those_of_the_test_that_counts():
    table = _table()
    assert [gene for gene, *_ in top_genes(table, PUBLISHED, 1, 2)] == ["g0", "g1"]
    by = headline(table, "spatial")
    assert top_genes(table, by, 1, 1) == [("g51", -table["r"].iloc[51], table[by.fdr].iloc[51])]


def test_the_headline_names_its_columns_and_what_to_know():
    table = _table()
    assert headline(table, "spatial").fdr == "fdr_spatial"
    assert headline(table, "spatial").note == ""
    assert "ranking" in headline(table, "depth").note
    assert "ranking" in PUBLISHED.note
    without = headline(table.assign(fdr_spatial=np.nan), "spatial")
    assert without.fdr == "fdr_depth"
    assert "No spatial test" in without.note
    volcano = charts.volcano(table, headline(table, "spatial"), [1], 0.05, 1, "x")
    assert "1 up" in volcano.axes[0].get_title() or "1 down" in volcano.axes[0].get_title()
    plt.close(volcano)


def test_contact_sheets_show_both_ends():
    """Every patch where its value says, lowest first, ten to an end in rows of eight."""
    grey = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    figure = charts.contact_sheet(grey[:10], grey[10:], np.arange(10.0), np.arange(10.0, 20.0), "x")
    found = []
    for ax in figure.get_axes():
        sheet = ax.images[0].get_array()
        for text in ax.texts:
            x, y = text.get_position()
            patch = sheet[int(y) + 1 : int(y) + 33, int(x) - 16 : int(x) + 16]
            assert len(np.unique(patch)) == 1
            found.append((float(text.get_text()), float(patch[0, 0, 0])))
    assert found == [(i, i) for i in range(20)]
    plt.close(figure)


def test_a_finished_figure_is_a_png_at_its_resolution_and_closed(tmp_path):
    with resolution(120):
        figure, _ = plt.subplots(figsize=(3, 2), layout="constrained")
    finish(figure, tmp_path / "f.png", "what to know")
    with Image.open(tmp_path / "f.png") as image:
        assert image.size == (360, 240)
    assert not plt.fignum_exists(figure.number)
    assert "what to know" in figure.get_supxlabel()

"""The published script's figures, table and t-SNE, and the page that compares the two methods."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.manifold import TSNE

from spadework.comparison import Comparison
from spadework.figures import published
from spadework.figures.comparison import ENTERED, KEPT, LEFT, comparison_page
from spadework.figures.style import finish, resolution
from spadework.latents import published_tsne


@pytest.fixture(autouse=True)
def _closed():
    """Warnings are errors here: a figure that warns is not done."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What other tests left open (tifffile, of damaged files) may be collected here.
        warnings.simplefilter("ignore", ResourceWarning)
        yield
    plt.close("all")


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def discs(shape: tuple[int, int], centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Paint every pixel nearer than ten to a centre, the last spot on top."""
    rows, columns = np.indices(shape)
    out = np.zeros(shape)
    for (x, y), value in zip(centres, values, strict=True):
        out[(rows - round(y)) ** 2 + (columns - round(x)) ** 2 < 100] = value
    return out


def overlay_of(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[1].get_array())


def test_every_spot_is_a_disc_of_its_value_and_zero_lies_between():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    centres = np.array([[30.3, 40.8], [100.0, 40.2], [140.6, 90.4]])
    values = np.array([0.5, -7.0, 3.0])
    figure = drawn(published.latent_map(image, centres, values))
    overlay = overlay_of(figure)
    assert overlay.shape == (120, 160)
    for (x, y), value in zip(centres, values, strict=True):
        assert overlay[round(y), round(x)] == value
        assert overlay[round(y), round(x) + 9] == value
        assert overlay[round(y) + 10, round(x)] == 0
    np.testing.assert_array_equal(overlay, discs((120, 160), centres, values))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image)


def test_where_discs_overlap_the_later_spot_wins():
    centres = np.array([[50.0, 50.0], [58.0, 50.0]])
    overlay = overlay_of(published.latent_map(np.zeros((100, 100, 3), np.uint8), centres, np.array([1.0, 2.0])))
    assert overlay[50, 55] == 2
    assert overlay[50, 45] == 1
    np.testing.assert_array_equal(overlay, discs((100, 100), centres, [1, 2]))


def test_discs_are_cut_at_the_borders_and_never_wrap():
    centres = np.array(
        [[0.0, 0.0], [79.0, 59.0], [40.0, -4.0], [-3.0, 30.0], [84.0, 30.0], [400.0, 400.0], [-80.0, 9.0]]
    )
    values = np.arange(1.0, 8.0)
    figure = drawn(published.latent_map(np.zeros((60, 80, 3), np.uint8), centres, values))
    np.testing.assert_array_equal(overlay_of(figure), discs((60, 80), centres, values))


def test_colours_are_fixed_whatever_the_latent_is():
    for scale in (1e-3, 50.0):
        image = np.zeros((60, 60, 3), np.uint8)
        figure = published.latent_map(image, np.array([[30.0, 30.0]]), np.array([scale]))
        shown = figure.axes[0].images[1]
        assert shown.get_clim() == (-1.0, 1.0)
        assert shown.get_cmap().name == "bwr"
        assert shown.get_alpha() == 0.7


def test_figures_have_the_published_sizes(tmp_path):
    clusters = pd.Series(pd.Categorical(["0", "1", "0", "2"]))
    with resolution(90):  # that of the other figures is not theirs
        figures = {
            "map.png": published.latent_map(np.zeros((50, 50, 3), np.uint8), np.array([[25.0, 25.0]]), np.ones(1)),
            "tsne.png": published.embedding(np.arange(8.0).reshape(4, 2), clusters),
        }
        for name, figure in figures.items():
            finish(figure, tmp_path / name)
    for name, inches in (("map.png", (10, 10)), ("tsne.png", (8, 7))):
        with Image.open(tmp_path / name) as image:
            assert image.size == (inches[0] * 300, inches[1] * 300)


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "2", "10"],
        ["invasive cancer", "adipose", "unlabelled"],
        ["only one"],
        [str(i) for i in range(14)],
    ],
)
def test_the_embedding_is_coloured_by_cluster_whatever_its_name(names):
    rng = np.random.default_rng(1)
    labels = np.r_[names, rng.choice(names, 40)]
    clusters = pd.Series(pd.Categorical(labels, categories=names), index=[f"b{i}" for i in range(len(labels))])
    points = rng.normal(size=(len(labels), 2))
    figure = drawn(published.embedding(points, clusters))
    scatter = figure.axes[0].collections[0]
    np.testing.assert_allclose(scatter.get_offsets(), points)
    assert scatter.get_array().tolist() == [names.index(label) for label in labels]
    assert scatter.get_cmap().name == "Dark2"
    ticks, texts = scatter.colorbar.get_ticks(), [t.get_text() for t in scatter.colorbar.ax.get_yticklabels()]
    assert texts == names
    assert list(ticks) == list(range(len(names)))


def test_a_category_without_spots_moves_no_name():
    clusters = pd.Series(pd.Categorical(["b", "c"] * 3, categories=["a", "b", "c", "d"]))
    scatter = (
        drawn(published.embedding(np.random.default_rng(0).normal(size=(6, 2)), clusters)).axes[0].collections[0]
    )
    at = dict(
        zip(scatter.colorbar.get_ticks(), [t.get_text() for t in scatter.colorbar.ax.get_yticklabels()], strict=True)
    )
    assert (at[1], at[2]) == ("b", "c")


def test_the_table_has_the_published_form(tmp_path):
    values = np.random.default_rng(2).normal(size=(3, 4))
    table = published.latent_table(values, pd.Index(["c-1", "a-1", "b-1"], name="spot"))
    table.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == "barcodes,0,1,2,3"
    back = pd.read_csv(tmp_path / "t.csv", index_col=0)
    assert list(back.index) == ["c-1", "a-1", "b-1"]
    np.testing.assert_allclose(back, values)


def test_25_spots_are_enough_for_the_published_tsne():
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(25, 40)) + 8 * np.eye(40)[np.arange(25) % 3]).astype(np.float32)
    embedded = published_tsne(features, perplexity=30, seed=10)
    assert embedded.shape == (25, 2)
    assert embedded.dtype == np.float32
    assert np.isfinite(embedded).all()
    assert embedded.std(axis=0).min() > 0
    np.testing.assert_array_equal(embedded, published_tsne(features, perplexity=30, seed=10))


def test_published_tsne_keeps_neighbours():
    rng = np.random.default_rng(4)
    groups = np.arange(60) % 3
    features = rng.normal(size=(60, 20)) + 30 * np.eye(20)[groups]
    embedded = published_tsne(features, perplexity=30, seed=10)
    centres = np.array([embedded[groups == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(embedded[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == groups).mean() > 0.95


@pytest.mark.parametrize(("n", "perplexity"), [(4, 1), (25, 8), (90, 89 / 3), (91, 30), (400, 30)])
def test_published_tsne_has_the_settings_of_2021(monkeypatch, n, perplexity):
    asked = {}

    class Spy(TSNE):
        def fit_transform(self, x, y=None):
            asked.update(self.get_params(), x=x)
            return np.zeros((n, 2), np.float32)

    monkeypatch.setattr("spadework.latents.TSNE", Spy)
    features = np.random.default_rng(5).normal(3, 2, (n, 6))
    published_tsne(features, perplexity=30, seed=10)
    assert asked["perplexity"] == pytest.approx(perplexity)
    assert asked["learning_rate"] == 200
    assert asked["random_state"] == 10
    # the features as they are, and their first two components, not scaled down
    np.testing.assert_allclose(asked["x"], features, rtol=1e-6)
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(asked["init"]), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_published_tsne_of_fewer_than_four_spots_is_refused(n):
    with pytest.raises(ValueError, match=f"t-SNE of {n} spots; at least 4"):
        published_tsne(np.zeros((n, 5)), perplexity=30, seed=0)


def comparison(found: list[int], kept: list[int], left: list[int], alone: list[int] | None = None) -> Comparison:
    steps = pd.DataFrame(
        {
            "step": [f"step {i}" for i in range(len(found))],
            "change": ["a correction described in words, at such a length that they take two lines"] * len(found),
            "tested": 1234,
            "found": found,
            "kept": kept,
            "entered": [f - k for f, k in zip(found, kept, strict=True)],
            "left": left,
            "found_alone": alone or found,
        }
    )
    size = np.array([[0.1, 0.95, 0.2], [0.9, 0.3, 0.1], [0.2, 0.1, 0.4]])
    return Comparison(steps, pd.DataFrame(), pd.DataFrame(), size)


def bars(figure: Figure, colour: str) -> list[Rectangle]:
    (group,) = (c for c in figure.axes[0].containers if c[0].get_facecolor() == plt.matplotlib.colors.to_rgba(colour))
    return list(group)


def test_the_bars_carry_the_numbers_of_the_table():
    result = comparison([100, 1500, 300], [0, 80, 250], [0, 20, 1250], [100, 90, 2000])
    figure = drawn(comparison_page(result, "C2: vgg16", 0.05))
    kept, entered, left = (bars(figure, c) for c in (KEPT, ENTERED, LEFT))
    # of the first step nothing is new, for there was nothing before
    assert [b.get_width() for b in kept] == [100, 80, 250]
    assert [b.get_width() for b in entered] == [0, 1420, 50]
    assert [b.get_width() for b in left] == [0, -20, -1250]
    assert [b.get_x() for b in entered] == [100, 80, 250]
    assert all(b.get_x() == 0 for b in [*kept, *left])
    # the first step is at the top, and every bar lies at its step's name
    ax = figure.axes[0]
    names = {
        round(y): t.get_text().split("\n")[0] for y, t in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
    }
    for group in (kept, entered, left):
        heights = [b.get_y() + b.get_height() / 2 for b in group]
        assert heights == sorted(heights, reverse=True)
        assert [names[round(h)] for h in heights] == ["step 0", "step 1", "step 2"]
    texts = {t.get_text(): t.xy for t in ax.texts}
    assert set(texts) == {"100 of 1,234", "1,500 of 1,234", "300 of 1,234", "−20", "−1,250", "90", "2,000"}
    assert texts["1,500 of 1,234"][0] == 1500
    low, high = ax.get_xlim()
    assert low < -1250
    assert high > 2000
    (alone,) = (line for line in ax.lines if line.get_marker() == "D")
    assert alone.get_xdata().tolist() == [90, 2000]
    assert [names[round(y + 0.42)] for y in alone.get_ydata()] == ["step 1", "step 2"]
    assert "FDR < 0.05" in ax.get_title()
    assert figure.get_suptitle() == "C2: vgg16"


def test_names_and_numbers_stay_on_the_page():
    figure = drawn(comparison_page(comparison([100, 1500, 300], [0, 80, 250], [0, 20, 1250]), "x", 0.05))
    page, ax = figure.bbox, figure.axes[0]
    for text in [*ax.texts, *ax.get_yticklabels(), *ax.get_legend().get_texts(), ax.title]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1, text.get_text()
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1, text.get_text()


@pytest.mark.parametrize("found", [[0, 0], [0, 5], [7, 0]])
def test_a_page_without_genes_is_drawn(found, tmp_path):
    result = comparison(found, [0, 0], [0, found[0]])
    finish(comparison_page(result, "x", 0.05), tmp_path / "page.png", "a note")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width > image.height


def test_latents_that_correspond_are_framed():
    result = comparison([1], [0], [0])
    ax = drawn(comparison_page(result, "x", 0.05)).axes[1]
    np.testing.assert_array_equal(ax.images[0].get_array(), result.correspondence)
    frames = {(p.get_x() + 0.5, p.get_y() + 0.5) for p in ax.patches}
    # (corrected, published) from 0: the third pair is matched, but 0.4 is not the same
    assert frames == {(1, 0), (0, 1)}
    assert [t.get_text() for t in ax.texts] == [f"{v:.2f}" for v in result.correspondence.ravel()]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"]

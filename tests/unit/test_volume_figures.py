"""Figures of volumes: everything is on the page, apart, and says what it is."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from planted_blocks import PlantedBlock, planted_block

from spadework.figures.style import finish
from spadework.figures.volume import sections_figure
from spadework.figures.volume_charts import history_figure, scores_figure
from spadework.figures.volume_content import Content, predicted_content
from spadework.figures.volume_views import cuts_figure, view_figure
from spadework.volume.evaluation import NETWORK, Predicted, predict_spots
from spadework.volume.rasterise import rasterise
from spadework.volume.scores import score_table

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "g_loss": [9.0, 6.0, 5.0],
        "g_adversarial": [0.5, 0.4, 0.4],
        "voxel_loss": [0.9, 0.6, 0.5],
        "d_loss": [0.3, 0.25, 0.2],
        "d_accuracy": [0.6, 0.9, 0.8],
        "d_updated": [1.0, 0.3, 0.6],
        "val_loss": [0.95, 0.7, 0.65],
    }
)


def made(
    target: str, z_um: tuple[float, ...] = (0.0, 16.0, 40.0)
) -> tuple[PlantedBlock, Predicted, dict[str, Content], tuple[str, ...]]:
    block = planted_block(z_um=z_um)
    volumes = rasterise(block.stack, block.spots, block.domains, target=target)
    rng = np.random.default_rng(0)
    predictions = {
        s: rng.random((*block.stack.tissue.shape, len(volumes.outputs))).astype(np.float32)
        for s in block.stack.samples
    }
    predicted = predict_spots(volumes, block.stack, block.spots, block.domains, predictions, neighbours=5)
    kinds = volumes.classes, getattr(volumes, "values")  # noqa: B009  (no DataFrame)
    contents = {s: predicted_content(p, block.stack.tissue, *kinds) for s, p in predictions.items()}
    return block, predicted, contents, volumes.outputs


def texts(figure: Figure) -> list[plt.Text]:
    """All that is written in a figure, tick labels off the axes left out."""
    parts = [figure, *figure.subfigs]
    found = [text for part in parts for text in part.texts]
    found += [text for part in parts for legend in part.legends for text in (*legend.texts, legend.get_title())]
    for ax in figure.axes:
        found += [*ax.texts, ax.title]
        if ax.get_legend():
            found += ax.get_legend().texts
        if ax.axison:
            found += [ax.xaxis.label, ax.yaxis.label]
            for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
                ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
                found += [label for place, label in ticks if min(limits) <= place <= max(limits)]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def checked(figure: Figure, path: Path, note: str = "") -> str:
    """Write a figure; no two of its texts overlap, none is cut; returns all that it says."""
    finish(figure, path, note)
    assert path.stat().st_size > 5000
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts(figure)]
    for said, box in boxes:
        assert box.x0 >= -1, said
        assert box.x1 <= width + 1, said
        assert box.y0 >= -1, said
        assert box.y1 <= height + 1, said
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one, other)
    return "\n".join(said for said, _ in boxes)


@pytest.mark.parametrize("target", ["domains", "latents"])
def test_sections(tmp_path, target: str):
    block, predicted, contents, _ = made(target)
    diameters = dict.fromkeys(block.stack.samples, 100.0)
    figure, note = sections_figure(block.stack, predicted, contents, diameters, "block: sections left out")
    said = checked(figure, tmp_path / "sections.png", note)
    for section in block.stack.samples:
        assert f"{section} (z = " in said
    right = (predicted.truth == predicted.says[NETWORK])[(predicted.spots["sample"] == "two").to_numpy()]
    if target == "domains":
        assert f"{right.mean():.0%} of {len(right)} spots right" in said
    else:
        assert "latent 1" in said
    panels = [ax for ax in figure.axes if any(isinstance(c, EllipseCollection) for c in ax.collections)]
    assert len(panels) == 9  # measured, right or wrong and copied, of three sections


def test_right_and_wrong_are_those_of_the_spots(tmp_path):
    block, predicted, contents, _ = made("domains")
    figure, _ = sections_figure(block.stack, predicted, contents, dict.fromkeys(block.stack.samples, 100.0), "x")
    (dots,) = [c for c in figure.axes[3].collections if isinstance(c, EllipseCollection)]
    own = (predicted.spots["sample"] == "one").to_numpy()
    right = (predicted.truth == predicted.says[NETWORK])[own]
    np.testing.assert_array_equal(dots.get_facecolors()[:, 0] == 1, right)


def test_of_many_sections_some_are_drawn(tmp_path):
    block, predicted, contents, _ = made("domains", tuple(16.0 * k for k in range(11)))
    figure, note = sections_figure(block.stack, predicted, contents, dict.fromkeys(block.stack.samples, 100.0), "x")
    assert "8 of 11 sections are drawn" in note
    assert len(figure.axes) == 8 * 5
    plt.close(figure)


@pytest.mark.parametrize("target", ["domains", "latents"])
@pytest.mark.parametrize(
    ("z_um", "factor"), [((0.0, 16.0, 40.0), 5), ((0.0, 400.0, 800.0, 1200.0), 1), ((3.0, 4.0), 200)]
)
def test_cuts_say_how_much_depth_is_enlarged(tmp_path, target: str, z_um: tuple[float, ...], factor: int):
    block, _, contents, _ = made(target, z_um)
    figure, note = cuts_figure(block.stack, contents["one"], "block: cuts")
    said = checked(figure, tmp_path / "cuts.png", note)
    if factor == 1:
        assert "drawn to scale" in note
        assert "×" not in said
    else:
        found = int(re.search(r"drawn (\d+) times", note)[1])
        assert f"(× {found})" in said
        depth = z_um[-1] - z_um[0] + (z_um[1] - z_um[0]) / 2 + (z_um[-1] - z_um[-2]) / 2
        assert 0.2 < found * depth / 1600 < 0.8


def test_bands_of_cuts_reach_half_way(tmp_path):
    block, _, contents, _ = made("domains")
    figure, _ = cuts_figure(block.stack, contents["one"], "block: cuts")
    extents = sorted(tuple(image.get_extent()[2:][::-1]) for image in figure.axes[2].images)
    assert extents == [(-8.0, 8.0), (8.0, 28.0), (28.0, 52.0)]
    plt.close(figure)


@pytest.mark.parametrize("target", ["domains", "latents"])
@pytest.mark.parametrize("n", [2, 3, 30])
def test_the_view_shows_the_sections_from_the_first_down(tmp_path, target: str, n: int):
    block, _, contents, _ = made(target, tuple(16.0 * k for k in range(n)))
    figure, note = view_figure(block.stack, contents["one"], "block: view")
    checked(figure, tmp_path / "view.png", note)
    assert "times enlarged" in note
    assert ("24 of 30 sections are drawn" in note) == (n == 30)


@pytest.mark.parametrize("target", ["domains", "latents"])
def test_scores(tmp_path, target: str):
    _, predicted, _, names = made(target)
    table = score_table(predicted, names, seed=0)
    said = checked(scores_figure(table, "block: scores", target[:-1]), tmp_path / "scores.png", "a note")
    for name in ("one", "two", "three", "all", NETWORK, *names):
        assert name in said.split("\n")


@pytest.mark.parametrize("n", [1, 3, 12])
def test_history(tmp_path, n: int):
    histories = {f"section {k}": HISTORY.assign(voxel_loss=HISTORY["voxel_loss"] + 0.01 * k) for k in range(n)}
    figure = history_figure(histories, "block: training")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), HISTORY["voxel_loss"])
    said = checked(figure, tmp_path / "history.png")
    assert "of steps in which it learnt" in said
    assert ("section 2" in said) == (n == 3)


def test_history_without_validation(tmp_path):
    said = checked(history_figure({"x": HISTORY.drop(columns="val_loss")}, "training"), tmp_path / "history.png")
    assert "validation" not in said

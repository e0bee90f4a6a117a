"""Figures of a U-Net: which images are shown, whose outlines, in which colour."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from spadework.figures.style import finish
from spadework.figures.unet import examples_figure, history_figure
from spadework.unet.data import LabelledImage

RIGHT, WRONG = "#f0e442", "#ff4b00"
TRUE = np.zeros((12, 16), np.int32)
TRUE[1:4, 1:5], TRUE[6:9, 3:6], TRUE[9:, 12:] = 1, 2, 3  # the last one touches two borders
FOUND = {
    "nothing": np.zeros_like(TRUE),
    "one": np.where(TRUE == 1, 5, 0),
    "two": np.where((TRUE == 1) | (TRUE == 3), TRUE * 3, 0),
    "all": TRUE,
}


def items(*names: str, channels: int = 1) -> list[LabelledImage]:
    return [LabelledImage(name, np.full((*TRUE.shape, channels), 90, np.uint8), TRUE) for name in names]


def history() -> pd.DataFrame:
    epoch = np.arange(1, 7)
    validated = [np.nan, 0.6, np.nan, 0.21, np.nan, 0.3]
    return pd.DataFrame({"epoch": epoch, "loss": 1 / epoch, "val_loss": validated, "learning_rate": 1e-3})


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def outlines(figure: Figure, axis: int) -> dict[str, set[tuple]]:
    """Sides of pixels by colour."""
    found = {}
    for lines in figure.axes[axis].collections:
        assert isinstance(lines, LineCollection)
        found[to_hex(lines.get_colors()[0])] = {tuple(map(tuple, side)) for side in lines.get_segments()}
    return found


def around(label: int) -> set[tuple]:
    """Sides of the pixels of a rectangle, without those on the border of the image."""
    y, x = np.nonzero(label == TRUE)
    (top, bottom), (left, right) = (y.min(), y.max() + 1), (x.min(), x.max() + 1)
    sides = [((left, i), (left, i + 1)) for i in range(top, bottom)]
    sides += [((i, top), (i + 1, top)) for i in range(left, right)]
    if right < TRUE.shape[1]:
        sides += [((right, i), (right, i + 1)) for i in range(top, bottom)]
    if bottom < TRUE.shape[0]:
        sides += [((i, bottom), (i + 1, bottom)) for i in range(left, right)]
    return set(sides)


def test_worst_median_and_best_are_shown_with_their_counts(tmp_path):
    names = ["two", "nothing", "all", "one"]
    page = examples_figure(items(*names), [FOUND[name] for name in names], "h")
    assert titles(page) == [
        *("worst (image nothing): F1 0.00", "truth: 3, of which 3 missed", "predicted: 0, of which 0 wrong"),
        *("median (image one): F1 0.50", "truth: 3, of which 2 missed", "predicted: 1, of which 0 wrong"),
        *("best (image all): F1 1.00", "truth: 3, of which 0 missed", "predicted: 3, of which 0 wrong"),
    ]
    finish(page, tmp_path / "page.png")


def test_outlines_run_along_pixels_and_tell_what_is_matched():
    predicted = np.where(TRUE == 1, 5, 0)
    predicted[6:9, 3] = 9  # a third of the second object
    page = examples_figure(items("a"), [predicted], "h")
    truth, prediction = outlines(page, 1), outlines(page, 2)
    assert truth == {RIGHT: around(1), WRONG: around(2) | around(3)}
    assert prediction[RIGHT] == around(1)
    assert len(prediction[WRONG]) == 8
    assert page.axes[0].collections[:] == []


def test_touching_objects_are_parted_by_a_line():
    touching = np.zeros_like(TRUE)
    touching[2:5, 2:5], touching[2:5, 5:8] = 1, 2
    item = LabelledImage("a", np.zeros((*TRUE.shape, 3), np.uint8), touching)
    shown = outlines(examples_figure([item], [touching], "h"), 1)[RIGHT]
    assert {((5, i), (5, i + 1)) for i in (2, 3, 4)} <= shown


@pytest.mark.parametrize("channels", [1, 3])
def test_few_images_make_few_rows(channels, tmp_path):
    one = examples_figure(items("a", channels=channels), [TRUE], "h")
    assert titles(one)[::3] == ["all there is (image a): F1 1.00"]
    two = examples_figure(items("a", "b", channels=channels), [TRUE, FOUND["one"]], "h")
    assert titles(two)[::3] == ["worst (image b): F1 0.50", "best (image a): F1 1.00"]
    finish(two, tmp_path / "page.png")


def test_images_without_objects_are_shown_only_where_there_are_no_others():
    empty = LabelledImage("empty", np.zeros((*TRUE.shape, 1), np.uint8), np.zeros_like(TRUE))
    page = examples_figure([empty, *items("a", "b")], [FOUND["nothing"], TRUE, FOUND["one"]], "h")
    assert titles(page)[::3] == ["worst (image b): F1 0.50", "best (image a): F1 1.00"]
    assert (
        titles(examples_figure([empty], [FOUND["nothing"]], "h"))[0] == "all there is (image empty): F1 not defined"
    )


def test_long_names_are_cut():
    page = examples_figure(items("0123456789" * 6), [TRUE], "h")
    assert titles(page)[0] == "all there is (image 0123456789012345678…): F1 1.00"


def test_the_history_marks_the_best_epoch(tmp_path):
    page = history_figure(history(), "h")
    losses, rates = page.axes
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "training images",
        "validation images",
        "best: 0.21 in epoch 4",
    ]
    assert [list(line.get_xdata()) for line in losses.lines] == [[1, 2, 3, 4, 5, 6], [2, 4, 6], [4]]
    np.testing.assert_allclose(rates.lines[0].get_ydata(), 1e-3)
    finish(page, tmp_path / "page.png")
    shown = [label.get_text() for ax in page.axes for label in ax.get_yticklabels()]
    assert "0.001" in shown
    assert not any("$" in text for text in shown)  # formulas are not drawn in this project's figures


@pytest.mark.parametrize("without", ["column", "values"])
def test_a_history_without_validation_is_drawn(without, tmp_path):
    table = history().drop(columns="val_loss") if without == "column" else history().assign(val_loss=np.nan)
    page = history_figure(table, "h")
    assert len(page.axes[0].lines) == 1
    finish(page, tmp_path / "page.png")

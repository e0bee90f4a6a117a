"""Figures of prototypes: what is on them, where, and in which colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from spadework.figures import prototype_charts as charts
from spadework.figures import prototypes as figures
from spadework.figures.maps import Canvas
from spadework.figures.style import category_colours, finish
from spadework.prototypes.explain import Explanation, Match, Nearest, Prototype
from spadework.prototypes.model import Source

CLASSES = ("fat", "gland", "cluster $x$ with a name that is much too long to be shown")
PX = 32
YELLOW = "#ffe800"


def patch(value: int) -> np.ndarray:
    return np.full((PX, PX, 3), value, np.uint8)


def prototype(j: int, k: int) -> Prototype:
    weights = np.array([-0.5, -0.5, -0.5], np.float32)
    weights[k] = 1.25
    activation = np.zeros((PX, PX), np.float32)
    activation[8:16, 4:20] = 1
    source = Source("section", f"source-{j}", 1, 1)
    return Prototype(j, CLASSES[k], source, patch(60 + j), activation, (8, 16, 4, 20), (0, 22, 0, 24), weights)


def near(n: int) -> Nearest:
    patches = np.stack([patch(100 + i) for i in range(n)]) if n else np.zeros((0, PX, PX, 3), np.uint8)
    classes = ["gland", "", "elsewhere", *["fat"] * n][:n]
    return Nearest(patches, classes, np.linspace(5, 1, n).astype(np.float32), [(0, 8, 0, 8)] * n)


def explanation(kind: str, barcode: str, class_name: str, n: int = 4) -> Explanation:
    logits = np.array([2.0, 1.0, -1.0], np.float32)
    probability = np.exp(logits) / np.exp(logits).sum()
    matches = tuple(
        Match(prototype(j, j % 3), j + 1, 4.0 - j, patch(0)[..., 0] * 1.0, (1, 5, 2, 9), (0, 12, 0, 16), j == 1)
        for j in range(n)
    )
    return Explanation("s", barcode, kind, class_name, "test", CLASSES, logits, probability, patch(200), matches, 3)


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in figure.axes[0].texts)


def boxes(figure: Figure, colour: str) -> list[Rectangle]:
    # the last two are the key
    found = [r for r in figure.axes[0].patches if isinstance(r, Rectangle) and not r.get_fill()]
    return [r for r in found[:-2] if to_hex(r.get_edgecolor()) == colour]


def test_every_prototype_is_shown_once_in_the_order_of_the_classes(tmp_path):
    prototypes = [prototype(j, (2, 0, 1)[j % 3]) for j in range(30)]
    pages = figures.prototypes_figure(prototypes, [near(6)] * 30, CLASSES, "heading")
    assert len(pages) == 3
    titles = [t.get_text() for page in pages for t in page.axes[0].texts if t.get_text().startswith("prototype ")]
    numbers = [int(title.split()[1].rstrip(",")) for title in titles]
    assert numbers == sorted(range(30), key=lambda j: (CLASSES.index(prototypes[j].class_name), j))
    assert "$x$" in texts(pages[2])
    assert CLASSES[2] not in texts(pages[2])
    for i, page in enumerate(pages):
        finish(page, tmp_path / f"{i}.png", "a note")


def test_a_row_shows_source_boxes_weights_and_classes_of_the_nearest():
    (page,) = figures.prototypes_figure([prototype(7, 1)], [near(3)], CLASSES, "heading")
    text = texts(page)
    assert "+1.25 for gland" in text
    assert "−0.50 for fat" in text
    assert "gland: 5.00" in text
    assert "no class: 3.00" in text
    source, *others = boxes(page, YELLOW)
    assert len(others) == 3
    assert source.get_height() / source.get_width() == pytest.approx(8 / 16)
    (field,) = boxes(page, "#ffffff")
    assert field.get_width() / source.get_width() == pytest.approx(24 / 16)
    assert source.get_x() - field.get_x() == pytest.approx(source.get_width() / 16 * 4)
    colours = category_colours(list(CLASSES))
    assert len(boxes(page, colours["gland"].lower())) == 1


@pytest.mark.parametrize("n", [0, 1])
def test_one_prototype_and_none_near(tmp_path, n):
    (page,) = figures.prototypes_figure([prototype(0, 0)], [near(n)], CLASSES, "heading")
    finish(page, tmp_path / "page.png")


def test_an_explanation_has_a_row_for_each_of_the_top_prototypes(tmp_path):
    page = figures.explanation_figure(explanation("named", "spot", "gland"))
    text = texts(page)
    assert text.count("prototype 0, class fat") == 1
    assert "prototype 3" not in text
    assert "4.00 similarity\n× +1.25 weight to fat\n= +5.00" in text
    assert "3.00 similarity\n× −0.50 weight to fat\n= −1.50\n\nits own source" in text
    assert text.count("its own source") == 1
    assert "looks like fat (0.71)\nbut is gland" in text
    assert len(page.axes[0].images) == 1 + 4 * 3
    assert len(boxes(page, YELLOW)) == 2 * 3
    finish(page, tmp_path / "page.png", "a note")


def test_the_overview_shows_named_spots_and_one_of_each_kind_and_class(tmp_path):
    given = [explanation("named", "n", "")]
    kinds = ("typical", "borderline")
    given += [explanation(kind, f"{kind[0]}-{c}-{i}", c) for c in CLASSES for kind in kinds for i in "12"]
    page = figures.explanations_figure(given, "heading")
    text = texts(page)
    for name in ("n", "t-fat-1", "t-gland-1", "b-fat-1", "b-gland-1"):
        assert f"{name}\n" in text
    assert "t-fat-2" not in text
    assert "has no class" in text
    assert len(page.axes[0].images) == 7 * (1 + 2 * 3)
    finish(page, tmp_path / "page.png")
    finish(figures.explanations_figure([], "heading"), tmp_path / "none.png")
    finish(figures.explanations_figure([replace(given[0], top_k=1)], "heading"), tmp_path / "one.png")


def history() -> pd.DataFrame:
    stages = [("pretrain", 0)] * 30 + [("warm", 0)] * 10
    for cycle in (1, 2):
        stages += [("joint", cycle)] * 20 + [("last layer", cycle)]
    table = pd.DataFrame(stages, columns=["stage", "cycle"])
    distance = np.where(table["stage"].isin(["warm", "joint"]), 0.5, np.nan)
    return table.assign(step=1, loss=1.0, cross_entropy=1.0, cluster=distance, separation=2 * distance, accuracy=0.5)


def test_stages_are_bands_and_cycles_are_named(tmp_path):
    page = charts.history_figure(history(), "heading")
    bands = [(r.get_x(), r.get_width()) for r in page.axes[0].patches]
    assert bands == [(0.5, 30), (30.5, 10), (40.5, 20), (60.5, 1), (61.5, 20), (81.5, 1)]
    assert [t.get_text() for t in page.axes[0].texts] == ["cycle 1", "cycle 2"]
    (legend,) = page.legends
    assert [t.get_text() for t in legend.get_texts()] == ["pretrain", "warm", "joint", "last layer"]
    finish(page, tmp_path / "page.png", "a note")


def accuracies(low: float = 0.5) -> pd.DataFrame:
    methods = ["prototypes", "shuffled classes", "k-NN on a network with a long name (random weights)"]
    return pd.DataFrame(
        {
            "method": methods,
            "balanced_accuracy": [0.7, 0.3, 0.6],
            "balanced_accuracy_low": [low, 0.2, 0.5],
            "balanced_accuracy_high": [0.9, 0.4, 0.7],
            "n_test": 4,
            "n_regions": 2,
            "n_classes": 2,
        }
    )


def test_accuracies_stand_beside_chance_and_the_confusions(tmp_path):
    spots = pd.DataFrame({"class": ["fat", "fat", "gland", "gland"]})
    page = charts.accuracy_figure(accuracies(), spots, ["fat", "gland", "gland", "other"], "heading")
    left, right = page.axes
    assert [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == "--"] == [0.5]
    np.testing.assert_allclose(right.images[0].get_array(), [[0.5, 0.5, 0], [0, 0.5, 0.5]])
    assert [t.get_text() for t in right.get_yticklabels()] == ["fat (2)", "gland (2)"]
    assert [t.get_text() for t in right.get_xticklabels()] == ["fat", "gland", "other"]
    finish(page, tmp_path / "page.png")


def test_numbered_classes_come_in_numeric_order():
    spots = pd.DataFrame({"class": ["10", "2", "1"]})
    right = charts.accuracy_figure(accuracies(), spots, ["3", "10", "2"], "heading").axes[1]
    assert [t.get_text() for t in right.get_yticklabels()] == ["1 (1)", "2 (1)", "10 (1)"]
    np.testing.assert_array_equal(right.images[0].get_array(), [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_one_region_has_no_interval(tmp_path):
    table = accuracies().assign(balanced_accuracy_low=np.nan, balanced_accuracy_high=np.nan, n_regions=1)
    page = charts.accuracy_figure(table, pd.DataFrame({"class": ["fat"]}), ["fat"], "heading")
    assert "no interval" in page.axes[0].get_title()
    finish(page, tmp_path / "page.png")


def test_maps_give_a_class_one_colour_and_prototypes_one_scale(tmp_path):
    xy = np.array([(100.0 * i, 100.0 * j) for i in range(4) for j in range(3)])
    canvas = Canvas(np.full((40, 50, 3), 220, np.uint8), (-50, 350, 250, -50), xy, 55.0, False)
    truth = ["fat", "gland", CLASSES[2], "unknown to the model", "", "fat"] * 2
    spots = pd.DataFrame({"class": truth, "set": ["train", "test", "margin", "unused"] * 3})
    said = [CLASSES[i % 3] for i in range(12)]
    scores = np.linspace(0, 4, 12 * 5).reshape(12, 5)
    class_of = [CLASSES[j % 3] for j in range(5)]
    page = charts.map_figure(canvas, spots, said, np.full(12, 0.6), scores, class_of, CLASSES, "heading")
    finish(page, tmp_path / "page.png", "a note")
    maps = [ax for ax in page.axes if ax.get_title()]
    assert [ax.get_title() for ax in maps[4:6]] == ["prototype 0, class fat", "prototype 1, class gland"]
    assert len(maps) == 4 + 5
    assert {ax.collections[0].get_clim() for ax in maps[4:]} == {(0.0, float(np.percentile(scores, 99.5)))}
    colours = category_colours([*CLASSES, "unknown to the model", "unlabelled"])
    shown = [to_hex(c) for c in maps[0].collections[0].get_facecolor()]
    assert shown == [colours[name or "unlabelled"].lower() for name in truth]
    assert [to_hex(c) for c in maps[1].collections[0].get_facecolor()] == [colours[name].lower() for name in said]


def test_names_cut_to_the_same_stay_apart():
    names = ["a" * 30 + "1", "a" * 30 + "2", "b"]
    values = charts._categories([names[1], "b"], names)
    assert values.cat.categories.is_unique
    assert values.cat.codes.tolist() == [1, 2]

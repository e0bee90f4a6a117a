"""Boxes, push files and local analysis of prototypes, with a small network as it is before training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax

from spadework.errors import InputError
from spadework.prototypes.architecture import Architecture
from spadework.prototypes.boxes import activation_box, crop, located, outlined, overlay, upsample
from spadework.prototypes.explain import (
    Explanation,
    check_named,
    choose_spots,
    explain,
    explanation_text,
    explanations_table,
    nearest_to,
    prototypes_of,
)
from spadework.prototypes.explanation_files import folder_name, write_explanation
from spadework.prototypes.model import ProtoPNet, Said, Source
from spadework.prototypes.network import build
from spadework.prototypes.push_files import write_push
from spadework.prototypes.training import Push

CLASSES = ("gland", "stroma", "fat")
ARCHITECTURE = Architecture(CLASSES, (0, 0, 1, 2), patch_px=32, pool=2, dimension=8, top_cells=3)
PX, CELLS = 32, ARCHITECTURE.field.cells


def patches(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, PX, PX, 3), np.uint8)


def spot_table(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample": "a",
            "barcode": [f"spot-{i}" for i in range(n)],
            "class": [CLASSES[i % 3] for i in range(n)],
            "set": ["test" if i % 2 else "train" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def model() -> ProtoPNet:
    network = build(ARCHITECTURE)
    rng = np.random.default_rng(1)
    network.last.set_weights([rng.normal(size=(4, 3)).astype(np.float32)])
    sources = [Source("a", f"spot-{i}", i % CELLS, 2) for i in (0, 2, 4, 8)]
    return ProtoPNet(network, sources, patches(12)[[0, 2, 4, 8]], {})


@pytest.fixture(scope="module")
def explained(model: ProtoPNet) -> list[Explanation]:
    said, spots = model.say(patches(12), maps=True), spot_table(12)
    prototypes = prototypes_of(model)
    return [
        explain(prototypes, ARCHITECTURE, said, i, patches(12)[i], spots.iloc[i], "typical", 3) for i in range(12)
    ]


# Boxes


def test_a_planted_bump_is_boxed():
    y, x = np.mgrid[:64, :64]
    bump = (np.abs(y - 14.5) < 5) & (np.abs(x - 40.5) < 5)
    assert activation_box(np.where(bump, 1.0, 0.01 * np.sin(y + x))) == (10, 20, 36, 46)


def test_of_two_bumps_the_higher_one_is_boxed():
    activation = np.zeros((100, 100))
    activation[10:20, 10:20] = 2.0
    activation[80:90, 80:92] = 1.9
    assert activation_box(activation) == (10, 20, 10, 20)
    activation[85, 85] = 3.0
    assert activation_box(activation) == (80, 90, 80, 92)


def test_parts_that_touch_at_a_corner_are_one():
    activation = np.zeros((40, 40))
    activation[4:8, 4:8] = activation[8:12, 8:12] = 1.0
    assert activation_box(activation) == (4, 12, 4, 12)


def test_of_equal_peaks_the_first_is_boxed():
    activation = np.zeros((40, 40))
    activation[30:33, 2:5] = activation[3:6, 30:33] = 1.0
    assert activation_box(activation) == (3, 6, 30, 33)


def test_the_box_is_that_of_the_best_cell_whatever_interpolation_makes_of_it():
    rng = np.random.default_rng(0)
    elsewhere = 0
    for _ in range(200):
        cells = rng.random((8, 8)).astype(np.float32)
        activation, (y1, y2, x1, x2), cell = located(cells, 64)
        assert cells[cell] == cells.max()
        assert max(y1, 8 * cell[0]) < min(y2, 8 * cell[0] + 8)
        assert max(x1, 8 * cell[1]) < min(x2, 8 * cell[1] + 8)
        highest = np.unravel_index(activation.argmax(), (64, 64))
        elsewhere += (highest[0] // 8, highest[1] // 8) != cell
    assert elsewhere > 20  # interpolation does that


@pytest.mark.parametrize("value", [0.0, 0.1, 9.2103])
def test_of_a_constant_map_everything_is_boxed(value):
    flat = upsample(np.full((8, 8), value, np.float32), 64)
    assert activation_box(flat) == (0, 64, 0, 64)
    grey = overlay(np.full((64, 64, 3), 200, np.uint8), flat)
    assert len(np.unique(grey.reshape(-1, 3), axis=0)) == 1


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        activation_box(np.array([[0.0, np.nan]]))


def test_the_map_lies_over_the_patch_as_images_are_resized():
    cells = np.zeros((8, 8), np.float32)
    cells[1, 6] = 1.0
    large = upsample(cells, 64)
    assert large.shape == (64, 64)
    assert large.dtype == np.float32
    y1, y2, x1, x2 = activation_box(large)
    assert (y1 + y2, x1 + x2) == (2 * 12, 2 * 52)  # the middle of that cell
    assert located(cells, 64)[2] == (1, 6)
    assert upsample(np.ones((1, 1)), 5).tolist() == np.ones((5, 5)).tolist()


def test_an_outline_changes_the_rim_of_the_box_only():
    patch = patches(1)[0]
    changed = (outlined(patch, (3, 9, 10, 15)) != patch).any(axis=2)
    inside = np.zeros((PX, PX), bool)
    inside[3:9, 10:15] = True
    inside[4:8, 11:14] = False
    assert (changed <= inside).all()
    assert changed.sum() >= inside.sum() - 1


# Push files


@pytest.fixture
def push() -> Push:
    rng = np.random.default_rng(2)
    maps = rng.random((4, CELLS, CELLS)).astype(np.float32)
    maps[3] = 0.5  # nowhere in particular
    sources = [Source("a", f"spot-{j}", 1 + j, 2) for j in range(4)]
    rows, places = np.array([5, 7, 0, 3]), np.array([(1 + j) * CELLS + 2 for j in range(4)])
    given = {"cycle": 2, "class_of": ARCHITECTURE.class_of, "rows": rows, "sources": sources}
    given |= {"images": patches(4), "maps": maps, "places": places}
    return Push(**{name: given[name] for name in Push.__dataclass_fields__})


def test_push_files_have_the_published_names_and_hold_what_they_say(tmp_path, push):
    write_push(tmp_path / "img", push, ARCHITECTURE.field)
    place = tmp_path / "img" / "epoch-2"
    images = ("prototype-img", "prototype-img-original", "prototype-img-original_with_self_act")
    images += ("prototype-img-receptive_field",)
    expected = {f"{name}{j}.png" for name in images for j in range(4)}
    expected |= {f"prototype-self-act{j}.npy" for j in range(4)} | {"bb2.npy", "bb-receptive_field2.npy"}
    assert {p.name for p in place.iterdir()} == expected
    for boxes, crops in (("bb2", "prototype-img"), ("bb-receptive_field2", "prototype-img-receptive_field")):
        table = np.load(place / f"{boxes}.npy")
        assert table.shape == (4, 6)
        assert np.issubdtype(table.dtype, np.integer)
        assert table[:, 0].tolist() == [5, 7, 0, 3]
        assert table[:, 5].tolist() == [0, 0, 1, 2]
        for j, (y1, y2, x1, x2) in enumerate(table[:, 1:5]):
            original = np.asarray(Image.open(place / f"prototype-img-original{j}.png"))
            np.testing.assert_array_equal(original, push.images[j])
            np.testing.assert_array_equal(original[y1:y2, x1:x2], np.asarray(Image.open(place / f"{crops}{j}.png")))
    fields = np.load(place / "bb-receptive_field2.npy")
    assert fields[3, 1:5].tolist() == list(ARCHITECTURE.field.box(4, 2, PX))
    assert np.load(place / "bb2.npy")[3, 1:5].tolist() == [0, PX, 0, PX]
    for j in range(4):
        np.testing.assert_array_equal(np.load(place / f"prototype-self-act{j}.npy"), push.maps[j])


def test_the_heat_map_is_weighed_as_published():
    patch = np.full((4, 4, 3), 100, np.uint8)
    shown = overlay(patch, np.linspace(0, 1, 16).reshape(4, 4))
    # jet begins with (0, 0, 0.5) and ends with (0.5, 0, 0)
    assert shown[0, 0].tolist() == [50, 50, 88]
    assert shown[3, 3].tolist() == [88, 50, 50]


# Which spots


def said_of(probability: list[list[float]]) -> Said:
    logits = np.log(np.asarray(probability, np.float32))
    return Said(np.zeros((len(logits), 1), np.float32), logits, None)


def choice_table(classes: list[str], sets: list[str] | None = None) -> pd.DataFrame:
    names = [f"s{i}" for i in range(len(classes))]
    return pd.DataFrame({"sample": "a", "barcode": names, "class": classes, "set": sets or ["test"] * len(classes)})


SAID = said_of([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.3, 0.7], [0.02, 0.98], [0.6, 0.4]])
SPOTS = choice_table(["x", "x", "x", "y", "y", "y"])


def test_typical_and_borderline_spots_of_every_class():
    assert choose_spots(SAID, SPOTS, ["x", "y"], 1) == [
        *((0, "typical"), (2, "borderline")),
        *((4, "typical"), (5, "borderline")),
    ]


def test_a_spot_is_chosen_once_and_named_ones_first():
    chosen = choose_spots(SAID, SPOTS, ["x", "y"], 3, named=["s5", "s4", "s5", "of another section"])
    assert chosen[:2] == [(5, "named"), (4, "named")]
    assert sorted(i for i, _ in chosen) == list(range(6))
    assert (3, "typical") in chosen


def test_sources_and_spots_trained_on_are_left_out():
    spots = choice_table(["x", "x", "x", "y", "y", "y"], ["train", "test", "test", "test", "margin", "unused"])
    chosen = choose_spots(SAID, spots, ["x", "y"], 2, sources=[Source("a", "s1", 0, 0)])
    assert chosen == [(2, "typical"), (3, "typical")]
    elsewhere = choose_spots(SAID, spots, ["x", "y"], 2, sources=[Source("b", "s1", 0, 0)])
    assert (1, "typical") in elsewhere


def test_a_section_without_test_spots_explains_those_trained_on():
    spots = choice_table(["x", "x", "x", "y", "y", "y"], ["train"] * 5 + ["margin"])
    chosen = choose_spots(SAID, spots, ["x", "y"], 1)
    assert chosen == [(0, "typical"), (2, "borderline"), (4, "typical"), (3, "borderline")]


def test_a_class_nobody_is_right_about_has_borderline_spots_only():
    spots = choice_table(["y", "y", "x", "x", "x", "x"])
    kinds = {kind for i, kind in choose_spots(SAID, spots, ["x", "y"], 1) if spots["class"][i] == "y"}
    assert kinds == {"borderline"}


def test_an_unknown_barcode_is_refused_with_near_names():
    check_named(["AAAC-1"], {"AAAC-1", "TTTG-1"})
    with pytest.raises(InputError, match="did you mean AAACCGT-1") as error:
        check_named(["AAACCGT"], {"AAACCGT-1", "TTTG-1"})
    assert "prototypes.shown: AAACCGT" in str(error.value)


# Explanations


def test_contributions_add_up_to_the_logits(model, explained):
    said = model.say(patches(12))
    table = explanations_table(explained)
    for i, e in enumerate(explained):
        for k in range(3):
            assert sum(m.contribution(k) for m in e.matches) == pytest.approx(said.logits[i, k], abs=1e-5)
        rows = table[table["barcode"] == e.barcode]
        assert rows["contribution"].sum() == pytest.approx(said.logits[i].max(), abs=1e-5)
        np.testing.assert_allclose(rows["score"] * rows["weight"], rows["contribution"], rtol=1e-5)
        np.testing.assert_allclose(e.probability, softmax(said.logits[i]), rtol=1e-5)


def test_prototypes_come_by_similarity_with_their_own_weights(model, explained):
    scores = model.say(patches(12)).scores
    for i, e in enumerate(explained):
        numbers = [m.prototype.number for m in e.matches]
        assert scores[i, numbers].tolist() == sorted(scores[i], reverse=True)
        assert [m.rank for m in e.matches] == [1, 2, 3, 4]
        assert e.shown == e.matches[:3]
        for m in e.matches:
            np.testing.assert_array_equal(m.prototype.weights, model.weights[m.prototype.number])
            assert m.prototype.class_name == CLASSES[ARCHITECTURE.class_of[m.prototype.number]]


def test_boxes_lie_where_the_map_is_highest(model, explained):
    maps = model.say(patches(12), maps=True).maps
    for i, e in enumerate(explained):
        for m in e.matches:
            cells = maps[i, m.prototype.number]
            np.testing.assert_allclose(m.activation, upsample(cells, PX))
            best = [int(i) for i in np.unravel_index(cells.argmax(), cells.shape)]
            assert m.field == ARCHITECTURE.field.box(*best, PX)
            assert m.box == located(cells, PX)[1]


def test_a_source_is_described_by_its_own_map(model):
    maps = model.say(model.source_patches, maps=True).maps
    for j, p in enumerate(prototypes_of(model)):
        np.testing.assert_array_equal(p.patch, patches(12)[[0, 2, 4, 8][j]])
        np.testing.assert_allclose(p.activation, upsample(maps[j, j], PX))
        assert p.field == ARCHITECTURE.field.box(p.source.row, p.source.column, PX)


def test_a_spot_that_is_a_source_is_marked(explained):
    own = {e.barcode: [m.prototype.number for m in e.matches if m.own_source] for e in explained}
    assert {name: found for name, found in own.items() if found} == {
        **{"spot-0": [0], "spot-2": [1], "spot-4": [2], "spot-8": [3]}
    }
    shown = next(e for e in explained if any(m.own_source for m in e.shown))
    assert "taken from this very patch" in explanation_text(shown)
    assert explanations_table(explained)["own_source"].sum() == 4


def test_the_text_says_what_the_numbers_say(model, explained):
    e = explained[3]
    text = explanation_text(e)
    k, second = np.argsort(-e.logits)[:2]
    assert f"looks like class {CLASSES[k]} (probability {e.probability[k]:.2f}; next is {CLASSES[second]}" in text
    assert f"{CLASSES[k]} (most probable class): {e.logits[k]:+.2f}" in text
    assert f"{CLASSES[second]} (next class): {e.logits[second]:+.2f}" in text
    assert "Its class is gland" in text
    assert "trained on" not in text
    for c, title in ((k, "most probable class"), (second, "next class")):
        parts = text.split(f"({title})")[1].split("\n\n")[0].splitlines()[1:]
        assert sum(float(line.split()[-1]) for line in parts) == pytest.approx(e.logits[c], abs=0.01 * len(parts))
    top = e.matches[0]
    p = top.prototype
    assert f"1. prototype {p.number} of class {p.class_name}, from spot {p.source.barcode} of section a" in text
    raw = ", ".join(f"{name} {w:+.2f}" for name, w in zip(CLASSES, model.weights[p.number], strict=True))
    assert f"weights to the classes: {raw}" in text
    assert "4. prototype" not in text  # three are shown
    assert "trained on this spot" in explanation_text(explained[0])


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "It has no class"), ("nerve", "which the model does not know"), ("other", "does not know")],
)
def test_spots_without_a_class_the_model_knows(model, name, says):
    said = model.say(patches(1), maps=True)
    spot = pd.Series({"sample": "a", "barcode": "b", "class": name, "set": "test"})
    e = explain(prototypes_of(model), ARCHITECTURE, said, 0, patches(1)[0], spot, "named", 9)
    assert says in explanation_text(e)


def test_more_are_asked_for_than_there_are(tmp_path):
    architecture = Architecture(("x", "y"), (0, 1), patch_px=32, pool=2, dimension=8, top_cells=1)
    small = ProtoPNet(build(architecture), [Source("a", "p", 0, 0), Source("a", "q", 7, 7)], patches(2), {})
    spot = pd.Series({"sample": "a", "barcode": "b", "class": "x", "set": "test"})
    one = explain(
        prototypes_of(small), architecture, small.say(patches(1, 5), maps=True), 0, patches(1, 5)[0], spot, "named", 5
    )
    write_explanation(tmp_path, one)
    assert len(list((tmp_path / "named_b" / "most_activated").iterdir())) == 4 * 2


def test_maps_are_needed(model):
    said = model.say(patches(1))
    with pytest.raises(ValueError, match="maps=True"):
        explain(prototypes_of(model), ARCHITECTURE, said, 0, patches(1)[0], spot_table(1).iloc[0], "named", 1)


def test_nearest_patches_are_the_highest_scores_without_the_source(model):
    scores = model.say(patches(12)).scores
    spots = spot_table(12)
    for j, near in enumerate(nearest_to(model, scores, patches(12), spots, 5)):
        allowed = [i for i in range(12) if i != [0, 2, 4, 8][j]]
        expected = sorted(allowed, key=lambda i: -scores[i, j])[:5]
        np.testing.assert_array_equal(near.patches, patches(12)[expected])
        assert near.classes == [spots["class"][i] for i in expected]
        np.testing.assert_array_equal(near.scores, scores[expected, j])
        assert len(near.boxes) == 5
    nothing = nearest_to(model, scores[:0], patches(12)[:0], spots[:0], 5)
    assert [len(near.patches) for near in nothing] == [0] * 4


# Files


def test_the_folder_of_a_spot(tmp_path, explained):
    e = explained[3]
    write_explanation(tmp_path, e)
    place = tmp_path / "typical_spot-3"
    assert (place / "explanation.txt").read_text(encoding="utf-8") == explanation_text(e)
    pictures = place / "most_activated"
    assert len(list(pictures.iterdir())) == 4 * 3
    for k, m in enumerate(e.shown, start=1):
        part = np.asarray(Image.open(pictures / f"most_highly_activated_patch_by_top-{k}_prototype.png"))
        np.testing.assert_array_equal(part, crop(e.patch, m.box))
        prototype = np.asarray(Image.open(pictures / f"top-{k}_activated_prototype.png"))
        np.testing.assert_array_equal(prototype, crop(m.prototype.patch, m.prototype.box))


@pytest.mark.parametrize("barcode", ["../../etc/x", "a/b", "", ".", "x" * 400, "naïve spot", 'a:b*c?"<>|', "a\nb"])
def test_folder_names_are_safe(explained, barcode):
    name = folder_name(replace(explained[0], barcode=barcode))
    assert name.isascii()
    assert all(c.isalnum() or c in "_-" for c in name)
    assert len(name) < 100
    others = [folder_name(replace(explained[0], barcode=other)) for other in (f"{barcode} ", f"{barcode}/")]
    assert name not in others


def test_no_spot_makes_an_empty_table_of_the_same_columns(explained):
    assert list(explanations_table([])) == list(explanations_table(explained))

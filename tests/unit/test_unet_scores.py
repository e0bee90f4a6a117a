"""Scores against brute force and known values; baselines that a network has to beat."""

from __future__ import annotations

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from spadework.unet.baselines import Threshold, baselines, tune
from spadework.unet.data import LabelledImage, read_labelled, split
from spadework.unet.objects import Objects
from spadework.unet.scores import (
    ObjectCounts,
    count_pixels,
    match_objects,
    rand_error,
    score,
    score_table,
)

SIMPLE = Objects(min_area_px=10, fill_holes=False)
SMALL = arrays(np.int32, (5, 6), elements=st.integers(0, 3))
# Numbers of any size, with gaps: nothing may depend on them.
NUMBERS = st.lists(st.integers(1, 2**31 - 1), min_size=3, max_size=3, unique=True)


def renumbered(labels: np.ndarray, numbers: list[int]) -> np.ndarray:
    return np.array([0, *numbers], np.int32)[labels]


def counted(true: np.ndarray, predicted: np.ndarray) -> ObjectCounts:
    return match_objects(true, predicted)[-1]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@given(SMALL, SMALL, NUMBERS, NUMBERS)
@hypothesis_settings(max_examples=150)
def test_objects_are_matched_as_by_brute_force_whatever_their_numbers(true, predicted, a, b):
    of_true = {n: true == n for n in (1, 2, 3) if (true == n).any()}
    of_predicted = {n: predicted == n for n in (1, 2, 3) if (predicted == n).any()}
    pairs = [(i, j) for i, t in of_true.items() for j, p in of_predicted.items() if iou(t, p) > 0.5]
    expected = ObjectCounts(len(of_true), len(of_predicted), len(pairs))
    assert counted(true, predicted) == expected
    missed, wrong, counts = match_objects(renumbered(true, a), renumbered(predicted, b))
    assert counts == expected
    assert set(missed) == {a[i - 1] for i in of_true.keys() - {i for i, _ in pairs}}
    assert set(wrong) == {b[j - 1] for j in of_predicted.keys() - {j for _, j in pairs}}


@given(SMALL, SMALL, NUMBERS)
@hypothesis_settings(max_examples=60)
def test_the_rand_error_counts_pairs_of_pixels(true, predicted, numbers):
    inside = np.flatnonzero(true)
    pairs = list(combinations(inside, 2))
    together = [(true.flat[i] == true.flat[j], predicted.flat[i] == predicted.flat[j]) for i, j in pairs]
    both, t, p = sum(a and b for a, b in together), sum(a for a, _ in together), sum(b for _, b in together)
    error = rand_error(renumbered(true, numbers), predicted)
    if t == 0:
        assert math.isnan(error)
    else:
        assert error == pytest.approx(1 - 2 * both / (t + p))


@given(SMALL, SMALL)
@hypothesis_settings(max_examples=60)
def test_pixel_scores_are_what_they_are_called(true, predicted):
    pixels = count_pixels([true[:2], true[2:]], [predicted[:2], predicted[2:]])  # all images together
    t, p = true > 0, predicted > 0
    assert pixels.error == pytest.approx((t != p).mean())
    for got, a, b in ((pixels.foreground_iou, t, p), (pixels.background_iou, ~t, ~p)):
        assert got == pytest.approx(iou(a, b)) if (a | b).any() else math.isnan(got)
    if (t | p).any():
        assert pixels.dice == pytest.approx(2 * (t & p).sum() / (t.sum() + p.sum()))


def test_exactly_half_is_no_match():
    true, predicted = np.zeros((1, 8), int), np.zeros((1, 8), int)
    true[0, :4], predicted[0, :2] = 1, 1
    assert counted(true, predicted) == ObjectCounts(1, 1, 0)
    predicted[0, 2] = 1
    assert counted(true, predicted) == ObjectCounts(1, 1, 1)


def test_merged_neighbours_cost_objects_but_no_pixels():
    true = np.zeros((6, 9), int)
    true[1:5, 1:4], true[1:5, 4:7] = 1, 2
    merged = [(true > 0).astype(int)]
    scores = score([true], merged)
    assert (scores["pixel_error"], scores["dice"], scores["object_f1"]) == (0, 1, 0)
    # 24 pixels: of 276 pairs taken for one object, the 132 within one of the two are right.
    assert scores["rand_error"] == pytest.approx(1 - 2 * 132 / (132 + 276))
    perfect = score([true], [true * 5])
    assert (perfect["object_f1"], perfect["rand_error"], perfect["objects_matched"]) == (1, 0, 2)


def test_what_is_not_defined_is_nan_and_says_nothing_else():
    empty, full = np.zeros((4, 4), int), np.ones((4, 4), int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = score([empty] * 3, [empty] * 3)
        everything = score([full] * 3, [full] * 3)
    assert {name for name, value in nothing.items() if math.isnan(value)} == {
        *("foreground_iou", "dice", "rand_error", "object_f1", "count_correlation"),
    }
    assert {name for name, value in everything.items() if math.isnan(value)} == {
        *("background_iou", "count_correlation"),
    }
    assert (everything["object_f1"], everything["objects_true"]) == (1, 3)


def test_the_count_correlation_is_over_images():
    def with_objects(n: int) -> np.ndarray:
        labels = np.zeros((1, 20), int)
        labels[0, : 2 * n : 2] = np.arange(1, n + 1)
        return labels

    true, found = [with_objects(n) for n in (1, 4, 6)], [with_objects(n) for n in (2, 3, 8)]
    assert score(true, found)["count_correlation"] == pytest.approx(np.corrcoef([1, 4, 6], [2, 3, 8])[0, 1])
    assert math.isnan(score(true[:2], found[:2])["count_correlation"])  # two points always lie on a line


def blobs(seed: int, bright: bool, colour: bool = False) -> LabelledImage:
    """Discs under noise that only a blur takes away, at another brightness in every image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :60]
    centres = [(12, 12), (12, 44), (40, 14), (44, 46)]
    inside = np.any([(y - a) ** 2 + (x - b) ** 2 < 64 for a, b in centres], axis=0)
    values = rng.integers(40, 120) + (30 if bright else -30) * inside + rng.normal(0, 25, inside.shape)
    pixels = np.clip(values, 0, 255).astype(np.uint8)[..., None]
    return LabelledImage(f"{seed}", np.repeat(pixels, 3, axis=2) if colour else pixels, label(inside, connectivity=1))


@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("criterion", ["object_f1", "background_iou", "pixel_error"])
def test_tuning_finds_the_side_and_the_blur(bright, criterion):
    found = tune([blobs(seed, bright) for seed in range(4)], SIMPLE, [criterion])[criterion]
    assert found.above is bright
    assert found.sigma >= 1
    held = [blobs(seed, bright) for seed in range(4, 8)]
    assert score([item.labels for item in held], [found.segment(item, SIMPLE) for item in held])["object_f1"] > 0.9


def test_baselines_are_scored_on_images_that_were_not_tuned_on_except_one_that_says_so():
    dark, bright = [blobs(seed, False) for seed in range(3)], [blobs(seed, True) for seed in range(3)]
    methods = baselines(dark, bright, SIMPLE, ["object_f1", "pixel_error"])
    assert list(methods) == [
        "all foreground",
        "all background",
        "Otsu on grey value",
        "blur and threshold, object_f1 tuned on training images",
        "blur and threshold, pixel_error tuned on training images",
        "blur and threshold, object_f1 tuned on held-out images (unfair)",
        "blur and threshold, pixel_error tuned on held-out images (unfair)",
    ]
    table = score_table([item.labels for item in bright], methods)
    assert list(table.index) == list(methods)
    assert (table["object_f1"].iloc[[5, 6]] > 0.9).all()
    assert (table["object_f1"].iloc[[3, 4]] < 0.5).all()  # the side they learnt is the wrong one here
    assert table.loc["all foreground", "objects_found"] == 3
    assert table.loc["all background", "pixel_error"] == pytest.approx(np.mean([item.labels > 0 for item in bright]))


def test_colour_images_are_thresholded_by_haematoxylin_too():
    items = [blobs(seed, False, colour=True) for seed in range(2)]
    blue, pink = np.array([70, 50, 130]), np.array([230, 130, 180])
    pixels = np.where(items[0].labels[..., None] > 0, blue, pink).astype(np.uint8)
    stained = LabelledImage("stained", pixels, items[0].labels)
    labels = Threshold("haematoxylin", above=True).segment(stained, SIMPLE)
    assert counted(stained.labels, labels) == ObjectCounts(4, 4, 4)
    assert "Otsu on haematoxylin" in baselines(items, items, SIMPLE, ["background_iou"])


@pytest.mark.shared
def test_a_constant_predictor_looks_good_on_membranes_unless_membranes_are_scored(shared_data):
    items = read_labelled(shared_data / "isbi2012/image", shared_data / "isbi2012/label")
    true = [item.labels for item in items]
    scores = score(true, [np.ones_like(labels) for labels in true])
    assert scores["foreground_iou"] == pytest.approx(0.78, abs=0.002)
    assert scores["dice"] == pytest.approx(0.877, abs=0.002)
    assert scores["background_iou"] == 0


@pytest.mark.shared
def test_otsu_on_haematoxylin_scores_as_known(shared_data):
    items = read_labelled(shared_data / "dsb2018_nuclei/image", shared_data / "dsb2018_nuclei/label")
    _, held = split(items, 0.25, "image")
    otsu = Threshold("haematoxylin", above=True)
    scores = score([item.labels for item in held], [otsu.segment(item, Objects(fill_holes=False)) for item in held])
    assert scores["object_f1"] == pytest.approx(0.477, abs=0.005)
    assert scores["dice"] == pytest.approx(0.822, abs=0.005)

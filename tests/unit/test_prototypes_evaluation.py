"""Scores against brute force, intervals that cover, and a verdict that follows from the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from spadework.prototypes.data import split
from spadework.prototypes.evaluation import (
    MAJORITY,
    PROTOTYPES,
    SHUFFLED,
    accuracy_table,
    majority,
    nearest_neighbours,
    nearest_patches,
    verdict,
)

KNN = "k-NN on vgg16"
EDGE = 30


def spots_of(rng: np.random.Generator, n: int = 300, regions: int = 12, classes: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample": "s",
            "class": rng.integers(0, classes, n).astype(str),
            "region": rng.integers(0, regions, n) * 3 + 1,
        }
    )


def right_in(rng: np.random.Generator, spots: pd.DataFrame, share: float) -> np.ndarray:
    """Predictions of which about a share is right, the rest the class ``0``."""
    return np.where(rng.random(len(spots)) < share, spots["class"], "0")


def said(share: float, shuffled: float = 0.0, knn: float | None = None, regions: int = 12, **options) -> str:
    rng = np.random.default_rng(0)
    spots = spots_of(rng, regions=regions)
    predictions = {
        PROTOTYPES: right_in(rng, spots, share),
        SHUFFLED: right_in(rng, spots, shuffled),
        MAJORITY: np.full(len(spots), "0"),
    }
    if knn is not None:
        predictions |= {KNN: right_in(rng, spots, knn), "k-NN on dummy": np.full(len(spots), "0")}
    return verdict(accuracy_table(spots, predictions, seed=0), **options)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    spots = spots_of(rng)
    predictions = {PROTOTYPES: right_in(rng, spots, 0.6), KNN: right_in(rng, spots, 0.3)}
    table = accuracy_table(spots, predictions, seed=0).set_index("method")
    for method, predicted in predictions.items():
        row = table.loc[method]
        assert row["accuracy"] == pytest.approx(accuracy_score(spots["class"], predicted))
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(spots["class"], predicted))
        assert row["balanced_accuracy_low"] < row["balanced_accuracy"] < row["balanced_accuracy_high"]
    assert table.loc[KNN, "gain"] == pytest.approx(-np.diff(table["balanced_accuracy"])[0])
    assert np.isnan(table.loc[PROTOTYPES, "gain"])
    assert table.loc[KNN, ["n_test", "n_regions", "n_sections", "n_classes"]].tolist() == [300, 12, 1, 3]


def test_a_class_the_model_does_not_know_counts_as_wrong():
    spots = pd.DataFrame({"sample": "s", "class": ["a", "a", "new", "b"], "region": [0, 1, 1, 0]})
    row = accuracy_table(spots, {PROTOTYPES: ["a", "a", "a", "b"]}, seed=0).iloc[0]
    assert row["balanced_accuracy"] == pytest.approx(2 / 3)


def test_the_same_predictions_gain_nothing_in_any_resample():
    rng = np.random.default_rng(2)
    spots = spots_of(rng)
    predicted = right_in(rng, spots, 0.5)
    row = accuracy_table(spots, {PROTOTYPES: predicted, KNN: predicted}, seed=0).iloc[1]
    assert row[["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]


def test_the_seed_decides_and_the_order_of_rows_does_not():
    rng = np.random.default_rng(3)
    spots = spots_of(rng).assign(predicted=lambda t: right_in(rng, t, 0.5))
    tables = [
        accuracy_table(rows, {PROTOTYPES: rows["predicted"]}, seed)
        for rows, seed in ((spots, 0), (spots.iloc[::-1], 0), (spots, 1))
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert (tables[0]["accuracy_low"] != tables[2]["accuracy_low"]).all()


@pytest.mark.parametrize("regions", [4, 8, 25])
def test_intervals_cover_the_truth_even_with_few_regions(regions):
    """Regions of equal size whose accuracy varies around 0.6: the mean over regions is what is estimated."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        share = np.clip(rng.normal(0.6, 0.15, regions), 0, 1).repeat(40)
        spots = pd.DataFrame({"sample": "s", "class": "a", "region": np.arange(regions).repeat(40)})
        predicted = np.where(rng.random(len(spots)) < share, "a", "b")
        row = accuracy_table(spots, {PROTOTYPES: predicted}, seed).iloc[0]
        covered.append(row["accuracy_low"] <= 0.6 <= row["accuracy_high"])
    # a plain percentile interval of four regions covers in 82 of 100
    assert np.mean(covered) >= 0.91


def test_one_region_has_no_intervals():
    spots = spots_of(np.random.default_rng(4), regions=1)
    row = accuracy_table(spots, {PROTOTYPES: spots["class"]}, seed=0).iloc[0]
    assert row["accuracy"] == 1
    assert row[["accuracy_low", "accuracy_high", "balanced_accuracy_low"]].isna().all()


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no test spots"):
        accuracy_table(spots_of(np.random.default_rng(5), n=0), {PROTOTYPES: []}, seed=0)
    with pytest.raises(ValueError):
        accuracy_table(spots_of(np.random.default_rng(5)), {PROTOTYPES: ["a"] * 2}, seed=0)


def test_classes_that_are_told():
    text = said(0.95, untested=["4"], untrained=["7"])
    assert text.startswith("These classes can be told from the image: the balanced accuracy of the prototypes is 0.9")
    assert "where guessing gives 0.33 and the same network trained on shuffled classes 0.33 (0.33 to 0.33)" in text
    assert "; the difference is 0.6" in text
    assert "This rests on 300 test spots in 12 regions of 1 section." in text
    assert "Not in the test, for want of spots: 4." in text
    assert "Without training spots, so that their test spots count as wrong: 7." in text


def test_classes_that_are_told_in_part():
    assert said(0.4).startswith("These classes can in part be told from the image: the balanced accuracy")


def test_classes_that_are_not_told():
    assert said(0.0).startswith("These classes cannot be told from the image: the balanced accuracy")


def test_prototypes_no_better_than_those_of_shuffled_classes_tell_nothing():
    assert said(0.5, shuffled=0.5).startswith("These classes cannot be told from the image: ")


def test_neighbours_that_tell_what_prototypes_do_not_are_given_their_due():
    text = said(0.0, knn=0.8)
    assert text.startswith("These classes cannot be told from the image by these prototypes: ")
    assert f"do worse than the best of the baselines without prototypes, {KNN}: 0.8" in text


@pytest.mark.parametrize(("knn", "how"), [(0.3, "better than"), (0.9, "about as well as"), (1.0, "worse than")])
def test_prototypes_are_compared_with_the_best_neighbours(knn, how):
    assert f"The prototypes do {how} the best of the baselines without prototypes, {KNN}: " in said(0.9, knn=knn)


def test_a_number_above_chance_that_few_regions_do_not_settle_is_not_called_chance():
    """Four of five regions are told well, the others not at all."""
    rng = np.random.default_rng(0)
    spots = spots_of(rng, regions=5)
    wrong = (spots["class"].astype(int) + 1) % 3
    predicted = spots["class"].where(spots["region"] < 12, wrong.astype(str))
    predictions = {PROTOTYPES: predicted, SHUFFLED: np.full(len(spots), "0")}
    text = verdict(accuracy_table(spots, predictions, seed=0))
    assert text.startswith("These classes cannot be told from the image with so few test regions: ")
    assert "above chance: a larger test may tell" in text
    assert "larger test" not in said(0.0) + said(0.5)


def test_one_region_allows_no_judgement():
    text = said(0.95, knn=0.5, regions=1)
    assert text.startswith("Whether these classes can be told from the image stays open: ")
    assert "All test spots lie in one region, which allows no judgement of uncertainty." in text
    assert f"Beside the prototypes stands the best of the baselines without prototypes, {KNN}" in text
    assert "nan" not in text


def test_a_test_of_one_class_shows_nothing():
    spots = spots_of(np.random.default_rng(6), classes=1)
    table = accuracy_table(spots, {PROTOTYPES: spots["class"], SHUFFLED: spots["class"]}, seed=0)
    assert verdict(table).startswith(
        "Whether these classes can be told from the image stays open: all test spots are"
    )


def smooth_classes(rng: np.random.Generator) -> np.ndarray:
    fields = [gaussian_filter(rng.normal(size=(EDGE, EDGE)), 3) for _ in range(3)]
    return np.argmax(fields, axis=0).astype(str).ravel()


@pytest.mark.parametrize("held_out", [[], ["a"]])
def test_smooth_noise_does_not_tell_smooth_classes(held_out):
    """Predictions that are patchy for reasons of their own: spots are not independent, and regions hardly are."""
    y, x = np.divmod(np.arange(EDGE**2), EDGE)
    cannot = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sections = [
            pd.DataFrame({"sample": sample, "class": smooth_classes(rng), "x_um": x * 100.0, "y_um": y * 100.0})
            for sample in ["a", "b"][: 1 + len(held_out)]
        ]
        spots = pd.concat(sections).assign(barcode=lambda t: t.index.map("{:03d}".format)).reset_index(drop=True)
        spots = split(spots, patch_um=120, test_share=0.25, held_out=held_out, seed=seed)
        test = spots[spots["set"] == "test"]
        noise = smooth_classes(rng)[test.index % EDGE**2]
        # The hardest control: one that always says the same has no noise of its own.
        table = accuracy_table(test, {PROTOTYPES: noise, SHUFFLED: majority(spots["class"], len(test))}, seed)
        cannot.append(verdict(table).startswith("These classes cannot be told"))
    assert np.mean(cannot) >= 0.9


def test_majority():
    assert majority(np.array(["b", "a", "b"]), 2).tolist() == ["b", "b"]
    assert majority(np.array(["b", "a"]), 1).tolist() == ["a"]


def test_neighbours_know_separate_classes_whatever_the_units():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 200).astype(str)
    useless = rng.normal(0, 1e4, 200)
    features = np.column_stack([(labels == "1") + rng.normal(0, 0.1, 200), useless, np.ones(200)])
    found = nearest_neighbours(features[:150], labels[:150], features[150:], 5)
    assert (found == labels[150:]).mean() > 0.95
    assert found.dtype == labels.dtype


def test_neighbours_do_not_ignore_small_classes():
    rng = np.random.default_rng(8)
    labels = np.array(["a"] * 180 + ["b"] * 20)
    features = np.where(labels == "b", 1.0, 0.0)[:, None] + rng.normal(0, 1, (200, 1))
    found = nearest_neighbours(features[::2], labels[::2], features[1::2], 10)
    assert balanced_accuracy_score(labels[1::2], found) > 0.6


def test_more_neighbours_than_spots_are_all_spots():
    found = nearest_neighbours(np.array([[0.0], [1.0], [5.0]]), np.array(["a", "a", "b"]), np.zeros((2, 1)), 10)
    assert len(found) == 2


def test_nearest_patches_are_best_first():
    scores = np.array([[0.1, 9], [0.5, 1], [0.5, 2], [0.2, 3]])
    assert nearest_patches(scores, 3).tolist() == [[1, 2, 3], [0, 3, 2]]
    assert nearest_patches(scores, 9).shape == (2, 4)

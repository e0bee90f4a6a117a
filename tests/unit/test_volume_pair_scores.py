"""Dice of predicted volumes, and of what needs no network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from spadework.volume.pair_scores import LARGEST, NETWORK, THRESHOLD, score_pairs, strictest
from spadework.volume.pairs import VolumePair, Volumes


def phantom(seed: int, name: str, of: str, classes: int = 2) -> VolumePair:
    """A bright ball (and a dark one) in noise; the outermost planes are not measured."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((20, 24, 24))
    target = np.zeros(z.shape, np.int16)
    for k in range(1, classes):
        cz, cy, cx = rng.integers(7, 13, 3)
        target[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 30 - 10 * k] = k
    images = np.array([0.0, 2.5, -2.5])[target] + rng.normal(size=target.shape)
    target[0] = -1
    return VolumePair(name, images[..., None].astype(np.float32), target, (1.0, 1.0, 1.0), of)


def volumes(classes: int = 2, sets: tuple[str, ...] = ("train", "train", "test", "test")) -> Volumes:
    pairs = tuple(phantom(k, f"v{k}", of, classes) for k, of in enumerate(sets))
    return Volumes(pairs, ("modality 1",), classes=tuple(str(k) for k in range(classes)), unit="mm")


def test_dice_by_hand():
    v = volumes(3)
    rng = np.random.default_rng(0)
    predictions = {p.name: rng.random((*p.shape, 3)) for p in v.pairs}
    table = score_pairs(v, predictions)
    pair = v.pairs[2]
    said = predictions["v2"].argmax(-1)[1:]
    truth = pair.target[1:]
    rows = table[(table["volume"] == "v2") & (table["method"] == NETWORK)].set_index("class_or_latent")
    for k in (1, 2):
        dice = 2 * np.sum((said == k) & (truth == k)) / (np.sum(said == k) + np.sum(truth == k))
        assert rows.loc[str(k), "value"] == pytest.approx(dice)
    assert rows.loc["mean", "value"] == pytest.approx(rows.loc[["1", "2"], "value"].mean())
    everywhere = table[(table["volume"] == "all") & (table["set"] == "test") & (table["class_or_latent"] == "mean")]
    own = everywhere.set_index("method").loc[NETWORK]
    parts = table[(table["set"] == "test") & (table["class_or_latent"] == "mean") & (table["method"] == NETWORK)]
    assert own["value"] == pytest.approx(parts.loc[parts["volume"] != "all", "value"].mean())
    assert own["low"] <= own["value"] <= own["high"]
    assert own["n_volumes"] == 2
    assert THRESHOLD not in set(table["method"])
    assert (everywhere.set_index("method").loc[LARGEST, "value"]) == 0


def test_the_threshold_is_that_of_the_training_volumes():
    v = volumes()
    table = score_pairs(v, {p.name: np.zeros((*p.shape, 2)) for p in v.pairs})
    rows = table[(table["method"] == THRESHOLD) & (table["class_or_latent"] == "1")].set_index("volume")["value"]
    assert rows["v2"] > 0.6
    smooth = [gaussian_filter(p.inputs[..., 0], 1.0) for p in v.pairs[:2]]

    def dice(limit: float) -> float:
        scores = []
        for p, values in zip(v.pairs, smooth, strict=False):
            said, truth = values[1:] >= limit, p.target[1:] == 1
            scores.append(2 * (said & truth).sum() / (said.sum() + truth.sum()))
        return float(np.mean(scores))

    best = max(dice(limit) for limit in np.linspace(-1, 3, 400))
    assert np.mean([rows["v0"], rows["v1"]]) == pytest.approx(best, abs=0.03)


def test_dark_things_have_a_threshold_too():
    v = volumes()
    turned = tuple(VolumePair(p.name, -p.inputs, p.target, p.spacing, p.set) for p in v.pairs)
    table = score_pairs(
        Volumes(turned, v.inputs, classes=v.classes), {p.name: np.zeros((*p.shape, 2)) for p in v.pairs}
    )
    rows = table[(table["method"] == THRESHOLD) & (table["class_or_latent"] == "1")].set_index("volume")["value"]
    assert rows["v2"] > 0.6


def test_a_label_that_is_nowhere_has_no_score():
    v = volumes(3)
    pairs = (*v.pairs[:3], phantom(3, "v3", "test", 2))
    table = score_pairs(
        Volumes(pairs, v.inputs, classes=v.classes),
        {p.name: np.eye(3)[np.maximum(p.target, 0)] for p in pairs},
    )
    rows = table[(table["volume"] == "v3") & (table["method"] == NETWORK)].set_index("class_or_latent")["value"]
    assert rows["1"] == 1
    assert np.isnan(rows["2"])
    assert rows["mean"] == 1


@pytest.mark.parametrize(
    ("sets", "expected"),
    [(("train", "test", "validation"), "test"), (("train", "validation"), "validation"), (("train",), "train")],
)
def test_the_strictest_set_is_shown(sets: tuple[str, ...], expected: str):
    v = volumes(sets=sets)
    table = score_pairs(v, {p.name: np.eye(2)[np.maximum(p.target, 0)] for p in v.pairs})
    assert strictest(table) == expected
    assert table["set"].iloc[0] == expected

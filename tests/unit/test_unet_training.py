"""Weight map, deformation and training, against formulas and against runs that are cut short."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from spadework.unet import training
from spadework.unet.augmentation import Augmentation, change_colour, displacement, sample, sampling_grid
from spadework.unet.data import LabelledImage
from spadework.unet.network import Architecture
from spadework.unet.objects import Objects
from spadework.unet.training import Crops, Recipe, crop_sizes, train
from spadework.unet.weight_map import part_touching, two_nearest, weight_map

ROOT = Path(__file__).parents[2]
PLAIN = Augmentation(elastic_px=0, rotate=False, flip=False, stain=0, brightness=0)
TINY = Architecture(channels=1, depth=1, width=2, padding="same", dropout=0.2, batch_norm=True)
SHORT = Recipe(crop_px=16, batch_size=2, steps_per_epoch=3, epochs=4, augmentation=PLAIN)


def squares(gap, edge=20, size=80):
    labels = np.zeros((size, size), np.int32)
    middle = size // 2
    labels[30 : 30 + edge, middle - edge : middle] = 1
    labels[30 : 30 + edge, middle + gap : middle + gap + edge] = 2
    return labels


def random_labels(seed, n=12, size=40):
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    for k in range(1, n + 1):
        y, x = rng.integers(0, size, 2)
        h, w = rng.integers(2, 9, 2)
        labels[y : y + h, x : x + w] = k
    return labels


@pytest.mark.parametrize(
    ("gap", "expected"), [(1, 9.2312), (2, 8.3527), (4, 6.0653), (8, 1.9790), (12, 0.3405), (20, 0.0015)]
)
def test_weights_between_two_squares_are_those_of_the_formula(gap, expected):
    labels = squares(gap)
    border = weight_map(labels, 10, 5) - 1
    assert border[40, 40 : 40 + gap] == pytest.approx(expected, abs=6e-5)
    assert (border[labels > 0] == 0).all()


def test_one_object_has_no_border_term():
    assert (weight_map((squares(5) == 1).astype(int), 10, 5) == 1).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_distances_are_those_of_whole_images(seed):
    labels = random_labels(seed)
    each = [ndimage.distance_transform_edt(labels != k) for k in np.unique(labels[labels > 0])]
    each = np.sort(np.stack([*each, np.full(labels.shape, np.inf)]), axis=0)
    for found, wanted in zip(two_nearest(labels, 6), each[:2], strict=True):
        near = wanted <= 6
        np.testing.assert_allclose(found[near], wanted[near], rtol=1e-6)
        assert (found[~near] > 6).all()


def test_balance_gives_both_classes_the_same_weight():
    labels = squares(5)
    weights = weight_map(labels, 0, 5, balance=True)
    assert weights[labels > 0].sum() == pytest.approx(weights[labels == 0].sum())
    assert weights.mean() == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_parted_objects_lie_apart_and_lose_no_more_than_that(seed, gap):
    labels = random_labels(seed)
    parted = part_touching(labels, gap)
    assert set(np.unique(parted)) <= set(np.unique(labels))
    assert (parted[parted > 0] == labels[parted > 0]).all()
    for k in np.unique(parted[parted > 0]):
        away = ndimage.distance_transform_edt(parted != k)
        others = (parted > 0) & (parted != k)
        assert not others.any() or away[others].min() > gap
    # far from any other object nothing is taken
    _, second = two_nearest(labels, gap + 1)
    assert (parted[second > gap] == labels[second > gap]).all()


def test_a_gap_costs_one_of_two_touching_squares_a_column():
    labels = squares(0)
    parted = part_touching(labels, 1)
    assert (parted == 1).sum() == 400
    assert (parted == 2).sum() == 380


def test_displacements_have_the_spread_of_the_paper():
    sd = np.std([displacement(np.random.default_rng(s), 512, 10.0) for s in range(20)])
    assert 5 < sd < 9


def test_displacements_are_those_of_a_bicubic_spline():
    vectors = np.random.default_rng(7).normal(0, 10, (2, 3, 3))
    at = np.linspace(0, 2, 33)
    where = np.stack(np.meshgrid(at, at, indexing="ij"))
    wanted = [ndimage.map_coordinates(v, where, order=3, mode="mirror") for v in vectors]
    np.testing.assert_allclose(displacement(np.random.default_rng(7), 33, 10.0), wanted, atol=1e-5)


def test_no_displacement_is_no_change():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8).astype(np.float32)
    grid = sampling_grid(np.random.default_rng(1), pixels.shape[:2], 16, 16, PLAIN)
    crop = sample(pixels, grid, 1)
    y, x = grid[:, 0, 0].astype(int)
    np.testing.assert_array_equal(crop, pixels[y : y + 16, x : x + 16])
    np.testing.assert_array_equal(change_colour(np.random.default_rng(2), crop, PLAIN), crop)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_mask_move_together(seed):
    y, x = np.mgrid[:90, :110]
    inside = (np.hypot(y - 45, x - 50) < 25) | (np.abs(x - 90) < 6)
    image = LabelledImage("a", (inside[..., None] * np.uint8(200)), inside.astype(np.int32))
    recipe = Recipe(
        crop_px=64, w0=0, gap_px=0, augmentation=Augmentation(elastic_px=10, scale=1.3, stain=0, brightness=0)
    )
    pixels, target, _ = Crops([image], Architecture(channels=1, depth=2, padding="same"), recipe, seed).random(0, 0)
    assert set(np.unique(target)) <= {0, 1}
    assert target.any()
    # half-way values of the image are where the mask has its edge
    assert ((pixels[..., 0] > 100) != target).mean() < 0.01


def test_crops_of_a_valid_network_are_seen_with_their_surroundings():
    a = Architecture(channels=1, depth=2, width=1)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 90, 1), dtype=np.uint8)
    image = LabelledImage("a", pixels, (pixels[..., 0] > 128).astype(np.int32))
    recipe = replace(SHORT, crop_px=40, w0=0, gap_px=0)
    x, target, weights = Crops([image], a, recipe, 0).random(0, 0)
    n, kept = crop_sizes(a, 40)
    assert x.shape[1:] == (n, n, 1)
    assert target.shape == weights.shape == (2, kept, kept)
    edge = (n - kept) // 2
    np.testing.assert_array_equal(x[:, edge:-edge, edge:-edge, 0] > 128, target == 1)


@pytest.mark.parametrize("shape", [(16, 16), (50, 33), (9, 70)])
def test_regular_crops_cover_every_image(shape):
    labels = np.ones(shape, np.int32)
    corners = np.zeros(shape, np.uint8)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = 1, 2, 3, 4
    corners[shape[0] // 2, shape[1] // 2] = 5
    image = LabelledImage("a", corners[..., None], labels)
    seen = set()
    for pixels, target, _ in Crops([image], TINY, SHORT, 0).regular():
        assert pixels.shape[1:3] == target.shape[1:] == (16, 16)
        seen |= set(pixels.ravel())
    assert seen == set(image.pixels.ravel())


def some_images(n=3, size=32):
    found = []
    for k in range(n):
        labels = random_labels(k, 6, size)
        pixels = np.where(labels > 0, 60, 200)[..., None] + np.random.default_rng(k).integers(
            -20, 20, (size, size, 1)
        )
        found.append(LabelledImage(f"{k}", pixels.astype(np.uint8), labels))
    return found


def test_training_finds_what_is_plain_to_see(tmp_path):
    images = some_images()
    recipe = replace(SHORT, epochs=6, steps_per_epoch=25, learning_rate=0.02, w0=0, gap_px=0)
    a = Architecture(channels=1, depth=1, width=4, padding="same")
    trained = train(images[:2], [], a, recipe, state=tmp_path / "state.h5", seed=0)
    assert trained.history["loss"].iloc[-1] < 0.1
    probability = trained.best.foreground(images[2].pixels)
    assert ((probability > 0.5) == (images[2].labels > 0)).mean() > 0.97


def same_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.network.get_weights(), b.network.get_weights(), strict=True))


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_killed_training_goes_on_to_the_same_end(tmp_path, monkeypatch, schedule):
    images = some_images()
    recipe = replace(SHORT, epochs=5, schedule=schedule, patience=1, stop_after=4, optimizer="rmsprop")
    whole = train(images[:2], images[2:], TINY, recipe, state=tmp_path / "whole.h5", seed=3)

    real = training._train_epoch

    def killed(network, crops, recipe, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return real(network, crops, recipe, epoch)

    monkeypatch.setattr(training, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(images[:2], images[2:], TINY, recipe, state=tmp_path / "cut.h5", seed=3)
    epochs = []
    monkeypatch.setattr(training, "_train_epoch", lambda *a: epochs.append(a[3]) or real(*a))
    resumed = train(images[:2], images[2:], TINY, recipe, state=tmp_path / "cut.h5", seed=3)
    assert epochs[0] == 3
    assert same_weights(resumed.last, whole.last)
    assert same_weights(resumed.best, whole.best)
    assert resumed.history.equals(whole.history)


def test_another_training_does_not_go_on_from_this_one(tmp_path, monkeypatch):
    images = some_images()
    train(images[:2], [], TINY, SHORT, state=tmp_path / "state.h5", seed=3)
    epochs = []
    real = training._train_epoch
    monkeypatch.setattr(training, "_train_epoch", lambda *a: epochs.append(a[3]) or real(*a))
    train(images[:2], [], TINY, SHORT, state=tmp_path / "state.h5", seed=4)
    assert epochs == [0, 1, 2, 3]


def learning_rates(tmp_path, monkeypatch, losses, **changes):
    """Train with these validation losses, and return the learning rate of each epoch."""
    following = iter(losses)
    monkeypatch.setattr(training, "_validate", lambda *_: next(following))
    recipe = replace(SHORT, epochs=len(losses), steps_per_epoch=1, schedule="plateau", factor=0.1, **changes)
    images = some_images()
    history = train(images[:2], images[2:], TINY, recipe, state=tmp_path / "state.h5", seed=0).history
    return history["learning_rate"].to_list()


def test_the_rate_never_falls_while_the_loss_does(tmp_path, monkeypatch):
    rates = learning_rates(tmp_path, monkeypatch, [1 / k for k in range(1, 9)], patience=2)
    assert rates == pytest.approx([1e-3] * 8)


def test_the_rate_falls_after_epochs_without_improvement_of_the_validation_loss(tmp_path, monkeypatch):
    rates = learning_rates(tmp_path, monkeypatch, [1.0, 0.9, 1.0, 1.0, 0.8, 0.9, 0.9, 0.9], patience=2)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-5])


def test_training_ends_early_and_keeps_the_best_epoch(tmp_path, monkeypatch):
    following = iter([1.0, 0.5, 0.7, 0.6, 0.4])
    after = []
    monkeypatch.setattr(training, "_validate", lambda n, h: after.append(n.get_weights()) or next(following))
    images = some_images()
    recipe = replace(SHORT, epochs=5, stop_after=2)
    trained = train(images[:2], images[2:], TINY, recipe, state=tmp_path / "state.h5", seed=0)
    assert len(trained.history) == 4
    assert all(np.array_equal(a, b) for a, b in zip(trained.best.network.get_weights(), after[1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(trained.last.network.get_weights(), after[3], strict=True))


def test_losses_are_those_of_all_crops(tmp_path):
    images = some_images(3, 40)
    network = training.build(replace(TINY, dropout=0.0, batch_norm=False))
    training._Run(network, SHORT, tmp_path / "state.h5", "")
    crops = Crops(images, TINY, SHORT, 0)
    each = []
    for pixels, target, weights in crops.regular():
        logits = keras.ops.convert_to_numpy(network(pixels)).astype(float)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        each += list((-np.take_along_axis(log_p, target[..., None], -1)[..., 0] * weights).mean((1, 2)))
    assert training._validate(network, crops) == pytest.approx(np.mean(each), rel=1e-5)


def test_batch_statistics_move_in_training_and_not_in_validation(tmp_path):
    images = some_images()
    crops = Crops(images, TINY, SHORT, 0)
    network = training.build(TINY)
    training._Run(network, SHORT, tmp_path / "state.h5", "")

    def statistics():
        kept = [v for v in network.non_trainable_variables if "moving" in v.path]
        return np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in kept])

    before = statistics()
    training._validate(network, crops)
    np.testing.assert_array_equal(statistics(), before)
    training._train_epoch(network, crops, SHORT, 0)
    assert (statistics() != before).any()


def test_gradients_are_cut_off(tmp_path):
    images = some_images()
    recipe = replace(
        SHORT, optimizer="sgd", momentum=0.0, learning_rate=1.0, clip=1e-4, steps_per_epoch=1, schedule="constant"
    )
    network = training.build(replace(TINY, dropout=0.0))
    training._Run(network, recipe, tmp_path / "state.h5", "")
    before = [keras.ops.convert_to_numpy(v) for v in network.trainable_variables]
    training._train_epoch(network, Crops(images, TINY, recipe, 0), recipe, 0)
    moved = [
        np.abs(keras.ops.convert_to_numpy(v) - b).max()
        for v, b in zip(network.trainable_variables, before, strict=True)
    ]
    assert max(moved) == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_optimizers_take_their_settings(optimizer):
    made = training._optimizer(
        replace(SHORT, optimizer=optimizer, weight_decay=0.01, clip=0.1, schedule="plateau", momentum=0.8)
    )
    assert (made.weight_decay, made.clipvalue) == (0.01, 0.1)
    assert float(made.learning_rate) == pytest.approx(1e-3)
    assert getattr(made, "momentum", 0.8) == 0.8


def test_a_pixel_above_the_threshold_is_foreground():
    probability = np.full((9, 9), 0.2)
    probability[2:7, 2:7] = 0.55
    assert (Objects(core=0.5, min_area_px=1).find(probability) > 0).sum() == 25
    assert not Objects(core=0.6, min_area_px=1).find(probability).any()


def test_small_cores_leave_and_others_take_what_is_around_them():
    probability = np.full((20, 30), 0.1)
    probability[5:15, 3:27] = 0.6
    probability[7:13, 5:11] = probability[7:13, 20:26] = 0.9
    probability[18, 2:5] = 0.9
    labels = Objects(threshold=0.5, core=0.7, min_area_px=5).find(probability)
    assert labels.max() == 2
    assert ((labels > 0) == (probability > 0.5))[:16].all()
    assert not labels[18].any()
    assert (labels[10, :14] <= 1).all()
    assert set(labels[10, 17:27]) == {2}
    assert Objects(core=0.7, threshold=0.7, min_area_px=1).find(probability).max() == 3


def test_objects_have_no_holes_but_others_may_lie_in_them():
    probability = np.zeros((20, 20))
    probability[2:18, 2:18] = 1
    probability[5:15, 5:15] = 0
    probability[8:11, 8:11] = 1
    labels = Objects(core=0.5, min_area_px=1).find(probability)
    assert (labels[2:18, 2:18] > 0).all()
    assert (labels == 2).sum() == 9


def test_watershed_cuts_at_a_waist():
    y, x = np.mgrid[:40, :60]
    two = (np.hypot(y - 20, x - 20) < 11) | (np.hypot(y - 20, x - 38) < 11)
    assert Objects(core=0.5).find(two.astype(float)).max() == 1
    assert Objects(watershed=True).find(two.astype(float)).max() == 2


def test_the_defaults_are_those_of_the_configuration():
    unet = yaml.safe_load((ROOT / "config/config.yaml").read_text())["unet"]
    assert asdict(Objects()) == unet["objects"]
    assert asdict(Augmentation()) == unet["augmentation"]
    recipe = asdict(Recipe())
    assert recipe.pop("augmentation") == unet["augmentation"]
    assert recipe == unet["touching"] | unet["training"]

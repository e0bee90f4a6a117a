import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from dataclasses import replace

import keras
import numpy as np
import pytest
from phantom import dice, phantoms, threshold_dice
from scipy.ndimage import gaussian_filter

from spadework.errors import InputError
from spadework.volume.architecture import Architecture
from spadework.volume.augmentation import Augmentation, cut, random_crop
from spadework.volume.learning import architecture_for, recipe_for
from spadework.volume.losses import dice_loss, flat_dice_loss, l1_loss
from spadework.volume.model import Vox2Vox, _starts
from spadework.volume.network import generator
from spadework.volume.packing import one_hidden, pack, spread_of
from spadework.volume.pairs import VolumePair, Volumes, hide, read_volumes, without, write_volumes
from spadework.volume.training import Adversaries, Recipe, train, window

PLAIN = Augmentation(flip=False, rotate=False, gamma=0, elastic=0)
ORIGIN = {"spot_distance_um": 200.0}
TINY = Recipe(crop=48, steps_per_epoch=2, epochs=3, n_samples=2)


def stack(rng, planes=3, side=64, values=False):
    """A stack with spots: discs of a class, or of values, that follow the colour below them."""
    inputs = rng.uniform(-1, 1, (planes, side // 8, side // 8, 1)).repeat(8, 1).repeat(8, 2)
    labels = np.where(rng.random((planes, side, side)) < 0.3, (inputs[..., 0] > 0).astype(np.int16), -1)
    target = labels.astype(np.int16)
    if values:
        target = np.where(labels[..., None] >= 0, inputs * [1, -1], np.nan).astype(np.float32)
    return VolumePair("block", inputs.repeat(3, -1).astype(np.float32), target, (16.0, 25.0, 25.0), origin=ORIGIN)


def block(seed=0, **options):
    pair = stack(np.random.default_rng(seed), **options)
    names = {"values": ("a", "b")} if options.get("values") else {"classes": ("dark", "light")}
    return Volumes((pair,), ("red", "green", "blue"), planes=("s1", "s2", "s3"), **names)


def weights(model):
    return [w.copy() for w in model.get_weights()]


def moved(before, model):
    return any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def batch(volumes):
    pair = volumes.pairs[0]
    return pair.inputs[None], pack(pair.target, len(volumes.classes))[None]


@pytest.fixture
def adversaries():
    keras.utils.set_random_seed(0)
    volumes = block()
    return Adversaries(architecture_for(volumes, width=2, dropout=0.2, strides_z=None, given=False), TINY), *batch(
        volumes
    )


def test_each_network_learns_in_its_own_steps_only(adversaries):
    both, inputs, packed = adversaries
    for _ in range(3):
        g, d = weights(both.generator), weights(both.discriminator)
        said = both.teach_discriminator(inputs, packed)
        assert moved(d, both.discriminator) == said["d_updated"] == (said["d_accuracy"] <= 0.8)
        assert not moved(g, both.generator)
        d = weights(both.discriminator)
        both.teach_generator(inputs, packed)
        assert moved(g, both.generator)
        assert not moved(d, both.discriminator)


def test_compiled_steps_learn_what_plain_ones_do():
    """TensorFlow's graph optimisers have been wrong about these layers: see spadework.volume.network."""
    volumes = block()
    inputs, packed = batch(volumes)
    learnt = []
    for eagerly in (False, True):
        keras.utils.set_random_seed(0)
        both = Adversaries(
            architecture_for(volumes, width=2, dropout=0.0, strides_z=None, given=False), replace(TINY, d_threshold=1)
        )
        # plain steps along the gradient: Adam's have the same length however small it is
        for model in (both.discriminator, both.combined):
            loss, weights_of = model.loss, model._compile_loss._user_loss_weights
            model.compile(
                keras.optimizers.SGD(0.01), loss, loss_weights=weights_of, jit_compile=False, run_eagerly=eagerly
            )
        both.step(inputs, packed)
        learnt.append([*both.generator.get_weights(), *both.discriminator.get_weights()])
    for compiled, plain in zip(*learnt, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-5)


@pytest.mark.parametrize(("threshold", "learns"), [(1.0, True), (-0.1, False)])
def test_the_threshold_says_when_the_discriminator_learns(threshold, learns):
    volumes = block()
    both = Adversaries(Architecture(3, 2, width=2, strides_z=(1,) * 4), replace(TINY, d_threshold=threshold))
    before = weights(both.discriminator)
    for _ in range(3):
        said = both.step(*batch(volumes))
        assert said["d_updated"] == learns
    assert moved(before, both.discriminator) == learns


def test_the_discriminator_does_not_see_where_nothing_was_measured(adversaries):
    both, inputs, packed = adversaries
    elsewhere = packed.copy()
    elsewhere[..., :-1][packed[..., -1] == 0] = 7.0
    accuracies = []
    for target in (packed, elsewhere):
        shown = [target[..., :-1] * target[..., -1:], inputs]
        accuracies.append(both.discriminator.predict_on_batch(shown))
    np.testing.assert_array_equal(*accuracies)
    losses = [
        both.combined.test_on_batch([inputs, t[..., -1:]], [np.ones((1, 3, 4, 4, 1)), t]) for t in (packed, elsewhere)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_the_loss_of_the_generator_is_adversarial_and_weighted_by_voxel(adversaries):
    both, inputs, packed = adversaries
    translated = keras.ops.convert_to_numpy(both.generator(inputs, training=False))
    verdict = both.discriminator.predict_on_batch([translated * packed[..., -1:], inputs])
    said = both.combined.test_on_batch([inputs, packed[..., -1:]], [np.ones_like(verdict), packed])
    adversarial, voxel = np.mean((verdict - 1) ** 2), float(dice_loss(packed, translated))
    np.testing.assert_allclose(said, [adversarial + 100 * voxel, adversarial, voxel], rtol=1e-4)


def test_dice_of_a_perfect_and_of_an_empty_prediction():
    target = np.array([[[0, 0, 1, 1], [1, -1, -1, 0]]], np.int16)
    packed = pack(target, 2)[None]
    right = packed[..., :-1].copy()
    right[..., :][packed[..., -1] == 0] = 0.3  # not measured: does not count
    assert float(dice_loss(packed, right)) == pytest.approx(0, abs=1e-6)
    # three voxels of each class: (0 + 1) / (0 + 3 + 1)
    assert float(dice_loss(packed, np.zeros_like(right))) == pytest.approx(1 - 1 / 4)


def test_the_flat_dice_hides_a_missing_class():
    """Half the loss of the mean over classes, for a prediction without the rare class."""
    target = np.zeros((1, 10, 10), np.int16)
    target[0, 0, :5] = 1
    packed = pack(target, 2)[None]
    nothing = np.zeros_like(packed[..., :-1])
    nothing[..., 0] = 1
    assert float(flat_dice_loss(packed, nothing)) < 0.06
    assert float(dice_loss(packed, nothing)) > 0.4


def test_differences_count_where_something_was_measured():
    target = np.full((1, 2, 2, 2), np.nan, np.float32)
    target[0, 0, 0] = [1, 2]
    packed = pack(target, 0)[None]
    assert float(l1_loss(packed, np.zeros((1, 1, 2, 2, 2), np.float32))) == pytest.approx(1.5)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path):
    volumes = block()
    # Under PyTorch, dropout takes random numbers that Keras cannot put back.
    dropout = 0.0 if keras.backend.backend() == "torch" else 0.2
    a = architecture_for(volumes, width=2, dropout=dropout, strides_z=None, given=False)
    whole = train(volumes, a, TINY, state=tmp_path / "a.h5", seed=1)

    recipe = replace(TINY, n_samples=0)
    parts = train(volumes, a, recipe, state=tmp_path / "b.h5", seed=1)
    np.testing.assert_array_equal(parts.last.generator.get_weights()[0], whole.last.generator.get_weights()[0])

    with pytest.raises(KeyboardInterrupt):
        _interrupted(volumes, a, tmp_path / "c.h5")
    resumed = train(volumes, a, recipe, state=tmp_path / "c.h5", seed=1)
    assert list(resumed.history["epoch"]) == [1, 2, 3]
    for x, y in zip(resumed.last.generator.get_weights(), whole.last.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(resumed.last.discriminator_weights[0], whole.last.discriminator_weights[0])


def _interrupted(volumes, a, state):
    from spadework.volume import training

    original, n = training._train_epoch, []

    def once(*arguments):
        n.append(1)
        if len(n) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    training._train_epoch = once
    try:
        train(volumes, a, replace(TINY, n_samples=0), state=state, seed=1)
    finally:
        training._train_epoch = original


def test_the_best_model_is_that_of_the_epoch_with_the_lowest_validation_loss(tmp_path):
    volumes = phantoms(0, 2, 1)
    pairs = [replace(p, set="validation") if p.set == "test" else p for p in volumes.pairs]
    volumes = replace(volumes, pairs=tuple(pairs))
    trained = train(
        volumes,
        Architecture(1, 3, width=2),
        replace(TINY, learning_rate=0.02, epochs=4),
        state=tmp_path / "s.h5",
        seed=0,
    )
    losses = trained.history["val_loss"]
    found = trained.best.predict(pairs[-1].inputs)
    again = float(dice_loss(pack(pairs[-1].target, 3)[None], found[None]))
    assert again == pytest.approx(losses.min(), abs=1e-5)
    assert losses.min() < losses.max()


def test_a_model_is_read_as_it_was_written(tmp_path):
    volumes = block(values=True)
    a = architecture_for(volumes, width=2, dropout=0.2, strides_z=None, given=False)
    recipe = recipe_for(volumes, PLAIN, voxel_loss=None, crop=48, steps_per_epoch=1, epochs=1)
    assert recipe.voxel_loss == "l1"
    model = train(volumes, a, recipe, state=tmp_path / "s.h5", seed=0).last
    model.save(tmp_path / "model.h5")
    read = Vox2Vox.load(tmp_path / "model.h5")
    inputs = volumes.pairs[0].inputs
    said = read.predict(inputs)
    assert said.shape == (3, 64, 64, 2)
    np.testing.assert_array_equal(said, model.predict(inputs))
    # without dropout: the same twice
    np.testing.assert_array_equal(said, read.predict(inputs))
    (tmp_path / "other.h5").write_text("no model")
    with pytest.raises(InputError, match=r"other\.h5"):
        Vox2Vox.load(tmp_path / "other.h5")


@pytest.mark.parametrize(("length", "window"), [(48, 48), (64, 48), (100, 48), (200, 64), (7, 7)])
def test_windows_cover_a_volume_and_overlap_by_half(length, window):
    starts = _starts(length, window)
    assert starts[0] == 0
    assert starts[-1] + window == length
    assert np.diff(starts).max(initial=0) <= max(1, window // 2)


def test_a_volume_smaller_than_the_window_keeps_its_size(tmp_path):
    volumes = block()
    a = architecture_for(volumes, width=1, dropout=0.0, strides_z=None, given=False)
    model = train(volumes, a, replace(TINY, crop=64, epochs=1), state=tmp_path / "s.h5", seed=0).last
    assert model.predict(volumes.pairs[0].inputs[:, :40, :50]).shape == (3, 40, 50, 2)


def test_sections_left_out_keep_their_image_and_lose_their_spots():
    volumes = block()
    hidden = without(volumes, ["s2"])
    was, now = volumes.pairs[0], hidden.pairs[0]
    assert not now.measured[1].any()
    np.testing.assert_array_equal(now.target[[0, 2]], was.target[[0, 2]])
    np.testing.assert_array_equal(now.inputs, was.inputs)
    assert was.measured[1].any()
    assert np.isnan(without(block(values=True), ["s1"]).pairs[0].target[0]).all()


@pytest.mark.parametrize("values", [False, True])
def test_volumes_are_read_as_they_were_written(tmp_path, values):
    volumes = block(values=values)
    write_volumes(volumes, tmp_path / "v.h5")
    read = read_volumes(tmp_path / "v.h5")
    np.testing.assert_array_equal(read.pairs[0].target, volumes.pairs[0].target)
    np.testing.assert_array_equal(read.pairs[0].inputs, volumes.pairs[0].inputs)
    assert replace(read, pairs=()) == replace(volumes, pairs=())
    assert read.pairs[0].spacing == (16.0, 25.0, 25.0)


def test_crops_of_stacks_have_all_planes_and_those_of_cubes_do_not():
    few, many = Architecture(3, 2, strides_z=(1,) * 4), Architecture(1, 2)
    assert window(few, 64, [(5, 96, 200)]) == (5, 64, 64)
    assert window(few, 96, [(5, 48, 200)]) == (5, 48, 96)
    assert window(many, 64, [(155, 240, 240)]) == (64, 64, 64)
    assert window(many, 64, [(50, 240, 240)]) == (48, 64, 64)
    assert window(many, 64, [(48, 48, 48), (60, 50, 96)]) == (48, 48, 64)


@pytest.mark.parametrize(
    ("strides", "crop", "shape", "found"),
    [
        ((2,) * 4, 32, (155, 240, 240), "32 x 32 x 32"),
        ((2,) * 4, 64, (3, 96, 96), "3 x 64 x 64"),
        ((2,) * 4, 64, (40, 40, 40), "32 x 32 x 32"),
    ],
)
def test_crops_that_cannot_work_are_refused(strides, crop, shape, found):
    with pytest.raises(InputError, match=found):
        window(Architecture(1, 2, strides_z=strides), crop, [shape])


def test_a_training_of_other_distances_is_not_gone_on_with(tmp_path):
    volumes = block()
    a = architecture_for(volumes, width=1, dropout=0.0, strides_z=None, given=True)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(volumes, a, tmp_path / "s.h5")
    other = replace(volumes, pairs=(replace(volumes.pairs[0], spacing=(160.0, 25.0, 25.0)),))
    recipe = replace(TINY, n_samples=0)
    fresh = train(other, a, recipe, state=tmp_path / "other.h5", seed=1)
    again = train(other, a, recipe, state=tmp_path / "s.h5", seed=1)
    for x, y in zip(fresh.last.generator.get_weights(), again.last.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_plain_crop_is_cut_from_the_volume():
    pair = block().pairs[0]
    inputs, target = cut(pair, np.array([0, 10, 20]), (3, 16, 16))
    np.testing.assert_array_equal(inputs, pair.inputs[:, 10:26, 20:36])
    np.testing.assert_array_equal(target, pair.target[:, 10:26, 20:36])
    beyond, nothing = cut(pair, np.array([0, 56, -4]), (3, 16, 16))
    assert (nothing[:, 8:] == -1).all()
    assert (nothing[:, :, :4] == -1).all()
    np.testing.assert_array_equal(beyond[:, 8:], beyond[:, 7:8].repeat(8, 1))


def marked(cubic):
    """A volume whose target says the same as its input, everywhere."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 2, (6, 8, 8)).repeat(8, 0).repeat(8, 1).repeat(8, 2).astype(np.int16)
    return VolumePair(
        "v", coarse[..., None].astype(np.float32), coarse, (1.0, 1.0, 1.0) if cubic else (9.0, 1.0, 1.0)
    )


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(elastic=0), Augmentation(rotate=False), PLAIN])
def test_inputs_and_targets_move_together(cubic, augmentation):
    pair = marked(cubic)
    rng = np.random.default_rng(1)
    crops = [random_crop(rng, pair, (48, 48, 48), replace(augmentation, gamma=0), planar=not cubic) for _ in range(3)]
    for inputs, target in crops:
        there = target >= 0
        assert there.mean() > 0.4
        assert ((inputs[..., 0] > 0.5) == target)[there].mean() > 0.97
    if augmentation == PLAIN:
        return
    assert not np.array_equal(crops[0][1], crops[1][1])


@pytest.mark.parametrize("spacing", [(16.0, 2.0, 2.0), (20.0, 25.0, 25.0), (25.0, 25.0, 25.0)])
def test_sections_are_not_mixed_with_the_next(spacing):
    """Turned about z and bent within planes, also where voxels happen to be as deep as wide."""
    inputs = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((5, 64, 64, 1), np.float32)
    pair = VolumePair("v", inputs, np.zeros((5, 64, 64), np.int16), spacing)
    rng = np.random.default_rng(0)
    for _ in range(5):
        crop, _ = random_crop(rng, pair, (5, 48, 48), Augmentation(gamma=0), planar=True)
        assert np.allclose(crop, np.rint(crop), atol=1e-4)
        assert (np.ptp(crop, axis=(1, 2)) < 1e-4).all()


def test_gamma_keeps_the_range_and_the_order():
    pair = block().pairs[0]
    rng = np.random.default_rng(0)
    inputs, _ = random_crop(rng, pair, (3, 64, 64), replace(PLAIN, gamma=0.5), planar=True)
    assert inputs.min() == pytest.approx(pair.inputs.min(), abs=1e-5)
    assert inputs.max() == pytest.approx(pair.inputs.max(), abs=1e-5)
    assert abs(inputs - pair.inputs).max() > 0.05
    order = np.argsort(pair.inputs.ravel())
    assert (np.diff(inputs.ravel()[order]) >= -1e-6).all()
    scan = replace(pair, inputs=np.where(pair.inputs > 0.5, 0, pair.inputs))
    inputs, _ = random_crop(rng, scan, (3, 64, 64), replace(PLAIN, gamma=0.5), planar=False)
    np.testing.assert_array_equal(inputs == 0, scan.inputs == 0)


@pytest.mark.parametrize("values", [False, True])
def test_a_section_is_hidden_and_what_was_measured_on_the_others_given(values):
    volumes = without(block(values=values), ["s3"])
    pair, n = volumes.pairs[0], len(volumes.classes)
    k = len(volumes.outputs)
    rng = np.random.default_rng(0)
    hidden, spread = set(), (2.0, 3.0, 3.0)
    for _ in range(20):
        looked_at, wanted = one_hidden(rng, pair.inputs, pair.target, n, spread)
        np.testing.assert_array_equal(looked_at[..., :3], pair.inputs)
        assert looked_at.shape == (*pair.shape, 3 + k + 1)
        counts = wanted[..., -1] > 0
        plane = int(np.flatnonzero(counts.any(axis=(1, 2)))[0])
        hidden.add(plane)
        # all that was measured in that plane counts, and nothing else
        np.testing.assert_array_equal(counts[plane], pair.measured[plane])
        assert counts.sum() == counts[plane].sum()
        # given are means of the others
        whole = pack(hide(pair.target, np.arange(3) == plane), n)
        around = np.stack([gaussian_filter(c, spread, mode="constant") for c in np.moveaxis(whole, -1, 0)], axis=-1)
        np.testing.assert_allclose(looked_at[..., -1], around[..., -1] / around[..., -1].max(), atol=1e-5)
        np.testing.assert_allclose(looked_at[..., 3:-1], around[..., :-1] / around[..., -1:], atol=1e-3)
    assert hidden == {0, 1}


def test_a_plane_is_translated_without_what_was_measured_on_it(tmp_path):
    volumes = block()
    a = architecture_for(volumes, width=1, dropout=0.0, strides_z=None, given=True)
    assert a.channels == 3 + 2 + 1
    model = train(volumes, a, replace(TINY, epochs=1), state=tmp_path / "s.h5", seed=0).last
    said = model.translate(volumes.pairs[0], 2)
    assert said.shape == (3, 64, 64, 2)
    own, others = (model.translate(without(volumes, names).pairs[0], 2)[1] for names in (["s2"], ["s1", "s3"]))
    np.testing.assert_array_equal(said[1], own)
    assert abs(said[1] - others).max() > 1e-4


def test_what_was_measured_spreads_over_the_gaps_between_spots():
    pair = block().pairs[0]
    # 0.6 x 200 µm, of voxels of 16 x 25 x 25 µm
    np.testing.assert_allclose(spread_of(pair), (7.5, 4.8, 4.8))
    far = replace(pair, spacing=(500.0, 25.0, 25.0), origin={"spot_distance_um": 8.0})
    np.testing.assert_allclose(spread_of(far), (0.7, 1.0, 1.0))


def test_untrained_a_network_says_nearly_what_it_was_given():
    a = Architecture(3, 2, width=1, strides_z=(1,) * 4, given=True)
    volumes = block()
    pair = volumes.pairs[0]
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    looked_at, _ = one_hidden(rng, pair.inputs, pair.target, 2, (7.5, 1.0, 1.0))
    said = keras.ops.convert_to_numpy(generator(a)(looked_at[None]))[0]
    given = looked_at[..., 3:-1]
    sure = given.max(axis=-1) > 0.9
    assert sure.mean() > 0.1
    assert (said.argmax(-1) == given.argmax(-1))[sure].mean() > 0.99


def test_with_one_measured_section_there_is_nothing_to_give():
    one = without(block(), ["s1", "s2"])
    assert not architecture_for(one, width=1, dropout=0.0, strides_z=None, given=True).given
    cubes = phantoms(0, 1, 0)
    assert not architecture_for(cubes, width=1, dropout=0.0, strides_z=None, given=True).given


def test_what_does_not_fit_the_volumes_is_refused():
    with pytest.raises(InputError, match="voxel_loss"):
        recipe_for(block(values=True), PLAIN, voxel_loss="dice")
    empty = replace(block(), pairs=())
    with pytest.raises(InputError, match="no volume to train on"):
        architecture_for(empty, width=1, dropout=0.0, strides_z=None, given=False)


def trained_on_phantoms(state, **changed):
    """Dice of both classes on test volumes after a short training, the volumes, and the training."""
    volumes = phantoms(0, 12, 4)
    flipped = replace(PLAIN, flip=True)
    recipe = Recipe(crop=48, epochs=3, learning_rate=1e-3, n_samples=0, augmentation=flipped)
    trained = train(volumes, Architecture(1, 3, width=8), replace(recipe, **changed), state=state, seed=0)
    test = volumes.of("test")
    found = np.stack([trained.last.predict(pair.inputs).argmax(-1) for pair in test])
    truth = np.stack([pair.target for pair in test])
    return [dice(found, truth, k) for k in (1, 2)], test, trained


def test_a_phantom_is_translated_better_than_a_threshold_can(tmp_path):
    """A smoke run; tests/benchmarks/bench_vox2vox.py has three seeds at full length."""
    scores, test, trained = trained_on_phantoms(tmp_path / "s.h5")
    assert min(scores) > 0.6
    assert all(np.array(scores) > threshold_dice(test))
    assert (trained.steps["d_updated"] == (trained.steps["d_accuracy"] <= 0.8)).all()
    assert len(trained.steps) == 60


def test_with_the_published_dice_a_class_is_never_found(tmp_path):
    """Over the flattened volume, the loss is low without it. With the mean over classes, it is found (above)."""
    scores, _, trained = trained_on_phantoms(tmp_path / "s.h5", voxel_loss="flat_dice")
    assert trained.history["voxel_loss"].iloc[-1] < 0.1
    assert min(scores) < 0.1

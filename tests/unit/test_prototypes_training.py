"""How prototypes are trained: what moves when, what a push makes of them, and what an interruption leaves."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from spadework.job import whole_file
from spadework.prototypes import training
from spadework.prototypes.architecture import Architecture, per_class
from spadework.prototypes.recipe import Recipe, TrainingSet
from spadework.prototypes.training import train

N_CLASSES = 3
# Enough for everything to move; nothing to be good at.
SHORT = Recipe(pretrain_steps=4, warm_steps=3, joint_steps=3, last_layer_steps=5, cycles=2, batch_size=8)


def _patches(n, px=32, seed=0):
    """Make patches whose class is a colour."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % N_CLASSES
    colour = np.eye(3)[labels][:, None, None] * 80 + 100
    patches = np.clip(rng.normal(colour, 30, (n, px, px, 3)), 0, 255).astype(np.uint8)
    return TrainingSet(patches, labels, ["s"] * n, [f"spot{i}" for i in range(n)])


DATA = _patches(48)
SMALL = Architecture(
    ("red", "green", "blue"), per_class(2, DATA.sizes(3)), 32, "small", pool=1, dimension=8, top_cells=2
)


def _train(tmp_path, data=DATA, architecture=SMALL, recipe=SHORT, **options):
    return train(data, architecture, recipe, state=tmp_path / "state.h5", **{"seed": 1} | options)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Train, and note the weights of every part before and after each stage."""
    noted = []

    class Watched(training._Run):
        def _do(self, stage, cycle, number, progress):
            before = _weights(self)
            super()._do(stage, cycle, number, progress)
            noted.append((stage, before, _weights(self), _weights_before_prototypes.pop("pretrain", None)))

        def _begin_prototypes(self):
            _weights_before_prototypes["pretrain"] = _weights(self)
            super()._begin_prototypes()

    _weights_before_prototypes = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "_Run", Watched)
    trained = _train(tmp_path_factory.mktemp("watched"))
    patch.undo()
    return SimpleNamespace(stages=noted, trained=trained)


def _weights(run):
    n = run.network
    parts = {
        "backbone": n.backbone,
        "add_on": n.add_on,
        "prototypes": n.prototypes,
        "last": n.last,
        "head": run._head,
    }
    return {name: [w.copy() for w in part.get_weights()] for name, part in parts.items()}


def _moved(before, after):
    return {name for name in before if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))}


MOVES = {
    "warm": {"add_on", "prototypes"},
    "joint": {"backbone", "add_on", "prototypes"},
    "push": {"prototypes"},
    "last layer": {"last"},
}


@pytest.mark.parametrize("stage", MOVES)
def test_in_each_stage_exactly_the_named_weights_move(watched, stage):
    seen = [_moved(before, after) for name, before, after, _ in watched.stages if name == stage]
    assert len(seen) == (1 if stage == "warm" else SHORT.cycles)
    assert all(moved == MOVES[stage] for moved in seen)


def test_before_there_are_prototypes_backbone_and_classifier_learn(watched):
    stage, before, after, learnt = watched.stages[0]
    assert stage == "pretrain"
    assert _moved(before, learnt) == {"backbone", "head"}
    # Then prototypes are put on cells of real patches.
    assert _moved(learnt, after) == {"prototypes"}


def test_stages_come_in_the_published_order(watched):
    cycle = ["joint", "push", "last layer"]
    assert [stage for stage, *_ in watched.stages] == ["pretrain", "warm", *cycle, *cycle, "prune"]


def test_after_a_push_each_prototype_is_a_cell_of_a_patch_of_its_own_class(watched):
    model, push = watched.trained.model, watched.trained.pushes[-1]
    assert (DATA.labels[push.rows] == push.class_of).all()
    assert len(set(push.rows.tolist())) == len(push.rows)  # unique patches
    assert [s.barcode for s in model.sources] == [DATA.barcodes[i] for i in push.rows]
    assert (model.source_patches == DATA.patches[push.rows]).all()
    for j, source in enumerate(model.sources):
        # in a batch of other patches than at the push
        cells = model.network.latent.predict_on_batch(DATA.patches[push.rows[j]][None].astype(np.float32))
        vector = model.network.prototypes.get_weights()[0][j]
        assert np.sum((cells[0, source.row, source.column].astype(float) - vector) ** 2) <= 1e-5
    distances = model.network.maps.predict_on_batch(model.source_patches.astype(np.float32))
    assert max(distances[j, :, :, j].min() for j in range(len(model.sources))) <= 1e-5


def test_a_push_takes_the_nearest_cells_there_are(tmp_path):
    """Against all ways to share out patches, tried one by one."""
    from itertools import permutations

    recipe = replace(SHORT, cycles=1, last_layer_steps=0)
    data = _patches(15)
    run = training._Run(data, SMALL, recipe, 1, "cpu", None)
    for number, (stage, cycle) in enumerate(run.plan()[:3]):
        run._do(stage, cycle, number, SimpleNamespace(update=lambda *_: None))
    distances = run.network.maps.predict_on_batch(data.patches.astype(np.float32)).min(axis=(1, 2))
    run._push(1)
    for c in range(N_CLASSES):
        members, own = np.flatnonzero(data.labels == c), SMALL.of_class(c)
        best = min(permutations(members, len(own)), key=lambda rows: distances[list(rows), own].sum())
        assert run.pushes[0].rows[own].tolist() == list(best)


@pytest.mark.parametrize("stop_after", [1, 2, 4, 6])
def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path, watched, monkeypatch, stop_after):
    class KilledError(Exception):
        pass

    kept = training._Run._keep

    def killed(run, state, fingerprint, done):
        kept(run, state, fingerprint, done)
        if done == stop_after:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_keep", killed)
        with pytest.raises(KilledError):
            _train(tmp_path)
    started = []
    monkeypatch.setattr(training._Run, "_do", _noting(training._Run._do, started))
    again = _train(tmp_path)
    assert len(started) == 9 - stop_after
    first = watched.trained
    for a, b in zip(again.model.network.whole.get_weights(), first.model.network.whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert again.model.sources == first.model.sources
    assert [p.sources for p in again.pushes] == [p.sources for p in first.pushes]
    assert again.history[["stage", "cycle", "step"]].equals(first.history[["stage", "cycle", "step"]])


def _noting(do, started):
    def noted(run, stage, *others):
        started.append(stage)
        do(run, stage, *others)

    return noted


@pytest.mark.parametrize("change", ["seed", "code", "recipe", "labels", "damaged"])
def test_another_training_begins_anew(tmp_path, monkeypatch, change):
    recipe = replace(SHORT, cycles=1)
    _train(tmp_path, recipe=recipe)
    options = {"seed": 2} if change == "seed" else {"code": "other"} if change == "code" else {}
    if change == "recipe":
        recipe = replace(recipe, warm_steps=4)
    data = replace(DATA, labels=np.roll(DATA.labels, 1)) if change == "labels" else DATA
    if change == "damaged":
        with whole_file(tmp_path / "state.h5") as path:
            path.write_bytes((tmp_path / "state.h5").read_bytes()[:500])
    started = []
    monkeypatch.setattr(training._Run, "_do", _noting(training._Run._do, started))
    _train(tmp_path, data, recipe=recipe, **options)
    assert started[0] == "pretrain"


def test_weights_from_elsewhere_are_not_pretrained(tmp_path):
    weights = [
        np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32) for shape in [(3, 3, 3, 16), (16,)] * 1
    ] + [np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32) for shape in [(3, 3, 16, 16), (16,)]]
    recipe = replace(SHORT, joint_steps=0, cycles=1)
    model = _train(tmp_path, recipe=recipe, backbone_weights=weights).model
    for found, given in zip(model.network.backbone.get_weights(), weights, strict=True):
        assert (found == given).all()
    moved = _train(tmp_path, recipe=replace(recipe, joint_steps=2), backbone_weights=weights).model
    assert (moved.network.backbone.get_weights()[0] != weights[0]).any()


def test_rare_classes_are_seen_as_often_as_common_ones():
    data = _patches(300)
    rare = np.concatenate([np.flatnonzero(data.labels != 2), np.flatnonzero(data.labels == 2)[:4]])
    data = TrainingSet(data.patches[rare], data.labels[rare], ["s"] * len(rare), [str(i) for i in rare])
    run = training._Run(data, SMALL, replace(SHORT, batch_size=300), 1, "cpu", None)
    shares = run._batch(0, 0)[1].mean(axis=0)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.09)


def test_batches_hold_patches_turned_and_stained_but_not_mixed_up():
    run = training._Run(DATA, SMALL, replace(SHORT, stain=0.0, brightness=0.0, batch_size=64), 1, "cpu", None)
    pixels, classes = run._batch(3, 5)
    again, _ = run._batch(3, 5)
    assert (pixels == again).all()
    assert (pixels != run._batch(3, 6)[0]).any()
    sums = DATA.patches.astype(float).sum(axis=(1, 2))
    turned = 0
    for patch, one_hot in zip(pixels, classes, strict=True):
        i = int(np.abs(sums - patch.astype(float).sum(axis=(0, 1))).sum(axis=1).argmin())
        assert DATA.labels[i] == one_hot.argmax()
        assert (np.sort(patch.ravel()) == np.sort(DATA.patches[i].ravel())).all()
        turned += not (patch == DATA.patches[i]).all()
    assert 40 <= turned < 64  # one way in eight is the original's


def test_a_class_with_fewer_patches_than_prototypes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="prototypes for classes of"):
        _train(tmp_path, _patches(5))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(FloatingPointError, match="learning_rate"):
        _train(tmp_path, recipe=replace(SHORT, learning_rate=1e30))


def test_constant_patches_give_a_defined_model(tmp_path):
    data = TrainingSet(np.full_like(DATA.patches, 200), DATA.labels, DATA.samples, DATA.barcodes)
    model = _train(tmp_path, data).model
    said = model.say(data.patches, maps=True)
    assert np.isfinite(said.logits).all()
    assert np.isfinite(said.maps).all()
    assert {model.architecture.classes[c] for c in model.architecture.class_of} == set(model.architecture.classes)


def test_prototypes_that_speak_for_another_class_leave_but_no_class_is_left_without(tmp_path):
    run = training._Run(DATA, SMALL, SHORT, 1, "cpu", None)
    for number, (stage, cycle) in enumerate(run.plan()[:5]):
        run._do(stage, cycle, number, SimpleNamespace(update=lambda *_: None))
    weights = np.full((6, 3), -0.5, np.float32)
    weights[[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]] = [1, -0.1, 0.2, 1, -1, -2]
    weights[2, 0] = 0.3  # says more for red than for green
    run.network.last.set_weights([weights])
    # Whatever the patches are like, they are of the right class.
    run._scores = lambda: np.eye(3)[run._data.labels][:, list(run.network.architecture.class_of)].astype(np.float32)
    sources = run.pushes[-1].sources
    run._prune()
    assert run.network.architecture.class_of == (0, 1, 2)
    assert run.pushes[-1].sources == [sources[0], sources[3], sources[4]]
    assert [p["class"] for p in run.pruned] == ["red", "green", "blue"]

"""The layers of a ProtoPNet against their definitions, written out by hand."""

from dataclasses import asdict

import keras
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from spadework.errors import InputError
from spadework.prototypes.architecture import (
    BACKBONES,
    Architecture,
    check_field,
    per_class,
    receptive_field,
)
from spadework.prototypes.model import ProtoPNet, Source, pool_cells
from spadework.prototypes.network import OffClassL1, PrototypeDistance, build, initial_last, pooled, similarity

SMALL = Architecture(("a", "b", "c"), per_class(2, [5, 5, 5]), 32, "small", pool=1, dimension=8, top_cells=3)


def test_distances_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    cells = rng.uniform(size=(4, 5, 6, 64)).astype(np.float32)
    layer = PrototypeDistance(7, 64)
    layer.build(cells.shape)
    vectors = rng.uniform(size=(7, 64)).astype(np.float32)
    vectors[3] = cells[2, 1, 4]  # there, rounding could take it below zero
    layer.set_weights([vectors])
    found = keras.ops.convert_to_numpy(layer(cells))
    expected = cdist(cells.reshape(-1, 64).astype(float), vectors.astype(float), "sqeuclidean").reshape(4, 5, 6, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert found.min() >= 0
    assert found[2, 1, 4, 3] <= 1e-5


@pytest.mark.parametrize(
    ("distance", "expected"), [(0, 9.2103), (0.01, 4.605), (0.1, 2.397), (0.986, 0.700), (1, 0.693), (10, 0.095)]
)
def test_similarity_has_the_published_values(distance, expected):
    found = float(keras.ops.convert_to_numpy(similarity(np.float32(distance))))
    assert found == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("k", [1, 3, 30])
def test_a_score_is_the_mean_of_the_most_similar_cells(k):
    cells = np.random.default_rng(1).normal(size=(3, 5, 6, 4)).astype(np.float32)
    expected = np.array([[np.sort(cells[i, :, :, j].ravel())[::-1][:k].mean() for j in range(4)] for i in range(3)])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(pooled(cells, k)), expected, atol=1e-6)
    np.testing.assert_allclose(pool_cells(cells, k), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("pool", "size", "step", "cells"),
    [(1, 6, 2, 32), (2, 16, 4, 16), (3, 44, 8, 8), (4, 100, 16, 4), (5, 212, 32, 2)],
)
def test_receptive_fields_of_vgg16_are_the_known_ones(pool, size, step, cells):
    field = receptive_field("vgg16", pool, 64)
    assert (field.size, field.step, field.cells) == (size, step, cells)


@pytest.mark.parametrize(("backbone", "pool"), [("small", 1), ("small", 2), ("small", 3), ("vgg16", 1), ("vgg16", 2)])
def test_a_cell_sees_its_field_and_nothing_else(backbone, pool):
    architecture = Architecture(("a", "b"), (0, 1), 48, backbone, pool, 4, 1)
    network, field = build(architecture).backbone, architecture.field
    # Positive weights: whatever is seen is seen in the result.
    network.set_weights([np.full(w.shape, 0.01, np.float32) for w in network.get_weights()])
    plain = np.full((1, 48, 48, 3), 200, np.float32)
    before = network.predict_on_batch(plain)
    for row, column in [(0, 0), (field.cells // 2, field.cells - 1), (field.cells // 2, field.cells // 3)]:
        seen = np.zeros((48, 48), bool)
        y1, y2, x1, x2 = field.box(row, column, 48)
        for y in range(48):
            for x in (x1 - 1, x1, x2 - 1, x2):
                if 0 <= x < 48:
                    changed = plain.copy()
                    changed[0, y, x] = 1e6
                    seen[y, x] = (network.predict_on_batch(changed) != before)[0, row, column].any()
        rows, columns = np.nonzero(seen)
        assert (rows.min(), rows.max() + 1) == (y1, y2)
        assert (columns.min(), columns.max() + 1) == (x1, x2)


def test_a_cell_that_sees_the_whole_patch_is_refused():
    check_field("small", 3, 64, 12)
    with pytest.raises(InputError, match=r"one cell of the network sees 100 x 100 px(.|\n)*set prototypes.pool: 3"):
        check_field("vgg16", 4, 64, 1)
    with pytest.raises(InputError, match=r"sees 36 x 36 px(.|\n)*pool: 2, or raise prototypes.px above 36"):
        check_field("small", 3, 32, 1)
    with pytest.raises(InputError, match="at most pool: 4"):
        check_field("small", 5, 512, 1)
    with pytest.raises(InputError, match=r"no whole number of cells(.|\n)*set prototypes.px: 72"):
        check_field("small", 3, 70, 12)
    with pytest.raises(InputError, match="at most 64: the map has 8 x 8 cells"):
        check_field("small", 3, 64, 65)


def test_the_last_layer_begins_as_published_and_has_no_bias():
    network = build(SMALL)
    (weights,) = network.last.get_weights()
    assert (weights == initial_last(SMALL)).all()
    for j, own in enumerate(SMALL.class_of):
        assert weights[j].tolist() == [1.0 if k == own else -0.5 for k in range(3)]


def test_only_weights_to_other_classes_are_penalised():
    kernel = np.arange(18, dtype=np.float32).reshape(6, 3) - 9
    own = sum(abs(kernel[j, k]) for j, k in enumerate(SMALL.class_of))
    found = float(keras.ops.convert_to_numpy(OffClassL1(SMALL.class_of, 3, 0.5)(kernel)))
    assert found == pytest.approx(0.5 * (np.abs(kernel).sum() - own))


def test_no_class_has_more_prototypes_than_patches():
    assert per_class(3, [5, 2, 0]) == (0, 0, 0, 1, 1)


def _model(architecture, seed=0):
    keras.utils.set_random_seed(seed)
    n = architecture.n_prototypes
    patches = np.random.default_rng(seed).integers(0, 256, (n, architecture.patch_px, architecture.patch_px, 3))
    return ProtoPNet(
        build(architecture),
        [Source("s", f"spot{j}", 0, j) for j in range(n)],
        patches.astype(np.uint8),
        {"of": "test"},
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_are_the_scores_times_the_weights(backbone):
    architecture = Architecture(**asdict(SMALL) | {"backbone": backbone})
    model = _model(architecture)
    patches = np.random.default_rng(1).integers(0, 256, (200, 32, 32, 3)).astype(np.uint8)
    said = model.say(patches, maps=True)
    logits = sum(said.scores[:, [j]] * model.weights[j] for j in range(6))
    np.testing.assert_allclose(said.logits, logits, atol=1e-5)
    whole = model.network.whole
    whole.compile(jit_compile=False)
    np.testing.assert_allclose(whole.predict_on_batch(patches.astype(np.float32))["logits"], logits, atol=1e-4)
    flat = np.sort(said.maps.reshape(200, 6, -1), axis=2)
    np.testing.assert_allclose(said.scores, flat[:, :, -3:].mean(axis=2), atol=1e-6)
    np.testing.assert_allclose(said.probability.sum(axis=1), 1, atol=1e-6)
    assert (said.confidence == said.probability[np.arange(200), said.predicted]).all()
    # What is said of a patch does not depend on the others.
    np.testing.assert_allclose(model.say(patches[7:8]).scores, said.scores[7:8], atol=1e-5)


def test_a_model_is_the_same_when_it_is_read_again(tmp_path):
    model = _model(SMALL)
    model.save(tmp_path / "model.h5")
    again = ProtoPNet.load(tmp_path / "model.h5")
    assert again.architecture == model.architecture
    assert again.sources == model.sources
    assert again.origin == {"of": "test"}
    assert (again.source_patches == model.source_patches).all()
    patches = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    assert (again.say(patches).logits == model.say(patches).logits).all()


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.h5").write_text("no model")
    with pytest.raises(InputError, match="no ProtoPNet of this workflow"):
        ProtoPNet.load(tmp_path / "model.h5")


@pytest.mark.parametrize("patches", [np.zeros((2, 32, 32, 3), np.float32), np.zeros((2, 64, 64, 3), np.uint8)])
def test_patches_of_another_kind_are_refused(patches):
    with pytest.raises(ValueError, match="expected uint8"):
        _model(SMALL).say(patches)

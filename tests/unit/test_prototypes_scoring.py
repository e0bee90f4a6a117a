"""What rules make of a model: what it learns from, what it is compared with, tables and pages."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from spadework.encoders.keras_applications import KerasEncoder
from spadework.prototypes.architecture import Architecture
from spadework.prototypes.evaluation import accuracy_table
from spadework.prototypes.learning import backbone_weights, training_set
from spadework.prototypes.model import ProtoPNet, Said, Source
from spadework.prototypes.network import build
from spadework.prototypes.pages import draw_model, explain_section, weights_note
from spadework.prototypes.scoring import describe, features_of, predictions, prototypes_table, scores_table

PX = 16
A = Architecture(("NA", "=x"), (0, 0, 1), PX, "small", 1, 4, 2)


@pytest.fixture
def spots() -> pd.DataFrame:
    """Forty spots of two sections; every second one is a test spot."""
    n = 40
    return pd.DataFrame(
        {
            "sample": np.repeat(["a", "b"], n // 2),
            "barcode": [f"S{i}" for i in range(n)],
            "class": np.tile(["NA", "NA", "=x", "=x"], n // 4),
            "set": np.tile(["train", "test"], n // 2),
            "region": np.repeat(range(8), n // 8),
        }
    )


@pytest.fixture
def patches(spots: pd.DataFrame) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (len(spots), PX, PX, 3), dtype=np.uint8)


@pytest.fixture
def files(spots: pd.DataFrame, patches: np.ndarray, tmp_path: Path) -> dict[str, Path]:
    """Patch files with the spots in another order than the table."""
    paths = {}
    for sample, rows in spots.groupby("sample"):
        order = rows.index[::-1]
        paths[sample] = tmp_path / f"{sample}.h5"
        with h5py.File(paths[sample], "w") as handle:
            handle["patches"] = patches[order]
            handle["barcodes"] = spots["barcode"][order].to_list()
    return paths


@pytest.fixture
def model(spots: pd.DataFrame, patches: np.ndarray) -> ProtoPNet:
    sources = [Source("a", "S0", 1, 2), Source("a", "S4", 0, 0), Source("b", "S22", 7, 7)]
    return ProtoPNet(build(A), sources, patches[[0, 4, 22]], {"sections": ["a", "b"], "weights": "seeded"})


def test_training_spots_keep_their_classes_and_a_control_shuffles_them(spots, patches, files):
    data, classes = training_set(spots, files, None)
    train = spots[spots["set"] == "train"]
    assert [classes[k] for k in data.labels] == list(train["class"])
    np.testing.assert_array_equal(data.patches, patches[train.index])
    assert (data.samples, data.barcodes) == (list(train["sample"]), list(train["barcode"]))
    control, _ = training_set(spots, files, 3)
    assert (control.labels != data.labels).any()
    np.testing.assert_array_equal(np.bincount(control.labels), np.bincount(data.labels))
    np.testing.assert_array_equal(control.labels, training_set(spots, files, 3)[0].labels)
    np.testing.assert_array_equal(control.patches, data.patches)


def test_the_backbone_of_vgg16_begins_with_the_weights_encoders_have():
    a = Architecture(("a", "b"), (0, 1), 64, "vgg16", 2, 4, 2)
    weights, described = backbone_weights(a, [])
    network = build(a)
    network.backbone.set_weights(weights)
    encoder = KerasEncoder("vgg16", 32)
    assert described == {"weights": "seeded", "weights_digest": encoder.describe()["weights_digest"]}
    # The same pixels give the same features: preprocessing, order of channels and of layers.
    import keras

    pixels = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3)).astype(np.float32)
    vgg = keras.applications.VGG16(include_top=False, weights=None)
    vgg.set_weights(encoder.weights())
    upto = keras.Model(vgg.input, vgg.get_layer("block2_pool").output)
    expected = upto.predict_on_batch(keras.applications.vgg16.preprocess_input(pixels.copy()))
    np.testing.assert_allclose(network.backbone.predict_on_batch(pixels), expected, rtol=1e-4, atol=1e-3)
    assert backbone_weights(A, []) == (None, {})


def test_features_are_in_the_order_of_the_spots_and_say_if_they_are_random(spots, patches, tmp_path):
    paths = {}
    for sample, rows in spots.groupby("sample"):
        order = rows.sample(frac=1, random_state=1).index
        features = ad.AnnData(np.asarray(order, np.float32)[:, None], pd.DataFrame(index=spots["barcode"][order]))
        features.uns["encoder"] = {"weights": "seeded"}
        paths[sample, "vgg16"] = tmp_path / f"{sample}.h5ad"
        features.write_h5ad(paths[sample, "vgg16"])
    mixed = spots.sample(frac=1, random_state=2)
    found = features_of(mixed, paths, patches[mixed.index])
    assert list(found) == ["vgg16 (random weights)", "colour_texture"]
    np.testing.assert_array_equal(found["vgg16 (random weights)"][:, 0], mixed.index)
    assert found["colour_texture"].shape[0] == len(spots)


def test_predictions_are_of_the_test_spots_and_learn_from_the_training_spots_only(spots):
    label = (spots["class"] == "=x").to_numpy(int)
    right = Said(np.zeros((40, 1), np.float32), np.eye(2, dtype=np.float32)[label])
    wrong = Said(np.zeros((40, 1), np.float32), np.eye(2, dtype=np.float32)[1 - label])
    feature = label.astype(float)[:, None]
    # Test spots look like the other class.
    feature[(spots["set"] == "test").to_numpy()] *= -1
    feature[(spots["set"] == "test").to_numpy()] += 1
    found = predictions(spots, right, wrong, A.classes, {"feature": feature}, 3)
    truth = spots.loc[spots["set"] == "test", "class"].to_numpy(str)
    np.testing.assert_array_equal(found["prototypes"], truth)
    assert not (found["shuffled classes"] == truth).any()
    assert not (found["k-NN on feature"] == truth).any()


def test_tables_keep_names_and_numbers_and_survive_parquet_and_json(spots, patches, model, tmp_path):
    said = model.say(patches)
    scores = scores_table(spots, said, A.classes)
    test = spots[spots["set"] == "test"]
    predicted = {m: test["class"].to_numpy() for m in ("prototypes", "shuffled classes")}
    accuracy = accuracy_table(test, predicted, 0)
    scores.attrs = describe(model, accuracy, "said")
    scores.to_parquet(tmp_path / "scores.parquet")
    again = pd.read_parquet(tmp_path / "scores.parquet")
    assert again.attrs == json.loads(json.dumps(scores.attrs))
    assert again.attrs["n_prototypes"] == 3
    assert again.attrs["balanced_accuracy"]["prototypes"] == 1
    assert again.loc[("b", "S22"), "prediction"] == A.classes[said.predicted[22]]
    assert again.loc[("b", "S22"), "prototype_2"] == said.scores[22, 2]
    table = prototypes_table(model, spots, said)
    assert list(table["class"]) == ["NA", "NA", "=x"]
    assert list(table["source_barcode"]) == ["S0", "S4", "S22"]
    assert table.loc[1, ["y1", "y2", "x1", "x2"]].tolist() == [0, 4, 0, 4]
    np.testing.assert_allclose(table["share"], 0.5)


def test_prototypes_that_say_the_same_are_named(spots, model):
    one = np.linspace(0, 3, len(spots), dtype=np.float32)
    scores = np.column_stack([one, 2 * one + 1, one])
    assert prototypes_table(model, spots, Said(scores, scores[:, :2]))["twin_r"].tolist()[:2] == pytest.approx([1, 1])
    scores[:, 1] = 5
    assert prototypes_table(model, spots, Said(scores, scores[:, :2]))["twin_r"].isna().all()


def test_a_pure_prototype_is_told_from_an_impure_one(spots, patches, model):
    score = np.zeros((40, 3), np.float32)
    score[:, 0] = spots["class"] == "NA"
    score[:, 2] = spots["class"] == "NA"
    table = prototypes_table(model, spots, Said(score, score[:, :2]))
    assert table["purity"][0] == 0.5  # all test spots, of which there are but 20
    more = pd.concat([spots] * 2, ignore_index=True).assign(barcode=[f"T{i}" for i in range(80)])
    table = prototypes_table(model, more, Said(np.tile(score, (2, 1)), np.zeros((80, 2), np.float32)))
    assert (table["purity"][0], table["purity"][2]) == (1.0, 0.0)


def test_pages_of_random_weights_say_so(spots, patches, model, tmp_path):
    assert "random weights" in weights_note(model)
    outputs = SimpleNamespace(
        history=tmp_path / "history.png",
        pages=tmp_path / "pages",
        figure=tmp_path / "figure.png",
        spots=tmp_path / "spots",
        table=tmp_path / "table.csv",
    )
    said = model.say(patches)
    history = pd.DataFrame(
        {"stage": ["joint"] * 3, "cycle": 1, "step": [1, 2, 3]}
        | dict.fromkeys(("loss", "cross_entropy", "cluster", "separation", "accuracy"), 0.5)
    )
    test = spots[spots["set"] == "test"]
    accuracy = accuracy_table(test, {"prototypes": test["class"], "shuffled classes": test["class"]}, 0)
    draw_model(model, said, patches, spots, history, accuracy, "gut", outputs)
    assert [path.name for path in outputs.pages.iterdir()] == ["page_1.png"]
    own = spots[spots["sample"] == "a"].reset_index(drop=True)
    explain_section(model, patches[:20], own, "a", shown=["S3"], per_kind=0, top_k=2, outputs=outputs)
    assert [path.name for path in outputs.spots.iterdir()] == ["named_S3"]
    assert len(pd.read_csv(outputs.table)) == 3
    assert np.asarray(Image.open(outputs.figure)).std() > 10


def test_a_section_without_spots_to_explain_has_an_empty_table(spots, patches, model, tmp_path):
    outputs = SimpleNamespace(spots=tmp_path / "spots", table=tmp_path / "t.csv", figure=tmp_path / "f.png")
    unused = spots.assign(set="unused")
    explain_section(model, patches, unused, "a", shown=[], per_kind=2, top_k=2, outputs=outputs)
    assert outputs.spots.is_dir()
    assert pd.read_csv(outputs.table).empty

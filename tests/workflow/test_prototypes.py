"""Prototypes through the workflow: what they make, what re-runs them, what they say of noise, what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from harness import Run, run_workflow, write_overlay
from PIL import Image

from spadework.keys import Keys

FOLDER = "results/gut/prototypes"
SECTION = "results/gut/gut.h5ad"
SPLIT = f"{FOLDER}/spots.csv"
TRAINING = {"pretrain_steps": 60, "warm_steps": 5, "joint_steps": 10, "cycles": 1, "last_layer_steps": 40}
# Small enough for seconds.
PROTOTYPES = {
    **{"classes": "cluster", "um": 100, "px": 32, "pool": 2, "dimension": 16, "top_cells": 4, "per_class": 2},
    **{"min_spots": 12, "training": TRAINING},
}
OVERLAY = {
    "encoder": {"names": ["colour_texture"]},
    "latents": {"n_latents": 2, "n_embed": 5},
    "association": {"mixed_model": False},
    "calibration": {"n_fields": 0},
    "prototypes": PROTOTYPES,
}


def rows(simulated: Path, clusters: Path, **more: object) -> list[dict[str, object]]:
    return [{"sample": "gut", "path": simulated / "outs", "species": "human", "clusters": clusters} | more]


def with_classes(**change: object) -> dict:
    return OVERLAY | {"prototypes": PROTOTYPES | change}


@pytest.fixture(scope="module")
def run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run: prototypes of the tissue types, and the section's AnnData."""
    sheet = rows(simulated, simulated / "truth/types.csv")
    return run_workflow(tmp_path_factory.mktemp("prototypes"), sheet, OVERLAY, SECTION, "prototypes")


def test_a_run_makes_prototypes_scores_and_explanations(run: Run):
    assert run.code == 0, run.output
    verdict = (run.folder / FOLDER / "verdict.txt").read_text()
    assert re.match(r"These classes can (in part )?be told from the image", verdict)
    accuracy = pd.read_csv(run.folder / FOLDER / "accuracy.csv", index_col="method")
    methods = ["prototypes", "shuffled classes", "most frequent class", "k-NN on colour_texture"]
    assert list(accuracy.index) == methods
    print(accuracy["balanced_accuracy"])
    assert accuracy["balanced_accuracy"]["prototypes"] > accuracy["balanced_accuracy"]["shuffled classes"] + 0.2
    for name in ("history", "accuracy", "prototypes/page_1", "explanations", "map"):
        assert np.asarray(Image.open(run.folder / FOLDER / f"figures/{name}.png")).std() > 10
    spots = pd.read_csv(run.folder / SPLIT, dtype=str)
    boxes = np.load(run.folder / FOLDER / "img/epoch-1/bb1.npy")
    table = pd.read_csv(run.folder / FOLDER / "prototypes.csv")
    assert len(boxes) == len(table)
    train = spots[spots["set"] == "train"].reset_index(drop=True)
    assert list(train["barcode"][boxes[:, 0]]) == list(table["source_barcode"])
    assert list(train["class"][boxes[:, 0]]) == list(table["class"])
    explained = pd.read_csv(run.folder / FOLDER / "explanations.csv")
    assert {"typical", "borderline"} == set(explained["kind"])
    folders = [p for p in (run.folder / FOLDER / "spots").iterdir() if (p / "explanation.txt").is_file()]
    assert len(folders) == explained["barcode"].nunique()
    assert not [name for name in run.results if "interrupted" in name]


def test_prototypes_are_in_the_final_anndata(run: Run):
    adata = ad.read_h5ad(run.folder / SECTION)
    scores = pd.read_parquet(run.folder / FOLDER / "scores.parquet").loc["gut"].loc[adata.obs_names]
    np.testing.assert_array_equal(adata.obs[Keys.PROTOTYPE_CLASS].astype(str), scores["prediction"])
    np.testing.assert_array_equal(adata.obs[Keys.PROTOTYPE_CONFIDENCE], scores["confidence"])
    kept = adata.uns[Keys.SPADE]["prototypes"]
    made = json.loads(kept["made"])
    assert (
        adata.obsm[Keys.PROTOTYPES].shape == (adata.n_obs, len(kept["table"])) == (len(scores), made["n_prototypes"])
    )
    # The prediction follows from what is kept.
    logits = adata.obsm[Keys.PROTOTYPES] @ np.array(made["weights_to_classes"])
    np.testing.assert_array_equal(np.array(made["classes"])[logits.argmax(axis=1)], scores["prediction"])
    parameters = json.loads(adata.uns[Keys.SPADE]["parameters"])
    assert parameters["prototypes"]["classes"] == "cluster"
    assert "top_k" not in parameters["prototypes"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, set()),
        ({"top_k": 2}, {"explain_patches"}),
        ({"neighbours": 3}, {"score_prototypes", "explain_patches", "collect_section"}),
        (
            {"training": TRAINING | {"joint_steps": 11}},
            {"train_prototypes", "train_control", "score_prototypes", "explain_patches", "collect_section"},
        ),
        ({"classes": None}, {"collect_section"}),
    ],
    ids=["nothing", "top_k", "neighbours", "training", "off"],
)
def test_only_what_a_change_concerns_runs_again(run: Run, change: dict, again: set[str]):
    assert run.code == 0, run.output
    targets = [SECTION] if "classes" in change else [SECTION, "prototypes"]
    dry = run_workflow(run.folder, None, with_classes(**change), "-n", *targets)
    write_overlay(run.folder, OVERLAY)
    assert dry.code == 0, dry.output
    assert dry.jobs().keys() - {"total", "prototypes"} == again


def test_a_spot_the_user_names_is_explained_and_an_unknown_one_is_refused(run: Run, simulated: Path, tmp_path: Path):
    assert run.code == 0, run.output
    train = pd.read_csv(run.folder / SPLIT, dtype=str).query("set == 'train'")["barcode"].iloc[0]
    for shown in (train, f"{train}0"):
        done = run_workflow(run.folder, None, with_classes(shown=[shown]), f"{FOLDER}/explanations.csv")
        if shown == train:
            assert done.code == 0, done.output
            assert set(done.jobs()) == {"explain_patches", "total"}
            table = pd.read_csv(run.folder / FOLDER / "explanations.csv")
            assert set(table.loc[table["kind"] == "named", "barcode"]) == {train}
    write_overlay(run.folder, OVERLAY)
    message = done.log("gut/prototypes/explain_patches.log").partition("spadework stopped at ")[2]
    assert done.code != 0
    assert f"prototypes.shown: {train}0, which no section has" in message
    assert f"did you mean {train}" in message


def test_of_classes_that_have_nothing_to_do_with_the_image_it_says_so(simulated: Path, tmp_path: Path):
    types = pd.read_csv(simulated / "truth/types.csv")
    # Of the shuffles by seeds 1 to 14, one (the first) was told "in part", by chance: intervals are of 95 %.
    types["label"] = np.random.default_rng(2).permutation(types["label"])
    types.to_csv(tmp_path / "shuffled.csv", index=False)
    done = run_workflow(tmp_path, rows(simulated, tmp_path / "shuffled.csv"), OVERLAY, f"{FOLDER}/verdict.txt")
    assert done.code == 0, done.output
    assert (tmp_path / FOLDER / "verdict.txt").read_text().startswith("These classes cannot be told from the image")


@pytest.fixture(scope="module")
def clustered(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which expression is done, with two classes, one of them of two spots."""
    folder = tmp_path_factory.mktemp("clustered")
    types = pd.read_csv(simulated / "truth/types.csv")
    types["label"] = ["rare"] * 2 + ["common"] * (len(types) - 2)
    types.to_csv(folder / "rare.csv", index=False)
    sheet = rows(simulated, folder / "rare.csv")
    assert run_workflow(folder, sheet, OVERLAY, "results/gut/expression/expression.h5ad").code == 0
    return folder


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        ({"classes": "clutser"}, ["no column 'clutser' in obs", "did you mean 'cluster'?"]),
        ({"classes": "total_counts"}, ["different numbers in obs['total_counts']"]),
        ({}, ["1 class with at least 12 spots", "rare (2 spots)", "two classes of at least 12 spots"]),
        ({"min_spots": 1000}, ["at least 1000 spots"]),
    ],
    ids=["unknown column", "measurements", "a class of two spots", "no class"],
)
def test_classes_that_are_none_are_refused_before_a_network_is_trained(
    clustered: Path, change: dict, phrases: list[str]
):
    done = run_workflow(clustered, None, with_classes(**change), SPLIT)
    assert done.code != 0
    message = done.log("gut/prototypes/split_spots.log").partition("spadework stopped at ")[2]
    assert not [phrase for phrase in phrases if phrase not in message], message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("overlay", "phrases"),
    [
        (with_classes(pool=3), ["one cell of the network sees 36 x 36 px, the whole patch", "prototypes.pool: 2"]),
        (
            with_classes(top_cells=65, scope="group"),
            ["at most 64: the map has 8 x 8 cells", "prototypes.scope: group and no group in the sample sheet"],
        ),
        (with_classes(backbone="large"), ["prototypes.backbone: large", "one of"]),
        (with_classes(classes=None), ["prototypes.classes: null", "set prototypes.classes: cluster"]),
    ],
    ids=["a cell sees the whole patch", "two mistakes", "unknown backbone", "no classes"],
)
def test_settings_that_cannot_be_are_said_before_anything_runs(
    simulated: Path, tmp_path: Path, overlay: dict, phrases: list[str]
):
    done = run_workflow(tmp_path, rows(simulated, simulated / "truth/types.csv"), overlay, "-n", "prototypes")
    assert done.code != 0
    assert not [phrase for phrase in phrases if phrase not in done.output], done.output


def test_weights_of_another_network_are_refused(simulated: Path, tmp_path: Path):
    (tmp_path / "resnet50.h5").write_bytes(b"weights")
    encoder = {"names": ["resnet50"], "weights": "resnet50.h5"}
    overlay = with_classes(backbone="vgg16") | {"encoder": encoder}
    done = run_workflow(tmp_path, rows(simulated, simulated / "truth/types.csv"), overlay, "-n", "prototypes")
    assert "weights file that is another network's" in done.output


def test_a_group_shares_prototypes_and_is_tested_on_what_is_held_out(simulated: Path, tmp_path: Path):
    sheet = rows(simulated, simulated / "truth/types.csv", group="series")
    sheet += [sheet[0] | {"sample": "held", "held_out": "yes"}, sheet[0] | {"sample": "alone", "group": ""}]
    overlay = with_classes(scope="group", backbone="vgg16") | {"encoder": {"names": ["dummy"], "weights": "imagenet"}}
    jobs = run_workflow(tmp_path, sheet, overlay, "-n", "prototypes").jobs()
    trained = {"split_spots", "train_prototypes", "train_control", "score_prototypes"}
    assert {rule: jobs[rule] for rule in trained} == dict.fromkeys(trained, 2)
    assert jobs["explain_patches"] == jobs["cut_prototype_patches"] == 3
    assert jobs["fetch_weights"] == 1
    spots = "results/cohort/series/prototypes/spots.csv"
    done = run_workflow(tmp_path, None, None, spots)
    assert done.code == 0, done.output
    sets = pd.read_csv(tmp_path / spots).groupby("sample")["set"].agg(set)
    assert sets["held"] <= {"test", "unused"}
    assert sets["gut"] <= {"train", "unused"}

"""A U-Net trained by the workflow: from labelled images to nuclei per spot, what re-runs it, and what stops it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import pytest
from harness import Run, command, environment, run_workflow, write_overlay
from PIL import Image

from spadework.arrays import read_arrays
from spadework.keys import NUCLEI, Keys
from spadework.simulation import simulate

MODEL = "results/unet/model.h5"
SECTION = "results/gut/gut.h5ad"
# Small enough for seconds; far from enough for good nuclei.
TRAINING = {"crop_px": 64, "steps_per_epoch": 25, "epochs": 6, "learning_rate": 0.01}
OBJECTS = {"core": 0.6, "min_area_px": 10}


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small simulated sections: one to train on, and another to look at."""
    folders = []
    for seed in (5, 6):
        folders.append(tmp_path_factory.mktemp(f"tissue_{seed}"))
        simulate(folders[-1], seed=seed, spot_rows=8, spot_columns=8, um_per_px=0.8, n_bulk=300, nuclei=seed == 5)
    return folders[0], folders[1]


@pytest.fixture(scope="module")
def overlay(tissue: tuple[Path, Path]) -> dict:
    tiles = tissue[0] / "truth/nuclei"
    return {
        "latents": {"n_latents": 2, "n_embed": 5},
        "association": {"mixed_model": False},
        "calibration": {"n_fields": 0},
        "nuclei": {"engine": "unet"},
        "unet": {
            "images": str(tiles / "image"),
            "labels": str(tiles / "label"),
            "source": "simulated tissue",
            "um_per_px": 0.8,
            "network": {"depth": 2, "width": 6},
            "training": TRAINING,
            "augmentation": {"elastic_px": 0},
            "objects": OBJECTS,
        },
    }


@pytest.fixture(scope="module")
def run(tissue: tuple[Path, Path], overlay: dict, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run, up to the section's AnnData, and the scores of the U-Net."""
    rows = [{"sample": "gut", "path": tissue[1] / "outs", "species": "human"}]
    return run_workflow(tmp_path_factory.mktemp("unet"), rows, overlay, SECTION, "unet")


def weights(folder: Path) -> list[np.ndarray]:
    return read_arrays(folder / MODEL)[0]["weights"]


def test_a_run_trains_scores_and_finds_nuclei(run: Run):
    assert run.code == 0, run.output
    assert {"list_training_images", "train_unet", "score_unet", "segment_nuclei", "count_nuclei"} <= run.jobs().keys()
    scores = pd.read_csv(run.folder / "results/unet/scores.csv", index_col="method")
    assert scores["object_f1"]["U-Net"] > scores["object_f1"]["all foreground"]
    assert len(pd.read_csv(run.folder / "results/unet/history.csv")) == TRAINING["epochs"]
    for name in ("unet/figures/history.png", "unet/figures/examples.png", "gut/nuclei/figures/outlines.png"):
        assert np.asarray(Image.open(run.folder / "results" / name)).std() > 10
    # What it was trained on stays with what it finds.
    found = pd.read_parquet(run.folder / "results/gut/nuclei/nuclei.parquet")
    assert found.attrs["segmenter"]["origin"]["source"] == "simulated tissue"


def test_nuclei_are_in_the_final_anndata_and_follow_those_that_were_drawn(run: Run, tissue: tuple[Path, Path]):
    adata = ad.read_h5ad(run.folder / SECTION)
    assert set(NUCLEI) <= set(adata.obs)
    assert adata.obsm[Keys.NUCLEI].shape == (adata.n_obs, len(NUCLEI))
    assert json.loads(adata.uns[Keys.SPADE]["parameters"])["nuclei"]["engine"] == "unet"
    truth = pd.read_csv(tissue[1] / "truth/spots.csv", index_col="barcode").loc[adata.obs_names, "nuclei"]
    r = np.corrcoef(adata.obs[Keys.NUCLEI_COUNT], truth)[0, 1]
    print(f"nuclei per spot, found and drawn: r = {r:.2f}")
    assert r > 0.7


@pytest.mark.parametrize(
    ("change", "trains"),
    [
        ({"objects": OBJECTS | {"threshold": 0.4}}, False),
        ({"training": TRAINING | {"epochs": 7}}, True),
    ],
)
def test_only_what_a_change_concerns_runs_again(run: Run, overlay: dict, change: dict, trains: bool):
    assert run.code == 0, run.output
    changed = overlay | {"unet": overlay["unet"] | change}
    again = run_workflow(run.folder, None, changed, "-n", SECTION, "unet").jobs()
    write_overlay(run.folder, overlay)
    assert {"score_unet", "segment_nuclei", "count_nuclei"} <= again.keys()
    assert ("train_unet" in again) == trains
    assert "list_training_images" not in again
    assert not {"read_section", "cluster_expression", "encode_patches"} & again.keys()


def kill_training(folder: Path, after: int) -> int:
    """Start the workflow, kill the training job (only that) after so many epochs, and return the exit code."""
    state = folder / "results/unet/interrupted.h5"
    with (folder / "killed.txt").open("w") as output:
        arguments = command(folder, MODEL)
        process = subprocess.Popen(arguments, env=environment(), stdout=output, stderr=output, cwd=folder)
        try:
            while not state.is_file() or len(read_arrays(state)[1]["history"]) < after:
                assert process.poll() is None, (folder / "killed.txt").read_text()
                time.sleep(0.02)
            for child in psutil.Process(process.pid).children(recursive=True):
                if re.search(r"\.snakemake/scripts/\w+\.train_unet\.py", " ".join(child.cmdline())):
                    child.kill()
            return process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()


def test_a_killed_training_goes_on_where_it_was(run: Run, overlay: dict, tmp_path: Path):
    assert run.code == 0, run.output
    (tmp_path / "samples.tsv").write_text((run.folder / "samples.tsv").read_text())
    write_overlay(tmp_path, overlay)
    assert kill_training(tmp_path, after=3) != 0
    assert not (tmp_path / MODEL).exists()
    again = run_workflow(tmp_path, None, None, MODEL)
    assert again.code == 0, again.output
    went_on = re.search(r"going on after epoch (\d) of an interrupted run", again.log("unet/train_unet.log"))
    assert went_on
    assert 3 <= int(went_on[1]) < TRAINING["epochs"]
    for cut, whole in zip(weights(tmp_path), weights(run.folder), strict=True):
        np.testing.assert_array_equal(cut, whole)
    assert "results/unet/interrupted.h5" not in again.results


def test_an_image_that_changes_trains_again_even_if_the_list_of_images_reads_the_same(
    run: Run, overlay: dict, tissue: tuple[Path, Path]
):
    assert run.code == 0, run.output
    image = next((tissue[0] / "truth/nuclei/image").iterdir())
    whole = image.read_bytes()
    try:
        pixels = np.asarray(Image.open(image)).copy()
        pixels[0, 0] = 255 - pixels[0, 0]
        Image.fromarray(pixels).save(image)
        listed = run_workflow(run.folder, None, overlay, "results/unet/images.csv")
        assert "list_training_images" in listed.jobs()
        assert "train_unet" in run_workflow(run.folder, None, overlay, "-n", MODEL).jobs()
    finally:
        image.write_bytes(whole)


def images(n: int) -> dict[str, np.ndarray]:
    """Return pictures and masks, by name of their files, that could be trained on."""
    rng, files = np.random.default_rng(0), {}
    for k in range(n):
        files[f"image/{k}.png"] = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        files[f"label/{k}.png"] = np.kron(np.eye(2, dtype=np.uint8), np.ones((16, 16), np.uint8))
    return files


@pytest.mark.parametrize(
    ("files", "at", "phrases"),
    [
        (images(4) | {"label/2.png": np.ones((16, 32), np.uint8)}, "label/2.png", ["32 x 16", "32 x 32"]),
        (
            images(2) | {f"label/{k}.png": np.zeros((32, 32), np.uint8) for k in range(2)},
            "label",
            ["without a single pixel of an object"],
        ),
        (images(1), "image", ["1 image", "give at least two images"]),
        (
            images(3) | {"label/1.png": np.eye(32, dtype=np.uint8)[..., None] * np.uint8([1, 2, 3])},
            "label/1.png",
            ["3 channels that differ", "unet.images and unet.labels are not swapped"],
        ),
    ],
    ids=["sizes differ", "all masks are empty", "one image", "masks in colour"],
)
def test_images_that_cannot_be_trained_on_are_named(
    tmp_path: Path, files: dict[str, np.ndarray], at: str, phrases: list[str]
):
    for name, pixels in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    named = {"images": str(tmp_path / "image"), "labels": str(tmp_path / "label")}
    earlier = tmp_path / MODEL
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"a model that took hours")
    done = run_workflow(tmp_path, None, {"samples": None, "unet": named}, MODEL, "-R", "list_training_images")
    assert done.code != 0
    assert earlier.exists()
    message = done.log("unet/list_training_images.log").partition("spadework stopped at ")[2]
    assert f"{tmp_path / at}\n" in message, done.output
    assert all(phrase in message for phrase in phrases), message
    assert "Traceback" not in message
    assert list(done.results) == [MODEL]


def test_without_a_sample_sheet_only_a_unet_can_be_made(tmp_path: Path):
    done = run_workflow(tmp_path, None, {"samples": None}, "-n")
    assert done.code != 0
    assert "set samples to the path of a sample sheet" in done.output

"""Nuclei through the workflow: what they add, what they re-run, and what they refuse.

A stand-in for StarDist finds them: what is tested is everything from there on.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from harness import ROOT, Run, run_workflow
from PIL import Image

from spadework.keys import NUCLEI, Keys
from spadework.simulation import simulate

MADE = (
    "labels.ome.tif",
    "nuclei.parquet",
    "clumps.parquet",
    "spots.csv",
    "figures/outlines.png",
    "figures/spots.png",
)
COVARIATES = ["log10_umi", "nuclei_density_mm2"]
TRAINED_ON_NOTHING = {"images": "nowhere", "labels": "nowhere"}


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated section on which nuclei can be seen."""
    folder = tmp_path_factory.mktemp("fine")
    simulate(folder, seed=5, spot_rows=11, spot_columns=11, um_per_px=0.7, n_bulk=400)
    return folder


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> dict:
    model = tmp_path_factory.mktemp("model") / "red"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"n_channel_in": 3, "red": 0.12}))
    return {
        "nuclei": {"engine": "stardist", "model": str(model), "um_per_px": 0.5},
        "association": {"covariates": COVARIATES},
    }


@pytest.fixture(scope="module")
def run(fine: Path, overlay: dict, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One complete run with nuclei."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "tests/fake_packages"))
        return run_workflow(tmp_path_factory.mktemp("nuclei"), rows(fine), overlay)


def rows(section: Path) -> list[dict[str, object]]:
    return [{"sample": "gut", "path": section / "outs", "species": "human"}]


def test_a_run_makes_nuclei_and_their_pictures(run: Run):
    assert run.code == 0, run.output
    made = {name for name in run.results if "/nuclei/" in name}
    assert made == {f"results/gut/nuclei/{name}" for name in MADE}
    assert re.search(
        r"blocks hold tissue[\s\S]*nuclei; left out: \d+ objects below 10 µm²", run.log("gut/segment_nuclei.log")
    )
    for name in MADE[-2:]:
        assert np.asarray(Image.open(run.folder / f"results/gut/nuclei/{name}")).std() > 10


def test_nuclei_are_in_the_final_anndata(run: Run):
    adata = ad.read_h5ad(run.folder / "results/gut/gut.h5ad")
    spots = pd.read_csv(run.folder / "results/gut/nuclei/spots.csv", index_col="barcode").loc[adata.obs_names]
    assert set(NUCLEI) <= set(adata.obs)
    np.testing.assert_allclose(adata.obs[list(NUCLEI)], spots, rtol=1e-5)
    assert adata.obsm[Keys.NUCLEI].dtype == np.float32
    np.testing.assert_allclose(adata.obsm[Keys.NUCLEI], spots[list(NUCLEI)], rtol=1e-5)
    assert json.loads(adata.uns[Keys.SPADE]["parameters"])["nuclei"]["engine"] == "stardist"


def test_counts_per_spot_follow_the_nuclei_that_were_drawn(run: Run, fine: Path):
    spots = pd.read_csv(run.folder / "results/gut/nuclei/spots.csv", index_col="barcode")
    truth = pd.read_csv(fine / "truth/spots.csv", index_col="barcode").loc[spots.index]
    assert np.corrcoef(spots[Keys.NUCLEI_COUNT], truth["nuclei"])[0, 1] > 0.75


def test_nothing_runs_again_and_without_nuclei_only_what_used_them(run: Run, overlay: dict):
    assert run_workflow(run.folder, None, None, "-n").jobs() == {}
    without = overlay["nuclei"] | {"engine": None}
    again = run_workflow(run.folder, None, {"nuclei": without}, "-n").jobs()
    assert not {"segment_nuclei", "count_nuclei", "cluster_expression", "encode_patches"} & again.keys()
    assert {"collect_section", "associate_genes"} <= again.keys()
    kept = {"nuclei": overlay["nuclei"]}
    assert "count_nuclei" not in run_workflow(run.folder, None, kept, "-n").jobs()
    smaller = {"nuclei": overlay["nuclei"] | {"min_area_um2": 30}, "association": {"covariates": COVARIATES}}
    again = run_workflow(run.folder, None, smaller, "-n").jobs()
    assert {"segment_nuclei", "count_nuclei", "associate_genes", "collect_section"} <= again.keys()
    assert not {"cluster_expression", "encode_patches", "embed_latents"} & again.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nuclei": {"engine": None}}, r"nuclei_density_mm2 with nuclei\.engine: null"),
        ({"nuclei": {"engine": "stardist"}}, "the folder of a StarDist model"),
        ({"nuclei": {"engine": "unet", "model": "no.h5"}}, "no such file"),
        ({"nuclei": {"engine": "unet", "model": str(ROOT / "README.md")}}, "no U-Net of this workflow"),
        ({"nuclei": {"engine": "unet"}}, r"nuclei\.model is null, and so is unet\.images"),
        ({"nuclei": {"engine": "unet", "um_per_px": 0.5}, "unet": TRAINED_ON_NOTHING}, "nowhere, which is not there"),
        ({"nuclei": {"engine": "stardist", "model": "nowhere", "um_per_px": 0.5}}, "no such folder"),
        ({"nuclei": {"engine": "cellpose"}}, "one of"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(fine: Path, tmp_path: Path, change: dict, message: str):
    done = run_workflow(tmp_path, rows(fine), {"association": {"covariates": COVARIATES}} | change, "-n")
    assert done.code != 0
    assert re.search(message, done.output), done.output


def test_a_coarse_image_is_refused_with_the_way_out(simulated: Path, overlay: dict, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/fake_packages"))
    done = run_workflow(tmp_path, rows(simulated), overlay, "--until", "segment_nuclei")
    assert done.code != 0
    assert "a nucleus of 8 µm would be 2.0 px wide" in done.log("gut/segment_nuclei.log")
    assert not [name for name in done.results if "/nuclei/" in name]

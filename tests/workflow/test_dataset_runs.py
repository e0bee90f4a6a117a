"""A section that is only a name in the sample sheet: fetched, verified, unpacked and analysed by one command."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import pytest
import yaml
from harness import Run, run_workflow
from server import Server, serving

NAME = "Sim_Section"
MATRIX, SPATIAL, IMAGE = f"{NAME}_filtered_feature_bc_matrix.h5", f"{NAME}_spatial.tar.gz", f"image/{NAME}_image.tif"
ROWS = [{"sample": "s", "path": f"dataset:{NAME}", "image": f"dataset:{NAME}", "species": "human"}]
CACHE = f"resources/cache/datasets/{NAME}"
# What takes time and does not depend on where a section comes from.
QUICK = {"latents": {"n_latents": 2}, "association": {"mixed_model": False}, "calibration": {"n_fields": 0}}
FINAL, READ = "results/s/s.h5ad", "results/s/ingest/spots.h5ad"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def published(outs_half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror's folder with one section, packed as 10x publishes it."""
    folder = tmp_path_factory.mktemp("mirror")
    files = folder / NAME
    (files / "image").mkdir(parents=True)
    shutil.copy(outs_half / "filtered_feature_bc_matrix.h5", files / MATRIX)
    shutil.copy(outs_half / "tissue_image.tif", files / IMAGE)
    with tarfile.open(files / SPATIAL, "w:gz") as tar:
        tar.add(outs_half / "spatial", "spatial")
    return folder


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    with serving(published) as running:
        yield running


def settings(folder: Path, published: Path, mirror: str, **changes: object) -> dict[str, Any]:
    """Write a registry with the published section and return the configuration that names it."""
    files = {
        name: {"name": Path(name).name, "sha256": digest(published / NAME / name)}
        for name in (MATRIX, SPATIAL, IMAGE)
    }
    entry = {
        "what": "a simulated section",
        "platform": "visium",
        "licence": "CC0",
        "citation": "nobody",
        "urls": ["https://data.example/section"],
        "files": [files[MATRIX] | changes, files[SPATIAL]],
        "image": files[IMAGE],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump({NAME: entry}))
    return {"datasets": {"registry": "own.yaml", "mirror": mirror}}


def fetched(server: Server) -> list[str]:
    return sorted(path.removeprefix(f"/{NAME}/") for _, path, _ in server.requests)


def fill(folder: Path, published: Path) -> Path:
    """Put the files where downloads go, as old as a copy that keeps its date may be."""
    cache = Path(shutil.copytree(published / NAME, folder / CACHE))
    for path in cache.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return cache


def assert_says(run: Run, log: str, *phrases: str) -> None:
    assert run.code != 0
    assert "Traceback" not in run.output
    for phrase in phrases:
        assert phrase in run.output + run.log(log), phrase


def test_one_command_fetches_verifies_and_runs_and_a_second_does_nothing(published, server, tmp_path):
    server.cut_after = [70_000]
    run = run_workflow(tmp_path, ROWS, QUICK | settings(tmp_path, published, server.url), FINAL)
    assert run.code == 0, run.output
    assert run.jobs()["download_file"] == 3
    assert set(fetched(server)) == {MATRIX, SPATIAL, IMAGE}
    assert sum(asked is not None for _, _, asked in server.requests) == 1  # what was cut was resumed
    section = ad.read_h5ad(tmp_path / FINAL)
    kept = section.uns["spade"]["digests"]
    assert {name: kept[Path(name).name] for name in (MATRIX, SPATIAL, IMAGE)} == {
        name: f"sha256:{digest(published / NAME / name)}" for name in (MATRIX, SPATIAL, IMAGE)
    }
    assert section.uns["spade"]["patch"]["image"] == "fullres"
    there = sorted(str(p.relative_to(tmp_path / CACHE)) for p in (tmp_path / CACHE).rglob("*") if p.is_file())
    assert there == sorted([MATRIX, SPATIAL, IMAGE])

    # Another mirror, and none that answers: neither is a reason to do anything again.
    again = run_workflow(tmp_path, None, QUICK | settings(tmp_path, published, "http://127.0.0.1:9"), FINAL)
    assert again.code == 0
    assert "Nothing to be done" in again.output


def test_without_the_image_in_the_sheet_it_is_not_fetched(published, server, tmp_path):
    row = {k: v for k, v in ROWS[0].items() if k != "image"}
    run = run_workflow(tmp_path, [row], settings(tmp_path, published, server.url), READ)
    assert run.code == 0, run.output
    assert fetched(server) == [MATRIX, SPATIAL]


def test_a_filled_cache_needs_no_network_and_is_never_removed(published, tmp_path):
    cache = fill(tmp_path, published)
    run = run_workflow(tmp_path, ROWS, settings(tmp_path, published, "http://127.0.0.1:9"), READ)
    assert run.code == 0, run.output
    assert "download_file" not in run.jobs()
    assert (cache / MATRIX).stat().st_mtime == 1e9


def test_a_wrong_file_in_the_cache_is_refused(published, tmp_path):
    (fill(tmp_path, published) / MATRIX).write_bytes(b"something else")
    run = run_workflow(tmp_path, ROWS, settings(tmp_path, published, "http://127.0.0.1:9"), READ)
    assert_says(
        run, "s/read_section.log", f"s: {CACHE}/{MATRIX}", "as the registry of datasets has it", "delete the file"
    )
    assert READ not in run.results


def test_a_file_without_a_checksum_is_never_fetched_but_taken_from_the_cache(published, server, tmp_path):
    overlay = settings(tmp_path, published, server.url, sha256=None)
    run = run_workflow(tmp_path, ROWS, overlay, READ)
    assert_says(run, "", f"{CACHE}/{MATRIX}", "whose checksum is not known", "put it there")
    assert server.requests == []
    fill(tmp_path, published)
    assert run_workflow(tmp_path, None, None, READ).code == 0
    section = ad.read_h5ad(tmp_path / READ)
    assert section.uns["spade"]["digests"][MATRIX] == f"sha256:{digest(published / NAME / MATRIX)}"


def test_a_refused_download_fails_with_one_message(published, server, tmp_path):
    server.status = 403
    row = {k: v for k, v in ROWS[0].items() if k != "image"}
    run = run_workflow(tmp_path, [row], settings(tmp_path, published, server.url), READ)
    log = f"datasets/{NAME}/{MATRIX}.log"
    assert_says(run, log, f"{NAME}: {CACHE}/{MATRIX}", "the server answers 403 Forbidden", "datasets.mirror")
    assert not [p for p in (tmp_path / CACHE).rglob("*") if p.is_file()]

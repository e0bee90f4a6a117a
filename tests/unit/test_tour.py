"""What `make demo` says at its end."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from spadework.tour import tour


@pytest.fixture
def folder(tmp_path):
    section = tmp_path / "results/gut"
    (section / "vgg16").mkdir(parents=True)
    (section / "vgg16/latents.csv").write_text("latent,moran_i\n1,0.5\n")
    return section


def test_nuclei_are_listed_where_there_are_some(folder):
    assert "Nuclei:" not in tour(folder)
    (folder / "nuclei").mkdir()
    (folder / "nuclei/spots.csv").write_text("barcode,nuclei_count\nA,3\nB,4\n")
    pd.DataFrame({"label": range(1, 10)}).to_parquet(folder / "nuclei/nuclei.parquet")
    said = tour(folder)
    assert "7 of 9 nuclei, in 2 spots" in said
    assert "U-Net" not in said
    (folder.parent / "unet").mkdir()
    (folder.parent / "unet/scores.csv").write_text("method,object_f1\nU-Net,0.876\nOtsu,0.5\n")
    assert "object F1 0.88, without a network 0.50" in tour(folder)


def test_prototypes_are_listed_with_their_verdict(folder):
    assert "Prototypes:" not in tour(folder)
    own = folder / "prototypes"
    own.mkdir()
    (own / "explanations.csv").write_text("barcode\n")
    shared = folder.parent / "cohort/series/prototypes"
    shared.mkdir(parents=True)
    (shared / "verdict.txt").write_text("These classes cannot be told.\n")
    (shared / "spots.csv").write_text("sample,barcode\nother,A\n")
    assert "cannot be told" not in tour(folder)
    (shared / "spots.csv").write_text(f"sample,barcode\nother,A\n{folder.name},B\n")
    said = tour(folder)
    assert f"{own}/figures/map.png" in said
    assert f"{shared}/figures/accuracy.png" in said
    assert "  These classes cannot be told." in said
    (own / "verdict.txt").write_text("These classes can be told.\n")
    (own / "spots.csv").write_text(f"sample,barcode\n{folder.name},B\n")
    os.utime(shared / "verdict.txt", (1, 1))
    said = tour(folder)
    assert "These classes can be told." in said
    assert "cannot" not in said


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results"):
        tour(tmp_path)

"""What the scripts of the volume read is what was written, whatever sections and spots are called."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from planted_blocks import planted_block

from spadework.tables import read_block_table, read_places, write_csv
from spadework.volume.pairs import read_volumes
from spadework.volume.stack import write_stack

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAMES = {"one": "NA", "two": "007", "three": "null"}


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    barcodes = table["barcode"].replace({"4x4": "NaN", "5x5": "12"})
    return table.assign(sample=table["sample"].replace(NAMES), barcode=barcodes)


def test_sections_and_spots_of_any_name_are_rasterised(tmp_path):
    block = planted_block()
    stack = replace(block.stack, samples=tuple(NAMES.values()))
    write_stack(stack, tmp_path / "stack.h5")
    write_csv(renamed(block.spots), tmp_path / "spots.csv")
    write_csv(renamed(block.domains), tmp_path / "domains.csv")
    files = {name: str(tmp_path / f"{name}.csv") for name in ("spots", "domains")}
    job = SimpleNamespace(
        input=SimpleNamespace(stack=str(tmp_path / "stack.h5"), **files),
        output=[str(tmp_path / "volumes.h5")],
        params=SimpleNamespace(target="domains"),
        log=[str(tmp_path / "log")],
    )
    runpy.run_path(str(SCRIPTS / "rasterise_targets.py"), {"snakemake": job})
    volumes = read_volumes(tmp_path / "volumes.h5")
    assert volumes.planes == tuple(NAMES.values())
    target = volumes.pairs[0].target
    # As many voxels in each: no spot was lost.
    assert (target >= 0).any(axis=(1, 2)).all()
    spots = renamed(block.spots).merge(renamed(block.domains), on=["sample", "barcode"])
    at = (spots[["y_um", "x_um"]].to_numpy() // stack.voxel_um).astype(int)
    planes = spots["sample"].map({name: k for k, name in enumerate(stack.samples)})
    np.testing.assert_array_equal(target[planes, at[:, 0], at[:, 1]], spots["domain"].map({"a": 0, "b": 1, "c": 2}))


def test_places_are_found_by_the_name_of_the_section(tmp_path):
    spots = renamed(planted_block().spots)
    write_csv(spots, tmp_path / "spots.csv")
    table = read_block_table(tmp_path / "spots.csv")
    for column in ("sample", "barcode"):
        assert list(table[column]) == list(spots[column])
    for name in NAMES.values():
        places = read_places([tmp_path / "spots.csv"], name)
        assert list(places.index) == list(spots.loc[spots["sample"] == name, "barcode"])
        assert places["x_um"].dtype == np.float64
    assert read_places([], "NA") is None

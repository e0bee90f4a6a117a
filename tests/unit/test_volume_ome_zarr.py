"""What is written as OME-Zarr is what a reader of the format finds, where it is in the tissue."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from planted_blocks import VOXEL, planted_block

from spadework.job import allow_unused
from spadework.volume.export import write_viewers_files
from spadework.volume.ome_zarr import Labels, write_volume
from spadework.volume.rasterise import rasterise

COLOURS = {"a": "#FF0000", "b": "#00FF00", "c": "#0000FF"}


def read(path: Path) -> dict[str, dict]:
    """All nodes as the ome-zarr library sees them: name of the folder -> data and metadata."""
    allow_unused()
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    nodes = {}
    for node in Reader(parse_url(path))():
        nodes[node.zarr.basename()] = {
            "data": [np.asarray(level) for level in node.data],
            "metadata": node.metadata,
        }
    return nodes


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    block = planted_block(z_um=(5.0, 21.0, 61.0))
    stain = np.pad(block.stack.stain, ((0, 0), (0, 64), (0, 128), (0, 0)), constant_values=255)
    tissue = np.pad(block.stack.tissue, ((0, 0), (0, 64), (0, 128)))
    stack = type(block.stack)(block.stack.samples, block.stack.z_um, VOXEL, stain, tissue, block.stack.sequenced)
    labels = {"measured": Labels(np.where(tissue, 2, 0).astype(np.uint16), ["a", "b"], ["#FF0000", "#00FF00"])}
    path = tmp_path_factory.mktemp("zarr") / "volume.ome.zarr"
    write_volume(path, stack, labels, {}, (), "planted")
    return path, stack


def test_the_reader_finds_the_stain_and_the_labels(written):
    path, stack = written
    nodes = read(path)
    assert set(nodes) == {"volume.ome.zarr", "labels", "measured"}
    np.testing.assert_array_equal(nodes["volume.ome.zarr"]["data"][0], np.moveaxis(stack.stain, -1, 0))
    np.testing.assert_array_equal(nodes["measured"]["data"][0], np.where(stack.tissue, 2, 0))
    assert nodes["measured"]["metadata"]["color"][2] == pytest.approx([0, 1, 0, 1])
    assert nodes["measured"]["metadata"]["properties"][2] == {"name": "b"}


def test_labels_are_listed_once(tmp_path):
    stack = planted_block().stack
    one, two = (Labels(np.where(stack.tissue, k, 0).astype(np.uint8), ["a", "b"], ["red", "blue"]) for k in (1, 2))
    write_volume(tmp_path / "v", stack, {"one": one, "two": two}, {}, (), "planted")
    assert json.loads((tmp_path / "v/labels/.zattrs").read_text())["labels"] == ["one", "two"]
    label = json.loads((tmp_path / "v/labels/two/.zattrs").read_text())["image-label"]
    assert label["source"] == {"image": "../../"}
    assert label["colors"][1] == {"label-value": 2, "rgba": [0, 0, 255, 255]}


def test_the_pyramid_halves_width_and_height_and_keeps_the_sections(written):
    path, stack = written
    levels = read(path)["volume.ome.zarr"]["data"]
    assert [level.shape for level in levels] == [(3, 3, 128, 192), (3, 3, 64, 96)]
    pixels = np.moveaxis(stack.stain, -1, 0).astype(float)
    mean = pixels.reshape(3, 3, 64, 2, 96, 2).mean(axis=(3, 5))
    assert np.abs(levels[1] - mean).max() <= 0.5


def test_voxels_are_where_they_are_in_the_block(written):
    path, stack = written
    attributes = json.loads((path / ".zattrs").read_text())
    (multiscale,) = attributes["multiscales"]
    assert [(a["name"], a.get("unit")) for a in multiscale["axes"]] == [
        ("c", None),
        ("z", "micrometer"),
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]
    for k, dataset in enumerate(multiscale["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        assert scale["scale"] == [1, 28.0, VOXEL * 2**k, VOXEL * 2**k]
        # the middle of the first voxel; levels begin at the same corner
        assert translation["translation"] == [0, 5.0, VOXEL * 2**k / 2, VOXEL * 2**k / 2]
    labels = json.loads((path / "labels" / "measured" / ".zattrs").read_text())
    own = labels["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert own[0]["scale"] == [28.0, VOXEL, VOXEL]
    assert own[1]["translation"] == [5.0, VOXEL / 2, VOXEL / 2]
    assert [s["z_um"] for s in attributes["spadework"]["sections"]] == [5.0, 21.0, 61.0]
    assert [s["name"] for s in attributes["spadework"]["sections"]] == list(stack.samples)


def test_labels_are_not_mixed_in_the_pyramid(tmp_path):
    block = planted_block()
    big = {name: np.repeat(np.repeat(getattr(block.stack, name), 2, 1), 2, 2) for name in ("stain", "tissue")}
    stack = type(block.stack)(block.stack.samples, block.stack.z_um, VOXEL, big["stain"], big["tissue"], (True,) * 3)
    either = np.random.default_rng(0).choice([0, 6], stack.tissue.shape).astype(np.uint8)
    write_volume(tmp_path / "v", stack, {"x": Labels(either, list("abcdef"), ["red"] * 6)}, {}, (), "x")
    levels = read(tmp_path / "v")["x"]["data"]
    assert len(levels) == 2
    np.testing.assert_array_equal(levels[1], either[:, ::2, ::2])


@pytest.mark.parametrize("target", ["domains", "latents"])
def test_a_block_for_viewers(tmp_path, target: str):
    block = planted_block(stained=("two",))
    volumes = rasterise(block.stack, block.spots, block.domains, target=target)
    k = len(volumes.outputs)
    prediction = np.random.default_rng(0).random((*block.stack.tissue.shape, k)).astype(np.float32)
    zarr, nifti = tmp_path / "volume.ome.zarr", tmp_path / "nifti"
    write_viewers_files(block.stack, volumes, prediction, COLOURS, "block", zarr=zarr, nifti=nifti)
    tissue, measured = block.stack.tissue, volumes.pairs[0].target
    nodes = read(zarr)
    np.testing.assert_array_equal(nodes["tissue"]["data"][0], tissue)
    if target == "domains":
        np.testing.assert_array_equal(nodes["measured"]["data"][0], measured + 1)
        expected = np.where(tissue, prediction.argmax(-1) + 1, 0)
        np.testing.assert_array_equal(nodes["predicted"]["data"][0], expected)
        assert nodes["predicted"]["metadata"]["color"][3] == pytest.approx([0, 0, 1, 1])
        assert (nifti / "labels.csv").read_text().splitlines()[1] == "1,a,#FF0000"
    else:
        for name, volume in (("measured", measured), ("predicted", np.where(tissue[..., None], prediction, np.nan))):
            found = next(iter(read(zarr / name).values()))
            np.testing.assert_array_equal(found["data"][0], np.moveaxis(volume, -1, 0))
        assert not (nifti / "labels.csv").exists()
    expected = {"stain.nii.gz", "measured.nii.gz", "predicted.nii.gz", "planes.json"}
    assert {p.name for p in nifti.iterdir()} - {"labels.csv"} == expected


@pytest.mark.parametrize("z_um", [(5.0, 21.0, 61.0), (32.0,)])
def test_both_formats_say_the_same_of_where_a_voxel_is(tmp_path, z_um: tuple[float, ...]):
    block = planted_block(z_um=z_um)
    volumes = rasterise(block.stack, block.spots, block.domains, target="domains")
    prediction = np.zeros((*block.stack.tissue.shape, 3), np.float32)
    zarr, nifti = tmp_path / "v", tmp_path / "nifti"
    write_viewers_files(block.stack, volumes, prediction, COLOURS, "block", zarr=zarr, nifti=nifti)
    (multiscale,) = json.loads((zarr / ".zattrs").read_text())["multiscales"]
    scale, shift = multiscale["datasets"][0]["coordinateTransformations"]
    voxels = np.array([[0, 0, 0], [2, 5, 9]])  # z, y, x
    places = (voxels * scale["scale"][1:] + shift["translation"][1:])[:, ::-1]  # x, y, z in µm
    affine = nib.load(nifti / "stain.nii.gz").affine
    found = nib.affines.apply_affine(affine, voxels[:, ::-1]) * 1e3 * [-1, -1, 1]  # x and y point to left and back
    np.testing.assert_allclose(found, places, atol=1e-3)

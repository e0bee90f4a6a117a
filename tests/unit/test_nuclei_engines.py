"""What labels nuclei: the U-Net's foreground, cut at waists or not, and StarDist."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from packages import ROOT
from skimage.draw import disk

from spadework.errors import InputError
from spadework.nuclei.engines import UNetSegmenter, load_segmenter
from spadework.unet.objects import Objects, cut_at_waists

WHOLE = (slice(0, None), slice(0, None))
SETTINGS = {"objects": Objects(), "um_per_px": 0.5, "device": "cpu"}


def discs(*where: tuple[int, int, int], shape=(80, 120)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for row, column, radius in where:
        mask[disk((row, column), radius, shape=shape)] = True
    return mask


def segment(mask: np.ndarray, **objects) -> np.ndarray:
    def foreground(pixels: np.ndarray, part: tuple[slice, slice]) -> np.ndarray:
        return np.where(mask, 0.6, 0.4).astype(np.float32)[part]

    segmenter = UNetSegmenter(foreground, 0.5, 20, 8, Objects(**{"core": 0.5, "min_area_px": 1} | objects))
    return segmenter.segment(np.zeros((*mask.shape, 3), np.uint8), WHOLE)


def test_foreground_that_touches_by_an_edge_is_one_nucleus_and_by_a_corner_two():
    mask = np.zeros((6, 6), bool)
    mask[0:2, 0:2] = mask[2:4, 2:4] = mask[2:4, 4:6] = True
    labels = segment(mask)
    assert labels.max() == 2
    assert labels[0, 0] != labels[2, 2] == labels[3, 5]
    assert segment(mask, core=0.7).max() == 0
    np.testing.assert_array_equal(segment(mask, core=0.3, threshold=0.3), 1)


def test_watershed_parts_what_touches_and_keeps_what_does_not():
    touching = discs((30, 30, 12), (30, 50, 12), (60, 100, 9))
    assert segment(touching).max() == 2
    labels = segment(touching, watershed=True)
    assert labels.max() == 3
    assert labels[30, 30] != labels[30, 50]
    np.testing.assert_array_equal(labels > 0, touching)


def test_watershed_keeps_threads_and_specks():
    mask = discs((30, 30, 12))
    mask[70, 20:60] = mask[5, 100] = True
    labels = cut_at_waists(mask.astype(np.int32), 1.5)
    np.testing.assert_array_equal(labels > 0, mask)
    assert labels.max() == 3


@pytest.fixture
def stardist(monkeypatch, tmp_path) -> Path:
    """A model's folder, and a package to read it with."""
    monkeypatch.syspath_prepend(ROOT / "tests/fake_packages")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "he").mkdir()
    (tmp_path / "he/config.json").write_text(json.dumps({"n_channel_in": 3, "red": 0.5}))
    yield tmp_path / "he"
    for name in [n for n in sys.modules if n.split(".")[0] == "stardist"]:
        del sys.modules[name]


def test_stardist_is_asked_through_its_own_package(stardist):
    segmenter = load_segmenter("stardist", stardist, **SETTINGS)
    assert (segmenter.um_per_px, segmenter.context_px, segmenter.step_px) == (0.5, 2, 8)
    pixels = np.full((40, 50, 3), 255, np.uint8)
    pixels[10:20, 10:20] = pixels[10:20, 30:40] = 60
    labels = segmenter.segment(pixels, WHOLE)
    assert labels.dtype == np.int32
    assert labels.max() == 2
    assert segmenter.describe() == {
        "engine": "stardist", "model": "he", "prob_threshold": 0.5, "nms_threshold": 0.4
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "um_per_px", "message"),
    [
        ({"n_channel_in": 1, "red": 0.5}, 0.5, "images with 1 channel"),
        ({"n_channel_in": 3, "red": 0.5}, None, "um_per_px: null"),
        (None, 0.5, "no config.json"),
    ],
)
def test_a_stardist_model_that_does_not_fit_is_refused(stardist, config, um_per_px, message):
    if config:
        (stardist / "config.json").write_text(json.dumps(config))
    else:
        (stardist / "config.json").unlink()
    with pytest.raises(InputError, match=message):
        load_segmenter("stardist", stardist, **SETTINGS | {"um_per_px": um_per_px})


def test_without_stardist_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stardist", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match=r"envs/stardist\.yaml"):
        load_segmenter("stardist", tmp_path, **SETTINGS)


def fake_unet(monkeypatch, **net) -> None:
    module = ModuleType("spadework.unet.model")
    architecture = SimpleNamespace(channels=3, padding="valid", context=24, margin=20, step=8)
    made = SimpleNamespace(architecture=architecture, origin={"seed": 0}, foreground=None, um_per_px=0.4)
    made.__dict__.update(net)
    module.UNet = SimpleNamespace(load=lambda path, device: made)
    monkeypatch.setitem(sys.modules, "spadework.unet", ModuleType("spadework.unet"))
    monkeypatch.setitem(sys.modules, "spadework.unet.model", module)


def test_a_unet_says_its_scale_and_surroundings_itself(monkeypatch):
    fake_unet(monkeypatch)
    unset = SETTINGS | {"um_per_px": None}
    segmenter = load_segmenter("unet", "model.h5", **unset)
    assert (segmenter.um_per_px, segmenter.context_px, segmenter.step_px) == (0.4, 20, 8)
    assert load_segmenter("unet", "model.h5", **SETTINGS).um_per_px == 0.5
    fake_unet(monkeypatch, um_per_px=None)
    with pytest.raises(InputError, match=r"set nuclei\.um_per_px"):
        load_segmenter("unet", "model.h5", **unset)


def test_a_unet_of_grey_images_is_refused(monkeypatch):
    fake_unet(monkeypatch, architecture=SimpleNamespace(channels=1))
    with pytest.raises(InputError, match="trained on grey images"):
        load_segmenter("unet", "model.h5", **SETTINGS)

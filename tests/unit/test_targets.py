"""What the rules are told of files: the training images of a U-Net."""

from __future__ import annotations

from pathlib import Path

import pytest

from spadework import targets
from spadework.errors import InputError
from spadework.targets import growing, training_digest, training_mb


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """In one process, files change; in a run, they do not."""
    targets._digest.cache_clear()


@pytest.fixture
def unet(tmp_path: Path) -> dict:
    for name in ("image/a.png", "image/b.png", "label/a.png", "label/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return {"unet": {"images": str(tmp_path / "image"), "labels": str(tmp_path / "label"), "names": None}}


def test_the_digest_of_training_images_is_that_of_their_contents(unet: dict, tmp_path: Path):
    before = training_digest(unet)
    (tmp_path / "image/a.png").touch()
    (tmp_path / "image/.DS_Store").write_bytes(b"seen by a file manager")
    assert training_digest(unet) == before
    (tmp_path / "label/a.png").write_bytes(b"label/c.png")  # of the same size
    targets._digest.cache_clear()
    changed = training_digest(unet)
    assert changed != before
    (tmp_path / "label/a.png").rename(tmp_path / "label/c.png")
    assert training_digest(unet) not in (before, changed)


def test_the_digest_of_a_folder_per_image_sees_every_mask(tmp_path: Path):
    for name in ("1/images/1.png", "1/masks/x.png", "1/masks/y.png", "2/images/2.png", "2/masks/x.png"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(name.encode())
    config = {"unet": {"images": str(tmp_path / "all"), "labels": str(tmp_path / "all"), "names": None}}
    before = training_digest(config)
    (tmp_path / "all/1/masks/y.png").unlink()
    changed = training_digest(config)
    assert changed != before
    (tmp_path / "all/2/masks/x.png").write_bytes(b"another")
    targets._digest.cache_clear()
    assert training_digest(config) not in (before, changed)


def test_the_digest_sees_what_the_reader_reads_and_nothing_else(tmp_path: Path):
    """Labels in a folder called masks, changed without a change of size; an image behind a link; other files."""
    (tmp_path / "data/masks").mkdir(parents=True)
    mask = tmp_path / "data/masks/a.tif"
    mask.write_bytes(b"1234")
    (tmp_path / "elsewhere/images").mkdir(parents=True)
    (tmp_path / "elsewhere/images/a.png").write_bytes(b"a")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    data = str(tmp_path / "data")
    digest = {}
    for name, labels in (("before", data), ("masks", f"{data}/masks")):
        digest[name] = training_digest({"unet": {"images": data, "labels": labels, "names": None}})
    (tmp_path / "data/results/nuclei/deep").mkdir(parents=True)
    (tmp_path / "data/results/nuclei/deep/log.txt").write_bytes(b"anything")
    (tmp_path / "data/.ipynb_checkpoints/images").mkdir(parents=True)
    (tmp_path / "data/.ipynb_checkpoints/images/a.png").write_bytes(b"a")
    config = {"unet": {"images": data, "labels": data, "names": None}}
    assert training_digest(config) == digest["before"]
    (tmp_path / "elsewhere/images/a.png").write_bytes(b"b")
    targets._digest.cache_clear()
    assert training_digest(config) != digest["before"]
    mask.write_bytes(b"4321")
    targets._digest.cache_clear()
    assert training_digest({"unet": {"images": data, "labels": f"{data}/masks", "names": None}}) != digest["masks"]


def test_memory_for_training_follows_the_size_of_the_images(unet: dict, tmp_path: Path):
    (tmp_path / "image/c.tif").write_bytes(bytes(2_000_000))
    ask = growing({}, 3000, 40, besides=lambda: training_mb(unet))
    assert ask(None, [], 1) == 3080
    assert ask(None, [], 2) == 6160


@pytest.mark.parametrize("key", ["images", "labels"])
def test_training_images_that_are_not_there_are_named(unet: dict, key: str):
    unet["unet"][key] = "nowhere"
    with pytest.raises(InputError, match=rf"unet.{key}: nowhere, which is not there"):
        training_digest(unet)

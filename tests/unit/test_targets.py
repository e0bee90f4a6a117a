"""What the rules are told of files: the training images of a U-Net, and what is made of prototypes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from spadework import targets
from spadework.errors import InputError
from spadework.samples import Sample
from spadework.targets import growing, training_digest, training_mb

ROOT = Path(__file__).parents[2]


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


SAMPLES = {
    "a": Sample("a", Path("a"), group="series"),
    "b": Sample("b", Path("b"), group="series", held_out=True),
    "c": Sample("c", Path("c")),
}


def with_prototypes(**settings: object) -> dict:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, {"prototypes": {"classes": "cluster"} | settings})
    return config


def test_sections_have_prototypes_of_their_own_or_share_them():
    config = with_prototypes()
    assert targets.prototype_units(SAMPLES, config) == {"a": ["a"], "b": ["b"], "c": ["c"]}
    assert targets.tested_on("b", SAMPLES, config) == []
    shared = with_prototypes(scope="group")
    assert targets.prototype_units(SAMPLES, shared) == {"cohort/series": ["a", "b"], "c": ["c"]}
    assert targets.tested_on("cohort/series", SAMPLES, shared) == ["b"]
    assert targets.tested_on("c", SAMPLES, shared) == []
    outputs = targets.final_outputs(SAMPLES, shared)
    assert outputs.count("results/cohort/series/prototypes/verdict.txt") == 1
    assert "results/b/prototypes/figures/map.png" in outputs
    assert "results/b/prototypes/verdict.txt" not in outputs
    assert targets.prototype_files(SAMPLES["b"], shared, "x.csv") == ["results/cohort/series/prototypes/x.csv"]


def test_without_classes_there_is_nothing_of_prototypes():
    config = with_prototypes(classes=None)
    assert not [path for path in targets.final_outputs(SAMPLES, config) if "/prototypes/" in path]
    assert "prototypes" not in targets.result_parameters(config)
    assert targets.prototype_files(SAMPLES["a"], config, "x.csv") == []
    with pytest.raises(InputError, match=r"prototypes\.classes: null"):
        targets.prototype_outputs(SAMPLES, config)
    idle = targets.benchmark_patterns(SAMPLES, config, {})["idle"]
    assert {"train_prototypes.tsv", "cut_prototype_patches.tsv"} <= set(idle)


def test_what_is_only_drawn_is_no_parameter_of_the_results():
    kept = targets.result_parameters(with_prototypes(top_k=3))["prototypes"]
    assert kept == targets.result_parameters(with_prototypes(top_k=4))["prototypes"]
    assert kept != targets.result_parameters(with_prototypes(um=60))["prototypes"]


def test_weights_are_fetched_for_prototypes_of_vgg16_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for backbone, fetched in (("small", []), ("vgg16", ["vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"])):
        config = with_prototypes(backbone=backbone)
        config["encoder"]["names"] = ["colour_texture"]
        assert targets.weights_to_fetch(config) == fetched
        assert len(targets.backbone_weights(config)) == len(fetched)
        assert bool(targets.backbone_checksum(config)) == bool(fetched)
        config["encoder"]["weights"] = "seeded"
        assert targets.backbone_weights(config) == []

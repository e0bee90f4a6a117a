"""What the rules are told of files: training images of a U-Net, what is made of prototypes and of volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from spadework import targets
from spadework.errors import InputError, SpadeworkError
from spadework.samples import STAINED, Sample
from spadework.targets import growing, training_digest, training_mb
from spadework.volume import plan

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


def test_what_is_only_shown_is_no_parameter_of_the_results():
    config = with_prototypes(classes=None)
    shown = config | {"report": config["report"] | {"genes": ["COL1A1"]}, "figures": config["figures"] | {"dpi": 50}}
    assert targets.result_parameters(shown) == targets.result_parameters(config)


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


def section(name: str, block: str = "B1", z_um: float | None = 0.0, **more: object) -> Sample:
    return Sample(name, Path(name), block=block, z_um=z_um, **more)


# Not in the order of depth.
SERIES = {
    "c": section("c", z_um=32.0),
    "a": section("a", z_um=-4.0, flip="yes"),
    "s": section("s", z_um=8.0, platform=STAINED, um_per_px=0.5),
    "b": section("b", z_um=16.0, channels=("DAPI",)),
    "alone": Sample("alone", Path("alone")),
}


def with_volume(target: str | None = "domains", **settings: object) -> dict:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(config, {"volume": {"target": target} | settings})
    return config


def test_sections_of_a_block_are_in_the_order_of_their_depth():
    config = with_volume()
    assert plan.blocks(SERIES, config) == {"B1": ["a", "s", "b", "c"]}
    assert plan.left_out(["a", "s", "b", "c"], SERIES, config) == ["a", "b", "c"]
    assert plan.left_out(["a", "s", "b", "c"], SERIES, with_volume(left_out=["c", "a"])) == ["a", "c"]
    assert plan.blocks(SERIES, with_volume(None)) == {}


def test_registration_is_told_of_sections_in_the_order_of_their_files():
    told = plan.to_register(["a", "s", "b", "c"], SERIES, {"a": True, "b": False, "c": False})
    assert [section["name"] for section in told] == ["a", "s", "b", "c"]
    assert told[0] == {
        **{"name": "a", "z_um": -4.0, "flip": "yes", "channels": [], "image": True, "um_per_px": None},
        **{"sequenced": True},
    }
    assert [section["sequenced"] for section in told] == [True, False, True, True]
    assert [section["image"] for section in told] == [True, False, False, False]
    assert told[1]["um_per_px"] == 0.5
    assert told[2]["channels"] == ["DAPI"]


def test_a_volume_has_a_network_of_all_sections_and_one_for_each_left_out():
    sections = {name: sample for name, sample in SERIES.items() if sample.sequenced}
    outputs = targets.final_outputs(sections, with_volume())
    models = [path for path in outputs if path.endswith("/model.h5")]
    assert models == [f"results/blocks/B1/{fold}/model.h5" for fold in ("all", "a", "b", "c")]
    assert "results/blocks/B1/volume.ome.zarr" in outputs
    assert "results/blocks/B1/scores.csv" in outputs
    assert set(outputs) >= set(plan.volume_outputs(SERIES, with_volume()))
    # Nobody has asked for scores.
    unscored = plan.volume_outputs(SERIES, with_volume(left_out=[]))
    assert not [path for path in unscored if "score" in path or "verdict" in path or "/a/" in path]
    assert "results/blocks/B1/all/prediction.h5" in unscored


def test_without_a_target_there_is_nothing_of_volumes():
    config = with_volume(None)
    assert not [path for path in targets.final_outputs(SERIES, config) if "/blocks/" in path]
    assert "volume" not in targets.result_parameters(config)
    assert plan.placed_files(SERIES["a"], config) == []
    with pytest.raises(InputError, match=r"volume\.target: null"):
        plan.volume_outputs(SERIES, config)
    with pytest.raises(InputError, match=r"volume\.pairs: null"):
        plan.pair_outputs(config)
    plan.check_volume({"a": section("a", z_um=None)}, config)


def test_benchmarks_of_volumes_are_counted():
    used = targets.benchmark_patterns(SERIES, with_volume(left_out=["b"]), {})["used"]
    assert {"blocks/B1/*.tsv", "blocks/B1/all/*.tsv", "blocks/B1/b/*.tsv"} <= set(used)
    assert "blocks/B1/a/*.tsv" not in used
    assert not [p for p in targets.benchmark_patterns(SERIES, with_volume(None), {})["used"] if "blocks" in p]


def test_a_section_of_a_block_has_places_and_keeps_what_they_depend_on():
    config = with_volume()
    assert plan.placed_files(SERIES["a"], config) == ["results/blocks/B1/spots.csv"]
    assert plan.placed_files(SERIES["alone"], config) == []
    kept = targets.result_parameters(config)["volume"]
    assert kept == targets.result_parameters(with_volume(training={"epochs": 3}))["volume"]
    assert kept != targets.result_parameters(with_volume(registration={"nonrigid": True}))["volume"]
    assert targets.comparable_config(with_volume(pairs="/home/me/pairs.tsv"))["volume"]["pairs"] == "pairs.tsv"


@pytest.mark.parametrize(
    ("changed", "settings", "words"),
    [
        ({"a": section("a", z_um=None)}, {}, ("a: config", "block B1, but no depth", "fill in `z_um`")),
        ({"a": section("a", z_um=16.0)}, {}, ("z_um 16 in block B1", "4 sections at 4 depths")),
        ({"d": section("d", "B2")}, {}, ("d: config", "the only section of block B2", "empty `block`")),
        ({"d": section("d", "B 2")}, {}, ("the block 'B 2'", "rename the block")),
        ({"all": section("all", z_um=99.0)}, {}, ("all: config", "that of the network of all", "rename the sample")),
        (
            {"d": section("d", "B2"), "e": section("e", "B2", 9.0, platform=STAINED)},
            {},
            ("d: config", "the only section of block B2 that was sequenced", "volume.left_out: []"),
        ),
        (
            {"d": section("d", "B2", platform=STAINED), "e": section("e", "B2", 9.0, platform=STAINED)},
            {},
            ("no section was sequenced", "platform"),
        ),
        (
            {"a": section("a", clusters=Path("a.csv"))},
            {},
            ("b, c: config", "no clusters, where other sections of block B1 have some (a)", "empty it for all"),
        ),
        ({}, {"left_out": ["a", "s"]}, ("volume.left_out: s", "a, b, c", "set it to each")),
        ({}, {"left_out": ["alone"]}, ("volume.left_out: alone", "a, b, c")),
        ({}, {"target": "latents", "n_latents": 31}, ("volume.n_latents: 31", "expression.n_pcs: 30")),
    ],
    ids=[
        *("no depth", "one depth twice", "one section", "no folder", "name of the network", "one with spots"),
        *("none with spots", "some clusters", "left out without spots", "left out without block", "too many latents"),
    ],
)
def test_a_volume_that_cannot_be_made_is_refused(changed: dict, settings: dict, words: tuple[str, ...]):
    config = with_volume(**settings)
    with pytest.raises(SpadeworkError) as caught:
        plan.check_volume(SERIES | changed, config)
    assert all(word in str(caught.value) for word in ("found:", "expected:", "fix:", *words)), str(caught.value)


def test_all_that_is_wrong_with_blocks_is_said_at_once():
    sheet = SERIES | {"d": section("d", "B2"), "a": replace(SERIES["a"], z_um=None)}
    with pytest.raises(SpadeworkError, match=r"(?s)no depth.*only section of block B2.*left_out: x"):
        plan.check_volume(sheet, with_volume(left_out=["x"]))


@pytest.mark.parametrize("samples", [{}, {"alone": SERIES["alone"]}])
def test_a_volume_needs_a_block(samples: dict):
    words = "no block in the sample sheet" if samples else "samples: null"
    with pytest.raises(SpadeworkError, match=words):
        plan.check_volume(samples, with_volume())


def test_one_section_with_spots_makes_a_volume_that_nobody_scores():
    two = {"a": section("a"), "s": section("s", z_um=9.0, platform=STAINED, um_per_px=1.0)}
    config = with_volume(left_out=[])
    plan.check_volume(two, config)
    assert plan.volume_outputs(two, config)


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("t1.nii.gz", "t2.nii.gz", "seg.nii.gz"):
        Path(name).touch()
    table = Path("pairs.tsv")
    table.write_text("name\tinput\ttarget\tset\n# a comment\np1\tt1.nii.gz, t2.nii.gz\tseg.nii.gz\ttrain\n")
    return table


def test_volumes_of_pairs_are_inputs_so_that_a_change_is_seen(pairs: Path):
    config = with_volume(None, pairs="pairs.tsv")
    assert plan.pair_files(config) == ["pairs.tsv", "t1.nii.gz", "t2.nii.gz", "seg.nii.gz"]
    assert "results/vox2vox/all/model.h5" in plan.pair_outputs(config)
    assert plan.pair_files(with_volume(None)) == []


def test_a_table_of_pairs_is_read_when_the_workflow_starts(pairs: Path):
    Path("t2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"p1: t2\.nii\.gz"):
        plan.pair_files(with_volume(None, pairs="pairs.tsv"))

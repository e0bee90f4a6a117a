"""Serial sections through the workflow: from slides that lie anyhow to a volume, its scores and its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from harness import Run, run_workflow, write_overlay
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from PIL import Image

from spadework.keys import Keys
from spadework.volume.stack import read_stack

FOLDER = "results/blocks/B1"
SECTIONS = [f"results/{name}/{name}.h5ad" for name in "abc"]
TRAINING = {"crop": 48, "epochs": 2, "steps_per_epoch": 2, "n_samples": 1}
# Small enough for seconds: nothing is learnt.
VOLUME = {
    **{"target": "domains", "voxel_um": 40, "left_out": ["b"], "training": TRAINING},
    **{"network": {"width": 2}, "registration": {"um_per_px": 40}},
}
OVERLAY = {
    "encoder": {"names": ["colour_texture"]},
    "latents": {"n_latents": 2, "n_embed": 5},
    "association": {"mixed_model": False},
    "calibration": {"n_fields": 0},
    "volume": VOLUME,
}
UM_PER_PX = 4.0


def with_volume(**change: object) -> dict:
    return OVERLAY | {"volume": VOLUME | change}


def relaid(outs: Path, folder: Path, how: Image.Transpose) -> Path:
    """Copy a Space Ranger folder as if the slide had been scanned another way round."""
    shutil.copytree(outs, folder)
    with Image.open(outs / "tissue_image.tif") as fullres:
        width, height = fullres.size
    for name in ("tissue_image.tif", "spatial/tissue_hires_image.png", "spatial/tissue_lowres_image.png"):
        with Image.open(outs / name) as image:
            image.transpose(how).save(folder / name)
    positions = pd.read_csv(outs / "spatial/tissue_positions.csv")
    columns = {"pxl_col_in_fullres": width, "pxl_row_in_fullres": height}
    turned = {Image.Transpose.ROTATE_180: list(columns), Image.Transpose.FLIP_LEFT_RIGHT: list(columns)[:1]}
    for column in turned[how]:
        positions[column] = columns[column] - positions[column]
    positions.to_csv(folder / "spatial/tissue_positions.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def sheet(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """One section three times, as it is, turned and mirrored, and its image turned by a quarter as a fourth."""
    folder = tmp_path_factory.mktemp("series")
    outs = simulated / "outs"
    turned = relaid(outs, folder / "turned", Image.Transpose.ROTATE_180)
    mirrored = relaid(outs, folder / "mirrored", Image.Transpose.FLIP_LEFT_RIGHT)
    with Image.open(outs / "tissue_image.tif") as fullres:
        fullres.transpose(Image.Transpose.ROTATE_90).save(folder / "slide.tif")
    common = {"species": "human", "clusters": simulated / "truth/types.csv", "block": "B1"}
    stained = {"sample": "s", "path": folder / "slide.tif", "platform": "stained", "um_per_px": UM_PER_PX}
    return [
        {"sample": "c", "path": mirrored, "z_um": 32} | common,
        {"sample": "a", "path": outs, "z_um": 0, "flip": "no"} | common,
        {"sample": "b", "path": turned, "z_um": 16} | common,
        stained | {"block": "B1", "z_um": 24},
    ]


@pytest.fixture(scope="module")
def run(sheet: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run: the volume of four sections, and all results of the three that were sequenced."""
    return run_workflow(tmp_path_factory.mktemp("volume"), sheet, OVERLAY, "all")


def test_slides_that_lie_anyhow_are_laid_on_each_other(run: Run):
    assert run.code == 0, run.output
    table = pd.read_csv(run.folder / FOLDER / "registration.csv", index_col="sample")
    assert list(table.index) == ["a", "b", "s", "c"]  # by depth
    # a is known to lie as it should, and so is its mirror image made not to.
    assert dict(table["mirrored"]) == {"a": "no", "b": "no", "s": "no", "c": "yes"}
    spots = pd.read_csv(run.folder / FOLDER / "spots.csv")
    assert set(spots["sample"]) == {"a", "b", "c"}
    assert dict(spots.groupby("sample")["z_um"].first()) == {"a": 0.0, "b": 16.0, "c": 32.0}
    places = spots.pivot(index="barcode", columns="sample", values=["x_um", "y_um"])
    for other in "bc":
        away = np.hypot(places["x_um"]["a"] - places["x_um"][other], places["y_um"]["a"] - places["y_um"][other])
        print(other, away.median(), away.max())
        assert away.max() < 30, other  # of 55 µm
    stack = read_stack(run.folder / FOLDER / "stack.h5")
    assert stack.samples == ("a", "b", "s", "c")
    assert stack.sequenced == (True, True, False, True)
    for plane in stack.tissue[1:]:  # the same tissue, four times
        assert 2 * (plane & stack.tissue[0]).sum() / (plane.sum() + stack.tissue[0].sum()) > 0.95


def test_a_section_that_was_only_stained_is_part_of_the_volume_and_of_nothing_else(run: Run):
    assert not [name for name in run.results if name.startswith(("results/s/", f"{FOLDER}/s/"))]
    assert f"{FOLDER}/all/model.h5" in run.results
    assert f"{FOLDER}/b/model.h5" in run.results
    assert f"{FOLDER}/a/model.h5" not in run.results
    assert not [name for name in run.results if "interrupted" in name or "partial" in name]


def test_a_volume_has_scores_figures_and_files_for_viewers(run: Run):
    scores = pd.read_csv(run.folder / FOLDER / "scores.csv")
    summary = scores[(scores["class_or_latent"] == "mean") & (scores["score"] == "dice") & (scores["section"] == "b")]
    dice = summary.set_index("method")["value"]
    print(dice)
    # The neighbour is the same section again.
    assert dice["neighbouring section"] > 0.95
    assert dice["neighbouring section"] > dice["Vox2Vox"]
    assert "spots" in (run.folder / FOLDER / "verdict.txt").read_text()
    predicted = pd.read_csv(run.folder / FOLDER / "predicted_spots.csv")
    assert set(predicted["sample"]) == {"b"}
    for name in ("registration", "scores", "sections", "history", "cuts", "view"):
        assert np.asarray(Image.open(run.folder / FOLDER / f"figures/{name}.png")).std() > 10, name
    stack = read_stack(run.folder / FOLDER / "stack.h5")
    image = next(iter(Reader(parse_url(run.folder / FOLDER / "volume.ome.zarr"))()))
    assert image.data[0].shape[-3:] == stack.tissue.shape
    for name in ("measured", "predicted"):
        volume = nib.load(run.folder / FOLDER / f"nifti/{name}.nii.gz")
        assert sorted(volume.shape[:3]) == sorted(stack.tissue.shape)


def test_spots_of_a_section_know_their_place_in_the_block(run: Run):
    spots = pd.read_csv(run.folder / FOLDER / "spots.csv", index_col=["sample", "barcode"])
    for name, depth in (("a", 0.0), ("c", 32.0)):
        adata = ad.read_h5ad(run.folder / f"results/{name}/{name}.h5ad")
        places = adata.obsm[Keys.SPATIAL_3D]
        assert places.dtype == np.float64
        np.testing.assert_array_equal(places, spots.loc[name].loc[adata.obs_names, ["x_um", "y_um", "z_um"]])
        assert set(places[:, 2]) == {depth}
        assert set(adata.obs["block"]) == {"B1"}
        parameters = json.loads(adata.uns[Keys.SPADE]["parameters"])["volume"]
        assert parameters.keys() == {"registration", "voxel_um", "stain_normalisation"}


def test_manifest_and_methods_say_what_the_volume_is(run: Run):
    document = json.loads((run.folder / "results/manifest.json").read_text())
    block = document["deterministic"]["blocks"]["B1"]
    assert [section["sample"] for section in block["sections"]] == ["a", "b", "s", "c"]
    verdict = (run.folder / FOLDER / "verdict.txt").read_text().strip()
    assert block["verdict"] == verdict
    assert "slide.tif" in document["deterministic"]["other_inputs"]
    assert document["measured"]["rules"]["train_vox2vox"]["jobs"] == 2
    text = (run.folder / "results/methods.md").read_text()
    assert "(B1: a, b, s and c)" in text
    assert "s was stained and not sequenced" in text
    assert "c lay mirrored" in text
    assert verdict in text


NETWORK = {"train_vox2vox", "predict_vox2vox", "score_volume", "export_volume"}
REGISTERED = NETWORK | {"register_sections", "rasterise_targets"}


@pytest.mark.parametrize(
    ("overlay", "again"),
    [
        (OVERLAY, set()),
        (with_volume(neighbours=3), {"score_volume"}),
        (with_volume(training=TRAINING | {"epochs": 3}), NETWORK),
        (with_volume(target="latents"), NETWORK | {"rasterise_targets"}),
        (with_volume(stain_normalisation=False), REGISTERED | {"collect_section"}),
        (with_volume(left_out=["b", "c"]), {"train_vox2vox", "predict_vox2vox", "score_volume"}),
        (with_volume(target=None), {"collect_section"}),
        # Pictures are drawn again; nothing is registered or learnt again.
        (OVERLAY | {"figures": {"dpi": 80}}, {"score_volume", "export_volume"}),
    ],
    ids=["nothing", "neighbours", "training", "target", "registration", "one more left out", "off", "dpi"],
)
def test_only_what_a_change_concerns_runs_again(run: Run, overlay: dict, again: set[str]):
    assert run.code == 0, run.output
    volume = overlay["volume"]
    targets = [*SECTIONS, "volume"] if volume["target"] else SECTIONS
    dry = run_workflow(run.folder, None, overlay, "-n", *targets)
    write_overlay(run.folder, OVERLAY)
    assert dry.code == 0, dry.output
    jobs = dry.jobs()
    assert jobs.keys() - {"total", "volume"} == again
    more = len(volume["left_out"]) > len(VOLUME["left_out"])
    assert jobs.get("train_vox2vox", 0) == (1 if more else 2 * ("train_vox2vox" in again))


@pytest.mark.parametrize(
    ("cells", "settings", "phrases"),
    [
        ({"a": {"z_um": ""}}, {}, ["a: samples.tsv", "block B1, but no depth", "fill in `z_um`"]),
        ({"a": {"z_um": "16"}}, {}, ["z_um 16 in block B1, as", "4 sections at 4 depths"]),
        ({"a": {"z_um": "deep"}}, {}, ["a: samples.tsv", "z_um 'deep'", "a number"]),
        ({"a": {"flip": "maybe"}}, {}, ["flip 'maybe'", "yes or no"]),
        ({"s": {"um_per_px": ""}}, {}, ["s: samples.tsv", "an empty um_per_px"]),
        ({n: {"block": ""} for n in "bc"}, {"left_out": "each"}, ["that was sequenced", "volume.left_out: []"]),
        ({n: {"block": "B2"} for n in "c"}, {}, ["the only section of block B2"]),
        ({}, {"left_out": ["s"]}, ["volume.left_out: s", "a, b, c"]),
        ({}, {"left_out": "all"}, ["volume.left_out: all", "each, or a list"]),
        ({}, {"training": TRAINING | {"crop": 50}}, ["volume.training.crop: 50", "a multiple of 16"]),
        ({}, {"training": TRAINING | {"crop": 16}}, ["volume.training.crop: 16", "at least 32"]),
        ({}, {"target": None}, ["volume.target: null", "set volume.target: domains"]),
    ],
    ids=[
        *("no depth", "one depth twice", "no number", "flip", "no scale", "one sequenced", "one section"),
        *("left out without spots", "left out", "crop", "small crop", "no target"),
    ],
)
def test_a_volume_that_cannot_be_is_refused_before_anything_runs(
    sheet: list[dict[str, object]], tmp_path: Path, cells: dict, settings: dict, phrases: list[str]
):
    changed = [row | cells.get(row["sample"], {}) for row in sheet]
    done = run_workflow(tmp_path, changed, with_volume(**settings), "-n", "volume")
    assert done.code != 0
    assert not [phrase for phrase in phrases if phrase not in done.output], done.output


def test_without_a_target_stained_sections_are_not_used(sheet: list[dict[str, object]], tmp_path: Path):
    jobs = run_workflow(tmp_path, sheet, with_volume(target=None, left_out="each"), "-n").jobs()
    assert jobs["read_section"] == jobs["collect_section"] == 3
    assert "register_sections" not in jobs


# ---- volumes that are no sections ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four pairs: a bright ball in noise, in two modalities, and where it is."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    grid = np.indices((48, 48, 48))
    lines = ["name\tinput\ttarget\tset"]
    for k, of in enumerate(("train", "train", "validation", "test")):
        centre = rng.uniform(18, 30, 3)
        ball = ((grid - centre[:, None, None, None]) ** 2).sum(axis=0) < 100
        affine = np.diag([1.0, 1.0, 1.5, 1.0])
        for m in "ab":
            image = (1 + ball + rng.normal(0, 0.1, ball.shape)).astype(np.float32)
            nib.save(nib.Nifti1Image(image, affine), folder / f"{m}{k}.nii.gz")
        nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), folder / f"y{k}.nii.gz")
        lines.append(f"p{k}\ta{k}.nii.gz,b{k}.nii.gz\ty{k}.nii.gz\t{of}")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_pairs_of_volumes_are_learnt_scored_and_written_back(pairs: Path):
    overlay = {"samples": None, "volume": {"pairs": "pairs.tsv", "training": TRAINING, "network": {"width": 2}}}
    done = run_workflow(pairs, None, overlay, "vox2vox")
    assert done.code == 0, done.output
    scores = pd.read_csv(pairs / "results/vox2vox/scores.csv")
    assert "p3" in scores.to_csv()
    written = sorted(path.name for path in (pairs / "results/vox2vox/predictions").iterdir())
    assert "p3.nii.gz" in written
    predicted, truth = nib.load(pairs / "results/vox2vox/predictions/p3.nii.gz"), nib.load(pairs / "y3.nii.gz")
    assert predicted.shape == truth.shape
    np.testing.assert_allclose(predicted.affine, truth.affine)
    for name in ("scores", "history"):
        assert np.asarray(Image.open(pairs / f"results/vox2vox/figures/{name}.png")).std() > 10
    dry = run_workflow(pairs, None, overlay, "-n", "vox2vox")
    assert not dry.jobs()
    np.testing.assert_array_equal(truth.get_fdata().shape, (48, 48, 48))
    nib.save(nib.Nifti1Image(np.asarray(truth.dataobj)[::-1].copy(), truth.affine), pairs / "y3.nii.gz")
    assert "read_volume_pairs" in run_workflow(pairs, None, overlay, "-n", "vox2vox").jobs()


def test_pairs_that_are_not_there_are_named(tmp_path: Path):
    (tmp_path / "pairs.tsv").write_text("name\tinput\ttarget\tset\np\tgone.nii\ty.nii\ttrain\n")
    for settings, phrases in (
        ({"pairs": "pairs.tsv"}, ["p: gone.nii", "no such file"]),
        ({"pairs": None}, ["volume.pairs: null", "name, input, target, set"]),
    ):
        done = run_workflow(tmp_path, None, {"samples": None, "volume": settings}, "-n", "vox2vox")
        assert done.code != 0
        assert not [phrase for phrase in phrases if phrase not in done.output], done.output

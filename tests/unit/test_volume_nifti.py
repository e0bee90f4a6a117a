"""NIfTI pairs: read to one frame whatever their orientation, refused where they cannot be right, written back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from planted_blocks import VOXEL, planted_block

from spadework.errors import InputError
from spadework.volume.nifti import block_affine, read_pairs, write_block, write_prediction
from spadework.volume.pair_table import read_pair_table

SHAPE, ZOOMS = (40, 36, 30), (1.0, 1.5, 3.0)  # x, y, z


def head(seed: int = 0, modalities: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (x, y, z, modalities) of an ellipsoid, 0 outside; labels 0, 1 and 4; an affine with its axes at RAS."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.linspace(-1.2, 1.2, n) for n in SHAPE)
    radius = np.sqrt(x[:, None, None] ** 2 + (y[:, None] + 0.1) ** 2 + z**2)
    inside = radius < 1
    images = np.where(inside[..., None], 100 + 10 * rng.normal(size=(*SHAPE, modalities)), 0)
    labels = np.where(np.abs(x[:, None, None] - 0.3) + radius < 0.6, 4, np.where(inside & (radius < 0.5), 1, 0))
    affine = np.diag([*ZOOMS, 1.0])
    affine[:3, 3] = -20, 30, 5
    return images.astype(np.float32), labels.astype(np.int16), affine


def save(path: Path, data: np.ndarray, affine: np.ndarray, codes: str = "RAS") -> Path:
    """Write what is given in RAS with its axes in another order and direction."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    image = nib.Nifti1Image(apply_orientation(data, turn), affine @ inv_ornt_aff(turn, data.shape[:3]))
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def table(folder: Path, *rows: tuple[str, str, str, str]) -> Path:
    lines = ["\t".join(row) for row in (("name", "input", "target", "set"), *rows)]
    path = folder / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def one_pair(
    folder: Path, codes: str = "RAS", seed: int = 0, name: str = "one", of: str = "train"
) -> tuple[str, ...]:
    images, labels, affine = head(seed)
    image = save(folder / f"{name}_{codes}.nii.gz", images[..., 0], affine, codes)
    target = save(folder / f"{name}_{codes}_seg.nii.gz", labels, affine, codes)
    return name, str(image), str(target), of


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL", "ASR"])
def test_all_orientations_become_one(tmp_path, codes: str):
    (expected,) = read_pairs(table(tmp_path, one_pair(tmp_path))).pairs
    (pair,) = read_pairs(table(tmp_path, one_pair(tmp_path, codes))).pairs
    np.testing.assert_array_equal(pair.target, expected.target)
    np.testing.assert_allclose(pair.inputs, expected.inputs, atol=1e-5)
    assert pair.spacing == pytest.approx((3.0, 1.5, 1.0))


def test_volumes_are_cropped_scaled_and_padded(tmp_path):
    images, labels, _ = head()
    volumes = read_pairs(table(tmp_path, one_pair(tmp_path)))
    (pair,) = volumes.pairs
    assert volumes.classes == ("0", "1", "4")
    assert volumes.unit == "mm"
    assert pair.shape == (48, 48, 48)
    inside = np.swapaxes(images[..., 0], 0, 2) != 0
    box = tuple(slice(int(n.min()), int(n.max()) + 1) for n in np.nonzero(inside))
    assert pair.origin["crop"] == [(s.start, s.stop) for s in box] or pair.origin["crop"] == [
        [s.start, s.stop] for s in box
    ]
    size = [s.stop - s.start for s in box]
    before = [(48 - n) // 2 for n in size]
    inner = tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))
    there = np.swapaxes(images[..., 0], 0, 2)[box]
    scaled = pair.inputs[..., 0][inner]
    assert scaled[there != 0].mean() == pytest.approx(0, abs=1e-5)
    assert scaled[there != 0].std() == pytest.approx(1, abs=1e-5)
    assert (scaled[there == 0] == 0).all()
    assert np.corrcoef(scaled[there != 0], there[there != 0])[0, 1] == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(np.array([0, 1, 4])[pair.target[inner]], np.swapaxes(labels, 0, 2)[box])
    outside = np.ones(pair.shape, bool)
    outside[inner] = False
    assert (pair.target[outside] == -1).all()
    assert (pair.inputs[outside] == 0).all()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_prediction_lies_on_the_grid_of_its_files(tmp_path, codes: str):
    """The truth, predicted: the file written is the file read."""
    row = one_pair(tmp_path, codes)
    volumes = read_pairs(table(tmp_path, row))
    (pair,) = volumes.pairs
    write_prediction(np.eye(3)[pair.target], pair, volumes.classes, tmp_path / "said.nii.gz")
    said, truth = nib.load(tmp_path / "said.nii.gz"), nib.load(row[2])
    np.testing.assert_array_equal(np.asarray(said.dataobj), np.asarray(truth.dataobj))
    np.testing.assert_allclose(said.affine, truth.affine)
    assert said.header.get_xyzt_units()[0] == "mm"


def test_modalities_in_one_file_or_in_several(tmp_path):
    images, labels, affine = head(modalities=2)
    target = save(tmp_path / "seg.nii.gz", labels, affine)
    files = [save(tmp_path / f"m{k}.nii.gz", images[..., k], affine) for k in range(2)]
    both = save(tmp_path / "both.nii.gz", images, affine)
    apart = read_pairs(table(tmp_path, ("p", f"{files[0]}, {files[1]}", str(target), "train")))
    whole = read_pairs(table(tmp_path, ("p", str(both), str(target), "train")))
    assert apart.inputs == ("modality 1", "modality 2")
    np.testing.assert_array_equal(apart.pairs[0].inputs, whole.pairs[0].inputs)


def test_labels_are_numbered_over_all_pairs(tmp_path):
    first, second = one_pair(tmp_path), one_pair(tmp_path, seed=1, name="two", of="test")
    image = nib.load(second[2])
    data = np.asarray(image.dataobj).copy()
    data[data == 1] = 2
    nib.Nifti1Image(data, image.affine).to_filename(second[2])
    volumes = read_pairs(table(tmp_path, first, second))
    assert volumes.classes == ("0", "1", "2", "4")
    assert set(np.unique(volumes.pairs[1].target)) == {-1, 0, 2, 3}
    assert [pair.set for pair in volumes.pairs] == ["train", "test"]


def test_micrometres_are_read_as_such(tmp_path):
    row = one_pair(tmp_path)
    for path in row[1:3]:
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
        image.header.set_xyzt_units("micron")
        image.to_filename(path)
    assert read_pairs(table(tmp_path, row)).pairs[0].spacing == pytest.approx((0.003, 0.0015, 0.001))


def spoilt(tmp_path: Path, which: int, change) -> Path:
    """A table of one pair of which an image (1) or its target (2) is changed: change(data, image) -> image."""
    row = one_pair(tmp_path)
    image = nib.load(row[which])
    change(np.asarray(image.dataobj).copy(), image).to_filename(row[which])
    return table(tmp_path, row)


def shifted(data: np.ndarray, image):
    affine = image.affine.copy()
    affine[0, 3] += 1
    return nib.Nifti1Image(data, affine)


@pytest.mark.parametrize(
    ("which", "change", "found"),
    [
        (1, lambda data, image: nib.Nifti1Image(data[:-1], image.affine), "39 x 36 x 30 voxels"),
        (1, shifted, "an affine other than that of"),
        (2, lambda data, image: nib.Nifti1Image(data * 0, image.affine), "empty labels: every voxel is 0"),
        (2, lambda data, image: nib.Nifti1Image(data * 0.25, image.affine), "no integers"),
        (2, lambda data, image: nib.Nifti1Image(data - 1, image.affine), "labels from -1"),
        (1, lambda data, image: nib.Nifti1Image(data * 0, image.affine), "without content"),
        (1, lambda data, image: nib.Nifti1Image(np.where(data > 99, np.nan, data), image.affine), "NaN or infinite"),
        (1, lambda data, image: nib.Nifti1Image(data[..., None, None], image.affine), "5 dimensions"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path, which: int, change, found: str):
    with pytest.raises(InputError, match=found) as error:
        read_pairs(spoilt(tmp_path, which, change))
    assert error.value.sample == "one"
    assert error.value.file.endswith(".nii.gz")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_voxels_without_a_size_are_refused(tmp_path, value: float):
    """Nibabel would read 1 mm: the size is looked for in the file itself."""
    row = one_pair(tmp_path)
    image = nib.load(row[1])
    content = bytearray(nib.Nifti1Image(np.asarray(image.dataobj), image.affine).to_bytes())
    content[76 + 4 * 3 : 76 + 4 * 4] = np.float32(value).tobytes()  # pixdim[3]
    path = tmp_path / "raw.nii"
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="no voxel size: pixdim"):
        read_pairs(table(tmp_path, ("one", str(path), row[2], "train")))


def test_a_file_that_is_none_is_refused(tmp_path):
    row = one_pair(tmp_path)
    Path(row[1]).write_bytes(b"no NIfTI")
    with pytest.raises(InputError, match="an unreadable file"):
        read_pairs(table(tmp_path, row))


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 0.9])
def test_a_file_that_ends_too_early_is_named(tmp_path, which: int, suffix: str, share: float):
    row = list(one_pair(tmp_path))
    path = tmp_path / f"short{suffix}"
    nib.load(row[which]).to_filename(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    row[which] = str(path)
    with pytest.raises(InputError, match="an unreadable file") as error:
        read_pairs(table(tmp_path, tuple(row)))
    assert error.value.sample == "one"
    assert error.value.file == str(path)


def test_a_file_that_was_spoilt_on_its_way_is_named(tmp_path):
    row = one_pair(tmp_path)
    content = bytearray(gzip.compress(nib.load(row[1]).to_bytes()))
    content[10] |= 0b110  # after the header of gzip: a kind of block that there is not
    Path(row[1]).write_bytes(content)
    with pytest.raises(InputError, match="an unreadable file") as error:
        read_pairs(table(tmp_path, row))
    assert error.value.file == row[1]


def test_pairs_of_different_modalities_are_refused(tmp_path):
    row = one_pair(tmp_path)
    with pytest.raises(InputError, match="one: 1, two: 2"):
        read_pairs(table(tmp_path, row, ("two", f"{row[1]},{row[1]}", row[2], "test")))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("one", "a.nii", "b.nii", "train"), ("ONE", "a.nii", "b.nii", "test")], "two rows with this name"),
        ([("one", "a.nii", "b.nii", "test")], "none of them of the set train"),
        ([("one", "a.nii", "b.nii", "training")], "set 'training'"),
        ([("one", "missing.nii", "b.nii", "train")], "no such file"),
        ([("one", "a.nii", "", "train")], "no target"),
        ([("one", "", "b.nii", "train")], "no input"),
        ([("a/b", "a.nii", "b.nii", "train")], "the name 'a/b'"),
        ([("one", "a.png", "b.nii", "train")], "a file of another kind"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(tmp_path, monkeypatch, rows: list, found: str):
    monkeypatch.chdir(tmp_path)
    for name in ("a.nii", "b.nii", "a.png"):
        Path(name).touch()
    with pytest.raises(InputError, match=found):
        read_pair_table(table(tmp_path, *rows))


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "t.tsv").write_text("name\tinput\tset\na\tb\ttrain\n")
    with pytest.raises(InputError, match="columns name, input, set"):
        read_pair_table(tmp_path / "t.tsv")


def test_comments_and_empty_lines_of_a_table_are_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.nii", "b.nii"):
        Path(name).touch()
    Path("t.tsv").write_text("# made by hand\nname\tinput\ttarget\tset\n\n#x\tq\tq\ttest\none\ta.nii\tb.nii\ttrain\n")
    (row,) = read_pair_table("t.tsv")
    assert row.files == (Path("a.nii"), Path("b.nii"))


def test_a_block_is_written_where_viewers_show_it_upright(tmp_path):
    block = planted_block(z_um=(100.0, 116.0, 140.0))
    labels = np.where(block.stack.tissue, 3, 0)
    labels[:, :10] = 1
    values = np.random.default_rng(0).random((*labels.shape, 2)).astype(np.float32)
    write_block(tmp_path, block.stack, {"labels": labels, "values": values}, names=None)
    image = nib.load(tmp_path / "labels.nii.gz")
    assert image.header.get_zooms() == pytest.approx((0.025, 0.025, 0.020))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.swapaxes(labels, 0, 2))
    np.testing.assert_allclose(block_affine(block.stack) @ [0, 0, 0, 1], [-0.0125, -0.0125, 0.1, 1])
    np.testing.assert_allclose(image.affine @ [1, 2, 1, 1], [-0.0375, -0.0625, 0.12, 1], atol=1e-7)
    planes = json.loads((tmp_path / "planes.json").read_text())
    assert planes == {"z_um": [100, 116, 140], "spacing_um": 20, "voxel_um": VOXEL}
    stain = nib.load(tmp_path / "stain.nii.gz")
    for k, colour in enumerate("RGB"):
        np.testing.assert_array_equal(np.asarray(stain.dataobj)[colour], np.swapaxes(block.stack.stain[..., k], 0, 2))
    np.testing.assert_array_equal(nib.load(tmp_path / "values.nii.gz").get_fdata(), np.swapaxes(values, 0, 2))


def test_the_same_content_gives_the_same_file(tmp_path):
    block = planted_block()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_block(folder, block.stack, {}, names=None)
    first, second = ((tmp_path / name / "stain.nii.gz").read_bytes() for name in "ab")
    assert first == second
    assert first[4:8] == bytes(4)  # no time in the header

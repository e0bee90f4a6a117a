"""Labelled images come out alike whatever they are stored in, and what cannot be trained on is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from spadework.errors import InputError
from spadework.unet.data import LabelledImage, read_labelled, split

HEIGHT, WIDTH = 20, 30
RNG = np.random.default_rng(7)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
TOUCHING = np.zeros((HEIGHT, WIDTH), np.uint16)
TOUCHING[2:8, 2:6], TOUCHING[2:8, 6:10], TOUCHING[12:15, 20:25] = 1, 2, 3
BINARY = (TOUCHING > 0).astype(np.uint8) * 255
EMPTY = np.zeros_like(BINARY)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "images", tmp_path / "labels"
    for folder in folders:
        folder.mkdir()
    return folders


def save(path: Path, array: np.ndarray, **options) -> None:
    Image.fromarray(array).save(path, **options)


def pair(folders: tuple[Path, Path], name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    save(folders[0] / f"{name}.png", pixels)
    save(folders[1] / f"{name}.png", labels)


def refused(images: Path, labels: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_labelled(images, labels)
    return caught.value


def test_pairs_are_matched_by_stem_and_sorted_by_name(folders):
    for name in ("b", "a"):
        tifffile.imwrite(folders[0] / f"{name}.tif", COLOUR if name == "a" else COLOUR[::-1], photometric="rgb")
        save(folders[1] / f"{name}.png", TOUCHING if name == "a" else TOUCHING[::-1])
    (folders[0] / ".DS_Store").touch()
    (folders[0] / "notes.txt").touch()
    a, b = read_labelled(*folders)
    assert (a.name, b.name) == ("a", "b")
    np.testing.assert_array_equal(a.pixels, COLOUR)
    np.testing.assert_array_equal(b.pixels, COLOUR[::-1])
    np.testing.assert_array_equal(a.labels, TOUCHING)
    assert a.labels.dtype == np.int32


def test_grey_images_have_one_channel_unless_one_of_the_set_has_colour(folders):
    pair(folders, "a", GREY, TOUCHING)
    pair(folders, "b", np.stack([GREY] * 3, axis=-1), TOUCHING)  # grey, stored as RGB
    assert [item.pixels.shape for item in read_labelled(*folders)] == [(HEIGHT, WIDTH, 1)] * 2
    np.testing.assert_array_equal(read_labelled(*folders)[0].pixels[..., 0], GREY)
    pair(folders, "c", COLOUR, TOUCHING)
    mixed = read_labelled(*folders)
    assert [item.pixels.shape for item in mixed] == [(HEIGHT, WIDTH, 3)] * 3
    np.testing.assert_array_equal(mixed[0].pixels, np.stack([GREY] * 3, axis=-1))


def test_pixels_of_any_kind_are_converted_as_everywhere_else(folders):
    clear = np.dstack([COLOUR, np.zeros_like(GREY)])
    sixteen = GREY.astype(np.uint16) << 8
    palette = Image.fromarray(COLOUR).quantize(16)
    for name, picture in (("alpha", Image.fromarray(clear)), ("deep", Image.fromarray(sixteen)), ("pal", palette)):
        picture.save(folders[0] / f"{name}.png")
        save(folders[1] / f"{name}.png", TOUCHING)
    alpha, deep, pal = read_labelled(*folders)
    assert (alpha.pixels == 255).all()
    np.testing.assert_array_equal(deep.pixels[..., 0], GREY)
    np.testing.assert_array_equal(pal.pixels, np.asarray(palette.convert("RGB")))


def test_binary_labels_become_components_that_touch_only_at_edges(folders):
    diagonal = np.zeros((HEIGHT, WIDTH), np.uint8)
    diagonal[3:6, 3:6] = diagonal[6:9, 6:9] = 255
    pair(folders, "a", GREY, BINARY)
    pair(folders, "b", GREY, diagonal)
    a, b = read_labelled(*folders)
    assert (a.labels.max(), b.labels.max()) == (2, 2)
    np.testing.assert_array_equal(a.labels > 0, BINARY > 0)


def test_one_image_of_instances_makes_the_set_one_of_instances(folders):
    pair(folders, "a", GREY, TOUCHING)
    apart = np.zeros((HEIGHT, WIDTH), np.uint8)
    apart[2, 2] = apart[10, 10] = 7  # one object in two pieces
    pair(folders, "b", GREY, apart)
    assert [item.labels.max() for item in read_labelled(*folders)] == [3, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_instances_are_numbered_without_gaps_whatever_their_type(folders, dtype):
    numbers = np.array([0, 5, 6, np.iinfo(dtype).max], dtype)
    save(folders[0] / "a.png", GREY)
    tifffile.imwrite(folders[1] / "a.tif", numbers[TOUCHING])
    np.testing.assert_array_equal(read_labelled(*folders)[0].labels, TOUCHING)


def test_masks_saved_with_equal_channels_palette_or_one_bit_are_read(folders):
    masks = {
        "alpha": Image.fromarray(np.dstack([BINARY] * 3 + [np.full_like(BINARY, 255)])),
        "bit": Image.fromarray(BINARY > 0),
        "palette": Image.fromarray((BINARY > 0).astype(np.uint8), "P"),
        "rgb": Image.fromarray(np.dstack([BINARY] * 3)),
    }
    masks["palette"].putpalette([255, 0, 0] * 256)  # colours say nothing; the numbers are the labels
    for name, mask in masks.items():
        save(folders[0] / f"{name}.png", GREY)
        mask.save(folders[1] / f"{name}.png")
    for item in read_labelled(*folders):
        np.testing.assert_array_equal(item.labels > 0, BINARY > 0, err_msg=item.name)


@pytest.mark.parametrize("colour", [False, True])
def test_stacks_are_read_page_by_page(tmp_path, colour):
    pages = np.stack([np.roll(COLOUR if colour else GREY, i, axis=0) for i in range(11)])
    masks = np.stack([np.roll(BINARY, i, axis=0) for i in range(11)])
    tifffile.imwrite(tmp_path / "train.tif", pages, photometric="rgb" if colour else "minisblack")
    tifffile.imwrite(tmp_path / "labels.tif", masks, photometric="minisblack")
    items = read_labelled(tmp_path / "train.tif", tmp_path / "labels.tif")
    assert [item.name for item in items] == [f"train_{i:02d}" for i in range(1, 12)]
    for item, page, mask in zip(items, pages, masks, strict=True):
        np.testing.assert_array_equal(item.pixels.squeeze(), page)
        np.testing.assert_array_equal(item.labels > 0, mask > 0)


def test_stacks_of_inverted_grey_and_of_palettes_look_as_they_are_shown(tmp_path):
    tifffile.imwrite(tmp_path / "labels.tif", np.stack([BINARY] * 2), photometric="minisblack")
    tifffile.imwrite(tmp_path / "white.tif", np.stack([GREY] * 2), photometric="miniswhite")
    np.testing.assert_array_equal(
        read_labelled(tmp_path / "white.tif", tmp_path / "labels.tif")[1].pixels[..., 0], 255 - GREY
    )
    colours = np.random.default_rng(1).integers(0, 256, (3, 256), np.uint16) * 257
    tifffile.imwrite(tmp_path / "palette.tif", np.stack([GREY] * 2), photometric="palette", colormap=colours)
    np.testing.assert_array_equal(
        read_labelled(tmp_path / "palette.tif", tmp_path / "labels.tif")[1].pixels, (colours >> 8).T[GREY]
    )


def test_pages_stored_plane_by_plane_are_read_and_separate_channels_refused(tmp_path):
    tifffile.imwrite(tmp_path / "labels.tif", np.stack([BINARY] * 2), photometric="minisblack")
    planes = np.stack([COLOUR, COLOUR[::-1]]).transpose(0, 3, 1, 2)
    tifffile.imwrite(tmp_path / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    items = read_labelled(tmp_path / "planar.tif", tmp_path / "labels.tif")
    np.testing.assert_array_equal(items[1].pixels, COLOUR[::-1])
    tifffile.imwrite(tmp_path / "c.ome.tif", planes[:, :2], metadata={"axes": "ZCYX"}, photometric="minisblack")
    assert "separate channels" in refused(tmp_path / "c.ome.tif", tmp_path / "labels.tif").found


def test_a_mask_per_object_in_a_folder_per_image(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "masks").mkdir()
        save(tmp_path / name / "images" / f"{name}.png", COLOUR)
        for number in (1, 2, 3):
            save(tmp_path / name / "masks" / f"{number}.png", (number == TOUCHING).astype(np.uint8) * 255)
    a, b = read_labelled(tmp_path, tmp_path)
    assert (a.name, b.name) == ("a", "b")
    np.testing.assert_array_equal(a.pixels, COLOUR)
    np.testing.assert_array_equal(b.labels, TOUCHING)  # the two that touch stay two
    save(tmp_path / "b" / "masks" / "4.png", (TOUCHING == 2).astype(np.uint8) + (TOUCHING == 0))
    overlapped = read_labelled(tmp_path, tmp_path)[1].labels
    np.testing.assert_array_equal(overlapped, np.where(TOUCHING == 0, 4, TOUCHING))  # the first has the pixel
    save(tmp_path / "b" / "masks" / "9.png", np.ones((5, 6), np.uint8))
    assert "mask of 6 x 5 for the image b of 30 x 20" in refused(tmp_path, tmp_path).found
    for path in (tmp_path / "b" / "masks").iterdir():
        path.unlink()
    assert refused(tmp_path, tmp_path).found == "no mask for 1 of 2 images: b"


def test_an_image_without_objects_among_others_is_kept(folders):
    pair(folders, "a", GREY, BINARY)
    pair(folders, "b", GREY, EMPTY)
    assert [item.labels.max() for item in read_labelled(*folders)] == [2, 0]


@pytest.mark.parametrize(("value", "what"), [(0, "an object"), (255, "background")])
def test_masks_that_are_all_empty_or_all_full_are_refused(folders, value, what):
    for name in "ab":
        pair(folders, name, GREY, np.full_like(BINARY, value))
    assert refused(*folders).found == f"masks without a single pixel of {what}"


def test_a_mask_of_another_size_is_refused_by_name(folders):
    pair(folders, "a", GREY, BINARY)
    pair(folders, "b", GREY, BINARY[:-1])
    error = refused(*folders)
    assert error.file == str(folders[1] / "b.png")
    assert error.found == "a mask of 30 x 19 for the image b of 30 x 20 (width x height)"


def test_images_and_masks_without_each_other_are_listed(folders):
    pair(folders, "a", GREY, BINARY)
    for i in range(7):
        save(folders[1] / f"lone{i}.png", BINARY)
    error = refused(*folders)
    assert error.found == "no image for 7 of 8 masks: lone0, lone1, lone2, lone3, lone4 and 2 more"
    save(folders[0] / "b.png", GREY)
    error = refused(*folders)
    assert error.found == "no mask for 1 of 2 images: b"
    assert error.file == str(folders[1])


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (BINARY.astype(np.float32), "numbers of type float32"),
        (-TOUCHING.astype(np.int16), "numbers below 0"),
        (np.stack([BINARY] * 2), "2 pages"),
        (COLOUR, "3 channels that differ: a colour image, not labels"),
    ],
)
def test_masks_that_are_no_labels_are_refused(folders, mask, found):
    save(folders[0] / "a.png", GREY)
    tifffile.imwrite(folders[1] / "a.tif", mask, photometric="rgb" if mask is COLOUR else "minisblack")
    error = refused(*folders)
    assert error.found == found
    assert error.file == str(folders[1] / "a.tif")


def test_lossy_transparent_and_broken_masks_are_refused(folders):
    save(folders[0] / "a.png", GREY)
    save(folders[1] / "a.jpg", BINARY)
    assert "JPEG" in refused(*folders).found
    (folders[1] / "a.jpg").unlink()
    save(folders[1] / "a.png", np.dstack([np.full_like(BINARY, 255)] * 3 + [BINARY]))
    assert refused(*folders).found == "transparent pixels"
    (folders[1] / "a.png").write_bytes(b"no image")
    assert "cannot be read" in refused(*folders).found


def test_places_that_hold_no_training_data_are_refused(folders, tmp_path):
    assert refused(tmp_path / "nowhere", folders[1]).found == "no such file or folder"
    assert refused(*folders).found == "no images"
    pair(folders, "a", GREY, BINARY)
    assert "one folder" in refused(folders[0], folders[0]).found
    assert "a file of labels, but a folder of images" in refused(folders[0], folders[1] / "a.png").found
    assert "a single file that ends in .png" in refused(folders[0] / "a.png", folders[1] / "a.png").found
    save(folders[0] / "a.jpg", GREY)
    assert "second file of the same stem" in refused(*folders).found


def test_stacks_of_unequal_length_or_of_floats_are_refused(tmp_path):
    images, labels = tmp_path / "train.tif", tmp_path / "labels.tif"
    tifffile.imwrite(images, np.stack([GREY] * 5), photometric="minisblack")
    tifffile.imwrite(labels, np.stack([BINARY] * 6), photometric="minisblack")
    assert refused(images, labels).found == f"6 pages, but 5 in {images}"
    tifffile.imwrite(images, np.stack([GREY] * 6).astype(np.float32), photometric="minisblack")
    assert refused(images, labels).found == "pixels of type float32"
    images.write_bytes(images.read_bytes()[:60])
    assert "cannot be read" in refused(images, labels).found


def items(n: int) -> list[LabelledImage]:
    return [LabelledImage(f"{i:02d}", COLOUR, TOUCHING.astype(np.int32)) for i in range(n)]


def names(part: list[LabelledImage]) -> list[str]:
    return [item.name for item in part]


def test_a_split_goes_by_name_alone():
    train, held = split(items(9)[::-1], 0.25, "image")
    assert names(held) == ["03", "07"]
    assert names(train) == ["00", "01", "02", "04", "05", "06", "08"]
    train, held = split(items(24)[::-1], 0.25, "block")
    assert names(held) == [f"{i:02d}" for i in range(18, 24)]
    assert names(train) == [f"{i:02d}" for i in range(18)]


@pytest.mark.parametrize("by", ["image", "block"])
@pytest.mark.parametrize(("n", "share"), [(1, 0.5), (3, 0.1), (5, 1.0), (5, 0.0), (5, -0.5), (5, 2.0)])
def test_a_split_that_leaves_a_side_empty_is_refused(n, share, by):
    with pytest.raises(InputError, match="leaves"):
        split(items(n), share, by)


@pytest.mark.shared
def test_the_sets_in_shared_are_read(shared_data):
    nuclei = read_labelled(shared_data / "dsb2018_nuclei/image", shared_data / "dsb2018_nuclei/label")
    assert (len(nuclei), nuclei[0].pixels.shape) == (67, (256, 320, 3))
    assert len(split(nuclei, 0.25, "image")[1]) == 16
    membranes = read_labelled(shared_data / "isbi2012/image", shared_data / "isbi2012/label")
    assert (len(membranes), membranes[0].pixels.shape) == (24, (512, 512, 1))
    assert round(float(np.mean([item.labels == 0 for item in membranes])), 3) == 0.221

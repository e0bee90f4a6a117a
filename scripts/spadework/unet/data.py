"""Images with labelled objects, to train a U-Net on and to score it with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from spadework.errors import InputError
from spadework.files import TIFF_SUFFIXES
from spadework.images import open_image, read_planes, read_stack

log = logging.getLogger("spadework")

# What error messages call the data.
_SAMPLE = "training data"
_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg")
_DARK = 32  # of 255
_LISTED = 5  # names in an error message


@dataclass(frozen=True)
class LabelledImage:
    """An image and its objects.

    Attributes
    ----------
    name
        Stem of the file, with the number of the page if it came from a stack.
    pixels
        (h, w, c) uint8; c is 1 if all images of the set are grey, else 3.
    labels
        (h, w) int32; 0 is background, objects are numbered 1 to n.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class _Mask:
    """Numbers of a label image, and the file they came from."""

    path: Path
    numbers: NDArray[Any]


@dataclass(frozen=True)
class Sets:
    """Images to train on, to look at while training (may be none), and to score at the end."""

    train: list[LabelledImage]
    validation: list[LabelledImage]
    held_out: list[LabelledImage]

    @property
    def channels(self) -> int:
        """Channels of all images."""
        return int(self.train[0].pixels.shape[2])

    def table(self) -> pd.DataFrame:
        """List all images: ``name``, ``set`` (train, validation or held_out), ``width``, ``height``, ``objects``."""
        rows = [
            (item.name, name, *item.labels.shape[::-1], int(item.labels.max()))
            for name in ("train", "validation", "held_out")
            for item in getattr(self, name)
        ]
        table = pd.DataFrame(rows, columns=["name", "set", "width", "height", "objects"])
        return table.sort_values("name", ignore_index=True)

    def describe(self) -> dict[str, Any]:
        """Return how many images there are of each kind, and a digest of those trained on."""
        digest = hashlib.sha256()
        for item in [*self.train, *self.validation]:
            digest.update(item.pixels.tobytes() + item.labels.tobytes())
        sizes = {name: len(getattr(self, name)) for name in ("train", "validation", "held_out")}
        return {"images": sizes, "digest": f"sha256:{digest.hexdigest()}"}


def read_sets(
    images: str | Path,
    labels: str | Path,
    names: str | Path | None,
    held_out: float,
    validation: float,
    split_by: Literal["image", "block"],
) -> Sets:
    """Read images and their labels, and split them; the parameters are the keys of ``unet``.

    Raises
    ------
    InputError
        See :func:`read_labelled` and :func:`split`.
    """
    rest, held = split(read_labelled(images, labels, names), held_out, split_by, images)
    train, looked_at = split(rest, validation, split_by, images) if validation else (rest, [])
    return Sets(train, looked_at, held)


def read_labelled(images: str | Path, labels: str | Path, names: str | Path | None = None) -> list[LabelledImage]:
    """Read images and their labels.

    Labels are instances if any label image of the set has more than one number besides 0. Otherwise they are
    binary, and the objects are the 4-connected components of what is not 0.

    Parameters
    ----------
    images, labels
        A folder of PNG, JPEG or TIFF files, and a folder of PNG or TIFF files with the same stems. Or two TIFF
        stacks. Or, both times, a folder with a folder per image, ``<id>/images/<id>.png`` and ``<id>/masks/*.png``,
        one mask per object, as the Data Science Bowl of 2018 has them.
    names
        A text file with how the names of the images to use begin, one per line; None for all.

    Returns
    -------
    list
        Sorted by name. An image without objects is kept if others have some.

    Raises
    ------
    InputError
        If there are no images, one has no mask or a mask of another size, a mask has no image, masks are not
        integers, or all of them are empty or all are full.
    """
    images, labels = Path(images), Path(labels)
    for path in (images, labels, *([Path(names)] if names else [])):
        if not path.exists():
            raise InputError(
                _SAMPLE,
                path,
                found="no such file or folder",
                expected="a folder of images, a TIFF stack, or a list of names",
                remedy="correct the path (relative paths start at the working directory)",
            )
    if images.is_dir() != labels.is_dir():
        forms = ("folder", "file") if labels.is_dir() else ("file", "folder")
        raise InputError(
            _SAMPLE,
            labels,
            found=f"a {forms[0]} of labels, but a {forms[1]} of images",
            expected="two folders, or two TIFF stacks",
            remedy="give images and labels in the same form",
        )
    # every name begins with nothing
    lines = Path(names).read_text(encoding="utf-8").splitlines() if names else []
    starts = tuple(filter(None, map(str.strip, lines))) if names else ("",)
    if images.is_file():
        pairs = _stacks(images, labels, starts)
    elif _is_folder_per_image(images) and images.resolve() == labels.resolve():
        pairs = _folder_per_image(images, starts)
    else:
        pairs = _folders(images, labels, starts)
    missing = [start for start in starts if not any(name.startswith(start) for name, _, _ in pairs)]
    if missing:
        raise InputError(
            _SAMPLE,
            names or images,
            found=f"no image for {len(missing)} of {len(starts)} names: {_some(missing)}",
            expected=f"images in {images} whose names begin like this",
            remedy="correct the list of names, or the path of the images",
        )
    for name, pixels, mask in pairs:
        if pixels.shape[:2] != mask.numbers.shape:
            raise InputError(
                _SAMPLE,
                mask.path,
                found=f"a mask of {_size(mask.numbers)} for the image {name} of {_size(pixels)} (width x height)",
                expected="a mask as large as its image",
                remedy="export the mask at the size of the image, without interpolation",
            )
    brightest = max(int(pixels.max()) for _, pixels, _ in pairs)
    if brightest < _DARK:
        raise InputError(
            _SAMPLE,
            images,
            found=f"images that are nearly black: no pixel is brighter than {brightest} of 255",
            expected="the full range of 8 or 16 bit",
            remedy="stretch the images (12 bit in files of 16 bit: multiply by 16)",
        )
    objects = _objects([mask for _, _, mask in pairs], labels)
    grey = all((pixels == pixels[..., :1]).all() for _, pixels, _ in pairs)
    return [
        LabelledImage(name, np.ascontiguousarray(pixels[..., :1]) if grey else pixels, numbered)
        for (name, pixels, _), numbered in zip(pairs, objects, strict=True)
    ]


def split(
    items: list[LabelledImage], held_out: float, by: Literal["image", "block"], path: str | Path | None = None
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split into images to train on and images held out, by name alone.

    Parameters
    ----------
    held_out
        Share of the images that is held out.
    by
        ``block`` holds out the last images together, for serial sections, where neighbours look alike; ``image``
        single ones, evenly spread: of a quarter, every fourth.
    path
        Where the images are from, for messages.

    Raises
    ------
    InputError
        If nothing would be left to train on, or nothing held out.
    """
    items = sorted(items, key=lambda item: item.name)
    n = len(items)
    if by == "block":
        first = n - round(held_out * n)
        held = items[max(first, 0) :]
    else:
        # as evenly as possible: of a quarter, every fourth
        held = [item for k, item in enumerate(items) if int((k + 1) * held_out + 1e-9) > int(k * held_out + 1e-9)]
    names = {item.name for item in held}
    train = [item for item in items if item.name not in names]
    if not train or not held:
        raise InputError(
            _SAMPLE,
            path,
            found=f"{n} image{'s' * (n != 1)}, of which {held_out:g} (by {by}) leaves {len(train)} to train on and "
            f"{len(held)} held out",
            expected="at least one of each",
            remedy="give more images, or change the share held out" if n > 1 else "give at least two images",
        )
    return train, held


def _stacks(images: Path, labels: Path, starts: tuple[str, ...]) -> list[tuple[str, NDArray[np.uint8], _Mask]]:
    for path in (images, labels):
        if path.suffix.lower() not in TIFF_SUFFIXES:
            raise InputError(
                _SAMPLE,
                path,
                found=f"a single file that ends in {path.suffix or 'no suffix'}",
                expected="a TIFF stack, or a folder of images",
                remedy="put the file into a folder and name that",
            )
    pages = read_stack(images, _SAMPLE)
    masks = [_one_channel(plane, labels) for plane in read_planes(labels, _SAMPLE)]
    if len(pages) != len(masks):
        raise InputError(
            _SAMPLE,
            labels,
            found=f"{len(masks)} pages, but {len(pages)} in {images}",
            expected="a page of labels for every page of images",
            remedy="export both stacks with the same pages",
        )
    digits = len(str(len(pages)))
    names = (f"{images.stem}_{i:0{digits}d}" for i in range(1, len(pages) + 1))
    pairs = [(name, page, _Mask(labels, mask)) for name, page, mask in zip(names, pages, masks, strict=True)]
    return [pair for pair in pairs if pair[0].startswith(starts)]


def _folders(images: Path, labels: Path, starts: tuple[str, ...]) -> list[tuple[str, NDArray[np.uint8], _Mask]]:
    if images.resolve() == labels.resolve():
        raise InputError(
            _SAMPLE,
            images,
            found="one folder for images and labels",
            expected="a folder each, or a folder with <id>/images and <id>/masks in it",
            remedy="put the label images into a folder of their own, under the names of the images",
        )
    pictures, masks = _by_stem(images, starts), _by_stem(labels, starts)
    _check_pairs(pictures, masks, images, labels)
    return [
        (stem, _whole(path), _Mask(masks[stem], _read_mask(masks[stem]))) for stem, path in sorted(pictures.items())
    ]


def _is_folder_per_image(folder: Path) -> bool:
    return any((path / "images").is_dir() for path in folder.iterdir())


def _folder_per_image(folder: Path, starts: tuple[str, ...]) -> list[tuple[str, NDArray[np.uint8], _Mask]]:
    places = {path.name: path for path in folder.iterdir() if path.name.startswith(starts)}
    pictures = {name: path / "images" for name, path in places.items() if any(_files(path / "images"))}
    masks = {name: path / "masks" for name, path in places.items() if any(_files(path / "masks"))}
    _check_pairs(pictures, masks, folder, folder)
    pairs = []
    for name, place in sorted(pictures.items()):
        files = list(_files(place))
        if len(files) > 1:
            raise InputError(
                _SAMPLE,
                place,
                found=f"{len(files)} images: {_some([path.name for path in files])}",
                expected="one",
                remedy="keep one, and move the others to folders of their own",
            )
        pixels = _whole(files[0])
        values = np.zeros(pixels.shape[:2], np.int32)
        for number, path in enumerate(sorted(_files(masks[name])), 1):
            mask = _read_mask(path)
            if mask.shape != values.shape:
                values = mask  # reported where sizes are compared
                break
            values[(mask != 0) & (values == 0)] = number  # where two overlap, the first by name has the pixel
        pairs.append((name, pixels, _Mask(masks[name], values)))
    return pairs


def _files(folder: Path) -> Iterator[Path]:
    """List images, without the hidden files that some systems leave."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file():
                yield path


def _by_stem(folder: Path, starts: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(path for path in _files(folder) if path.stem.startswith(starts)):
        if path.stem in found:
            raise InputError(
                _SAMPLE,
                path,
                found=f"a second file of the same stem as {found[path.stem].name}",
                expected="one file for every image",
                remedy="remove or rename one of the two",
            )
        found[path.stem] = path
    if not found:
        raise InputError(
            _SAMPLE,
            folder,
            found="no images",
            expected=f"files that end in {', '.join(_SUFFIXES)}",
            remedy="correct the path",
        )
    return found


def _check_pairs(pictures: dict[str, Path], masks: dict[str, Path], images: Path, labels: Path) -> None:
    for have, want, path, what, other in (
        (pictures, masks, labels, "image", "mask"),
        (masks, pictures, images, "mask", "image"),
    ):
        alone = sorted(have.keys() - want.keys())
        if alone:
            raise InputError(
                _SAMPLE,
                path,
                found=f"no {other} for {len(alone)} of {len(have)} {what}s: {_some(alone)}",
                expected="images and masks of the same names (suffixes may differ)",
                remedy=f"add or rename the {other}s, or remove these {what}s",
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def _whole(path: Path) -> NDArray[np.uint8]:
    image = open_image(path, _SAMPLE)
    return image.read(0, 0, image.width, image.height)


def _read_mask(path: Path) -> NDArray[Any]:
    """Read the numbers of a label image as (h, w), of a palette image those of its colours."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        planes = read_planes(path, _SAMPLE)
        if len(planes) != 1:
            raise _wrong_mask(path, f"{len(planes)} pages")
        return _one_channel(planes[0], path)
    try:
        with Image.open(path) as opened:
            if opened.format == "JPEG":
                raise _wrong_mask(path, "a JPEG, which changes numbers a little")
            if opened.mode == "RGB" and "transparency" in opened.info:
                raise _wrong_mask(path, "transparent pixels")
            values = np.asarray(opened)
            if opened.mode in ("LA", "PA", "RGBA"):
                if (values[..., -1] != 255).any():
                    raise _wrong_mask(path, "transparent pixels")
                values = values[..., :-1]
    except (OSError, SyntaxError, ValueError) as error:
        raise _wrong_mask(path, f"an image that cannot be read ({error})") from error
    return _one_channel(values, path)


def _one_channel(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Check that an array can be labels, and return it as (h, w)."""
    if values.dtype.kind not in "bui":
        raise _wrong_mask(path, f"numbers of type {values.dtype}")
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise _wrong_mask(
                path,
                f"{values.shape[2]} channels that differ: a colour image, not labels",
                "see that unet.images and unet.labels are not swapped; save labels as numbers, not as colours",
            )
        values = values[..., 0]
    if values.min() < 0:
        raise _wrong_mask(path, "numbers below 0")
    return values


def _wrong_mask(
    path: Path,
    found: str,
    remedy: str = "save the labels as PNG or TIFF of 8, 16 or 32 bit integers, without interpolation",
) -> InputError:
    return InputError(
        _SAMPLE,
        path,
        found=found,
        expected="one channel of whole numbers: 0 is background, all else objects",
        remedy=remedy,
    )


def _objects(masks: list[_Mask], labels: Path) -> list[NDArray[np.int32]]:
    """Number the objects of every mask from 1, without gaps."""
    full = {bool((mask.numbers != 0).all()) for mask in masks}
    empty = {not (mask.numbers != 0).any() for mask in masks}
    if full == {True} or empty == {True}:
        raise InputError(
            _SAMPLE,
            labels,
            found=f"masks without a single pixel of {'background' if full == {True} else 'an object'}",
            expected="0 where there is background, and other numbers where there are objects",
            remedy="see that these are the masks, and that they were exported as numbers",
        )
    distinct = [np.unique(mask.numbers) for mask in masks]
    instances = any(np.count_nonzero(values) > 1 for values in distinct)
    if not instances:
        log.warning("%s: masks of a single value, so objects that touch count as one", labels)
        return [ndimage.label(mask.numbers != 0)[0].astype(np.int32) for mask in masks]
    # Numbers of 32 bits would make whatever counts per number too large.
    return [
        np.searchsorted(values[values > 0], mask.numbers, side="right").astype(np.int32)
        for mask, values in zip(masks, distinct, strict=True)
    ]

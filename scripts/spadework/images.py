"""Images of any format as uint8 RGB, read by region where the format allows.

Coordinates are pixels of the image itself, x to the right and y down. All conversion to 8-bit RGB happens here:
alpha is composited on white, grey is expanded, 16 bit keeps its upper byte.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spadework.errors import InputError
from spadework.files import OPENSLIDE_SUFFIXES, TIFF_SUFFIXES

if TYPE_CHECKING:
    import tifffile

RGB = NDArray[np.uint8]
_BAND_PX = 2048  # rows decoded at a time while an overview is made
_MINISWHITE = 0  # TIFF's own number
# What tifffile and the decoders raise on damaged files: they trust the numbers they find there.
_BROKEN_TIFF = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, SyntaxError, struct.error)


class SlideImage(ABC):
    """An image that is read by region."""

    width: int
    height: int

    @abstractmethod
    def _read(self, x0: int, y0: int, x1: int, y1: int) -> RGB:
        """Return the region, (y1 - y0, x1 - x0, 3) uint8; the caller has checked the bounds."""

    def read(self, x0: int, y0: int, x1: int, y1: int) -> RGB:
        """Return a region as (y1 - y0, x1 - x0, 3) uint8 RGB.

        Raises
        ------
        ValueError
            If the region is empty or leaves the image.
        """
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            raise ValueError(
                f"region x {x0}..{x1}, y {y0}..{y1} is not inside the image, {self.width} x {self.height}"
            )
        return self._read(x0, y0, x1, y1)

    def overview(self, longest: int) -> RGB:
        """Return the whole image with its longer side at most ``longest`` px, averaged, never enlarged."""
        scale = min(1.0, longest / max(self.width, self.height))
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        factor = max(1, int(1 / scale))
        bands = [
            np.asarray(Image.fromarray(self.read(0, y0, self.width, y1)).reduce(factor))
            for y0, y1 in _spans(self.height, max(factor, _BAND_PX // factor * factor))
        ]
        # The last block of a row or column may be a partial one; the box keeps the overview in register.
        box = (0, 0, self.width / factor, self.height / factor)
        return np.asarray(Image.fromarray(np.concatenate(bands)).resize(size, Image.Resampling.BOX, box))


class ArrayImage(SlideImage):
    """An image held in memory: what formats without random access come to."""

    def __init__(self, array: RGB) -> None:
        self._array = array
        self.height, self.width = array.shape[:2]

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> RGB:
        return self._array[y0:y1, x0:x1]


class TiffImage(SlideImage):
    """TIFF, BigTIFF and OME-TIFF, tiled, striped or pyramidal, through tifffile.

    Raises
    ------
    InputError
        If the file is no readable TIFF, or holds fluorescence channels and none are named.
    """

    def __init__(self, path: Path, sample: str, channels: tuple[str, ...] = ()) -> None:
        import tifffile
        import zarr

        try:
            with tifffile.TiffFile(path) as handle:
                series = handle.series[0]
                axes, shape, dtype = series.axes, series.shape, series.dtype
                photometric = tifffile.PHOTOMETRIC(series.keyframe.photometric).name
                colormap = series.keyframe.colormap
                names = _ome_channels(handle.ome_metadata)
                if 0 in shape:
                    raise _unreadable(sample, path, f"it has no pixels: {axes} of size {shape}")
                if _is_cut_short(handle, series):
                    raise _unreadable(sample, path, "it ends before its last pixels: an incomplete copy")
            store = tifffile.imread(path, aszarr=True, series=0, level=0)
        except _BROKEN_TIFF as error:
            raise _unreadable(sample, path, str(error)) from error
        if dtype.kind != "u" or dtype.itemsize > 2:
            raise _wrong_type(sample, path, dtype)
        self._zarr: Any = zarr.open(store, mode="r")
        self._axes = axes.replace("C", "S") if "S" not in axes else axes
        self._sample, self._path = sample, path
        self.height, self.width = shape[self._axes.index("Y")], shape[self._axes.index("X")]
        n_samples = shape[self._axes.index("S")] if "S" in self._axes else 1
        extra = [a for a, n in zip(self._axes, shape, strict=True) if a not in "YXS" and n > 1]
        if extra:
            raise InputError(
                sample,
                path,
                found=f"an image stack with axes {axes} of size {shape}",
                expected="one plane of an H&E image",
                remedy="export the focal plane you want as its own TIFF",
            )
        self._invert = photometric == "MINISWHITE"
        self._palette = (np.asarray(colormap) >> 8).astype(np.uint8).T if photometric == "PALETTE" else None
        colour = photometric in ("RGB", "YCBCR") and n_samples in (3, 4)
        self._pick: _Channels | None = None
        if channels or not (colour or n_samples == 1):
            self._pick = _Channels(self, sample, path, channels, names, n_samples)

    def _planes(self, x0: int, y0: int, x1: int, y1: int) -> NDArray[Any]:
        """Return a region as (rows, columns, samples) in the file's own type."""
        where = {"Y": slice(y0, y1), "X": slice(x0, x1), "S": slice(None)}
        try:
            block = np.asarray(self._zarr[tuple(where.get(axis, 0) for axis in self._axes)])
        except _BROKEN_TIFF as error:
            raise _unreadable(self._sample, self._path, f"x {x0}..{x1}, y {y0}..{y1}: {error}") from error
        kept = [axis for axis in self._axes if axis in where]
        if "S" not in kept:
            return block[:, :, None]
        return np.moveaxis(block, kept.index("S"), -1)

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> RGB:
        block = self._planes(x0, y0, x1, y1)
        if self._pick is not None:
            return self._pick.as_rgb(block)
        if self._palette is not None:
            return self._palette[block[:, :, 0]]
        if self._invert:
            block = np.iinfo(block.dtype).max - block
        return to_rgb8(block)


class _Channels:
    """Named fluorescence channels shown as red, green and blue, each stretched to its own range."""

    def __init__(
        self,
        image: TiffImage,
        sample: str,
        path: Path,
        wanted: tuple[str, ...],
        names: list[str],
        n_samples: int,
    ) -> None:
        if not wanted:
            listed = ", ".join(names) or f"{n_samples} channels without names"
            raise InputError(
                sample,
                path,
                found=f"what looks like a fluorescence image ({listed})",
                expected="an H&E image in RGB",
                remedy="give the brightfield image; or, to use fluorescence on purpose, name up to three channels in "
                "the column `channels` (for example 'DAPI' or '1,2')",
            )
        if len(wanted) > 3:
            raise InputError(
                sample,
                path,
                found=f"{len(wanted)} channels",
                expected="at most three",
                remedy="name up to three",
            )
        self._index = [self._find(sample, path, channel, names, n_samples) for channel in wanted]
        step = max(1, max(image.width, image.height) // 1024)
        rows = range(0, image.height, max(1, step * 8))
        probe = np.concatenate([image._planes(0, y, image.width, y + 1)[:, ::step] for y in rows])
        low, high = np.percentile(probe[..., self._index], (1, 99.8), axis=(0, 1))
        self._low, self._range = low, np.maximum(high - low, 1)

    @staticmethod
    def _find(sample: str, path: Path, channel: str, names: list[str], n_samples: int) -> int:
        if channel in names:
            return names.index(channel)
        if channel.isdigit() and 1 <= int(channel) <= n_samples:
            return int(channel) - 1
        raise InputError(
            sample,
            path,
            found=f"no channel {channel!r}",
            expected=", ".join(names) or f"a number from 1 to {n_samples}",
            remedy="correct the column `channels`",
        )

    def as_rgb(self, block: NDArray[Any]) -> RGB:
        scaled = (block[..., self._index].astype(np.float32) - self._low) / self._range
        out = np.zeros((*block.shape[:2], 3), np.uint8)
        out[..., : len(self._index)] = np.rint(np.clip(scaled, 0, 1) * 255)
        if len(self._index) == 1:  # one channel reads best as grey
            out[...] = out[..., :1]
        return out


class OpenSlideImage(SlideImage):
    """Whole-slide formats of scanner makers (SVS, NDPI, MRXS, ...), through OpenSlide."""

    def __init__(self, path: Path, sample: str) -> None:
        import openslide

        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError) as error:
            raise _unreadable(sample, path, str(error)) from error
        self._sample, self._path, self._error = sample, path, openslide.OpenSlideError
        self.width, self.height = self._slide.dimensions

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> RGB:
        try:
            region = self._slide.read_region((x0, y0), 0, (x1 - x0, y1 - y0))
        except self._error as error:
            raise _unreadable(self._sample, self._path, f"x {x0}..{x1}, y {y0}..{y1}: {error}") from error
        return to_rgb8(np.asarray(region))


def open_image(path: str | Path, sample: str, channels: tuple[str, ...] = ()) -> SlideImage:
    """Open an image of any supported format.

    Parameters
    ----------
    sample
        For error messages.
    channels
        Channels of a fluorescence image to show as red, green and blue; empty for H&E.

    Raises
    ------
    InputError
        If the format is unknown, the file is broken, or it holds fluorescence and no channels are named.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in OPENSLIDE_SUFFIXES:
        return OpenSlideImage(path, sample)
    if suffix in TIFF_SUFFIXES:
        return TiffImage(path, sample, channels)
    if channels:
        raise InputError(
            sample,
            path,
            found=f"channels named for a {suffix} image",
            expected="a multichannel TIFF",
            remedy="empty the column `channels` or give the TIFF",
        )
    return ArrayImage(read_rgb(path, sample))


def read_rgb(path: str | Path, sample: str) -> RGB:
    """Read a whole PNG or JPEG as (h, w, 3) uint8 RGB."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise _unreadable(sample, path, f"the format {path.suffix or 'without a suffix'} is not known")
    try:
        with _any_size(), Image.open(path) as opened:
            image: Image.Image = opened
            if "transparency" in image.info:  # a palette entry, or one colour of a grey or RGB image
                image = image.convert("RGBA")
            if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I"):
                image = image.convert("RGB")
            array = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(sample, path, str(error)) from error
    if array.dtype == np.int32:  # Pillow hands 16 bit grey out as 32 bit
        array = array.astype(np.uint16)
    return to_rgb8(array)


def read_stack(path: str | Path, sample: str) -> list[RGB]:
    """Read every page of a TIFF as (h, w, 3) uint8 RGB.

    Raises
    ------
    InputError
        If the file is no readable TIFF, or its pixels are not 8 or 16 bit unsigned integers.
    """
    pages = []
    for plane, photometric, colormap in _pages(Path(path), sample):
        if plane.dtype.kind != "u" or plane.dtype.itemsize > 2:
            raise _wrong_type(sample, Path(path), plane.dtype)
        if colormap is not None:
            pages.append((colormap >> 8).astype(np.uint8).T[plane])
        else:
            pages.append(to_rgb8(np.iinfo(plane.dtype).max - plane if photometric == _MINISWHITE else plane))
    return pages


def read_planes(path: str | Path, sample: str) -> list[NDArray[Any]]:
    """Read every page of a TIFF as its numbers are stored, (h, w) or (h, w, samples).

    Raises
    ------
    InputError
        If the file is no readable TIFF.
    """
    return [plane for plane, _, _ in _pages(Path(path), sample)]


def _pages(path: Path, sample: str) -> Iterator[tuple[NDArray[Any], int, NDArray[np.uint16] | None]]:
    """Yield the pages of a TIFF, however its writer counted them, each with its photometric tag and its palette."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as handle:
            stacks = [(s.asarray(), s.axes, s.keyframe.photometric, s.keyframe.colormap) for s in handle.series]
    except _BROKEN_TIFF as error:
        raise _unreadable(sample, path, str(error)) from error
    for array, axes, photometric, colormap in stacks:
        if 0 in array.shape or not {"Y", "X"} <= set(axes):
            raise _unreadable(sample, path, f"it has no pixels: {axes} of size {array.shape}")
        if "C" in axes and array.shape[axes.index("C")] > 1:
            raise InputError(
                sample,
                path,
                found=f"separate channels: axes {axes} of size {array.shape}",
                expected="grey or RGB pages",
                remedy="export it as grey or RGB",
            )
        last = [axes.index(axis) for axis in "YXS" if axis in axes]
        array = np.moveaxis(array, last, range(-len(last), 0))
        for plane in array.reshape(-1, *array.shape[-len(last) :]):
            yield plane, photometric, colormap


def to_rgb8(array: NDArray[Any]) -> RGB:
    """Convert grey, grey with alpha, RGB or RGBA of 8 or 16 bit to (h, w, 3) uint8 RGB.

    Raises
    ------
    TypeError
        If the array is not unsigned 8 or 16 bit.
    """
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise TypeError(f"pixels of type {array.dtype}, expected uint8 or uint16")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] in (2, 4):
        array = _on_white(array[:, :, :-1], array[:, :, -1:])
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _on_white(colour: RGB, alpha: RGB) -> RGB:
    if alpha.min() == 255:
        return colour
    # Integer arithmetic, rounded: opaque pixels come out exactly as they were.
    mixed = colour.astype(np.uint16) * alpha + np.uint16(255) * (255 - alpha.astype(np.uint16))
    return ((mixed.astype(np.uint32) + 127) // 255).astype(np.uint8)


def _spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, step):
        yield start, min(start + step, length)


def _is_cut_short(handle: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Tell whether the strips or tiles of the full-size level are not all inside the file."""
    pages = [page for page in series.levels[0].pages if page is not None and page.parent is handle]
    size = handle.filehandle.size
    return any(
        len(page.dataoffsets) < int(np.prod(page.chunked))
        or len(page.databytecounts) < len(page.dataoffsets)
        or any(start + n > size for start, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        for page in pages
    )


def _ome_channels(metadata: str | None) -> list[str]:
    """Return channel names from OME-XML."""
    if not metadata:
        return []
    import tifffile

    image = tifffile.xml2dict(metadata).get("OME", {}).get("Image", {})
    image = image[0] if isinstance(image, list) else image
    channels = image.get("Pixels", {}).get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    names = [str(channel.get("Name", "")) for channel in channels]
    return names if any(names) else []


@contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's limit on image size for this read: microscope images are large on purpose."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _wrong_type(sample: str, path: Path, dtype: np.dtype) -> InputError:
    return InputError(
        sample,
        path,
        found=f"pixels of type {dtype}",
        expected="8 or 16 bit unsigned integers",
        remedy="export the image as 8 bit RGB TIFF",
    )


def _unreadable(sample: str, path: Path, reason: str) -> InputError:
    return InputError(
        sample,
        path,
        found=f"an image that cannot be read ({reason})",
        expected="TIFF, BigTIFF, OME-TIFF, SVS, NDPI, JPEG or PNG",
        remedy="copy the file again, or export it as TIFF",
    )

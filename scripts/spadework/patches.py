"""Image patches around spots: the geometry (pure arithmetic) and the cutting (streamed).

A patch is a box of whole source pixels around a spot centre, resized to a square of ``output_px``. Where the box
leaves the image, the missing part is filled by reflection and the padded fraction is recorded; no spot is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spadework.errors import InputError
from spadework.images import ArrayImage, SlideImage, open_image
from spadework.keys import Keys

# Rows of the image decoded at a time, in patch heights: more means less decoded twice, and more memory.
_BAND_PATCHES = 4
MIN_PATCH_PX = 12


@dataclass(frozen=True)
class ScaledImage:
    """An image together with its own scale.

    Attributes
    ----------
    scale
        Pixels of this image per full-resolution pixel, in x and y.
    um_per_px
        µm per pixel of this image, in x and y.
    source
        ``fullres``, ``hires`` or ``lowres``.
    """

    image: SlideImage
    scale: tuple[float, float]
    um_per_px: tuple[float, float]
    source: str

    def to_px(self, spatial: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert full-resolution coordinates (n, 2) to pixels of this image."""
        return np.asarray(spatial, float) * self.scale


def section_image(
    section: ad.AnnData, sample: str, which: str, fullres: str | Path | None, channels: tuple[str, ...] = ()
) -> ScaledImage:
    """Open the image patches are cut from.

    Parameters
    ----------
    section
        AnnData of the ingest stage, with images and lattice in ``uns``.
    which
        ``best`` (full resolution, else hires, else lowres), ``fullres`` or ``hires``.
    fullres
        The full-resolution image, if there is one.

    Raises
    ------
    InputError
        If the image asked for is not there.
    """
    lattice = section.uns[Keys.SPADE]["lattice"]
    um = (float(lattice["um_per_px_x"]), float(lattice["um_per_px_y"]))
    if fullres and which in ("best", "fullres"):
        return ScaledImage(open_image(fullres, sample, channels), (1.0, 1.0), um, "fullres")
    library = section.uns[Keys.SPATIAL][sample]
    for kind in ("hires", "lowres") if which == "best" else (which,):
        if kind in library["images"]:
            scale = float(library["scalefactors"][f"tissue_{kind}_scalef"])
            image = ArrayImage(np.asarray(library["images"][kind]))
            return ScaledImage(image, (scale, scale), (um[0] / scale, um[1] / scale), kind)
    raise InputError(
        sample,
        None,
        found=f"no {which} image (there is {', '.join(library['images']) or 'none'})",
        expected="the image that `patch.image` in config/config.yaml asks for",
        remedy="name the full-resolution image in the column `image`, or set `patch.image: best`",
    )


def patch_size_px(um: float | None, px: int | None, um_per_px: tuple[float, float]) -> tuple[int, int]:
    """Patch width and height in source pixels; exactly one of ``um`` and ``px`` is given.

    A size in µm becomes two sizes on an image whose scale differs between x and y, so that patches stay square
    in the tissue.
    """
    if (um is None) == (px is None):
        raise ValueError("a patch has a size in µm or in px, not both and not neither")
    if px is not None:
        return px, px
    width, height = (max(1, round(um / scale)) for scale in um_per_px)  # type: ignore[operator]
    return width, height


def check_patch_size(size: tuple[int, int], scaled: ScaledImage, sample: str) -> None:
    """Check that a patch is more than a handful of pixels.

    Raises
    ------
    InputError
        If it is not.
    """
    if min(size) < MIN_PATCH_PX:
        raise InputError(
            sample,
            None,
            found=f"a patch is {size[0]} x {size[1]} px of the {scaled.source} image, "
            f"{max(scaled.um_per_px):.2g} µm/px",
            expected=f"at least {MIN_PATCH_PX} px",
            remedy="name the full-resolution image in the column `image`, or raise `patch.um`",
        )


def patch_boxes(centres: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Boxes (x0, y0, x1, y1), (n, 4) int64, of ``size`` (width, height) around centres (n, 2), source px.

    Boxes may leave the image. Half-way cases round to even, as the published script does.
    """
    start = np.rint(np.asarray(centres, float) - np.asarray(size) / 2).astype(np.int64)
    return np.hstack([start, start + np.asarray(size)])


def padded_fraction(boxes: NDArray[np.int64], width: int, height: int) -> NDArray[np.float32]:
    """Share of each box outside an image of ``width`` x ``height``, (n,) float32."""
    inside_x = np.clip(np.minimum(boxes[:, 2], width) - np.maximum(boxes[:, 0], 0), 0, None)
    inside_y = np.clip(np.minimum(boxes[:, 3], height) - np.maximum(boxes[:, 1], 0), 0, None)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return (1 - inside_x * inside_y / area).astype(np.float32)


def reflect(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Fold any integer index into 0..length-1 by mirroring at the border pixels (``numpy.pad`` mode reflect)."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.abs(index) % period
    return np.minimum(folded, period - folded)


def cut_patches(
    image: SlideImage, boxes: NDArray[np.int64], output_px: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut patches, each (output_px, output_px, 3) uint8, with the index of its box.

    Patches come in the order of their position in the image, which reads each part of the file once and never
    holds more than a band of it. A patch that needs no resizing keeps its pixels exactly.
    """
    if not len(boxes):
        return
    size = int(boxes[0, 2] - boxes[0, 0]), int(boxes[0, 3] - boxes[0, 1])
    offset_x, offset_y = np.arange(size[0]), np.arange(size[1])
    # Order by rows of bands, then along the row.
    order = np.lexsort((boxes[:, 0], boxes[:, 1]))
    step = _BAND_PATCHES * size[1]
    band_of = boxes[order, 1] // step
    for band in np.unique(band_of):
        members = order[band_of == band]
        rows = reflect(boxes[members, 1][:, None] + offset_y, image.height)
        columns = reflect(boxes[members, 0][:, None] + offset_x, image.width)
        x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        pixels = image.read(int(x0), int(y0), int(x1), int(y1))
        for i, r, c in zip(members, rows - y0, columns - x0, strict=True):
            patch = pixels[r[0] : r[-1] + 1, c[0] : c[-1] + 1]
            if patch.shape[:2] != (size[1], size[0]):  # at a border the reflected rows are not consecutive
                patch = pixels[r[:, None], c]
            yield int(i), _resize(patch, output_px)


def _resize(patch: NDArray[np.uint8], output_px: int) -> NDArray[np.uint8]:
    if patch.shape[:2] == (output_px, output_px):
        return patch
    # Pillow widens the filter when it shrinks, so nothing aliases.
    resized = Image.fromarray(patch).resize((output_px, output_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)

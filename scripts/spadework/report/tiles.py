"""A slide as a pyramid of WebP tiles, as small as a page can carry it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spadework.images import SlideImage
from spadework.report.bundle import Bundle

TILE_PX = 512
MIME = "image/webp"
_QUALITY, _METHOD = 75, 4

RGB = NDArray[np.uint8]


def level_sizes(width: int, height: int, tile_px: int = TILE_PX) -> list[tuple[int, int]]:
    """Return width and height of each level, from one that fits into a tile to the whole image."""
    sizes = [(width, height)]
    while max(sizes[-1]) > tile_px:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes[::-1]


def cut_tiles(image: RGB, tile_px: int = TILE_PX) -> Iterator[tuple[str, RGB]]:
    """Cut an image into tiles, each with its "x/y"; those at the right and lower edge are smaller."""
    for y in range(0, image.shape[0], tile_px):
        for x in range(0, image.shape[1], tile_px):
            yield f"{x // tile_px}/{y // tile_px}", image[y : y + tile_px, x : x + tile_px]


def pyramid(image: RGB, tile_px: int = TILE_PX) -> dict[str, RGB]:
    """Return the tiles of all levels by "level/x/y"; every level is the one below it, averaged two by two."""
    sizes = level_sizes(image.shape[1], image.shape[0], tile_px)
    tiles: dict[str, RGB] = {}
    for level in reversed(range(len(sizes))):
        tiles |= {f"{level}/{place}": tile for place, tile in cut_tiles(image, tile_px)}
        # A last row or column without a partner is averaged alone: level and page stay in register.
        image = np.asarray(Image.fromarray(image).reduce(2))
    return tiles


def add_slide(bundle: Bundle, image: SlideImage, um_per_px: tuple[float, float], longest: int) -> dict[str, Any]:
    """Add an image to a page.

    Parameters
    ----------
    um_per_px
        Scale of the image in x and y.
    longest
        The longer side has at most this many pixels.

    Returns
    -------
    dict
        What the page must know of it: ``tiles``, ``width``, ``height``, ``tile_px``, ``levels``, ``um_per_px``,
        ``mime``.
    """
    shown = image.overview(longest)
    height, width = shown.shape[:2]
    tiles = pyramid(shown)
    return {
        "tiles": bundle.add_tiles({place: webp(tile) for place, tile in tiles.items()}),
        "width": width,
        "height": height,
        "tile_px": TILE_PX,
        "levels": len(level_sizes(width, height)),
        "um_per_px": [um_per_px[0] * image.width / width, um_per_px[1] * image.height / height],
        "mime": MIME,
    }


def webp(image: RGB) -> bytes:
    """Encode an image."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", quality=_QUALITY, method=_METHOD)
    return out.getvalue()

"""The slide of a page: a pyramid whose levels lie on top of each other."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spadework.images import ArrayImage
from spadework.report.bundle import Bundle
from spadework.report.tiles import TILE_PX, add_slide, level_sizes, pyramid

SIDE = st.integers(1, 40)


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 512))
def test_levels_are_halves_rounded_up_and_the_first_is_one_tile(width, height, tile_px):
    sizes = level_sizes(width, height, tile_px)
    assert sizes[-1] == (width, height)
    assert max(sizes[0]) <= tile_px
    assert len(sizes) == 1 or max(sizes[1]) > tile_px
    for level, (w, h) in enumerate(sizes):
        scale = 2 ** (len(sizes) - 1 - level)
        assert (w, h) == (-(-width // scale), -(-height // scale))


@settings(max_examples=60)
@given(SIDE, SIDE, st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_tiles_make_up_every_level_and_levels_are_averages(width, height, tile_px, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    tiles, sizes = pyramid(image, tile_px), level_sizes(width, height, tile_px)
    levels = []
    for level, (w, h) in enumerate(sizes):
        rows = [
            np.hstack([tiles[f"{level}/{x}/{y}"] for x in range(-(-w // tile_px))]) for y in range(-(-h // tile_px))
        ]
        levels.append(np.vstack(rows))
        assert levels[-1].shape == (h, w, 3)
    assert len(tiles) == sum(-(-w // tile_px) * -(-h // tile_px) for w, h in sizes)
    np.testing.assert_array_equal(levels[-1], image)
    for coarse, fine in itertools.pairwise(levels):
        for y, x in np.ndindex(coarse.shape[:2]):
            block = fine[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1, 3)
            np.testing.assert_allclose(coarse[y, x], block.mean(axis=0), atol=0.51)


def stitched(bundle: Bundle, slide: dict) -> np.ndarray:
    tiles, out = bundle.tiles[slide["tiles"]], np.zeros((slide["height"], slide["width"], 3), np.uint8)
    for place, content in tiles.items():
        level, x, y = map(int, place.split("/"))
        with Image.open(io.BytesIO(base64.b64decode(content))) as tile:
            assert tile.format == "WEBP"
            if level == slide["levels"] - 1:
                out[y * TILE_PX : y * TILE_PX + tile.height, x * TILE_PX : x * TILE_PX + tile.width] = tile
    return out


@pytest.mark.parametrize(("longest", "width"), [(2000, 1300), (600, 600)])
def test_the_deepest_level_is_the_overview_within_what_webp_loses(longest, width):
    y, x = np.mgrid[:700, :1300]
    image = np.stack([x // 6, y // 3, (x + y) // 8], axis=-1).astype(np.uint8)
    bundle, slide = Bundle(), {}
    slide = add_slide(bundle, ArrayImage(image), (0.5, 0.7), longest)
    overview = ArrayImage(image).overview(longest)
    assert (slide["width"], slide["height"]) == overview.shape[1::-1] == (width, round(700 * width / 1300))
    assert np.abs(stitched(bundle, slide).astype(int) - overview).mean() < 3
    # As large as the slide is
    np.testing.assert_allclose(
        np.multiply(slide["um_per_px"], [slide["width"], slide["height"]]), [1300 * 0.5, 700 * 0.7]
    )

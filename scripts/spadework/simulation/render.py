"""From anatomy and nuclei to the RGB image a slide scanner would record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .cells import Nuclei
from .fields import smooth_field, stream, white_noise
from .geometry import Canvas, Float
from .texture import Stain, background_stain
from .tissue import Tissue, TissueMap

HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
"""Optical density vector of haematoxylin (Ruifrok & Johnston 2001), RGB."""

EOSIN = np.array([0.072, 0.990, 0.105])
"""Optical density vector of eosin (Ruifrok & Johnston 2001), RGB."""

EOSIN_AGED = np.array([0.216, 0.801, 0.558])
"""The warmer eosin of many scanners (Macenko 2009); each section lies somewhere between the two."""

CHUNK = 1 << 15


def stamp_nuclei(nuclei: Nuclei, canvas: Canvas) -> tuple[Float, Float]:
    """Rasterise nuclei as antialiased ellipses; where they overlap the darker one shows.

    Returns
    -------
    density, cover : ndarray of float32, shape (height, width)
        Optical density of haematoxylin, and the share of the pixel that nuclei cover.
    """
    density = np.zeros(canvas.height * canvas.width, np.float32)
    cover = np.zeros_like(density)
    for drawn in _ellipses(nuclei, canvas):
        np.maximum.at(density, drawn.pixel, drawn.density)
        np.maximum.at(cover, drawn.pixel, drawn.cover)
    return density.reshape(canvas.shape), cover.reshape(canvas.shape)


def label_nuclei(nuclei: Nuclei, canvas: Canvas) -> NDArray[np.int32]:
    """Say which nucleus each pixel shows: of those that cover half of it, the darkest there.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Numbers of the nuclei from 1 in their order, 0 where there is none.
    """
    labels = np.zeros(canvas.height * canvas.width, np.int32)
    darkest = np.zeros(labels.shape, np.float32)
    for drawn in _ellipses(nuclei, canvas):
        shows = (drawn.cover >= 0.5) & (drawn.density > darkest[drawn.pixel])
        pixel, density, nucleus = drawn.pixel[shows], drawn.density[shows], drawn.nucleus[shows]
        # the last assignment to a pixel holds
        order = np.argsort(density, kind="stable")
        darkest[pixel[order]] = density[order]
        labels[pixel[order]] = nucleus[order] + 1
    return labels.reshape(canvas.shape)


@dataclass(frozen=True)
class _Drawn:
    """Pixels (of the flat canvas) that some nuclei touch, each with its nucleus, its density and its cover."""

    pixel: NDArray[np.intp]
    nucleus: NDArray[np.intp]
    density: Float
    cover: Float


def _ellipses(nuclei: Nuclei, canvas: Canvas) -> Iterator[_Drawn]:
    """Draw all nuclei, some at a time."""
    reach = np.ceil(nuclei.long_um / canvas.um_per_px + 0.5).astype(int)
    # nuclei of like size are drawn together, so that each batch has one window
    for size in np.unique(reach):
        members = np.flatnonzero(reach == size)
        step = max(1, CHUNK * 64 // (2 * size + 1) ** 2)
        for start in range(0, len(members), step):
            yield _draw(nuclei, members[start : start + step], size, canvas)


def _draw(nuclei: Nuclei, members: NDArray[np.intp], reach: int, canvas: Canvas) -> _Drawn:
    """Draw some nuclei, each in a window of ``2 * reach + 1`` px."""
    row, column = canvas.pixel_of(nuclei.y_um[members], nuclei.x_um[members])
    dy, dx = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    rows, columns = row[:, None] + dy, column[:, None] + dx

    def column_of(values: NDArray) -> Float:
        return values[members, None].astype(np.float32)

    y = (rows * canvas.um_per_px - nuclei.y_um[members, None]).astype(np.float32)
    x = (columns * canvas.um_per_px - nuclei.x_um[members, None]).astype(np.float32)
    cosine, sine = np.cos(column_of(nuclei.angle)), np.sin(column_of(nuclei.angle))
    short = column_of(nuclei.short_um)
    radius = np.hypot((x * cosine + y * sine) / column_of(nuclei.long_um), (y * cosine - x * sine) / short)
    # the edge is one pixel wide, measured along the short axis
    share = np.clip((1.0 - radius) * short / np.float32(canvas.um_per_px) + np.float32(0.5), 0.0, 1.0)
    middle = np.square(np.clip(1.0 - radius, 0.0, 1.0))
    dark = share * column_of(nuclei.darkness) * (1.0 - column_of(nuclei.paleness) * middle)

    drawn = (share > 0.0) & (rows >= 0) & (rows < canvas.height) & (columns >= 0) & (columns < canvas.width)
    nucleus = np.broadcast_to(members[:, None], rows.shape)[drawn]
    return _Drawn(rows[drawn] * canvas.width + columns[drawn], nucleus, dark[drawn], share[drawn])


def stain_section(seed: int, tissue: TissueMap, nuclei: Nuclei) -> Stain:
    """Optical densities of both dyes over the whole section, before the section's own gains."""
    canvas = tissue.canvas
    background = background_stain(seed, tissue)
    nuclear, cover = stamp_nuclei(nuclei, canvas)
    chromatin = 1.0 + 0.11 * white_noise(stream(seed, "chromatin"), canvas, 0.8)
    glass = tissue.kind == Tissue.GLASS
    nuclear[glass] = 0.0
    haematoxylin = background.haematoxylin * (1.0 - cover) + nuclear * chromatin
    return Stain(haematoxylin, background.eosin * (1.0 - np.float32(0.65) * cover))


def photograph(seed: int, stain: Stain, canvas: Canvas) -> NDArray[np.uint8]:
    """Turn optical densities into an RGB image with this section's stain strength, light and camera noise.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    rng = stream(seed, "camera")
    gain_haematoxylin, gain_eosin = np.exp(rng.normal(0.0, 0.12, 2))
    mix = rng.uniform(0.25, 0.75)
    eosin_vector = (1.0 - mix) * EOSIN + mix * EOSIN_AGED
    eosin_vector /= np.linalg.norm(eosin_vector)
    lamp = np.array([244.0, 243.0, 245.0]) + rng.normal(0.0, 1.2, 3)

    thickness = 1.0 + 0.06 * smooth_field(rng, canvas, 700.0) + 0.03 * smooth_field(rng, canvas, 120.0)
    vignette = 1.0 + np.float32(0.006) * smooth_field(rng, canvas, 1200.0)
    # a lens spreads light in µm, a sensor's pixel in px
    optics_px = np.hypot(0.35 / canvas.um_per_px, 0.45)
    haematoxylin, eosin = (
        ndimage.gaussian_filter(dye, optics_px, truncate=3.0) * thickness for dye in (stain.haematoxylin, stain.eosin)
    )
    image = np.empty((*canvas.shape, 3), np.uint8)
    for channel in range(3):
        density = np.float32(gain_haematoxylin * HAEMATOXYLIN[channel]) * haematoxylin
        density += np.float32(gain_eosin * eosin_vector[channel]) * eosin
        light = np.float32(lamp[channel]) * vignette * np.exp(np.float32(-np.log(10.0)) * density)
        light += np.float32(1.8) * rng.standard_normal(canvas.shape, dtype=np.float32)
        image[:, :, channel] = np.clip(np.rint(light), 0, 255)
    return image

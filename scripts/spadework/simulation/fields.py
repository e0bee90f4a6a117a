"""Random building blocks of a section: named streams, smooth fields, tilings of rounded cells."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .geometry import Canvas, Float

CHUNK = 1 << 15
"""Points handled at once, so that intermediate arrays stay in cache."""

CELLS_PER_LENGTH = 3.0
"""Samples per correlation length at which a smooth field is drawn before it is enlarged."""


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of one named step, so that a change in one step leaves the others alone."""
    return np.random.default_rng([seed, crc32(name.encode())])


def enlarge(image: Float, source: Canvas, target: Canvas) -> Float:
    """Resample `image` from one canvas onto another that covers the same area (bicubic)."""
    if source.shape == target.shape:
        return image.astype(np.float32, copy=False)
    scale = target.um_per_px / source.um_per_px
    box = (0.0, 0.0, min(target.width * scale, source.width), min(target.height * scale, source.height))
    resized = Image.fromarray(np.asarray(image, np.float32)).resize(
        (target.width, target.height), Image.Resampling.BICUBIC, box=box
    )
    return np.asarray(resized)


def white_noise(rng: np.random.Generator, canvas: Canvas, blur_um: float = 0.0) -> Float:
    """Draw standard normal noise with grains of about `blur_um`, unit variance, shape (height, width)."""
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    sigma = blur_um / canvas.um_per_px
    if sigma < 0.2:
        return noise
    noise = ndimage.gaussian_filter(noise, sigma, mode="reflect", truncate=3.0)
    return noise / noise.std()


def smooth_field(rng: np.random.Generator, canvas: Canvas, length_um: float) -> Float:
    """Gaussian random field with correlation length `length_um`, zero mean, unit variance.

    It is drawn at a resolution suited to its length and enlarged, so long fields cost next to nothing.
    """
    step = max(canvas.um_per_px, length_um / CELLS_PER_LENGTH)
    grid = canvas.coarser(step)
    sigma = length_um / grid.um_per_px
    pad = int(np.ceil(3.0 * sigma))
    padded = Canvas(grid.height + 2 * pad, grid.width + 2 * pad, grid.um_per_px)
    values = white_noise(rng, padded, length_um)[pad : pad + grid.height, pad : pad + grid.width]
    values = (values - values.mean()) / values.std()
    return enlarge(np.ascontiguousarray(values), grid, canvas)


def fractal_field(rng: np.random.Generator, canvas: Canvas, lengths_um: tuple[float, ...]) -> Float:
    """Sum of smooth fields, each half as strong as the one before, scaled to about unit variance."""
    weights = 0.5 ** np.arange(len(lengths_um))
    total = np.zeros(canvas.shape, np.float32)
    for weight, length in zip(weights, lengths_um, strict=True):
        total += np.float32(weight) * smooth_field(rng, canvas, length)
    return total / np.float32(np.sqrt(np.sum(weights**2)))


def smear_along(image: Float, angle: Float, half_steps_px: tuple[float, ...]) -> Float:
    """Average `image` along the curves that follow `angle`: a fast line integral convolution.

    Each pass averages three points a step apart on the local direction. Passes of growing step act on what
    was already averaged along its own direction, hence the curves bend with the field.

    Parameters
    ----------
    image, angle : ndarray of float32, shape (height, width)
        Values, and the direction (radians from the x axis towards y) at every pixel.
    half_steps_px : tuple of float
        Step of each pass, in px.
    """
    height, width = image.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    along_y, along_x = np.sin(angle), np.cos(angle)
    for step in half_steps_px:
        total = image.copy()
        for sign in (-step, step):
            y = np.clip(np.rint(rows + sign * along_y), 0, height - 1).astype(np.int32)
            x = np.clip(np.rint(columns + sign * along_x), 0, width - 1).astype(np.int32)
            total += image.ravel()[y * width + x]
        image = total / 3.0
    return image / image.std()


@dataclass(frozen=True)
class RoundedCells:
    """A tiling of the plane into rounded, warped cells: adipocytes, glands, tumour nests.

    Attributes
    ----------
    y_um, x_um : ndarray of float32, shape (grid_rows, grid_columns)
        Seeds on a jittered grid.
    radius_um, stretch, angle : ndarray of float32, shape (grid_rows, grid_columns)
        Size, ratio of the axes and direction of the long one.
    spacing_um : float
        Step of the grid before the jitter; the grid starts one step outside the canvas.
    """

    y_um: Float
    x_um: Float
    radius_um: Float
    stretch: Float
    angle: Float
    spacing_um: float

    @classmethod
    def scattered(
        cls,
        rng: np.random.Generator,
        canvas: Canvas,
        spacing_um: float,
        radius_um: tuple[float, float],
        max_stretch: float,
    ) -> RoundedCells:
        """Draw the seeds of cells `spacing_um` apart, with radii uniform between the two given."""
        shape = tuple(int(np.ceil(side * canvas.um_per_px / spacing_um)) + 3 for side in canvas.shape)
        jitter_y, jitter_x = rng.uniform(0.1, 0.9, (2, *shape))
        rows, columns = np.indices(shape)
        # odd rows are shifted by half a step: a square grid would show through the jitter
        columns = columns + 0.5 * (rows % 2) - 0.25
        return cls(
            y_um=((rows - 1 + jitter_y) * spacing_um).astype(np.float32),
            x_um=((columns - 1 + jitter_x) * spacing_um).astype(np.float32),
            radius_um=rng.uniform(*radius_um, shape).astype(np.float32),
            stretch=rng.uniform(1.0, max_stretch, shape).astype(np.float32),
            angle=rng.uniform(0.0, np.pi, shape).astype(np.float32),
            spacing_um=spacing_um,
        )

    def depth(self, y_um: Float, x_um: Float, gap_um: float) -> tuple[NDArray[np.int32], Float]:
        """Find the cell each point belongs to and how deep inside it the point lies.

        Parameters
        ----------
        y_um, x_um : ndarray of float32, shape (n,)
            Points.
        gap_um : float
            Half the width of the space left between neighbouring cells.

        Returns
        -------
        owner : ndarray of int32, shape (n,)
            Flat index of the nearest seed.
        depth_um : ndarray of float32, shape (n,)
            Distance to the wall, negative outside the wall.
        """
        owner = np.empty(y_um.shape, np.int32)
        depth_um = np.empty(y_um.shape, np.float32)
        for start in range(0, len(y_um), CHUNK):
            part = slice(start, start + CHUNK)
            owner[part], depth_um[part] = self._depth(y_um[part], x_um[part], gap_um)
        return owner, depth_um

    def _depth(self, y_um: Float, x_um: Float, gap_um: float) -> tuple[NDArray[np.int32], Float]:
        """Do the work of `depth` for as many points as fit the processor's cache."""
        grid_rows, grid_columns = self.y_um.shape
        row = np.clip((y_um / self.spacing_um).astype(np.int32) + 1, 1, grid_rows - 2)
        shift = (0.5 * (row % 2) - 0.25).astype(np.float32)
        column = np.clip((x_um / self.spacing_um - shift).astype(np.int32) + 1, 1, grid_columns - 2)
        here = row * grid_columns + column
        seed_y, seed_x = self.y_um.ravel(), self.x_um.ravel()
        reward = np.square(self.radius_um.ravel()) * np.float32(0.5)

        owner = np.full(y_um.shape, -1, np.int32)
        runner_up = np.full(y_um.shape, -1, np.int32)
        best = np.full(y_um.shape, np.inf, np.float32)
        second = best.copy()
        for offset in (i * grid_columns + j for i in (-1, 0, 1) for j in (-1, 0, 1)):
            candidate = here + offset
            power = np.square(y_um - seed_y[candidate]) + np.square(x_um - seed_x[candidate])
            power -= reward[candidate]
            first = power < best
            runner_up = np.where(first, owner, np.where(power < second, candidate, runner_up))
            second = np.where(first, best, np.minimum(power, second))
            owner = np.where(first, candidate, owner)
            best = np.minimum(power, best)

        apart = np.hypot(seed_y[owner] - seed_y[runner_up], seed_x[owner] - seed_x[runner_up])
        to_neighbour = (second - best) / (2.0 * apart) - gap_um
        to_ellipse = self._ellipse_depth(owner, y_um, x_um)
        return owner, _soft_minimum(to_neighbour, to_ellipse, self.spacing_um / 7.0)

    def _ellipse_depth(self, owner: NDArray[np.int32], y_um: Float, x_um: Float) -> Float:
        """Approximate depth inside the owner's ellipse, µm."""
        dy, dx = y_um - self.y_um.ravel()[owner], x_um - self.x_um.ravel()[owner]
        cosine, sine = np.cos(self.angle.ravel()), np.sin(self.angle.ravel())
        root = np.sqrt(self.stretch.ravel())
        along = (dx * cosine[owner] + dy * sine[owner]) / root[owner]
        across = (dy * cosine[owner] - dx * sine[owner]) * root[owner]
        return self.radius_um.ravel()[owner] - np.hypot(along, across)


def _soft_minimum(a: Float, b: Float, width: float) -> Float:
    """Polynomial smooth minimum: rounds the corner where `a` and `b` meet, within `width`."""
    blend = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0).astype(np.float32)
    return b + (a - b) * blend - np.float32(width) * blend * (1.0 - blend)

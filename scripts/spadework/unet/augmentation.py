"""Training crops: moved, turned, bent and stained anew, each by one interpolation of the original image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import hed_from_rgb, rgb_from_hed


@dataclass(frozen=True)
class Augmentation:
    """How far training images are changed at random.

    Attributes
    ----------
    elastic_px
        Standard deviation of the displacements on a 3 x 3 grid over the crop (10 in Ronneberger et al. 2015).
    rotate, flip
        Turn by any angle; mirror.
    scale
        Enlarge or shrink by up to this factor (1: not at all).
    stain
        Standard deviation of the logarithm of the strength of each stain (of the contrast, if grey).
    brightness
        Standard deviation of the logarithm of the light.
    blur_px
        Most that the image is blurred by, standard deviation.
    """

    elastic_px: float = 10.0
    rotate: bool = True
    flip: bool = True
    scale: float = 1.0
    stain: float = 0.1
    brightness: float = 0.05
    blur_px: float = 0.0


def displacement(rng: np.random.Generator, size: int, sd_px: float) -> NDArray[np.float32]:
    """Draw a smooth displacement field: normal vectors on a 3 x 3 grid, bicubic in between.

    Returns
    -------
    numpy.ndarray
        (2, size, size) float32, px, in y and x.
    """
    vectors = rng.normal(0.0, sd_px, (2, 3, 3))
    basis = _cubic(size)
    return (basis @ vectors @ basis.T).astype(np.float32)


@cache
def _cubic(size: int) -> NDArray[np.float64]:
    """Return what each of three points on a line weighs at ``size`` places between them, (size, 3): cubic splines."""
    at = np.linspace(0, 2, size)[None]
    return np.stack([ndimage.map_coordinates(point, at, order=3, mode="mirror") for point in np.eye(3)], axis=1)


def sampling_grid(
    rng: np.random.Generator, shape: Sequence[int], size: int, kept: int, augmentation: Augmentation
) -> NDArray[np.float32]:
    """Say where in the image the pixels of a random crop come from.

    Parameters
    ----------
    shape
        Of the image.
    size, kept
        Edge of the crop, and of its middle part that should lie inside the image, px.

    Returns
    -------
    numpy.ndarray
        (2, size, size) float32: y and x in the image, also beyond its borders.
    """
    a = augmentation
    angle = rng.uniform(0, 2 * np.pi) if a.rotate else 0.0
    zoom = a.scale ** rng.uniform(-1, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    if a.flip and rng.random() < 0.5:
        turn[:, 1] *= -1
    at = np.arange(size) - (size - 1) / 2
    grid = np.stack(np.meshgrid(at, at, indexing="ij"))
    if a.elastic_px:
        grid = grid + displacement(rng, size, a.elastic_px)
    slack = np.maximum(np.array(shape) - kept, 0) / 2
    middle = (np.array(shape) - 1) / 2 + rng.uniform(-slack, slack)
    # on whole pixels: what is neither turned nor bent is not interpolated either
    middle = np.rint(middle - (size - 1) / 2) + (size - 1) / 2
    return (np.tensordot(turn, grid, 1) + middle[:, None, None]).astype(np.float32)


def sample(plane: NDArray, grid: NDArray[np.float32], order: int) -> NDArray:
    """Read an image (h, w) or (h, w, c) at fractional places; beyond its borders it is mirrored."""
    if plane.ndim == 3:
        return np.stack([sample(plane[..., k], grid, order) for k in range(plane.shape[2])], axis=-1)
    return ndimage.map_coordinates(plane, grid, order=order, mode="mirror", prefilter=False)


def change_colour(
    rng: np.random.Generator, pixels: NDArray[np.float32], augmentation: Augmentation
) -> NDArray[np.float32]:
    """Vary stain, light and sharpness of an image, (h, w, 1 or 3) float32, 0 to 255.

    The stains of an RGB image are varied one by one (Tellez et al. 2019); of a grey one the contrast.
    """
    a = augmentation
    if a.stain:
        density = -np.log((pixels + 1) / 256)
        if pixels.shape[2] == 3:
            strength = np.exp(rng.normal(0, a.stain, 3))
            mix = (hed_from_rgb * strength) @ rgb_from_hed
            density = density @ mix.astype(np.float32)
        else:
            middle = density.mean()
            density = middle + (density - middle) * np.exp(rng.normal(0, a.stain))
        pixels = np.exp(-density) * 256 - 1
    if a.brightness:
        pixels = pixels * np.exp(rng.normal(0, a.brightness))
    if a.blur_px:
        sigma = rng.uniform(0, a.blur_px)
        pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0))
    return np.clip(pixels, 0, 255).astype(np.float32)

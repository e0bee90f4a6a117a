"""Training crops of volumes: moved, turned, mirrored, bent and lit anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from spadework.volume.architecture import Shape
from spadework.volume.pairs import NOT_MEASURED, VolumePair

# A turned voxel stays about what it is.
_NEARLY_CUBIC = 1.5


@dataclass(frozen=True)
class Augmentation:
    """How far training volumes are changed at random (Cirillo et al. 2020, section 3.2).

    Attributes
    ----------
    flip
        Mirror along each axis.
    rotate
        Turn by any angle: about z, and where voxels are as deep as wide, about any axis. Stacks of sections, about z.
    gamma
        Input ** γ, γ from 1 - ``gamma`` to 1 + ``gamma``, the range of each channel being kept. What is 0 stays 0:
        scans are, where there is nothing.
    elastic
        Standard deviation of the displacements on a 3 x 3 x 3 grid over the crop, voxels; within the planes where it
        is turned about z only.
    """

    flip: bool = True
    rotate: bool = True
    gamma: float = 0.2
    elastic: float = 2.0


def random_crop(
    rng: np.random.Generator, pair: VolumePair, shape: Shape, augmentation: Augmentation, *, planar: bool
) -> tuple[NDArray[np.float32], NDArray]:
    """Cut a crop around a measured voxel, and change it.

    Beyond its borders, a volume goes on as its last voxels are, and nothing is measured.

    Parameters
    ----------
    planar
        Leave every voxel in its plane: for stacks, whose planes are sections.

    Returns
    -------
    inputs, target
        float32 (z, y, x, channels), and the target in its own form.
    """
    a = augmentation
    at = _measured_voxel(rng, pair)
    room = np.array(pair.shape) - shape
    # inside the volume where it is large enough, in its middle where it is not
    start = np.where(room > 0, np.clip(at - np.array(shape) // 2, 0, np.maximum(room, 0)), room // 2)
    if a.rotate or a.elastic:
        inputs, target = _resampled(rng, pair, start, shape, a, planar)
    else:
        inputs, target = cut(pair, start, shape)
    if a.flip:
        axes = tuple(axis for axis in range(3) if rng.random() < 0.5)
        inputs, target = np.flip(inputs, axes), np.flip(target, axes)
    if a.gamma:
        inputs = _brightened(inputs, rng.uniform(1 - a.gamma, 1 + a.gamma))
    return np.ascontiguousarray(inputs), np.ascontiguousarray(target)


def cut(pair: VolumePair, start: NDArray[np.integer], shape: Shape) -> tuple[NDArray[np.float32], NDArray]:
    """Cut a crop that may reach beyond the volume."""
    index = [s + np.arange(n) for s, n in zip(start, shape, strict=True)]
    inside = [np.clip(at, 0, n - 1) for at, n in zip(index, pair.shape, strict=True)]
    target = pair.target[np.ix_(*inside)]
    outside = ~np.logical_and.reduce(
        np.meshgrid(*(at == kept for at, kept in zip(index, inside, strict=True)), indexing="ij")
    )
    if outside.any():
        target[outside] = NOT_MEASURED if target.ndim == 3 else np.nan
    return pair.inputs[np.ix_(*inside)], target


def _measured_voxel(rng: np.random.Generator, pair: VolumePair) -> NDArray[np.int64]:
    """Draw a voxel among the measured ones; any, if nothing was measured."""
    measured = np.flatnonzero(pair.measured)
    k = rng.choice(measured) if len(measured) else rng.integers(pair.measured.size)
    return np.array(np.unravel_index(k, pair.shape))


def _resampled(
    rng: np.random.Generator,
    pair: VolumePair,
    start: NDArray[np.integer],
    shape: Shape,
    a: Augmentation,
    planar: bool,
) -> tuple[NDArray[np.float32], NDArray]:
    middle = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*(np.arange(n) - m for n, m in zip(shape, middle, strict=True)), indexing="ij"))
    cubic = not planar and max(pair.spacing) / min(pair.spacing) < _NEARLY_CUBIC
    if a.elastic:
        bent = _displacement(rng, shape, a.elastic)
        bent[0] *= cubic
        grid = grid + bent
    if a.rotate:
        turn = Rotation.random(random_state=rng).as_matrix() if cubic else _about_z(rng.uniform(0, 2 * np.pi))
        grid = np.tensordot(turn, grid, 1)
    at = (grid + (start + middle)[:, None, None, None]).astype(np.float32)
    look = partial(ndimage.map_coordinates, coordinates=at, prefilter=False)
    inputs = np.stack(
        [look(channel, order=1, mode="nearest") for channel in np.moveaxis(pair.inputs, -1, 0)], axis=-1
    )
    if pair.target.ndim == 3:
        return inputs, look(pair.target, order=0, mode="constant", cval=NOT_MEASURED)
    values = np.moveaxis(pair.target, -1, 0)
    return inputs, np.stack([look(v, order=0, mode="constant", cval=np.nan) for v in values], axis=-1)


def _about_z(angle: float) -> NDArray[np.float64]:
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def _displacement(rng: np.random.Generator, shape: Shape, sd: float) -> NDArray[np.float64]:
    """Draw a smooth field: normal vectors on a 3 x 3 x 3 grid, cubic in between; (3, z, y, x), voxels."""
    vectors = rng.normal(0.0, sd, (3, 3, 3, 3))
    return np.einsum("czyx,kz,iy,jx->ckij", vectors, *(_cubic(n) for n in shape), optimize=True)


@cache
def _cubic(size: int) -> NDArray[np.float64]:
    """Return what each of three points on a line weighs at ``size`` places between them, (size, 3): cubic splines."""
    at = np.linspace(0, 2, size)[None] if size > 1 else np.ones((1, 1))
    return np.stack([ndimage.map_coordinates(point, at, order=3, mode="mirror") for point in np.eye(3)], axis=1)


def _brightened(inputs: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    there = inputs != 0
    low, high = (reduce(inputs, axis=(0, 1, 2)) for reduce in (np.min, np.max))
    span = np.where(high > low, high - low, 1)
    return np.where(there, ((inputs - low) / span) ** np.float32(gamma) * span + low, inputs)

"""Where a section lies in its block: geometry in µm, for points and for images.

A placement takes points of the section's own frame (µm from the top left corner of its image, x to the right and y
down) into the frame of the block: mirrored or not, turned, shifted, and then, where sections were also bent to fit
each other, moved along a displacement field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.float64]
_ITERATIONS = 60  # of the inverse of a field: it converges by a constant factor each time
# How fast a field may change: below 1, space neither folds nor tears, and the inverse can be found by iteration.
STEEPEST = 0.7


@dataclass(frozen=True)
class Displacement:
    """A smooth field that bends a placed section.

    Attributes
    ----------
    values
        (2, h, w) float64, µm in x and in y: point q of the block shows what the rigid placement put at q + value.
    spacing_um
        Distance of the nodes of the field.
    origin_um
        Block position (x, y) of its first node. Outside, the field goes on as at its border.
    """

    values: NDArray[np.float64]
    spacing_um: float
    origin_um: tuple[float, float] = (0.0, 0.0)

    def at(self, points: Points) -> Points:
        """Return the displacement at block points, (n, 2) to (n, 2), µm."""
        nodes = ((np.asarray(points, float) - self.origin_um) / self.spacing_um)[:, ::-1].T
        return np.column_stack([ndimage.map_coordinates(v, nodes, order=1, mode="nearest") for v in self.values])

    def source(self, points: Points) -> Points:
        """Return where the rigid placement has what is at block points, (n, 2) µm."""
        return np.asarray(points, float) + self.at(points)

    def target(self, points: Points) -> Points:
        """Return where in the block a point of the rigid placement comes to lie; the inverse of :meth:`source`."""
        points = np.asarray(points, float)
        found = points
        for _ in range(_ITERATIONS):
            found = points - self.at(found)
        return found

    @property
    def steepness(self) -> float:
        """Largest change of the field per distance (spectral norm of its gradient); below 1 it folds nowhere."""
        return steepness(self.values, self.spacing_um)


def steepness(values: NDArray[np.float64], spacing_um: float) -> float:
    """Largest spectral norm of the gradient of a field (2, h, w) in µm, interpolated linearly between its nodes."""
    along_x, along_y = np.diff(values, axis=2) / spacing_um, np.diff(values, axis=1) / spacing_um
    largest = 0.0
    # Within a cell the gradient is a mean of those at its corners, and a norm is largest at a corner.
    for dx in (along_x[:, :-1], along_x[:, 1:]):
        for dy in (along_y[:, :, :-1], along_y[:, :, 1:]):
            norms = np.linalg.norm(np.moveaxis(np.stack([dx, dy]), (0, 1), (-1, -2)), 2, axis=(-2, -1))
            largest = max(largest, float(norms.max(initial=0.0)))
    return largest


@dataclass(frozen=True)
class Placement:
    """Own µm of a section to µm of the block.

    Attributes
    ----------
    linear
        (2, 2) float64: a rotation, or a rotation of the mirrored section.
    shift
        (2,) float64, µm: where the origin comes to lie.
    field
        What bends the section after that, if anything.
    """

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    field: Displacement | None = None

    @classmethod
    def rigid(
        cls,
        rotation_deg: float,
        *,
        mirrored: bool = False,
        centre: tuple[float, float] | Points = (0.0, 0.0),
        to: tuple[float, float] | Points = (0.0, 0.0),
    ) -> Placement:
        """Mirror left to right (if ``mirrored``), then turn; ``centre`` comes to lie at ``to``.

        Positive angles turn x towards y, which is clockwise where y points down.
        """
        angle = np.deg2rad(rotation_deg)
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if mirrored:
            linear = linear @ np.diag([-1.0, 1.0])
        return cls(linear, np.asarray(to, float) - linear @ np.asarray(centre, float))

    @property
    def mirrored(self) -> bool:
        """Whether the section is turned over."""
        return bool(np.linalg.det(self.linear) < 0)

    @property
    def rotation_deg(self) -> float:
        """Rotation after the mirroring, clockwise on the screen, -180 to 180."""
        turned = self.linear @ np.diag([-1.0, 1.0]) if self.mirrored else self.linear
        return float(np.rad2deg(np.arctan2(turned[1, 0], turned[0, 0])))

    def to_block(self, points: Points) -> Points:
        """Own µm to block µm, (n, 2) x and y."""
        placed = np.asarray(points, float) @ self.linear.T + self.shift
        return placed if self.field is None else self.field.target(placed)

    def to_own(self, points: Points) -> Points:
        """Block µm to own µm, (n, 2) x and y."""
        points = np.asarray(points, float)
        source = points if self.field is None else self.field.source(points)
        # The inverse of a rotation or a reflection is its transpose.
        return (source - self.shift) @ self.linear

    def then(self, other: Placement) -> Placement:
        """Return this placement followed by another: own µm to the µm the other leads to.

        Raises
        ------
        ValueError
            If this one bends: fields are found once, in the frame of the block.
        """
        if self.field is not None:
            raise ValueError("a placement that bends cannot be followed by another")
        return Placement(other.linear @ self.linear, other.linear @ self.shift + other.shift, other.field)

    def moved(self, shift: tuple[float, float] | Points) -> Placement:
        """Return the placement in a block frame whose origin lies at ``-shift`` µm of the present one."""
        shift = np.asarray(shift, float)
        field = self.field
        if field is not None:
            field = replace(field, origin_um=(field.origin_um[0] + shift[0], field.origin_um[1] + shift[1]))
        return Placement(self.linear, self.shift + shift, field)


def grid_points(shape: tuple[int, int], um: tuple[float, float], origin: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Return the centres of the pixels of a grid (h, w), row by row, (h * w, 2) x and y in µm."""
    y, x = np.mgrid[: shape[0], : shape[1]].reshape(2, -1)
    return np.column_stack([(x + 0.5) * um[0] + origin[0], (y + 0.5) * um[1] + origin[1]])


def warp(
    image: NDArray,
    um_per_px: tuple[float, float],
    placement: Placement,
    shape: tuple[int, int],
    um: float,
    *,
    origin: tuple[float, float] = (0.0, 0.0),
    fill: float = 0.0,
    smooth: bool = True,
) -> NDArray[np.float32]:
    """Show an image of a section in the frame of the block.

    Parameters
    ----------
    image
        (h, w) or (h, w, c) of the section, ``um_per_px`` in x and y.
    shape, um, origin
        Rows and columns of the result, edge of its pixels, and block position of its corner, µm.
    fill
        What lies outside the image.
    smooth
        Blur first, where the result has larger pixels, so that nothing aliases.

    Returns
    -------
    numpy.ndarray
        (rows, columns) or (rows, columns, c) float32, linear interpolation.
    """
    own = placement.to_own(grid_points(shape, (um, um), origin))
    nodes = np.stack([own[:, 1] / um_per_px[1] - 0.5, own[:, 0] / um_per_px[0] - 0.5]).reshape(2, *shape)
    # The variance that turns a small pixel into a large one.
    sigma = [np.sqrt(max((um / step) ** 2 - 1, 0.0) / 12) if smooth else 0.0 for step in um_per_px[::-1]]
    planes = np.atleast_3d(np.asarray(image, np.float32))
    out = np.empty((*shape, planes.shape[2]), np.float32)
    for k in range(planes.shape[2]):
        plane = ndimage.gaussian_filter(planes[..., k], sigma) if any(sigma) else planes[..., k]
        # grid-constant blends with what lies outside; constant would fill a border of half a pixel.
        out[..., k] = ndimage.map_coordinates(plane, nodes, order=1, mode="grid-constant", cval=fill)
    return out[..., 0] if np.ndim(image) == 2 else out

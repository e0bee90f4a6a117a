"""The plane of a simulated section: pixel canvases and the Visium lattice, both in micrometres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PITCH_UM = 100.0
ROW_STEP_UM = PITCH_UM * 3.0**0.5 / 2.0
SPOT_DIAMETER_UM = 55.0
MARGIN_UM = 400.0

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Canvas:
    """A grid of square pixels; the centre of pixel ``(i, j)`` lies at ``(i, j) * um_per_px``."""

    height: int
    width: int
    um_per_px: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.height, self.width

    def coarser(self, um_per_px: float) -> Canvas:
        """Return the same area with larger pixels (or this canvas, if its pixels are no smaller)."""
        scale = max(um_per_px / self.um_per_px, 1.0)
        return Canvas(int(np.ceil(self.height / scale)), int(np.ceil(self.width / scale)), self.um_per_px * scale)

    def pixel_of(self, y_um: NDArray, x_um: NDArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of the pixel nearest to each point; points outside go to the border."""
        row = np.clip(np.rint(y_um / self.um_per_px), 0, self.height - 1)
        column = np.clip(np.rint(x_um / self.um_per_px), 0, self.width - 1)
        return row.astype(np.intp), column.astype(np.intp)

    def sample(self, image: NDArray, y_um: NDArray, x_um: NDArray) -> NDArray:
        """Value of `image` (height, width) at each point, nearest pixel."""
        return image[self.pixel_of(y_um, x_um)]


@dataclass(frozen=True)
class Lattice:
    """Centres of a hexagonal Visium lattice, row by row.

    Attributes
    ----------
    array_row, array_col : ndarray of int64, shape (n_spots,)
        10x array coordinates; ``array_col`` is even on even rows and odd on odd rows.
    y_um, x_um : ndarray of float64, shape (n_spots,)
        Centres, µm from the first pixel's centre.
    rows, columns : int
        Rows of the lattice and spots per row.
    """

    array_row: NDArray[np.int64]
    array_col: NDArray[np.int64]
    y_um: NDArray[np.float64]
    x_um: NDArray[np.float64]
    rows: int
    columns: int

    def __len__(self) -> int:
        """Return the number of spots."""
        return len(self.array_row)


def hexagonal_lattice(rows: int, columns: int) -> Lattice:
    """Lay out `rows` x `columns` spots with the pitch and the indices of a Visium capture area."""
    array_row = np.repeat(np.arange(rows), columns)
    array_col = 2 * np.tile(np.arange(columns), rows) + array_row % 2
    return Lattice(
        array_row=array_row,
        array_col=array_col,
        y_um=MARGIN_UM + ROW_STEP_UM * array_row,
        x_um=(MARGIN_UM + 0.5 * PITCH_UM * array_col).astype(np.float64),
        rows=rows,
        columns=columns,
    )


def canvas_around(lattice: Lattice, um_per_px: float) -> Canvas:
    """Return the canvas that holds the lattice and the same margin on every side."""
    height_um = lattice.y_um.max() + MARGIN_UM
    width_um = lattice.x_um.max() + MARGIN_UM
    return Canvas(int(np.ceil(height_um / um_per_px)) + 1, int(np.ceil(width_um / um_per_px)) + 1, um_per_px)


def spot_fractions(labels: NDArray[np.uint8], n_labels: int, canvas: Canvas, lattice: Lattice) -> NDArray[np.float64]:
    """Share of each label under each 55 µm spot.

    Parameters
    ----------
    labels : ndarray of uint8, shape (height, width)
        Label of every pixel, below `n_labels`.

    Returns
    -------
    ndarray of float64, shape (n_spots, n_labels)
        Rows sum to one.
    """
    reach = int(SPOT_DIAMETER_UM / 2.0 / canvas.um_per_px)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.hypot(dy, dx) * canvas.um_per_px <= SPOT_DIAMETER_UM / 2.0
    row, column = canvas.pixel_of(lattice.y_um, lattice.x_um)
    under = labels[row[:, None] + dy[inside], column[:, None] + dx[inside]]
    return np.stack([(under == label).mean(axis=1) for label in range(n_labels)], axis=1)

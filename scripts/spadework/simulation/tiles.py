"""Labelled images to train on: tiles of a section's image, and every nucleus in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cells import Nuclei
from .render import label_nuclei
from .tissue import COMPARTMENTS, Tissue, TissueMap

EDGE_PX = 256
MOST_TILES = 24
FEWEST_TILES = 4
"""So few that one in four can still be held out."""


@dataclass(frozen=True)
class Tile:
    """A square of a section.

    Attributes
    ----------
    row, column : int
        Its first pixel.
    image : ndarray of uint8, shape (EDGE_PX, EDGE_PX, 3)
        RGB.
    labels : ndarray of uint16, shape (EDGE_PX, EDGE_PX)
        Nuclei, numbered from 1 without gaps; 0 is background.
    """

    row: int
    column: int
    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]


def cut_tiles(image: NDArray[np.uint8], tissue: TissueMap, nuclei: Nuclei) -> list[Tile]:
    """Cut tiles that do not overlap, of all kinds of tissue in turn.

    Raises
    ------
    ValueError
        If tissue fills fewer than `FEWEST_TILES`.
    """
    corners = _choose(tissue.kind)
    if len(corners) < FEWEST_TILES:
        msg = f"tissue fills {len(corners)} tiles of {EDGE_PX} px; nuclei need {FEWEST_TILES}: add spots"
        raise ValueError(msg)
    labels = label_nuclei(nuclei, tissue.canvas)
    labels[tissue.kind == Tissue.GLASS] = 0
    tiles = []
    for row, column in corners:
        where = slice(row, row + EDGE_PX), slice(column, column + EDGE_PX)
        there, numbered = np.unique(labels[where], return_inverse=True)
        numbered = numbered.reshape(EDGE_PX, EDGE_PX) + (there[0] != 0)
        tiles.append(Tile(row, column, image[where], numbered.astype(np.uint16)))
    return tiles


def _choose(kind: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Choose, for one kind of tissue after the other, the tile with most of it of those that are left."""
    rows, columns = (side // EDGE_PX for side in kind.shape)
    blocks = kind[: rows * EDGE_PX, : columns * EDGE_PX].reshape(rows, EDGE_PX, columns, EDGE_PX)
    share = {k: (blocks == k).mean(axis=(1, 3)).ravel() for k in Tissue}
    free = share[Tissue.GLASS] < 0.5
    chosen: list[tuple[int, int]] = []
    while free.any() and len(chosen) < MOST_TILES:
        wanted = share[COMPARTMENTS[len(chosen) % len(COMPARTMENTS)]]
        best = int(np.argmax(np.where(free, wanted, -1.0)))
        free[best] = False
        chosen.append((best // columns * EDGE_PX, best % columns * EDGE_PX))
    return chosen

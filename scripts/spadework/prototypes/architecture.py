"""What a ProtoPNet looks like, and how much of a patch one cell of it sees. No numpy, no network library."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from spadework.errors import InputError

# 3 x 3 convolutions and channels of each stage; a 2 x 2 pooling ends it. VGG16: Simonyan & Zisserman 2015, table 1.
BACKBONES: dict[str, tuple[tuple[int, int], ...]] = {
    "small": ((2, 16), (2, 32), (2, 64), (2, 64)),
    "vgg16": ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
}


@dataclass(frozen=True)
class Field:
    """What one cell of the feature map sees of the patch.

    Attributes
    ----------
    size
        Edge of the receptive field, px.
    step
        Distance between neighbouring cells, px.
    cells
        Cells along an edge of the map.
    start
        Where the field of the first cell begins, px; negative, as it reaches beyond the patch.
    """

    size: int
    step: int
    cells: int
    start: int

    def box(self, row: int, column: int, patch_px: int) -> tuple[int, int, int, int]:
        """Return the part of the patch a cell sees: y1, y2, x1, x2 in px, ends exclusive."""
        y, x = self.start + row * self.step, self.start + column * self.step
        return max(0, y), min(patch_px, y + self.size), max(0, x), min(patch_px, x + self.size)


@dataclass(frozen=True)
class Architecture:
    """A ProtoPNet (Chen et al. 2019, figure 2).

    Attributes
    ----------
    classes
        Names, in the order of the logits.
    class_of
        Class (index) of every prototype.
    patch_px
        Edge of the patches, px.
    backbone, pool
        One of :data:`BACKBONES`, up to and with this pooling.
    dimension
        Channels of a prototype.
    top_cells
        The score of a prototype is its mean similarity to so many cells, those most like it. 1 is the maximum of the
        paper; more suit tissue, which is told by how much of something there is.
    """

    classes: tuple[str, ...]
    class_of: tuple[int, ...]
    patch_px: int = 64
    backbone: str = "small"
    pool: int = 3
    dimension: int = 64
    top_cells: int = 12

    @property
    def n_prototypes(self) -> int:
        """How many prototypes there are."""
        return len(self.class_of)

    @property
    def field(self) -> Field:
        """What one cell sees."""
        return receptive_field(self.backbone, self.pool, self.patch_px)

    def of_class(self, k: int) -> list[int]:
        """List the prototypes of a class."""
        return [j for j, c in enumerate(self.class_of) if c == k]


def per_class(n: int, sizes: list[int]) -> tuple[int, ...]:
    """Give every class ``n`` prototypes, but no more than it has patches: each comes from another one."""
    return tuple(k for k, size in enumerate(sizes) for _ in range(min(n, size)))


def receptive_field(backbone: str, pool: int, patch_px: int) -> Field:
    """Compute the receptive field of a cell after a pooling (Araujo, Norris & Sim, Distill 2019)."""
    size, step, start, cells = 1, 1, 0, patch_px
    for kernel, stride, padding in _layers(backbone, pool):
        size += (kernel - 1) * step
        start -= padding * step
        step *= stride
        cells //= stride
    return Field(size, step, cells, start)


def _layers(backbone: str, pool: int) -> Iterator[tuple[int, int, int]]:
    for convolutions, _ in BACKBONES[backbone][:pool]:
        yield from [(3, 1, 1)] * convolutions
        yield 2, 2, 0


def check_field(backbone: str, pool: int, patch_px: int, top_cells: int) -> None:
    """Check that a cell sees a part of the patch only, and that cells fill the patch and are enough for a score.

    Raises
    ------
    InputError
        If not: a prototype that sees all of its patch says nothing of where it is.
    """
    deepest = len(BACKBONES[backbone])
    field = receptive_field(backbone, min(pool, deepest), patch_px)
    settings = f"prototypes.backbone: {backbone}, pool: {pool}, px: {patch_px}"
    if pool > deepest:
        raise InputError(
            "config",
            None,
            found=settings,
            expected=f"at most pool: {deepest}, the last of {backbone}",
            remedy="lower prototypes.pool",
        )
    if field.size >= patch_px:
        fitting = [p for p in range(1, pool) if receptive_field(backbone, p, patch_px).size < patch_px]
        way_out = f"set prototypes.pool: {fitting[-1]}, or " if fitting else ""
        raise InputError(
            "config",
            None,
            found=f"{settings}: one cell of the network sees {field.size} x {field.size} px, the whole patch",
            expected="cells that see a part of it: otherwise no prototype can say where in a patch it is",
            remedy=f"{way_out}raise prototypes.px above {field.size}",
        )
    if patch_px % field.step:
        raise InputError(
            "config",
            None,
            found=f"{settings}: {patch_px} px are no whole number of cells, which are {field.step} px apart",
            expected=f"a multiple of {field.step}",
            remedy=f"set prototypes.px: {math.ceil(patch_px / field.step) * field.step}",
        )
    if top_cells > field.cells**2:
        raise InputError(
            "config",
            None,
            found=f"prototypes.top_cells: {top_cells}",
            expected=f"at most {field.cells**2}: the map has {field.cells} x {field.cells} cells ({settings})",
            remedy=f"lower prototypes.top_cells ({math.ceil(field.cells**2 / 5)} is a fifth of the cells)",
        )

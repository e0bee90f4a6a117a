"""Nuclei of a whole slide, found block by block.

The slide is looked at on one grid of pixels, of the scale the segmenter was trained at, mirrored at the borders of
the image. A block is a core and what surrounds it: a halo, as wide as the largest nucleus, and the context that the
segmenter needs. A nucleus belongs to the block whose core holds its centroid. So none is lost, doubled or cut, and
nothing depends on how the slide is cut into blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.spatial import KDTree
from skimage.color import hed_from_rgb
from skimage.measure import regionprops_table
from tqdm import tqdm

from spadework.errors import InputError
from spadework.nuclei.grid import Grid, Span
from spadework.nuclei.label_image import label_store, write_label_image
from spadework.nuclei.segmenter import Segmenter
from spadework.patches import ScaledImage
from spadework.tissue import TissueModel

log = logging.getLogger("spadework")

# Edge of a core, px: larger ones look at fewer pixels twice, smaller ones leave more glass out.
CORE_PX = 1024
# Wider objects are clumps, folds and dust.
LARGEST_UM = 40.0
# Share of what was found that may be clumps before the log warns.
MANY_CLUMPS = 0.1
# Clumps are kept as squares of about this edge; bins of Visium HD have 2 µm and more.
_CLUMP_CELL_UM = 1.0
# Nuclei this far outside the tissue of the overview still count: its edge is blurred, and fat is pale.
TISSUE_MARGIN_UM = 100.0
OVERVIEW_PX = 1600
_NUCLEUS_UM = 8.0
COLUMNS = {
    "label": np.uint32,
    "x": np.float64,
    "y": np.float64,
    "area_um2": np.float64,
    "eccentricity": np.float64,
    "haematoxylin": np.float64,
    "nearest_um": np.float64,
    **{edge: np.float64 for edge in ("x0", "y0", "x1", "y1")},
}


@dataclass(frozen=True)
class Block:
    """A part of the grid; all spans are in its pixels.

    Attributes
    ----------
    core_x, core_y
        What the block answers for.
    seen_x, seen_y
        Core and halo, inside the image: where labels are as they would be without blocks.
    window_x, window_y
        What the segmenter is given, which may lie outside the image.
    """

    core_x: Span
    core_y: Span
    seen_x: Span
    seen_y: Span
    window_x: Span
    window_y: Span

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the window that are seen."""
        (y0, y1), (x0, x1) = self.seen_y, self.seen_x
        top, left = self.window_y[0], self.window_x[0]
        return slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def blocks(grid: Grid, segmenter: Segmenter, core_px: int, halo_px: int) -> Iterator[Block]:
    """Cut the grid into blocks, row by row."""
    step = segmenter.step_px
    core = -(-core_px // step) * step
    border = -(-(halo_px + segmenter.context_px) // step) * step

    def spans(length: int) -> Iterator[tuple[Span, Span, Span]]:
        for start in range(0, length, core):
            end = min(start + core, length)
            whole_steps = start - (start - end) // step * step
            window = (start - border, whole_steps + border)
            seen = (max(0, start - halo_px), min(length, end + halo_px))
            yield (start, end), seen, window

    for core_y, seen_y, window_y in spans(grid.height):
        for core_x, seen_x, window_x in spans(grid.width):
            yield Block(core_x, core_y, seen_x, seen_y, window_x, window_y)


class TissueMask:
    """Where there is tissue, or nearly, on a grid."""

    def __init__(self, grid: Grid, tissue: TissueModel) -> None:
        overview = grid.image.overview(OVERVIEW_PX)
        stained = tissue.density(overview) > tissue.threshold
        self._scale = stained.shape[1] / grid.width, stained.shape[0] / grid.height
        um_x, um_y = grid.um_per_px / self._scale
        distance = distance_transform_edt(~stained, sampling=(um_y, um_x))
        # Without any tissue there is nothing that distances could be from.
        self._mask = (distance <= TISSUE_MARGIN_UM) & stained.any()

    def at(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for pixels of the grid."""
        column, row = ((place * scale).astype(int) for place, scale in zip((x, y), self._scale, strict=True))
        return self._mask[row, column]

    def touches(self, x: Span, y: Span) -> bool:
        """Tell whether any pixel of a region is tissue."""
        (x0, x1), (y0, y1) = (
            (int(a * scale), int(np.ceil(b * scale))) for (a, b), scale in zip((x, y), self._scale, strict=True)
        )
        return bool(self._mask[y0:y1, x0:x1].any())


def check_resolution(scaled: ScaledImage, max_um_per_px: float, sample: str) -> None:
    """Refuse an image on which nuclei cannot be told apart.

    Raises
    ------
    InputError
        If the image is coarser than ``max_um_per_px``.
    """
    um_per_px = max(scaled.um_per_px)
    if um_per_px > max_um_per_px:
        raise InputError(
            sample,
            None,
            found=f"{um_per_px:.2g} µm/px in the {scaled.source} image: a nucleus of {_NUCLEUS_UM:g} µm would be "
            f"{_NUCLEUS_UM / um_per_px:.1f} px wide",
            expected=f"at most {max_um_per_px:g} µm/px (nuclei.max_um_per_px), to segment nuclei",
            remedy="name the full-resolution image in the column `image`. If this is it, its nuclei cannot be found: "
            "leave the section out, or set nuclei.engine: null",
        )


def label_slide(
    scaled: ScaledImage,
    segmenter: Segmenter,
    tissue: TissueModel,
    path: str | Path,
    *,
    min_area_um2: float,
    core_px: int = CORE_PX,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find all nuclei of an image and write their labels as a pyramidal OME-TIFF.

    Parameters
    ----------
    tissue
        Blocks far from tissue are skipped; nuclei there do not count, whatever the block.
    path
        Of the label image: labels as in the table, at the scale of the segmenter.
    min_area_um2
        Smaller objects leave.
    core_px
        Edge of a block.

    Returns
    -------
    nuclei : pandas.DataFrame
        A row per nucleus, in the order of its topmost, then leftmost pixel: ``label`` (1 to n), centroid ``x``, ``y``
        and bounding box ``x0``, ``y0``, ``x1``, ``y1`` in full-resolution pixels (pixel k spans k to k + 1),
        ``area_um2``, ``eccentricity``, ``haematoxylin`` (mean optical density), ``nearest_um`` (to the centroid of
        the nearest other nucleus, NaN where there is none). ``attrs`` say how it was made.
    clumps : pandas.DataFrame
        Where objects wider than ``LARGEST_UM`` were left out, as squares of ``attrs["cell_px"]`` full-resolution
        pixels: centre ``x``, ``y``, and ``area_um2``, how much of the square they cover.
    """
    grid = Grid(scaled, segmenter.um_per_px)
    halo = int(np.ceil(LARGEST_UM / segmenter.um_per_px))
    mask = TissueMask(grid, tissue)
    todo = list(blocks(grid, segmenter, core_px, halo))
    on_tissue = [block for block in todo if mask.touches(block.core_x, block.core_y)]
    log.info(
        "%d x %d px at %.4g µm/px; %d of %d blocks hold tissue, the others are skipped",
        *(grid.width, grid.height, segmenter.um_per_px, len(on_tissue), len(todo)),
    )
    found, clumped, n, n_too_small = [], [], 0, 0
    with label_store(Path(path), grid.width, grid.height) as store:
        for block in tqdm(on_tissue, "nuclei", mininterval=5, ascii=True, unit="block"):
            pixels = grid.read(block.window_x, block.window_y)
            labels = segmenter.segment(pixels, block.part)
            places = find_objects(labels)
            # Cut off where the block's sight ends, or reaching there from the core: as wide in every other block.
            wide = np.array([p is not None and max(s.stop - s.start for s in p) > halo for p in (None, *places)])
            clumped.append(_clumps(labels, wide, block, grid, mask))
            labels = np.where(wide[labels], 0, labels)
            labels, table, too_small = _owned(labels, places, block, grid, mask, min_area_um2)
            n_too_small += too_small
            if not len(table):
                continue
            table["haematoxylin"] = _haematoxylin(pixels[block.part], labels, tissue)
            found.append(table)
            _write(store, block, labels, n)
            n += len(table)
        table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["top", "left"])
        order = np.lexsort((table["left"].to_numpy(int), table["top"].to_numpy(int)))
        number = np.zeros(n + 1, np.uint32)
        number[order + 1] = np.arange(1, n + 1)
        write_label_image(Path(path), store, number, grid.um_per_px)
    nuclei = _in_full_resolution(table.iloc[order], grid, scaled)
    clumps = _cells_in_full_resolution(clumped, grid, scaled)
    nuclei.attrs = {
        "nuclei": len(nuclei),
        "largest_um": LARGEST_UM,
        "segmenter": segmenter.describe(),
        "um_per_px": [float(um) for um in grid.um_per_px],
        "image": scaled.source,
        "image_px": [scaled.image.width / scaled.scale[0], scaled.image.height / scaled.scale[1]],
        "left_out": _left_out(nuclei, clumps, n_too_small, min_area_um2),
    }
    return nuclei, clumps


def _left_out(nuclei: pd.DataFrame, clumps: pd.DataFrame, n_too_small: int, min_area_um2: float) -> dict[str, float]:
    """Say what was left out: too small, and too large; the latter also as share of the area of all but the small."""
    area = float(clumps["area_um2"].sum())
    share = area / (area + float(nuclei["area_um2"].sum())) if area else 0.0
    log.info(
        "%d nuclei; left out: %d objects below %g µm², and %.3g mm² of clumps wider than %g µm",
        *(len(nuclei), n_too_small, min_area_um2, area / 1e6, LARGEST_UM),
    )
    if share > MANY_CLUMPS:
        log.warning(
            "clumps are %.0f %% of the area of nuclei and clumps: crowded spots have too few nuclei. outlines.png "
            "and nuclei_left_out_um2 show where; what may part them is in docs/nuclei.md",
            100 * share,
        )
    return {"too_small": n_too_small, "too_large_um2": area, "too_large_share": share}


def _clumps(
    labels: NDArray[np.int32], wide: NDArray[np.bool_], block: Block, grid: Grid, mask: TissueMask
) -> pd.DataFrame:
    """Return how many pixels of wide objects lie in each cell of the grid, of the core of a block.

    By pixel: a clump that reaches into several blocks has no centroid that any of them could tell.
    """
    (x0, x1), (y0, y1) = block.core_x, block.core_y
    top, left = block.seen_y[0], block.seen_x[0]
    y, x = np.nonzero(wide[labels[y0 - top : y1 - top, x0 - left : x1 - left]])
    y, x = y + y0, x + x0
    y, x = (place[mask.at(x, y)] for place in (y, x))
    cell = _cell_px(grid)
    return pd.DataFrame({"row": y // cell, "column": x // cell}).value_counts().rename("n_px").reset_index()


def _cell_px(grid: Grid) -> int:
    return max(1, round(_CLUMP_CELL_UM / float(grid.um_per_px.mean())))


def _cells_in_full_resolution(clumped: list[pd.DataFrame], grid: Grid, scaled: ScaledImage) -> pd.DataFrame:
    """Sum what blocks found of each cell, and turn pixels of the grid into full-resolution pixels and µm²."""
    table = pd.concat(clumped) if clumped else pd.DataFrame(columns=["row", "column", "n_px"])
    table = table.groupby(["row", "column"], as_index=False)["n_px"].sum()
    edge = _cell_px(grid) * grid.source_px / scaled.scale
    clumps = pd.DataFrame(
        {
            "x": (table["column"].to_numpy(float) + 0.5) * edge[0],
            "y": (table["row"].to_numpy(float) + 0.5) * edge[1],
            "area_um2": table["n_px"].to_numpy(float) * grid.um_per_px.prod(),
        }
    )
    clumps.attrs["cell_px"] = [float(px) for px in edge]
    return clumps


def _owned(
    labels: NDArray[np.int32],
    places: list[tuple[slice, slice]],
    block: Block,
    grid: Grid,
    mask: TissueMask,
    min_area_um2: float,
) -> tuple[NDArray[np.int32], pd.DataFrame, int]:
    """Keep the nuclei that belong to a block, numbered from 1, and measure them, in pixels of the whole grid.

    Also returns how many were too small.
    """
    top, left = block.seen_y[0], block.seen_x[0]
    (x0, x1), (y0, y1) = block.core_x, block.core_y
    y, x = np.nonzero(labels)
    of = labels[y, x]
    y, x = y + top, x + left
    ids, first, n_px = np.unique(of, return_index=True, return_counts=True)
    table = pd.DataFrame({"n_px": n_px, "top": y[first], "left": x[first]}, index=ids)
    # Whole numbers, hence the same in every block.
    sum_x, sum_y = (np.bincount(of, place, len(places) + 1)[ids].astype(np.int64) for place in (x, y))
    table["mean_x"], table["mean_y"] = sum_x / n_px, sum_y / n_px
    boxes = np.array([[(s.start, s.stop) for s in places[i - 1]] for i in ids], np.int64).reshape(-1, 4)
    table[["y0", "y1", "x0", "x1"]] = boxes + np.array([top, top, left, left])
    column, row = sum_x // n_px, sum_y // n_px
    mine = table[(x0 <= column) & (column < x1) & (y0 <= row) & (row < y1) & mask.at(column, row)]
    kept = mine[mine["n_px"] * grid.um_per_px.prod() >= min_area_um2]
    renumber = np.zeros(len(places) + 1, np.int32)
    renumber[kept.index] = np.arange(1, len(kept) + 1)
    labels = renumber[labels]
    if len(kept):
        kept = kept.assign(eccentricity=regionprops_table(labels, properties=("eccentricity",))["eccentricity"])
    return labels, kept, len(mine) - len(kept)


def _haematoxylin(pixels: NDArray[np.uint8], labels: NDArray[np.int32], tissue: TissueModel) -> NDArray[np.float64]:
    """Mean optical density of haematoxylin of each nucleus (Ruifrok & Johnston 2001), relative to the glass."""
    inside = labels > 0
    light = (np.arange(256)[:, None] + 1) / (np.asarray(tissue.background) + 1)
    density = -np.log10(light)
    colour = pixels[inside]
    amount = sum(density[colour[:, k], k] * hed_from_rgb[k, 0] for k in range(3))
    total = np.bincount(labels[inside], amount)
    return total[1:] / np.bincount(labels[inside])[1:]


def _write(store: Any, block: Block, labels: NDArray[np.int32], n_before: int) -> None:  # noqa: ANN401  (a zarr array)
    """Add the nuclei of a block to the whole, numbered after those before."""
    where = slice(*block.seen_y), slice(*block.seen_x)
    whole = store[where]
    free = (labels > 0) & (whole == 0)
    whole[free] = labels[free] + np.uint32(n_before)
    store[where] = whole


def _in_full_resolution(table: pd.DataFrame, grid: Grid, scaled: ScaledImage) -> pd.DataFrame:
    """Turn pixels of the grid into full-resolution pixels and µm, and find the nearest neighbours."""
    nuclei = pd.DataFrame(index=pd.RangeIndex(len(table)))
    full = grid.source_px / scaled.scale
    nuclei["label"] = np.arange(1, len(table) + 1)
    if len(table):
        um = (table[["mean_x", "mean_y"]].to_numpy(float) + 0.5) * grid.um_per_px
        nuclei["x"], nuclei["y"] = (um / grid.um_per_px * full).T
        nuclei["area_um2"] = table["n_px"].to_numpy() * grid.um_per_px.prod()
        for name in ("eccentricity", "haematoxylin"):
            nuclei[name] = table[name].to_numpy()
        distance = KDTree(um).query(um, k=[2])[0][:, 0]
        nuclei["nearest_um"] = np.where(np.isfinite(distance), distance, np.nan)
        for axis, scale in zip("xy", full, strict=True):
            for end in "01":
                nuclei[axis + end] = table[axis + end].to_numpy() * scale
    return nuclei.reindex(columns=list(COLUMNS)).astype(COLUMNS)

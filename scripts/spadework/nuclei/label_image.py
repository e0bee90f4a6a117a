"""Label images of any size on disk: a store for the time they are made, a pyramidal OME-TIFF for good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from spadework.job import whole_file

_CHUNK_PX = 1024
_TILE_PX = 512
# The smallest level of the pyramid has no side longer than this.
_TOP_PX = 1024


@contextmanager
def label_store(path: Path, width: int, height: int) -> Iterator[Any]:
    """Give an array (height, width) of uint32 on disk, beside ``path``, for the time of the block."""
    # What a killed job left.
    for left in path.parent.glob(f".{path.name}.*.zarr"):
        shutil.rmtree(left)
    folder = path.with_name(f".{path.name}.{os.getpid()}.zarr")
    try:
        yield zarr.create_array(
            folder,
            shape=(height, width),
            chunks=(min(_CHUNK_PX, height), min(_CHUNK_PX, width)),
            dtype=np.uint32,
            fill_value=0,
            compressors=BloscCodec(cname="lz4", clevel=3),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_label_image(
    path: Path,
    labels: Any,  # noqa: ANN401  (an array of numpy or zarr)
    number: NDArray[np.uint32],
    um_per_px: NDArray[np.float64],
) -> None:
    """Write labels (h, w) as an OME-TIFF with a pyramid, tile by tile.

    Parameters
    ----------
    number
        What each label is called in the file.
    um_per_px
        In x and y.
    """
    height, width = labels.shape
    levels = 1
    while max(height, width) >> (levels - 1) > _TOP_PX:
        levels += 1
    units = {"PhysicalSizeX": um_per_px[0], "PhysicalSizeXUnit": "µm"}
    units |= {"PhysicalSizeY": um_per_px[1], "PhysicalSizeYUnit": "µm"}
    whole: dict[str, Any] = {"subifds": levels - 1, "metadata": {"axes": "YX"} | units}
    with whole_file(path) as partial, tifffile.TiffWriter(partial, ome=True, bigtiff=True) as writer:
        for level in range(levels):
            step = 1 << level
            writer.write(
                _tiles(labels, number, step),
                shape=(-(-height // step), -(-width // step)),
                dtype=np.uint32,
                tile=(_TILE_PX, _TILE_PX),
                compression="adobe_deflate",
                photometric="minisblack",
                resolution=(1e4 / (um_per_px[0] * step), 1e4 / (um_per_px[1] * step)),
                resolutionunit="CENTIMETER",
                **(whole if level == 0 else {"subfiletype": 1, "metadata": None}),
            )


def _tiles(labels: Any, number: NDArray[np.uint32], step: int) -> Iterator[NDArray[np.uint32]]:  # noqa: ANN401
    """Yield the tiles of a level, row by row; a label is never mixed with another, so pixels are left out."""
    for top in range(0, labels.shape[0], _TILE_PX * step):
        band = number[labels[top : top + _TILE_PX * step : step, ::step]]
        for left in range(0, band.shape[1], _TILE_PX):
            tile = band[:, left : left + _TILE_PX]
            yield np.pad(tile, [(0, _TILE_PX - n) for n in tile.shape])

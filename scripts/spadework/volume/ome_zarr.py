"""A block as OME-Zarr (Moore et al. 2023, doi:10.1007/s00418-023-02209-1), to be opened in napari, QuPath or Fiji."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from spadework.job import allow_unused
from spadework.volume.rasterise import plane_spacing
from spadework.volume.stack import Stack

_SMALLEST = 64  # voxels: no further level of the pyramid below
_CHUNK = 256
_WINDOW = 2.0  # what viewers show of values at first, standard deviations


@dataclass(frozen=True)
class Labels:
    """Labels of voxels.

    Attributes
    ----------
    volume
        (z, y, x) integers, 0 for none.
    names, colours
        Of the labels 1, 2, ...; colours as matplotlib takes them.
    """

    volume: NDArray[np.integer]
    names: Sequence[str]
    colours: Sequence[str]


def write_volume(
    path: str | Path,
    stack: Stack,
    labels: Mapping[str, Labels],
    values: Mapping[str, NDArray[np.floating]],
    value_names: Sequence[str],
    name: str,
) -> None:
    """Write a block as OME-Zarr 0.4.

    The image is the stain (axes c, z, y, x, in µm; uint8); each level of the pyramid is half as wide and high and has
    all the sections. OME-Zarr knows one distance between planes, here the median; depth and name of every section are
    attributes of the group (``spadework``).

    Parameters
    ----------
    path
        Folder to be made.
    labels
        Name -> labels, under ``labels/``.
    values
        Name -> (z, y, x, k) values, NaN for none: further images, float32, in groups of that name.
    value_names
        Of the k values.
    name
        Of the block.
    """
    allow_unused()  # dask, which the library is made of
    from ome_zarr.format import FormatV04
    from ome_zarr.writer import write_multiscale, write_multiscale_labels

    fmt = FormatV04()
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    scale = plane_spacing(stack), stack.voxel_um, stack.voxel_um
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]

    def image(group: zarr.Group, volume: NDArray, channels: list[dict[str, Any]], called: str) -> None:
        levels = _halved(np.moveaxis(volume, -1, 0), labels=False)
        write_multiscale(
            levels,
            group,
            fmt=fmt,
            axes=axes,
            coordinate_transformations=_placed(levels, scale, stack),
            storage_options={"chunks": (1, 1, _CHUNK, _CHUNK)},
            name=called,
            metadata={"omero": {"channels": channels, "rdefs": {"model": "color"}}},
        )

    image(root, stack.stain, _channels(("red", "green", "blue"), 0, 255), name)
    for called, volume in values.items():
        channels = _channels(value_names, -_WINDOW, _WINDOW)
        image(root.create_group(called), volume.astype(np.float32), channels, f"{name}, {called}")
    for called, one in labels.items():
        levels = _halved(one.volume, labels=True)
        numbered = list(enumerate(zip(one.names, one.colours, strict=True), 1))
        write_multiscale_labels(
            levels,
            root,
            called,
            fmt=fmt,
            axes=axes[1:],
            coordinate_transformations=_placed(levels, scale, stack),
            storage_options={"chunks": (1, _CHUNK, _CHUNK)},
            label_metadata={
                "colors": [{"label-value": k, "rgba": _rgba(colour)} for k, (_, colour) in numbered],
                "properties": [{"label-value": k, "name": own} for k, (own, _) in numbered],
                "source": {"image": "../../"},
            },
        )
    root.attrs["spadework"] = {
        "block": name,
        "sections": [
            {"name": section, "z_um": float(z), "sequenced": bool(sequenced)}
            for section, z, sequenced in zip(stack.samples, stack.z_um, stack.sequenced, strict=True)
        ],
    }


def _halved(volume: NDArray, *, labels: bool) -> list[NDArray]:
    """Return a volume and what it looks like at half the width and height, and so on; planes are left alone."""
    levels = [volume]
    while min(s // 2 for s in levels[-1].shape[-2:]) >= _SMALLEST:
        level = levels[-1][..., : levels[-1].shape[-2] // 2 * 2, : levels[-1].shape[-1] // 2 * 2]
        if labels:
            levels.append(np.ascontiguousarray(level[..., ::2, ::2]))
            continue
        quarters = np.stack([level[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).astype(np.float64)
        there = np.isfinite(quarters)
        n = there.sum(axis=0)
        mean = np.divide(np.where(there, quarters, 0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
        integers = np.issubdtype(volume.dtype, np.integer)
        levels.append((np.rint(mean) if integers else mean).astype(volume.dtype))
    return levels


def _placed(levels: Sequence[NDArray], scale: tuple[float, float, float], stack: Stack) -> list[list[dict[str, Any]]]:
    """Say where the voxels of each level are in the block, µm."""
    z, y, x = scale
    more = [1.0] * (levels[0].ndim - 3)
    placed = []
    for k in range(len(levels)):
        size = [z, y * 2**k, x * 2**k]
        centre = [float(stack.z_um[0]), size[1] / 2, size[2] / 2]
        placed.append(
            [
                {"type": "scale", "scale": [*more, *size]},
                {"type": "translation", "translation": [*(0.0 for _ in more), *centre]},
            ]
        )
    return placed


def _rgba(colour: str) -> list[int]:
    return [*(round(255 * v) for v in to_rgb(colour)), 255]


def _channels(names: Sequence[str], low: float, high: float) -> list[dict[str, Any]]:
    rgb = len(names) == 3 and names[0] == "red"
    return [
        {
            "label": name,
            "color": ("FF0000", "00FF00", "0000FF")[k] if rgb else "FFFFFF",
            "active": rgb or k == 0,
            "window": {"min": low, "max": high, "start": low, "end": high},
        }
        for k, name in enumerate(names)
    ]

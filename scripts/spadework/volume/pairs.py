"""Volumes to be translated and what they are to become, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spadework.volume.architecture import Shape
from spadework.volume.pair_table import Set

NOT_MEASURED = -1


@dataclass(frozen=True)
class VolumePair:
    """A volume and what it is to become.

    Attributes
    ----------
    inputs
        (z, y, x, channels) float32.
    target
        (z, y, x) int16, the class of each voxel, -1 where nothing was measured; or (z, y, x, values) float32, NaN
        where nothing was measured.
    spacing
        Of the voxels in z, y and x.
    set
        What it is for: ``train``, ``validation`` or ``test``.
    origin
        What is needed to write a prediction where the volume came from; JSON can hold it.
    """

    name: str
    inputs: NDArray[np.float32]
    target: NDArray[Any]
    spacing: tuple[float, float, float]
    set: Set = "train"
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """Sides in z, y and x."""
        z, y, x = self.inputs.shape[:3]
        return z, y, x

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Where something was measured, (z, y, x)."""
        if self.target.ndim == 3:
            return self.target != NOT_MEASURED
        return ~np.isnan(self.target).any(axis=-1)


@dataclass(frozen=True)
class Volumes:
    """Volumes of one kind.

    Attributes
    ----------
    inputs
        Names of the input channels.
    classes, values
        Names of what the volumes are to become: one of the two is empty.
    unit
        Of the spacing.
    planes
        Of the stack of a block, the section of each plane; empty for volumes that are no stacks.
    """

    pairs: tuple[VolumePair, ...]
    inputs: tuple[str, ...]
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    unit: str = "µm"
    planes: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output channels."""
        return self.classes or self.values

    def of(self, name: Set) -> list[VolumePair]:
        """Return the volumes of a set."""
        return [pair for pair in self.pairs if pair.set == name]


def without(volumes: Volumes, sections: Collection[str]) -> Volumes:
    """Leave out what was measured on some sections of a stack; their images stay."""
    hidden = np.isin(volumes.planes, list(sections))
    pairs = tuple(replace(pair, target=hide(pair.target, hidden)) for pair in volumes.pairs)
    return replace(volumes, pairs=pairs)


def hide(target: NDArray[Any], hidden: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a target without what was measured in some planes, (z,) bool."""
    left = target.copy()
    left[hidden] = NOT_MEASURED if target.ndim == 3 else np.nan
    return left


def write_volumes(volumes: Volumes, path: str | Path) -> None:
    """Write volumes into one HDF5 file."""
    with h5py.File(path, "w") as handle:
        for key in ("inputs", "classes", "values", "unit", "planes"):
            handle.attrs[key] = json.dumps(getattr(volumes, key))
        for k, pair in enumerate(volumes.pairs):
            group = handle.create_group(f"{k:04d}")
            group.attrs["described"] = json.dumps([pair.name, pair.spacing, pair.set, pair.origin])
            for key in ("inputs", "target"):
                group.create_dataset(key, data=getattr(pair, key), compression="lzf")


def read_volumes(path: str | Path) -> Volumes:
    """Read what :func:`write_volumes` wrote."""
    with h5py.File(path) as handle:
        pairs = []
        for group in handle.values():
            name, spacing, of, origin = json.loads(group.attrs["described"])
            arrays = group["inputs"][()], group["target"][()]
            pairs.append(VolumePair(name, *arrays, spacing=tuple(spacing), set=of, origin=origin))
        said = {key: json.loads(handle.attrs[key]) for key in ("inputs", "classes", "values", "unit", "planes")}
    lists = {key: tuple(said[key]) for key in ("inputs", "classes", "values", "planes")}
    return Volumes(tuple(pairs), unit=said["unit"], **lists)


def write_predictions(predictions: Mapping[str, NDArray[np.floating]], path: str | Path) -> None:
    """Write predictions, (z, y, x, outputs) by name of the volume, into one HDF5 file."""
    with h5py.File(path, "w") as handle:
        for name, values in predictions.items():
            handle.create_dataset(name, data=values.astype(np.float32), compression="lzf")


def read_predictions(path: str | Path) -> dict[str, NDArray[np.float32]]:
    """Read what :func:`write_predictions` wrote."""
    with h5py.File(path) as handle:
        return {name: values[()] for name, values in handle.items()}

"""A block of serial sections as a stack of planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from spadework.job import whole_file


@dataclass(frozen=True)
class Stack:
    """Registered sections, planes in the order of their depth.

    The frame of the block is in µm: voxel (k, i, j) has its centre at x = (j + 0.5) * voxel_um, y = (i + 0.5) *
    voxel_um and z = z_um[k].

    Attributes
    ----------
    samples
        Names of the sections, (z,).
    z_um
        (z,) float64, rising.
    voxel_um
        Edge of a voxel in x and y.
    stain
        (z, y, x, 3) uint8: the stain, made alike between sections, on white.
    tissue
        (z, y, x) bool.
    sequenced
        Whether spots were measured on the section, (z,).
    """

    samples: tuple[str, ...]
    z_um: NDArray[np.float64]
    voxel_um: float
    stain: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    sequenced: tuple[bool, ...]


def write_stack(stack: Stack, path: str | Path) -> None:
    """Write a stack as HDF5, whole or not at all."""
    with whole_file(path) as partial, h5py.File(partial, "w") as handle:
        handle["samples"] = np.array(stack.samples, object)
        handle["z_um"] = np.asarray(stack.z_um, float)
        handle["sequenced"] = np.asarray(stack.sequenced, bool)
        # A plane is what readers want.
        for name, volume in (("stain", stack.stain), ("tissue", stack.tissue)):
            handle.create_dataset(name, data=volume, chunks=(1, *volume.shape[1:]), compression="lzf")
        handle.attrs["voxel_um"] = float(stack.voxel_um)


def read_stack(path: str | Path) -> Stack:
    """Read what :func:`write_stack` wrote."""
    with h5py.File(path) as handle:
        return Stack(
            tuple(handle["samples"].asstr()[()]),
            handle["z_um"][()],
            float(handle.attrs["voxel_um"]),
            handle["stain"][()],
            handle["tissue"][()],
            tuple(bool(v) for v in handle["sequenced"][()]),
        )

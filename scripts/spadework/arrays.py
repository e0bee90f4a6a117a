"""Lists of arrays, such as the weights of a network, in one HDF5 file with what is to be known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

_ATTRIBUTE = "spadework"


def write_arrays(path: Path, arrays: Mapping[str, Sequence[NDArray]], described: dict[str, Any]) -> None:
    """Write lists of arrays, and a description that JSON can hold."""
    with h5py.File(path, "w") as handle:
        handle.attrs[_ATTRIBUTE] = json.dumps(described)
        for name, values in arrays.items():
            for k, value in enumerate(values):
                handle[f"{name}/{k:04d}"] = value


def read_arrays(path: str | Path) -> tuple[dict[str, list[NDArray]], dict[str, Any]]:
    """Read what :func:`write_arrays` wrote.

    Raises
    ------
    OSError, KeyError
        If the file is no such file.
    """
    with h5py.File(path) as handle:
        arrays = {name: [values[()] for values in group.values()] for name, group in handle.items()}
        return arrays, json.loads(handle.attrs[_ATTRIBUTE])

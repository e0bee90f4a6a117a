"""A block for viewers: what is measured and predicted, as labels or values, in OME-Zarr and NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.volume.nifti import write_block
from spadework.volume.ome_zarr import Labels, write_volume
from spadework.volume.pairs import Volumes
from spadework.volume.stack import Stack

_TISSUE = "#B0B0B0"


def write_viewers_files(
    stack: Stack,
    volumes: Volumes,
    prediction: NDArray[np.floating],
    colours: dict[str, str],
    name: str,
    *,
    zarr: Path,
    nifti: Path,
) -> None:
    """Write stain, measured, predicted and tissue of a block.

    Domains are numbered from 1 in the order of ``volumes.classes``; 0 is what was not measured, or is no tissue.
    Predictions off the tissue mean nothing and are left out.

    Parameters
    ----------
    prediction
        (z, y, x, k): class probabilities or values.
    colours
        Domain -> colour.
    zarr, nifti
        Folders.
    """
    target, classes = volumes.pairs[0].target, list(volumes.classes)
    shades = [colours[c] for c in classes]
    tissue = Labels(stack.tissue.astype(np.uint8), ["tissue"], [_TISSUE])
    names = None
    contents: dict[str, NDArray]
    if classes:
        said = np.where(stack.tissue, prediction.argmax(axis=-1) + 1, 0)
        contents = {"measured": (target + 1).astype(np.uint16), "predicted": said.astype(np.uint16)}
        labels = {called: Labels(volume, classes, shades) for called, volume in contents.items()}
        write_volume(zarr, stack, labels | {"tissue": tissue}, {}, (), name)
        names = pd.DataFrame({"value": np.arange(1, len(classes) + 1), "name": classes, "colour": shades})
    else:
        contents = {"measured": target, "predicted": np.where(stack.tissue[..., None], prediction, np.nan)}
        write_volume(zarr, stack, {"tissue": tissue}, contents, volumes.values, name)
    nifti.mkdir(parents=True, exist_ok=True)
    write_block(nifti, stack, contents, names)

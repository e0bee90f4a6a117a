"""The patch file: uint8 RGB patches of a section on disk, in the order of the barcodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from spadework.patches import ScaledImage, cut_patches, padded_fraction
from spadework.tissue import TissueModel


def write_patches(
    path: Path,
    scaled: ScaledImage,
    boxes: NDArray[np.int64],
    barcodes: pd.Index,
    output_px: int,
    tissue: TissueModel,
    transform: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> pd.DataFrame:
    """Cut all patches into an HDF5 file, rows in the order of ``barcodes``, and return the manifest.

    Parameters
    ----------
    transform
        What happens to every patch before it is written.

    Returns
    -------
    pandas.DataFrame
        By barcode: box in source pixels (``x0``, ``y0``, ``width_px``, ``height_px``), centre
        (``centre_x``, ``centre_y``), size in µm, ``um_per_px_x``, ``um_per_px_y``, ``source``,
        ``output_px``, ``tissue_fraction`` and ``padded_fraction``.
    """
    fraction = np.empty(len(boxes), np.float32)
    with h5py.File(path, "w") as handle:
        # Contiguous: patches come in the order of the image and are read in the order of the barcodes.
        data = handle.create_dataset("patches", (len(boxes), output_px, output_px, 3), np.uint8)
        handle["barcodes"] = barcodes.to_numpy(object)
        for i, patch in tqdm(
            cut_patches(scaled.image, boxes, output_px), "patches", len(boxes), mininterval=5, ascii=True
        ):
            data[i] = transform(patch) if transform else patch
            fraction[i] = tissue.fraction(patch[None])[0]
    size = boxes[:, 2:] - boxes[:, :2]
    um = np.asarray(scaled.um_per_px)
    return pd.DataFrame(
        {
            "x0": boxes[:, 0],
            "y0": boxes[:, 1],
            "width_px": size[:, 0],
            "height_px": size[:, 1],
            "centre_x": (boxes[:, 0] + boxes[:, 2]) / 2,
            "centre_y": (boxes[:, 1] + boxes[:, 3]) / 2,
            "width_um": size[:, 0] * um[0],
            "height_um": size[:, 1] * um[1],
            "um_per_px_x": um[0],
            "um_per_px_y": um[1],
            "source": scaled.source,
            "output_px": output_px,
            "tissue_fraction": fraction,
            "padded_fraction": padded_fraction(boxes, scaled.image.width, scaled.image.height),
        },
        index=pd.Index(barcodes, name="barcode"),
    )

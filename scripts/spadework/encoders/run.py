"""Encode a patch file, block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from spadework.encoders.base import Encoder

log = logging.getLogger("spadework")


class PatchFile:
    """Read access to a patch file.

    Parameters
    ----------
    path
        As written by :func:`spadework.patch_file.write_patches`.
    """

    def __init__(self, path: str | Path) -> None:
        self._handle = h5py.File(path)
        self._data = self._handle["patches"]
        self.barcodes = pd.Index(self._handle["barcodes"].asstr()[:])

    def __len__(self) -> int:
        return len(self._data)

    @property
    def px(self) -> int:
        """Edge of the patches, px."""
        return int(self._data.shape[1])

    def blocks(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the patches in order, ``size`` at a time, (n, px, px, 3) uint8."""
        for start in range(0, len(self), size):
            yield self._data[start : start + size]


def encode_file(encoder: Encoder, path: str | Path) -> ad.AnnData:
    """Encode all patches of a file.

    Returns
    -------
    anndata.AnnData
        (patches, dim) in the encoder's precision, by barcode, with the encoder's description in ``uns["encoder"]``.
    """
    patches = PatchFile(path)
    log.info("encoding %d patches of %d px with %s", len(patches), patches.px, encoder.describe())
    features = np.empty((len(patches), encoder.dim), encoder.dtype)
    with tqdm(total=len(patches), desc=encoder.name, mininterval=5, ascii=True, unit="patch") as progress:
        start = 0
        for block in patches.blocks(encoder.batch_size):
            features[start : start + len(block)] = encoder.encode(block)
            start += len(block)
            progress.update(len(block))
    adata = ad.AnnData(features, obs=pd.DataFrame(index=patches.barcodes))
    adata.uns["encoder"] = encoder.describe() | {"same_units": encoder.same_units}
    return adata

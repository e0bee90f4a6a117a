"""Write a simulated section the way Space Ranger 2 writes its ``outs`` folder."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

from .geometry import Lattice

SOFTWARE_VERSION = "spadework-simulation-1"
GENOME = "GRCsim1"
SCALE_SPOT_UM = 65.0
"""What ``spot_diameter_fullres`` stands for in Space Ranger since 1.3; the spots themselves measure 55 µm."""

FIDUCIAL_UM = 105.0
HIRES_PX = 2000
LOWRES_PX = 600
TILE_PX = 256


def random_barcodes(rng: np.random.Generator, n: int) -> NDArray[np.str_]:
    """Draw `n` distinct barcodes of 16 bases with the suffix of the first sample."""
    barcodes = np.empty(0, "U18")
    while len(barcodes) < n:
        bases = rng.choice(np.array(list("ACGT")), (n - len(barcodes), 16))
        drawn = np.array(["".join(row) + "-1" for row in bases])
        barcodes = np.unique(np.concatenate([barcodes, drawn]))
    # np.unique sorts, and barcodes on a slide do not follow the lattice
    return rng.permutation(barcodes)


def write_matrix(
    path: Path, counts: NDArray[np.int32], barcodes: NDArray[np.str_], genes: pd.DataFrame, library: str
) -> None:
    """Write a 10x HDF5 feature-barcode matrix (layout of Cell Ranger 3 and later).

    Parameters
    ----------
    counts : ndarray of int32, shape (n_spots, n_genes)
        One row per barcode.
    genes : DataFrame
        With ``gene_id`` and ``gene``, in the order of the columns of `counts`.
    library : str
        Name recorded in ``library_ids``.
    """
    # spots in CSR order are barcodes in the CSC order 10x uses
    stored = sparse.csr_matrix(counts)
    stored.sort_indices()
    with h5py.File(path, "w") as file:
        file.attrs["chemistry_description"] = "Spatial 3' v1"
        file.attrs["filetype"] = "matrix"
        file.attrs["library_ids"] = np.array([library.encode()])
        file.attrs["original_gem_groups"] = np.array([1], np.int64)
        file.attrs["software_version"] = SOFTWARE_VERSION
        file.attrs["version"] = np.int64(2)
        group = file.create_group("matrix")

        def put(name: str, values: NDArray) -> None:
            group.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)

        put("barcodes", barcodes.astype("S"))
        put("data", stored.data.astype(np.int32))
        put("indices", stored.indices.astype(np.int64))
        put("indptr", stored.indptr.astype(np.int64))
        put("shape", np.array(counts.shape[::-1], np.int32))
        put("features/id", genes["gene_id"].to_numpy().astype("S"))
        put("features/name", genes["gene"].to_numpy().astype("S"))
        put("features/feature_type", np.full(len(genes), b"Gene Expression"))
        put("features/genome", np.full(len(genes), GENOME.encode()))
        put("features/_all_tag_keys", np.array([b"genome"]))


def write_positions(
    path: Path, lattice: Lattice, barcodes: NDArray[np.str_], in_tissue: NDArray[np.bool_], um_per_px: float
) -> None:
    """Write ``tissue_positions.csv`` with its header line: every spot of the lattice, pixels as decimals."""
    pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": in_tissue.astype(int),
            "array_row": lattice.array_row,
            "array_col": lattice.array_col,
            "pxl_row_in_fullres": lattice.y_um / um_per_px,
            "pxl_col_in_fullres": lattice.x_um / um_per_px,
        }
    ).to_csv(path, index=False)


def write_images(outs: Path, image: NDArray[np.uint8], um_per_px: float) -> None:
    """Write the full image beside ``spatial``, and in it the two reduced images and their scale factors."""
    tifffile.imwrite(
        outs / "tissue_image.tif",
        image,
        tile=(TILE_PX, TILE_PX),
        compression="deflate",
        photometric="rgb",
        resolution=(1e4 / um_per_px, 1e4 / um_per_px),
        resolutionunit="CENTIMETER",
        software=SOFTWARE_VERSION,
        metadata=None,
    )
    full = Image.fromarray(image)
    longest = max(image.shape[:2])
    scales = {}
    for name, side in (("hires", HIRES_PX), ("lowres", LOWRES_PX)):
        scale = min(1.0, side / longest)
        width, height = (max(1, round(scale * length)) for length in full.size)
        reduced = full.resize((width, height), Image.Resampling.LANCZOS) if scale < 1.0 else full
        reduced.save(outs / "spatial" / f"tissue_{name}_image.png", compress_level=3)
        scales[f"tissue_{name}_scalef"] = scale
    scales["spot_diameter_fullres"] = SCALE_SPOT_UM / um_per_px
    scales["fiducial_diameter_fullres"] = FIDUCIAL_UM / um_per_px
    (outs / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales) + "\n", encoding="utf-8")

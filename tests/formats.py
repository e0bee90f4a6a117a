"""Other layouts of a simulated Space Ranger 2 ``outs`` folder: what else a user may have on disk.

Every function takes the folder and returns what the sample sheet would point at. All keep the counts and the order
of the matrix, so that a test can compare with the folder it started from.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite

H5 = "filtered_feature_bc_matrix.h5"
UM_PER_PX = 4.0  # of the simulated image
HIRES, LOWRES = "tissue_hires_image.png", "tissue_lowres_image.png"


# ---- what the folder holds, read without the package --------------------------------------------------------------


def matrix_of(outs: Path) -> ad.AnnData:
    """Counts as scanpy reads them; genes by id."""
    adata = sc.read_10x_h5(outs / H5)
    adata.var["symbol"] = adata.var_names.to_numpy()
    adata.var_names = adata.var["gene_ids"]
    return adata


def positions_of(outs: Path) -> pd.DataFrame:
    return pd.read_csv(outs / "spatial" / "tissue_positions.csv", index_col="barcode")


# ---- parts of a folder ---------------------------------------------------------------------------------------------


def write_h5(
    path: Path,
    counts: sparse.csr_matrix,
    barcodes: list[str],
    ids: list[str],
    names: list[str],
    types: list[str] | None = None,
    software: str | None = None,
) -> None:
    """Write a 10x HDF5 matrix from (barcodes, genes) counts."""
    counts = sparse.csr_matrix(counts)
    with h5py.File(path, "w") as handle:
        if software:
            handle.attrs["software_version"] = software
        group = handle.create_group("matrix")
        group["barcodes"] = np.array(barcodes, "S")
        group["data"], group["indices"], group["indptr"] = counts.data, counts.indices, counts.indptr
        group["shape"] = np.array(counts.shape[::-1], np.int32)
        group["features/id"] = np.array(ids, "S")
        group["features/name"] = np.array(names, "S")
        group["features/feature_type"] = np.array(types or ["Gene Expression"] * len(ids), "S")


def rewrite_h5(outs: Path, **changes) -> Path:
    """Write the matrix anew with other ``barcodes``, ``names``, ``ids``, ``types`` or ``counts``."""
    adata = sc.read_10x_h5(outs / H5)
    parts = {
        "counts": adata.X,
        "barcodes": list(adata.obs_names),
        "ids": list(adata.var["gene_ids"]),
        "names": list(adata.var_names),
    }
    write_h5(outs / H5, **(parts | changes))
    return outs


def write_mex(outs: Path, kind: str) -> Path:
    """Replace the HDF5 matrix by a MEX folder: ``gz``, ``plain``, ``misnamed`` (plain, called .gz) or ``genes``."""
    adata = sc.read_10x_h5(outs / H5)
    folder = outs / H5.removesuffix(".h5")
    folder.mkdir()
    text = io.BytesIO()
    mmwrite(text, sparse.coo_matrix(adata.X.T).astype(int))
    ids_names = [f"{i}\t{n}" for i, n in zip(adata.var["gene_ids"], adata.var_names, strict=True)]
    features = ids_names if kind == "genes" else [f"{line}\tGene Expression" for line in ids_names]
    files = {
        "matrix.mtx": text.getvalue(),
        "genes.tsv" if kind == "genes" else "features.tsv": ("\n".join(features) + "\n").encode(),
        "barcodes.tsv": ("\n".join(adata.obs_names) + "\n").encode(),
    }
    for name, content in files.items():
        suffix = ".gz" if kind in ("gz", "misnamed") else ""
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content, 1) if kind == "gz" else content)
    (outs / H5).unlink()
    return outs


def drop_images(outs: Path, *, fullres: bool = False) -> Path:
    """Remove the reduced images, and the full-resolution one too if asked."""
    for name in (HIRES, LOWRES):
        (outs / "spatial" / name).unlink()
    if fullres:
        (outs / "tissue_image.tif").unlink()
    return outs


def add_unknown(folder: Path) -> Path:
    """Put a file and a folder of some later Space Ranger everywhere, and a new key in the scale factors."""
    for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        (place / "from_the_future.parquet").write_bytes(b"PAR1")
        (place / "from_the_future").mkdir()
    for path in folder.rglob("scalefactors_json.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"new_key": "words", "other": {"a": 1}}))
    return folder


def _tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)


# ---- Visium --------------------------------------------------------------------------------------------------------


def spaceranger_1(outs: Path) -> Path:
    """Space Ranger 1: ``tissue_positions_list.csv`` without a header line, whole pixels."""
    table = positions_of(outs).round().astype(int)
    (outs / "spatial" / "tissue_positions.csv").unlink()
    table.to_csv(outs / "spatial" / "tissue_positions_list.csv", header=False)
    return outs


def header_in_list_file(outs: Path) -> Path:
    """Give the old file name to the new layout."""
    (outs / "spatial" / "tissue_positions.csv").rename(outs / "spatial" / "tissue_positions_list.csv")
    return outs


def no_header_in_new_file(outs: Path) -> Path:
    """Give the new file name to the old layout."""
    positions_of(outs).to_csv(outs / "spatial" / "tissue_positions.csv", header=False)
    return outs


def raw_only(outs: Path) -> Path:
    """Keep only the raw matrix: every spot of the slide, off tissue and empty ones too."""
    filtered, everywhere = sc.read_10x_h5(outs / H5), positions_of(outs).index.sort_values()
    counts = sparse.lil_matrix((len(everywhere), filtered.n_vars), dtype=np.int32)
    counts[everywhere.get_indexer(filtered.obs_names)] = filtered.X
    ids, names = list(filtered.var["gene_ids"]), list(filtered.var_names)
    write_h5(outs / "raw_feature_bc_matrix.h5", counts.tocsr(), list(everywhere), ids, names)
    (outs / H5).unlink()
    return outs


def download(outs: Path, *, packed: bool, prefix: str = "Demo_Gut") -> Path:
    """Lay files out as a download from 10x: each carries the sample's name, ``spatial`` may still be packed."""
    (outs / H5).rename(outs / f"{prefix}_{H5}")
    (outs / "tissue_image.tif").rename(outs / f"{prefix}_image.tif")
    if packed:
        _tar(outs / f"{prefix}_spatial.tar.gz", outs / "spatial")
    return outs


# ---- Visium HD -----------------------------------------------------------------------------------------------------


def visium_hd(outs: Path, *, images: str = "copied", bin_um: int = 8) -> Path:
    """Turn spots into bins of ``binned_outputs/square_008um``: the same counts on a square grid.

    Parameters
    ----------
    images
        ``copied``, ``linked`` to ``outs/spatial``, ``dangling`` (a link that leads nowhere, the images still in
        ``outs/spatial``), ``pointer`` (the link turned into a small text file) or ``absent`` (none anywhere).
    """
    adata, spots = sc.read_10x_h5(outs / H5), positions_of(outs)
    px = bin_um / UM_PER_PX
    n = int(np.ceil(np.sqrt(len(spots))))
    row, col = np.divmod(np.arange(len(spots)), n)
    barcodes = np.array([f"s_{bin_um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)])
    folder = outs / "binned_outputs" / f"square_{bin_um:03d}um"
    (folder / "spatial").mkdir(parents=True)
    pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": spots["in_tissue"].to_numpy(np.int32),
            "array_row": row.astype(np.int32),
            "array_col": col.astype(np.int32),
            "pxl_row_in_fullres": 40.0 + row * px,
            "pxl_col_in_fullres": 400.0 - col * px,  # mirrored, as on real slides
        }
    ).sample(frac=1, random_state=0).to_parquet(folder / "spatial" / "tissue_positions.parquet", index=False)
    write_h5(
        folder / H5,
        adata.X,
        list(barcodes[spots.index.get_indexer(adata.obs_names)]),
        list(adata.var["gene_ids"]),
        list(adata.var_names),
        software="spaceranger-3.0.1",
    )
    scale = json.loads((outs / "spatial" / "scalefactors_json.json").read_text())
    scale |= {"spot_diameter_fullres": px, "bin_size_um": float(bin_um), "microns_per_pixel": UM_PER_PX}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(scale))
    for name in (HIRES, LOWRES):
        link = folder / "spatial" / name
        if images == "copied":
            shutil.copy(outs / "spatial" / name, link)
        elif images == "linked":
            link.symlink_to(Path("../../../spatial") / name)
        elif images == "dangling":
            link.symlink_to(Path("/nowhere") / name)
        elif images == "pointer":
            link.write_text(f"../../../spatial/{name}")
    if images == "absent":
        drop_images(outs)
    (outs / H5).unlink()
    for name in ("tissue_positions.csv", "scalefactors_json.json"):  # outs/spatial holds images only
        (outs / "spatial" / name).unlink()
    return outs


def hd_download(outs: Path, *, images: str = "copied", prefix: str = "Demo_HD") -> Path:
    """Pack Visium HD as 10x offers it: ``<sample>_binned_outputs.tar.gz`` and ``<sample>_spatial.tar.gz``."""
    visium_hd(outs, images=images)
    (outs / "tissue_image.tif").rename(outs / f"{prefix}_tissue_image.btf")
    _tar(outs / f"{prefix}_binned_outputs.tar.gz", outs / "binned_outputs")
    _tar(outs / f"{prefix}_spatial.tar.gz", outs / "spatial")
    return outs


def square(x: float, y: float, half: float) -> list[list[float]]:
    """A closed ring around (x, y)."""
    return [
        [x - half, y - half],
        [x + half, y - half],
        [x + half, y + half],
        [x - half, y + half],
        [x - half, y - half],
    ]


def segmented(outs: Path) -> Path:
    """Space Ranger 4: spots become cells with polygons; the second cell is in two pieces; no images beside them."""
    adata, spots = sc.read_10x_h5(outs / H5), positions_of(outs)
    folder = outs / "segmented_outputs"
    (folder / "spatial").mkdir(parents=True)
    numbers = np.arange(1, adata.n_obs + 1) * 3  # cells without counts have numbers too
    spots = spots.loc[adata.obs_names]
    features = []
    for k, x, y in zip(numbers, spots["pxl_col_in_fullres"], spots["pxl_row_in_fullres"], strict=True):
        geometry = {"type": "Polygon", "coordinates": [square(x, y, 3), square(x, y, 1)]}
        if k == numbers[1]:
            pieces = [[square(x + 9, y, 1)], [square(x, y, 3)]]
            geometry = {"type": "MultiPolygon", "coordinates": pieces}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"cell_id": int(k)}})
    collection = {"type": "FeatureCollection", "features": features[::-1]}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(collection))
    write_h5(
        folder / "filtered_feature_cell_matrix.h5",
        adata.X,
        [f"cellid_{k:09d}-1" for k in numbers],
        list(adata.var["gene_ids"]),
        list(adata.var_names),
        software="spaceranger-4.0.1",
    )
    scale = json.loads((outs / "spatial" / "scalefactors_json.json").read_text())
    del scale["spot_diameter_fullres"]
    scale["microns_per_pixel"] = UM_PER_PX
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(scale))
    (outs / H5).unlink()
    (outs / "spatial" / "tissue_positions.csv").unlink()
    return outs


# ---- other tools ---------------------------------------------------------------------------------------------------


def h5ad(
    outs: Path, *, counts: str = "layer", lattice: bool = True, uint8: bool = False, path: str = "gut.h5ad"
) -> Path:
    """Write what scanpy writes: float images, positions in obsm; ``counts`` in a ``layer``, ``X`` or ``raw``."""
    adata = sc.read_10x_h5(outs / H5)
    spots = positions_of(outs).loc[adata.obs_names]
    adata.obs["in_tissue"] = spots["in_tissue"]
    if lattice:
        adata.obs[["array_row", "array_col"]] = spots[["array_row", "array_col"]]
    adata.obsm["spatial"] = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    pixels = {k: np.asarray(Image.open(outs / "spatial" / f"tissue_{k}_image.png")) for k in ("hires", "lowres")}
    adata.uns["spatial"] = {
        "gut": {
            "images": pixels if uint8 else {k: v.astype(np.float32) / 255 for k, v in pixels.items()},
            "scalefactors": json.loads((outs / "spatial" / "scalefactors_json.json").read_text()),
        }
    }
    if counts == "layer":
        adata.layers["counts"] = adata.X.copy()
    if counts == "raw":
        adata.raw = adata.copy()
    if counts != "X":
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    file = outs.parent / path
    adata.write_h5ad(file)
    return file


def legacy_st(outs: Path) -> Path:
    """Legacy ST: counts named ``<x>x<y>``, a spots table in another order, and a JPEG; square array of 200 µm."""
    adata = matrix_of(outs)[:, :60]  # a table of text: few genes, or the tests wait
    folder = outs.parent / "legacy"
    folder.mkdir()
    n = int(np.ceil(np.sqrt(adata.n_obs)))
    y, x = np.divmod(np.arange(adata.n_obs), n)
    names = [f"{a + 2}x{b + 1}" for a, b in zip(x, y, strict=True)]
    counts = pd.DataFrame(adata.X.toarray().astype(int), index=names, columns=adata.var_names)
    counts.to_csv(folder / "counts.tsv.gz", sep="\t", compression={"method": "gzip", "compresslevel": 1})
    spots = pd.DataFrame({"x": x + 2, "y": y + 1, "new_x": x + 2.0, "new_y": y + 1.0})
    spots["pixel_x"], spots["pixel_y"] = 100 + 50.0 * x, 80 + 40.0 * y
    spots["selected"] = (x != 0).astype(int)
    spots.iloc[::-1].to_csv(folder / "spots.tsv", sep="\t", index=False)
    Image.open(outs / "spatial" / HIRES).save(folder / "image.jpg", quality=95)
    return folder

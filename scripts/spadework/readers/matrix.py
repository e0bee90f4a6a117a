"""Count matrices as 10x software writes them: HDF5 and the MEX folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmread

from spadework.errors import InputError
from spadework.files import open_by_content
from spadework.keys import Keys
from spadework.section import Matrix

GENE_EXPRESSION = "Gene Expression"


def read_matrix(sample: str, path: Path) -> Matrix:
    """Read a 10x matrix, an HDF5 file or a MEX folder.

    Raises
    ------
    InputError
        If the file is not such a matrix, is truncated, or holds anything but whole counts.
    """
    matrix = read_mex(sample, path) if path.is_dir() else read_10x_h5(sample, path)
    if not len(matrix.barcodes):
        raise InputError(
            sample,
            path,
            found="no barcode in the matrix",
            expected="one per spot",
            remedy="use the raw matrix if the filtered one is empty, or check the Space Ranger run",
        )
    return matrix


def read_10x_h5(sample: str, path: Path) -> Matrix:
    """Read ``filtered_feature_bc_matrix.h5`` or its raw twin (HDF5 layout of Space Ranger 1 to 4)."""
    expected = "a 10x feature-barcode matrix (HDF5 with the group 'matrix')"
    try:
        with h5py.File(path) as handle:
            group = handle["matrix"]
            n_genes, n_barcodes = (int(n) for n in group["shape"][:])
            features = group["features"]
            # The file stores genes x barcodes by column, which is barcodes x genes by row.
            counts = sparse.csr_matrix(
                (group["data"][:], group["indices"][:], group["indptr"][:]), shape=(n_barcodes, n_genes)
            )
            barcodes = group["barcodes"].asstr()[:]
            genes = _gene_table(
                features["id"].asstr()[:],
                features["name"].asstr()[:],
                features["feature_type"].asstr()[:] if "feature_type" in features else None,
            )
            software = handle.attrs.get("software_version", "")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            sample,
            path,
            found=f"a file that cannot be read as a matrix ({error})",
            expected=expected,
            remedy="copy the file again; compare its size or checksum with the original",
        ) from error
    software = software.decode() if isinstance(software, bytes) else str(software)
    return Matrix(_whole_counts(sample, path, counts), barcodes.astype(str), genes, software)


def write_10x_h5(path: Path, counts: sparse.csr_matrix, barcodes: pd.Index, genes: pd.Index) -> None:
    """Write counts (barcodes x genes) in the HDF5 layout of 10x, under the names given."""
    counts = sparse.csr_matrix(counts)
    counts.sort_indices()
    with h5py.File(path, "w") as handle:
        group = handle.create_group("matrix")
        group["barcodes"] = barcodes.to_numpy(object)
        # The barcodes' rows are the columns 10x stores.
        group["data"], group["indices"], group["indptr"] = counts.data, counts.indices, counts.indptr
        group["shape"] = np.array(counts.shape[::-1], np.int32)
        features = group.create_group("features")
        features["id"] = features["name"] = genes.to_numpy(object)
        features["feature_type"] = np.full(len(genes), GENE_EXPRESSION, object)
        features["genome"] = np.full(len(genes), "", object)


def read_mex(sample: str, folder: Path) -> Matrix:
    """Read a MEX folder: matrix, features (or genes) and barcodes, gzipped or not whatever their names say."""
    try:
        matrix_file = _one_of(folder, "matrix.mtx")
        features_file = _one_of(folder, "features.tsv", "genes.tsv")
        barcodes_file = _one_of(folder, "barcodes.tsv")
    except FileNotFoundError as error:
        raise InputError(
            sample,
            folder,
            found=f"no {error}",
            expected="matrix.mtx, features.tsv and barcodes.tsv, each plain or gzipped",
            remedy="copy the whole folder again",
        ) from error
    try:
        with open_by_content(matrix_file) as handle:
            matrix = mmread(handle)
        features = _read_columns(features_file)
        barcodes = _read_columns(barcodes_file)[0].to_numpy(str)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(
            sample,
            folder,
            found=f"a folder that cannot be read as a matrix ({error})",
            expected="matrix.mtx, features.tsv and barcodes.tsv as 10x writes them",
            remedy="copy the folder again",
        ) from error
    if matrix.shape != (len(features), len(barcodes)):
        raise InputError(
            sample,
            matrix_file,
            found=f"{matrix.shape[0]} x {matrix.shape[1]} entries",
            expected=f"{len(features)} features x {len(barcodes)} barcodes",
            remedy="copy the folder again; its three files belong together",
        )
    genes = _gene_table(
        features[0].to_numpy(str),
        features[1 if features.shape[1] > 1 else 0].to_numpy(str),
        features[2].to_numpy(str) if features.shape[1] > 2 else None,
    )
    counts = sparse.csr_matrix(sparse.coo_matrix(matrix).T)
    return Matrix(_whole_counts(sample, matrix_file, counts), barcodes, genes)


def gene_expression_only(matrix: Matrix) -> tuple[Matrix, int]:
    """Keep genes, drop antibodies and other feature types; return how many features left."""
    is_gene = (matrix.genes[Keys.FEATURE_TYPES] == GENE_EXPRESSION).to_numpy()
    if is_gene.all():
        return matrix, 0
    counts = matrix.counts[:, np.flatnonzero(is_gene)]
    return Matrix(counts, matrix.barcodes, matrix.genes[is_gene], matrix.software), int((~is_gene).sum())


def _gene_table(ids: np.ndarray, names: np.ndarray, types: np.ndarray | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            Keys.GENE_IDS: ids.astype(str),
            Keys.GENE_NAME: names.astype(str),
            Keys.FEATURE_TYPES: GENE_EXPRESSION if types is None else types.astype(str),
        }
    )


def _whole_counts(sample: str, path: Path, counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return int32 counts, or say that these are none."""
    data = counts.data
    if len(data) and (data.min() < 0 or not np.array_equal(data, np.rint(data))):
        raise InputError(
            sample,
            path,
            found=f"values such as {data[np.flatnonzero((data < 0) | (data != np.rint(data)))[0]]:g}",
            expected="raw counts: whole numbers, none negative",
            remedy="give the unnormalised matrix",
        )
    counts = sparse.csr_matrix(counts, dtype=np.int32)
    counts.eliminate_zeros()  # stored zeros would count as spots with the gene
    counts.sort_indices()
    return counts


def _one_of(folder: Path, *names: str) -> Path:
    for name in names:
        for candidate in (folder / f"{name}.gz", folder / name):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(names[0])


def _read_columns(path: Path) -> pd.DataFrame:
    with open_by_content(path) as handle:
        return pd.read_csv(handle, sep="\t", header=None, dtype=str, keep_default_na=False)

"""What the Seurat engine hands back, joined to the section by barcode and gene name."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from spadework.keys import Keys
from spadework.labels import categorical
from spadework.readers.matrix import read_10x_h5


def add_seurat(adata: ad.AnnData, clusters: str | Path, sct: str | Path, sample: str) -> None:
    """Add Seurat's clusters, components and t-SNE, and SCTransform's counts, to the section.

    Parameters
    ----------
    clusters
        CSV by barcode: ``seurat_clusters``, ``PC_1`` ..., ``tSNE_1``, ``tSNE_2``.
    sct
        SCTransform's corrected counts, 10x HDF5. SCTransform models the genes in at least five spots; the others
        have no counts in the layer and are marked in ``var["in_sct"]``.

    Raises
    ------
    KeyError
        If a spot is missing.
    """
    table = pd.read_csv(clusters, dtype={"Unnamed: 0": str, "seurat_clusters": str})
    table = table.set_index(table.columns[0]).loc[adata.obs_names]
    adata.obs[Keys.CLUSTER] = categorical(table["seurat_clusters"].to_numpy())
    adata.obsm[Keys.PCA] = table.filter(regex=r"^PC_\d+$").to_numpy(np.float32)
    adata.obsm[Keys.TSNE] = table[["tSNE_1", "tSNE_2"]].to_numpy(np.float32)
    counts, genes, software = read_sct(sct, adata.obs_names, sample)
    adata.uns[Keys.SPADE]["seurat"] = software
    adata.var[Keys.IN_SCT] = adata.var_names.isin(genes)
    adata.layers[Keys.SCT_COUNTS] = genes_by_name(counts, genes, adata.var_names)


def genes_by_name(matrix: sparse.csr_matrix, genes: pd.Index, wanted: pd.Index) -> sparse.csr_matrix:
    """Return the columns of a matrix (spots, genes) in the order wanted; genes it does not have are zero."""
    # -1, a gene that is missing, takes the last column, which is empty.
    padded = sparse.hstack([matrix, sparse.csr_matrix((matrix.shape[0], 1), dtype=matrix.dtype)]).tocsc()
    return sparse.csr_matrix(padded[:, genes.get_indexer(wanted)])


def read_sct(path: str | Path, barcodes: pd.Index, sample: str) -> tuple[sparse.csr_matrix, pd.Index, str]:
    """Read SCTransform's counts (spots, genes), rows in the order of ``barcodes``, its genes, and who made them.

    Raises
    ------
    KeyError
        If a spot is missing.
    """
    matrix = read_10x_h5(sample, Path(path))
    rows = pd.Index(matrix.barcodes).get_indexer(barcodes)
    if (rows < 0).any():
        raise KeyError(f"{path} lacks {(rows < 0).sum()} of {len(barcodes)} spots")
    return matrix.counts[rows], pd.Index(matrix.genes[Keys.GENE_IDS]), matrix.software

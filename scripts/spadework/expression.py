"""Expression: quality control, filters, normalisation, clusters."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from spadework.errors import InputError
from spadework.job import without_tensorflow
from spadework.keys import Keys
from spadework.labels import categorical
from spadework.section import unversioned

log = logging.getLogger("spadework")

# How mitochondrial gene symbols start, by species; matched regardless of case for the vertebrates.
MITOCHONDRIAL_PREFIX = {"human": "MT-", "mouse": "mt-", "rat": "Mt-", "zebrafish": "mt-", "fly": "mt:"}
# Protein-coding and ribosomal mitochondrial genes, for tables that name genes by Ensembl id.
MITOCHONDRIAL_IDS = {
    "human": {
        f"ENSG00000{n}"
        for n in [
            "198888",
            "198763",
            "198804",
            "198712",
            "228253",
            "198899",
            "198938",
            "198840",
            "212907",
            "198886",
            "198786",
            "198695",
            "198727",
            "211459",
            "210082",
        ]
    },
    "mouse": {
        f"ENSMUSG000000{n}"
        for n in [
            "64341",
            "64345",
            "64351",
            "64354",
            "64356",
            "64357",
            "64358",
            "64360",
            "65947",
            "64363",
            "64367",
            "64368",
            "64370",
            "64337",
            "64339",
        ]
    },
}


def is_mitochondrial(var: pd.DataFrame, species: str) -> np.ndarray:
    """Mark mitochondrial genes by symbol or, without symbols, by Ensembl id (version suffix ignored).

    Parameters
    ----------
    species
        A key of :data:`MITOCHONDRIAL_PREFIX`, or empty to try all.

    Raises
    ------
    ValueError
        If the species is not known.
    """
    if species and species not in MITOCHONDRIAL_PREFIX:
        raise ValueError(f"species {species!r}; known are {', '.join(MITOCHONDRIAL_PREFIX)}")
    names, ids = var[Keys.GENE_NAME].astype(str), unversioned(var[Keys.GENE_IDS])
    found = np.zeros(len(var), bool)
    for candidate in [species] if species else MITOCHONDRIAL_PREFIX:
        found |= names.str.lower().str.startswith(MITOCHONDRIAL_PREFIX[candidate].lower()).to_numpy()
        found |= ids.isin(MITOCHONDRIAL_IDS.get(candidate, set())).to_numpy()
    return found


def add_qc(adata: ad.AnnData, species: str) -> None:
    """Add total counts, genes detected and mitochondrial percentage to ``obs``.

    Where the table holds no mitochondrial gene the percentage is NaN, not zero.
    """
    with without_tensorflow():
        import scanpy as sc

    adata.var["mt"] = is_mitochondrial(adata.var, species)
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    if not adata.var["mt"].any():
        adata.obs[Keys.PCT_MT] = np.nan


def filter_spots(adata: ad.AnnData, sample: str, *, min_counts: int, min_genes: int, max_pct_mt: float) -> ad.AnnData:
    """Drop spots that fail the quality control and record how many, by reason.

    Raises
    ------
    InputError
        If none is left.
    """
    failing = {
        f"fewer than {min_counts} counts": adata.obs[Keys.TOTAL_COUNTS] < min_counts,
        f"fewer than {min_genes} genes": adata.obs[Keys.N_GENES] < min_genes,
        f"more than {max_pct_mt:g} % mitochondrial": adata.obs[Keys.PCT_MT] > max_pct_mt,
    }
    keep = ~np.logical_or.reduce([f.to_numpy() for f in failing.values()])
    counts = {reason: int(f.sum()) for reason, f in failing.items()}
    for reason, n in counts.items():
        log.info("%s: %d of %d spots have %s", sample, n, adata.n_obs, reason)
    if keep.sum() < 4:
        raise InputError(
            sample,
            None,
            found=f"{keep.sum()} of {adata.n_obs} spots pass the quality control "
            f"({'; '.join(f'{n} with {reason}' for reason, n in counts.items())})",
            expected="at least 4, and hundreds for a result worth having",
            remedy="lower expression.min_counts and expression.min_genes, or check the matrix",
        )
    kept = adata[keep].copy()
    kept.uns[Keys.SPADE]["left_out"] = dict(kept.uns[Keys.SPADE]["left_out"]) | {"failed_qc": int((~keep).sum())}
    return kept


def normalize(adata: ad.AnnData, sample: str, min_spots: int) -> ad.AnnData:
    """Keep raw counts as a layer and put log1p of counts per 10,000 into ``X`` (CSR float32).

    Genes in fewer than ``min_spots`` spots leave first.

    Raises
    ------
    InputError
        If fewer than 10 genes are left.
    """
    with without_tensorflow():
        import scanpy as sc

    n_spots = adata.X.getnnz(axis=0)
    if (n_spots >= min_spots).sum() < 10:
        raise InputError(
            sample,
            None,
            found=f"{(n_spots >= min_spots).sum()} of {adata.n_vars} genes are in at least {min_spots} spots",
            expected="at least 10 genes",
            remedy="lower expression.min_spots, or check the matrix",
        )
    kept = adata[:, n_spots >= min_spots].copy()
    log.info("%d of %d genes are in at least %d spots", kept.n_vars, adata.n_vars, min_spots)
    kept.var["n_spots"] = n_spots[n_spots >= min_spots]
    kept.layers[Keys.COUNTS] = kept.X
    kept.X = sparse.csr_matrix(kept.X, dtype=np.float32)
    sc.pp.normalize_total(kept, target_sum=1e4)
    sc.pp.log1p(kept)
    return kept


def reduce(adata: ad.AnnData, *, n_top_genes: int, n_pcs: int, seed: int) -> None:
    """Select highly variable genes and add their principal components as ``obsm["X_pca"]`` (float32)."""
    with without_tensorflow():
        import scanpy as sc

    sc.pp.highly_variable_genes(adata, n_top_genes=min(n_top_genes, adata.n_vars), flavor="seurat")
    n_pcs = min(n_pcs, adata.n_obs - 1, int(adata.var["highly_variable"].sum()) - 1)
    sc.pp.pca(adata, n_comps=n_pcs, mask_var="highly_variable", random_state=seed)


def read_clusters(path: str | Path, barcodes: pd.Index, sample: str) -> pd.Categorical:
    """Read clusters made elsewhere: a CSV with barcodes first and a column of clusters.

    The column is ``seurat_clusters`` (as the published script takes), else ``cluster`` or ``label``; the barcodes
    are in an unnamed, first, or ``barcode`` column. Suffixes such as ``-1_1`` are stripped where needed. Spots
    without a label become ``unlabelled``.

    Raises
    ------
    InputError
        If there is no such column, a barcode repeats, or fewer than half of the barcodes match.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as handle:
            separator = "\t" if "\t" in handle.readline() else ","
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig")
        if not isinstance(table.index, pd.RangeIndex):  # R's write.table leaves the header one name short
            table = table.reset_index()
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            sample, path, found=f"an unreadable table ({error})", expected="a CSV", remedy="write it again"
        ) from error
    column = next((c for c in ("seurat_clusters", "cluster", "clusters", "label") if c in table.columns), None)
    if column is None:
        raise InputError(
            sample,
            path,
            found=f"columns {', '.join(map(str, table.columns))}",
            expected="a column called seurat_clusters, cluster or label",
            remedy="rename the column with the clusters",
        )
    labels = table[column].fillna("unlabelled")
    barcode_column = _barcode_column(table, barcodes)
    labels.index = pd.Index(table[barcode_column].astype(str))
    if not labels.index.isin(barcodes).any():
        bare = barcodes.str.replace(r"-\d+(_\d+)?$", "", regex=True)
        labels.index = labels.index.str.replace(r"-\d+(_\d+)?$", "", regex=True)
        barcodes = bare
    matched = barcodes.isin(labels.index)
    if labels.index.has_duplicates or matched.mean() < 0.5:
        raise InputError(
            sample,
            path,
            found=f"{matched.sum()} of {len(barcodes)} spots have a row"
            + ("; some barcodes repeat" if labels.index.has_duplicates else ""),
            expected="one row per spot of this section",
            remedy=f"check the barcodes (section: {barcodes[0]}; table: {labels.index[0]})",
        )
    log.info("%s: %d of %d spots have a cluster in %s", sample, matched.sum(), len(barcodes), path.name)
    return categorical(labels.reindex(barcodes).fillna("unlabelled").to_numpy())


def _barcode_column(table: pd.DataFrame, barcodes: pd.Index) -> str:
    """Find the column with barcodes: by name, by position, or as ``x`` and ``y`` of legacy ST."""
    if {"x", "y"} <= set(table.columns) and barcodes.str.fullmatch(r"\d+x\d+").all():
        table["_spot"] = table["x"] + "x" + table["y"]
        return "_spot"
    for name in ("barcode", "barcodes"):
        if name in table.columns:
            return name
    return str(table.columns[0])

"""What comes back from Seurat, joined by name; the HDF5 files that go to R and come from it."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from spadework.errors import InputError
from spadework.keys import Keys
from spadework.readers.matrix import GENE_EXPRESSION, read_10x_h5, write_10x_h5
from spadework.seurat import add_seurat, read_sct

SPOTS, GENES, PCS = 12, 7, 11
BARCODES = [f"AAAC{i:02d}-1" for i in range(SPOTS)]
NAMES = [f"gene {g}" for g in range(GENES)]
MODELLED = [0, 2, 3, 6]
# Value of spot i and gene g, different for every pair; every third is no count at all.
TRUTH = np.where(
    np.add.outer(np.arange(SPOTS), np.arange(GENES)) % 3, 1 + np.arange(SPOTS * GENES).reshape(SPOTS, GENES), 0
)


def write_as_r(folder, *, spots=None, seed=0) -> tuple:
    """Write clusters and counts as ``cluster_seurat.R`` does, spots and genes in orders of their own."""
    rng = np.random.default_rng(seed)
    spots = rng.permutation(SPOTS) if spots is None else np.asarray(spots)
    genes = rng.permutation(MODELLED)
    lines = [",".join(["", "seurat_clusters", *(f"PC_{k + 1}" for k in range(PCS)), "tSNE_1", "tSNE_2"])]
    for i in spots:
        numbers = [*(i + k / 100 for k in range(PCS)), -i, 2 * i]
        lines.append(",".join([BARCODES[i], str(11 - i % 12), *(f"{x:.15g}" for x in numbers)]))
    (folder / "seurat.csv").write_text("\n".join(lines) + "\n")
    counts = sparse.csc_matrix(TRUTH[np.ix_(spots, genes)].T)  # genes x spots, as R has them
    with h5py.File(folder / "sct.h5", "w") as handle:
        group = handle.create_group("matrix")
        group["barcodes"] = np.array([BARCODES[i] for i in spots], "S")
        group["data"], group["indices"], group["indptr"] = counts.data, counts.indices, counts.indptr
        group["shape"] = counts.shape
        group["features/id"] = group["features/name"] = np.array([NAMES[g] for g in genes], "S")
        handle.attrs["software_version"] = "R 4.2.2; Seurat 4.3.0"
    return folder / "seurat.csv", folder / "sct.h5", genes


def section(order=None, genes=None) -> ad.AnnData:
    order = np.arange(SPOTS) if order is None else np.asarray(order)
    genes = np.arange(GENES) if genes is None else np.asarray(genes)
    adata = ad.AnnData(
        sparse.csr_matrix((len(order), len(genes)), dtype=np.float32),
        obs=pd.DataFrame(index=[BARCODES[i] for i in order]),
        var=pd.DataFrame(index=[NAMES[g] for g in genes]),
    )
    adata.uns[Keys.SPADE] = {}
    return adata


@pytest.mark.parametrize("seed", range(4))
def test_spots_and_genes_are_joined_by_name(tmp_path, seed):
    clusters, sct, _ = write_as_r(tmp_path, seed=seed)
    rng = np.random.default_rng(100 + seed)
    order, genes = rng.permutation(SPOTS)[: SPOTS - seed], rng.permutation(GENES)  # fewer spots than Seurat had
    adata = section(order, genes)
    add_seurat(adata, clusters, sct, "s")
    modelled = np.isin(genes, MODELLED)
    assert adata.var[Keys.IN_SCT].tolist() == modelled.tolist()
    layer = adata.layers[Keys.SCT_COUNTS]
    np.testing.assert_array_equal(layer.toarray(), TRUTH[np.ix_(order, genes)] * modelled)
    assert layer.nnz == np.count_nonzero(layer.toarray())
    assert isinstance(layer, sparse.csr_matrix)
    np.testing.assert_allclose(adata.obsm[Keys.PCA], order[:, None] + np.arange(PCS) / 100, rtol=1e-6)
    np.testing.assert_array_equal(adata.obsm[Keys.TSNE], np.column_stack([-order, 2 * order]))
    assert adata.obs[Keys.CLUSTER].tolist() == [str(11 - i % 12) for i in order]
    assert adata.uns[Keys.SPADE]["seurat"] == "R 4.2.2; Seurat 4.3.0"


def test_barcodes_of_digits_alone_are_text(tmp_path):
    # As in an AnnData whose spots have no names: "0", "1", ...
    clusters, sct, _ = write_as_r(tmp_path)
    for i, barcode in enumerate(BARCODES):
        clusters.write_text(clusters.read_text().replace(barcode, str(i)))
    with h5py.File(sct, "r+") as handle:
        old = [BARCODES.index(b) for b in handle["matrix/barcodes"].asstr()[:]]
        del handle["matrix/barcodes"]
        handle["matrix/barcodes"] = np.array(old).astype("S")
    adata = section()
    adata.obs_names = [str(i) for i in range(SPOTS)]
    add_seurat(adata, clusters, sct, "s")
    np.testing.assert_array_equal(adata.obsm[Keys.TSNE][:, 1], 2 * np.arange(SPOTS))


def test_clusters_sort_as_numbers_and_all_survives_a_file(tmp_path):
    clusters, sct, _ = write_as_r(tmp_path)
    adata = section()
    add_seurat(adata, clusters, sct, "s")
    assert list(adata.obs[Keys.CLUSTER].cat.categories) == [str(i) for i in range(12)]
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.var[Keys.IN_SCT].dtype == bool
    np.testing.assert_array_equal(back.layers[Keys.SCT_COUNTS].toarray(), adata.layers[Keys.SCT_COUNTS].toarray())


def test_a_spot_seurat_lost_is_an_error(tmp_path):
    everyone = [*range(SPOTS)]
    clusters, _, _ = write_as_r(tmp_path, spots=everyone)
    (tmp_path / "few").mkdir()
    few_clusters, few_sct, _ = write_as_r(tmp_path / "few", spots=everyone[2:])
    with pytest.raises(KeyError, match=r"few/sct.h5 lacks 2 of 12 spots"):
        add_seurat(section(), clusters, few_sct, "s")
    with pytest.raises(KeyError):
        add_seurat(section(), few_clusters, tmp_path / "sct.h5", "s")
    with pytest.raises(KeyError, match="lacks 2 of 12"):
        read_sct(few_sct, pd.Index(BARCODES), "s")


def test_sct_counts_come_in_the_order_asked_for(tmp_path):
    _, sct, genes = write_as_r(tmp_path, seed=5)
    wanted = [7, 0, 11]
    counts, names, software = read_sct(sct, pd.Index([BARCODES[i] for i in wanted]), "s")
    assert list(names) == [NAMES[g] for g in genes]
    np.testing.assert_array_equal(counts.toarray(), TRUTH[np.ix_(wanted, genes)])
    assert software == "R 4.2.2; Seurat 4.3.0"


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 8), st.sampled_from(["csr", "csc", "unsorted"]))
@settings(max_examples=40, deadline=None)
def test_counts_written_are_counts_read(tmp_path_factory, seed, n, genes, kind):
    rng = np.random.default_rng(seed)
    dense = rng.poisson(0.7, (n, genes)).astype(np.int32)
    counts = sparse.csc_matrix(dense) if kind == "csc" else sparse.csr_matrix(dense)
    if kind == "unsorted":
        for i in range(n):
            where = slice(counts.indptr[i], counts.indptr[i + 1])
            counts.indices[where], counts.data[where] = (
                counts.indices[where][::-1].copy(),
                counts.data[where][::-1].copy(),
            )
        counts.has_sorted_indices = False
    barcodes, names = pd.Index([f"b-{i}" for i in range(n)]), pd.Index([f"G_{g}|x" for g in range(genes)])
    path = tmp_path_factory.mktemp("h5") / "counts.h5"
    write_10x_h5(path, counts, barcodes, names)
    # The layout 10x documents: genes x barcodes, stored by barcode.
    with h5py.File(path) as handle:
        group = handle["matrix"]
        assert group["shape"][:].tolist() == [genes, n]
        stored = np.zeros((genes, n), int)
        for column in range(n):
            where = slice(*group["indptr"][column : column + 2])
            assert (np.diff(group["indices"][where]) > 0).all()
            stored[group["indices"][where], column] = group["data"][where]
        np.testing.assert_array_equal(stored, dense.T)
        assert group["features/name"].asstr()[:].tolist() == group["features/id"].asstr()[:].tolist() == list(names)
        assert set(group["features/feature_type"].asstr()[:]) == {GENE_EXPRESSION}
        assert len(group["features/genome"]) == genes
    matrix = read_10x_h5("s", path)
    np.testing.assert_array_equal(matrix.counts.toarray(), dense)
    assert matrix.barcodes.tolist() == list(barcodes)
    assert matrix.genes[Keys.GENE_IDS].tolist() == list(names)
    np.testing.assert_array_equal(counts.toarray(), dense)


def test_values_that_are_no_counts_are_refused_when_read(tmp_path):
    path = tmp_path / "counts.h5"
    write_10x_h5(path, sparse.csr_matrix([[0.5, 1.0]]), pd.Index(["b"]), pd.Index(["g", "h"]))
    with pytest.raises(InputError, match="whole numbers"):
        read_sct(path, pd.Index(["b"]), "s")

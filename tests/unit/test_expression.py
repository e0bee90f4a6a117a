"""Quality control, filters, clusters from elsewhere."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from spadework.clustering import cluster_and_embed
from spadework.errors import InputError
from spadework.expression import add_qc, filter_spots, is_mitochondrial, normalize, read_clusters
from spadework.keys import Keys
from spadework.labels import categorical


def _section(counts: np.ndarray, names: list[str], ids: list[str] | None = None) -> ad.AnnData:
    var = pd.DataFrame({Keys.GENE_IDS: ids or names, Keys.GENE_NAME: names}, index=names)
    obs = pd.DataFrame(index=[f"b{i}" for i in range(len(counts))])
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.int32)), obs=obs, var=var)
    adata.uns[Keys.SPADE] = {"left_out": {"off_tissue": 3}}
    return adata


def _var(names, ids=None):
    return pd.DataFrame({Keys.GENE_NAME: names, Keys.GENE_IDS: ids or names})


@pytest.mark.parametrize(
    ("species", "names", "expected"),
    [
        ("human", ["MT-ND1", "MTOR", "mt-Nd1"], [True, False, True]),
        ("mouse", ["mt-Nd1", "Mtor", "Mt1"], [True, False, False]),
        ("fly", ["mt:ND1", "MT-ND1"], [True, False]),
        ("", ["MT-ND1", "mt:ND1", "ACTB"], [True, True, False]),
    ],
)
def test_mitochondrial_genes_by_symbol(species, names, expected):
    assert is_mitochondrial(_var(names), species).tolist() == expected


def test_mitochondrial_genes_by_ensembl_id_whatever_the_version():
    ids = ["ENSMUSG00000064339.1", "ENSG00000198888.2", "ENSMUSG00000000001"]
    assert is_mitochondrial(_var(ids), "mouse").tolist() == [True, False, False]
    assert is_mitochondrial(_var(["a", "b", "c"], ids), "human").tolist() == [False, True, False]


def test_an_unknown_species_is_refused():
    with pytest.raises(ValueError, match="axolotl"):
        is_mitochondrial(_var(["MT-ND1"]), "axolotl")


def test_qc_metrics():
    adata = _section(np.array([[3, 1, 0], [0, 0, 5], [0, 0, 0]]), ["A", "MT-X", "B"])
    add_qc(adata, "human")
    assert adata.obs[Keys.TOTAL_COUNTS].tolist() == [4, 5, 0]
    assert adata.obs[Keys.N_GENES].tolist() == [2, 1, 0]
    np.testing.assert_allclose(adata.obs[Keys.PCT_MT][:2], [25, 0])


def test_without_mitochondrial_genes_the_percentage_is_unknown_not_zero():
    adata = _section(np.ones((6, 2)), ["A", "B"])
    add_qc(adata, "human")
    assert adata.obs[Keys.PCT_MT].isna().all()
    assert filter_spots(adata, "s", min_counts=0, min_genes=0, max_pct_mt=5).n_obs == 6


def test_spots_that_fail_are_counted_by_reason():
    counts = np.full((10, 4), 5)
    counts[0] = 0
    counts[1, 3] = 100
    adata = _section(counts, ["A", "B", "C", "MT-D"])
    add_qc(adata, "human")
    kept = filter_spots(adata, "s", min_counts=1, min_genes=1, max_pct_mt=50)
    assert list(kept.obs_names) == [f"b{i}" for i in range(2, 10)]
    assert kept.uns[Keys.SPADE]["left_out"] == {"off_tissue": 3, "failed_qc": 2}
    with pytest.raises(InputError, match="0 of 10 spots pass"):
        filter_spots(adata, "s", min_counts=1000, min_genes=1, max_pct_mt=50)


def test_normalisation_keeps_the_counts_and_drops_rare_genes():
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (30, 15))
    counts[:, 14] = 0
    counts[:2, 14] = 1
    names = [f"g{i}" for i in range(15)]
    adata = _section(counts, names)
    out = normalize(adata, "s", min_spots=3)
    assert list(out.var_names) == names[:14]
    np.testing.assert_array_equal(out.layers[Keys.COUNTS].toarray(), counts[:, :14])
    kept = counts[:, :14]
    np.testing.assert_allclose(out.X.toarray(), np.log1p(kept / kept.sum(axis=1, keepdims=True) * 1e4), rtol=1e-5)
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    with pytest.raises(InputError, match="0 of 15 genes"):
        normalize(adata, "s", min_spots=31)


BARCODES = pd.Index(["AAAC-1", "AAAG-1", "AAAT-1", "AACA-1"])


@pytest.mark.parametrize(
    "text",
    [
        ",orig.ident,seurat_clusters\nAAAG-1,x,1\nAAAC-1,x,10\nAACA-1,x,2\n",
        ",seurat_clusters\nAAAG-1_1,1\nAAAC-1_1,10\nAACA-1_1,2\n",
        "cluster\tbarcode\n1\tAAAG\n10\tAAAC\n2\tAACA\n",
        "Barcode,label\nAAAG-1,1\nAAAC-1,10\nAACA-1,2\n",
    ],
)
def test_clusters_from_elsewhere_are_joined_by_barcode(tmp_path, text):
    path = tmp_path / "clusters.csv"
    path.write_text(text)
    clusters = read_clusters(path, BARCODES, "s")
    assert list(clusters) == ["10", "1", "unlabelled", "2"]


def test_legacy_clusters_are_joined_by_array_position(tmp_path):
    path = tmp_path / "clusters.tsv"
    path.write_text("\tlabel\tx\ty\n1.5x2.5\ta\t10\t14\n2x3\tb\t11\t14\n")
    assert list(read_clusters(path, pd.Index(["11x14", "10x14"]), "s")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",kind\nAAAC-1,1\n", "seurat_clusters"),
        (",seurat_clusters\nTTTT-1,1\nGGGG-1,1\n", "0 of 4 spots"),
        (",seurat_clusters\nAAAC-1,1\nAAAC-1,2\nAAAG-1,1\n", "repeat"),
    ],
)
def test_clusters_that_do_not_fit_are_refused(tmp_path, text, message):
    path = tmp_path / "clusters.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_clusters(path, BARCODES, "s")


def test_numbers_sort_as_numbers_and_words_as_words():
    assert list(categorical(["10", "2", "1"]).categories) == ["1", "2", "10"]
    assert list(categorical(["b", "a", "10"]).categories) == ["10", "a", "b"]


def test_clusters_and_umap_find_groups_and_repeat():
    rng = np.random.default_rng(0)
    groups = np.arange(120) % 3
    points = rng.normal(size=(120, 5)) + 25 * np.eye(5)[groups]
    one, two = (cluster_and_embed(points, n_neighbors=10, resolution=0.5, seed=1) for _ in range(2))
    assert pd.crosstab(one[0], groups).astype(bool).sum(axis=1).eq(1).all()
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert cluster_and_embed(points[:6], n_neighbors=15, resolution=1, seed=0)[1].shape == (6, 2)
    with pytest.raises(ValueError, match="at least 4"):
        cluster_and_embed(points[:3], n_neighbors=15, resolution=1, seed=0)


def test_large_sections_take_exact_neighbours_too():
    # Above 8,192 spots scanpy would choose an approximate search.
    points = np.random.default_rng(0).normal(size=(8200, 3)) + 25 * np.eye(3)[np.arange(8200) % 3]
    clusters, _ = cluster_and_embed(points, n_neighbors=5, resolution=0.01, seed=0)
    assert len(set(clusters)) <= 10


def test_a_table_written_by_r_with_a_short_header_is_read(tmp_path):
    path = tmp_path / "clusters.tsv"
    path.write_text('"orig"\t"seurat_clusters"\n"AAAC-1"\t"x"\t"3"\n"AAAG-1"\t"x"\t"4"\n')
    assert list(read_clusters(path, BARCODES[:2], "s")) == ["3", "4"]

"""Cluster spots by the genes that follow the image, and compare with expression and image clusters."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import logging

    import anndata as ad
    import numpy as np
    import pandas as pd

    from spadework.headline import headline
    from spadework.keys import Keys
    from spadework.spade_clusters import cluster_spade, compare_clusters, random_genes, spade_genes

    i, p = snakemake.input, snakemake.params
    section, table = ad.read_h5ad(i.expression), pd.read_parquet(i.association)
    latents = ad.read_h5ad(i.latents)[section.obs_names]
    genes, significant = spade_genes(table, headline(table, p.by["headline"]), n_genes=p.n_genes, fdr=p.by["fdr"])
    logging.getLogger("spadework").info("clusters of %d genes, %d of them found", len(genes), significant)
    labels = cluster_spade(section, genes, **p.clusters, seed=p.seed)
    control = random_genes(table, genes, p.seed)
    lattice = section.uns[Keys.SPADE]["lattice"]
    comparison = compare_clusters(
        {
            "expression": section.obs[Keys.CLUSTER],
            "SPADE genes": labels,
            **({"random genes": cluster_spade(section, control, **p.clusters, seed=p.seed)} if control else {}),
            "image": latents.obs[Keys.IMAGE_CLUSTER],
        },
        section.obsm[Keys.PCA],
        latents.obsm["pca"],
        section.obsm[Keys.SPATIAL] * np.array([lattice["um_per_px_x"], lattice["um_per_px_y"]]),
        lattice_kind=lattice["kind"],
        seed=p.seed,
    )
    comparison["genes"], comparison["genes_found"] = len(genes), significant
    with whole_file(snakemake.output.clusters) as path:
        pd.Series(labels, section.obs_names, name=Keys.SPADE_CLUSTER).to_csv(path, index_label="barcode")
    with whole_file(snakemake.output.comparison) as path:
        comparison.to_csv(path, index=False, float_format="%.6g")

"""Filter and normalise a section's counts and cluster its spots by expression."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.clustering import cluster_and_embed
    from spadework.expression import add_qc, filter_spots, normalize, read_clusters, reduce
    from spadework.job import versions
    from spadework.keys import Keys
    from spadework.labels import categorical
    from spadework.seurat import add_seurat

    p, i, sample = snakemake.params, snakemake.input, snakemake.wildcards.sample
    e = p.expression
    adata = ad.read_h5ad(i.section)
    add_qc(adata, p.species)
    adata = filter_spots(adata, sample, **p.filters)
    given = [read_clusters(path, adata.obs_names, sample) for path in i.clusters]
    adata = normalize(adata, sample, e["min_spots"])
    if e["engine"] == "seurat":
        add_seurat(adata, i.seurat, i.sct, sample)
    else:
        reduce(adata, n_top_genes=e["n_top_genes"], n_pcs=e["n_pcs"], seed=p.seed)
        clusters, adata.obsm[Keys.UMAP] = cluster_and_embed(
            adata.obsm[Keys.PCA], n_neighbors=e["n_neighbors"], resolution=e["resolution"], seed=p.seed
        )
        adata.obs[Keys.CLUSTER] = categorical(clusters)
    for labels in given:
        adata.obs[f"cluster_{e['engine']}"], adata.obs[Keys.CLUSTER] = adata.obs[Keys.CLUSTER], labels
    packages = ("scanpy", "anndata", "numpy", "scipy", "scikit-learn", "igraph", "umap-learn")
    adata.uns[Keys.SPADE]["versions"] = versions(*packages)
    with whole_file(snakemake.output[0]) as path:
        adata.write_h5ad(path, compression="lzf")

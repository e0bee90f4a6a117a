"""Project a section's features on its latents and embed and cluster them."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.clustering import categorical, cluster_and_embed
    from spadework.keys import Keys
    from spadework.latents import LatentModel, published_tsne, tsne

    p = snakemake.params
    features, model = ad.read_h5ad(snakemake.input.features), LatentModel.load(snakemake.input.model)
    scores = model.project(features.X)
    out = ad.AnnData(obs=features.obs[[]])
    out.obsm["pca"] = scores[:, : p.latents["n_latents"]]
    embed, of = (published_tsne, features.X) if p.latents["tsne"] == "published" else (tsne, scores)
    out.obsm["tsne"] = embed(of, perplexity=p.latents["perplexity"], seed=p.seed)
    clusters, out.obsm["umap"] = cluster_and_embed(
        scores, n_neighbors=p.latents["n_neighbors"], resolution=p.latents["resolution"], seed=p.seed
    )
    out.obs[Keys.IMAGE_CLUSTER] = categorical(clusters)
    out.uns.update(model.describe(p.latents["n_latents"]))
    with whole_file(snakemake.output[0]) as path:
        out.write_h5ad(path)

"""Fit a section's latents, or take those of its group; embed and cluster its spots by them."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.clustering import cluster_and_embed
    from spadework.keys import Keys
    from spadework.labels import categorical
    from spadework.latents import LatentModel, fit_sections, published_tsne, tsne

    p = snakemake.params
    features = ad.read_h5ad(snakemake.input.features)
    shared = [LatentModel.load(path) for path in snakemake.input.model]
    model = shared[0] if shared else fit_sections({snakemake.wildcards.sample: features}, **p.fit)
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

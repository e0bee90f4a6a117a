"""Project a section on the latents of its group."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.latents import LatentModel

    features = ad.read_h5ad(snakemake.input.features)
    scores = LatentModel.load(snakemake.input.model).project(features.X)[:, : snakemake.params.n_latents]
    with whole_file(snakemake.output[0]) as path:
        ad.AnnData(obs=features.obs[[]], obsm={"pca": scores}).write_h5ad(path)

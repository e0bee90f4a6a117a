"""Draw the latents, their top genes and the clusters over the tissue."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.section import draw_maps
    from spadework.figures.style import resolution

    figures = snakemake.params.figures
    with resolution(figures["dpi"]):
        draw_maps(
            ad.read_h5ad(snakemake.input.section),
            pd.read_parquet(snakemake.input.association),
            snakemake.wildcards.sample,
            snakemake.wildcards.encoder,
            outputs=dict(snakemake.output.items()),
            latent_files=list(snakemake.output.latent),
            which=snakemake.params.headline,
            n_genes=figures["top_genes"],
        )

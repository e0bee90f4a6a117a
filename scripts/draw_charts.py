"""Draw embeddings, volcano plots and the summary of the latents."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.section import draw_charts
    from spadework.figures.style import resolution

    figures = snakemake.params.figures
    with resolution(figures["dpi"]):
        draw_charts(
            ad.read_h5ad(snakemake.input.section, backed="r"),
            pd.read_parquet(snakemake.input.association),
            pd.read_csv(snakemake.input.summary),
            snakemake.wildcards.sample,
            snakemake.wildcards.encoder,
            outputs=dict(snakemake.output.items()),
            which=snakemake.params.by["headline"],
            fdr=snakemake.params.by["fdr"],
            n_genes=figures["top_genes"],
        )

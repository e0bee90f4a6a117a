"""Draw the extreme patches of each latent."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    from spadework.figures.section import draw_contact_sheets

    draw_contact_sheets(
        ad.read_h5ad(snakemake.input.latents),
        ad.read_h5ad(snakemake.input.features, backed="r").uns["encoder"],
        snakemake.input.patches,
        snakemake.wildcards.sample,
        snakemake.wildcards.encoder,
        outputs=list(snakemake.output),
        figures=snakemake.params.figures,
    )

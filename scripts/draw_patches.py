"""Draw the extreme patches of each latent."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.section import draw_contact_sheets
    from spadework.figures.style import resolution
    from spadework.patches import section_image

    i, p, w = snakemake.input, snakemake.params, snakemake.wildcards
    section = ad.read_h5ad(i.section)
    fullres = next(iter(i.image), None)
    with resolution(p.figures["dpi"]):
        draw_contact_sheets(
            ad.read_h5ad(i.latents),
            ad.read_h5ad(i.features, backed="r").uns["encoder"],
            section_image(section, w.sample, p.patch["image"], fullres, p.channels),
            pd.read_parquet(i.manifest),
            w.sample,
            w.encoder,
            outputs=list(snakemake.output),
            n_extreme=p.figures["n_extreme"],
        )

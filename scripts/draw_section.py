"""Draw all figures of a section: maps, charts, extreme patches, and what speaks for and against the genes found."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.section import draw_charts, draw_contact_sheets, draw_evidence, draw_maps
    from spadework.figures.style import resolution
    from spadework.headline import headline
    from spadework.patches import section_image
    from spadework.tables import read_csv

    i, p, out, w = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards
    section, table = ad.read_h5ad(i.section), pd.read_parquet(i.association)
    by, fdr = headline(table, p.by["headline"]), p.by["fdr"]
    evidence = {page: read_csv(i[page]) for page in p.evidence}
    image = section_image(section, w.sample, p.image, next(iter(i.image), None), p.channels)
    of, figures = (w.sample, w.encoder), p.figures
    with resolution(figures["dpi"]):
        draw_maps(section, table, by, *of, outputs=out, n_genes=figures["top_genes"])
        summary = read_csv(i.latents)
        draw_charts(section, table, summary, by, *of, outputs=out, fdr=fdr, n_genes=figures["top_genes"])
        manifest = pd.read_parquet(i.manifest)
        draw_contact_sheets(section, image, manifest, *of, outputs=out.patches, n_extreme=figures["n_extreme"])
        draw_evidence(section, evidence, *of, outputs=out, fdr=fdr)

"""Count how often each gene is found again when the image side is repeated, and how alike the latents are."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.section import weights_note
    from spadework.figures.stability import stability_page
    from spadework.figures.style import finish, resolution
    from spadework.headline import headline
    from spadework.section_association import Adjustment, read_section
    from spadework.stability import repeat, stability, summarise
    from spadework.tables import write_csv

    i, p, out, w = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards
    section = read_section(i.expression, i.manifest, i.nuclei)
    reference, table = ad.read_h5ad(i.latents), pd.read_parquet(i.association)
    runs = {}
    for name, path in zip(p.names, [*i.runs, *i.second], strict=True):
        features = ad.read_h5ad(path)
        runs[name] = repeat(
            section, reference, features, w.sample,
            standardize=p.standardize, tested=p.tested, design=p.design, adjustment=Adjustment(**p.adjustment),
        )  # fmt: skip
    by = headline(table, p.by["headline"])
    genes, latents = stability(table, runs, by, p.by["fdr"], p.threshold)
    for path, result in ((out.genes, genes), (out.latents, latents), (out.summary, summarise(genes, latents))):
        write_csv(result, path)
    with resolution(p.dpi):
        page = stability_page(genes, latents, p.threshold, f"{w.sample}: {w.encoder}, stability")
        note = weights_note(ad.read_h5ad(i.runs[0], backed="r").uns["encoder"])
        finish(page, out.figure, "\n".join([by.note, note]).strip())

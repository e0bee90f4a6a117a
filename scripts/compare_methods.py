"""Compare the published method with the corrected one, one correction at a time."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.comparison import compare_section
    from spadework.figures.comparison import comparison_page
    from spadework.figures.section import weights_note
    from spadework.figures.style import finish, resolution
    from spadework.tables import write_csv

    i, p, out, w = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards
    features = {variant: ad.read_h5ad(i[variant]) for variant in ("published", "input_range", "patch")}
    result = compare_section(
        features,
        ad.read_h5ad(i.expression),
        i.sct,
        w.sample,
        patch=p.patch,
        n_latents=p.n_latents,
        min_spots_fraction=p.min_spots_fraction,
        fdr=p.fdr,
    )
    write_csv(result.steps, out.steps)
    write_csv(result.latents, out.latents)
    write_csv(result.genes, out.genes, index_label=result.genes.index.name)
    with resolution(p.dpi):
        page = comparison_page(result, f"{w.sample}: {w.encoder}, published and corrected", p.fdr)
        finish(page, out.figure, weights_note(features["patch"].uns["encoder"]))

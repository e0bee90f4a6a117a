"""Compare the published method with the corrected one, one correction at a time."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.comparison import compare_section
    from spadework.figures.comparison import comparison_page
    from spadework.figures.section import weights_note
    from spadework.figures.style import finish, resolution

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
    for path, table, index in (
        (out.steps, result.steps, False),
        (out.latents, result.latents, False),
        (out.genes, result.genes, True),
    ):
        with whole_file(path) as partial:
            table.to_csv(partial, index=index, float_format="%.6g")
    with resolution(p.dpi):
        page = comparison_page(result, f"{w.sample}: {w.encoder}, published and corrected", p.fdr)
        finish(page, out.figure, weights_note(features["patch"].uns["encoder"]))

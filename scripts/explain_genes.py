"""Ask what the image latents add to depth, tissue content and expression clusters."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.composition import beyond_composition
    from spadework.section_association import read_section, select

    i, p, sample = snakemake.input, snakemake.params, snakemake.wildcards.sample
    section = read_section(i.expression, i.manifest)
    tested = select(section, ad.read_h5ad(i.latents), sample, **p.tested)
    table = beyond_composition(section, tested, sample, residuals=p.residuals, seed=p.seed)
    with whole_file(snakemake.output[0]) as path:
        table.to_csv(path, index=False, float_format="%.6g")

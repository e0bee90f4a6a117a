"""Try all tests on patterns unrelated to any gene; ask what the latents add to what is known about the spots."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.calibration import calibrate
    from spadework.composition import beyond_composition
    from spadework.section_association import Adjustment, read_section, select

    i, p, out, sample = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards.sample
    section = read_section(i.expression, i.manifest)
    tested = select(section, ad.read_h5ad(i.latents), sample, **p.tested)
    adjustment = Adjustment(**p.adjustment)
    tables = {
        out.composition: beyond_composition(
            section, tested, sample, residuals=adjustment.residuals, seed=adjustment.seed
        )
    }
    for path in out.calibration:
        tables[path] = calibrate(section, tested, sample, adjustment, n_fields=p.n_fields, fdr=p.fdr)
    for path, table in tables.items():
        with whole_file(path) as partial:
            table.to_csv(partial, index=False, float_format="%.6g")

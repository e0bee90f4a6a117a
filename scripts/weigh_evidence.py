"""Try all tests on patterns unrelated to any gene; ask what the latents add to what is known about the spots."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.calibration import calibrate
    from spadework.composition import beyond_composition
    from spadework.section_association import Adjustment, read_section, select
    from spadework.tables import write_csv

    i, p, out, sample = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards.sample
    section = read_section(i.expression, i.manifest)
    tested = select(section, ad.read_h5ad(i.latents), sample, **p.tested)
    adjustment = Adjustment(**p.adjustment)
    composition = beyond_composition(section, tested, sample, residuals=adjustment.residuals, seed=adjustment.seed)
    write_csv(composition, out.composition)
    for path in out.calibration:
        write_csv(calibrate(section, tested, sample, adjustment, n_fields=p.n_fields, fdr=p.fdr), path)

"""Try all tests on patterns that have nothing to do with any gene."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.calibration import calibrate
    from spadework.section_association import Adjustment, read_section, select

    i, p, sample = snakemake.input, snakemake.params, snakemake.wildcards.sample
    section = read_section(i.expression, i.manifest)
    tested = select(section, ad.read_h5ad(i.latents), sample, **p.tested)
    table = calibrate(section, tested, sample, Adjustment(**p.adjustment), n_fields=p.n_fields, fdr=p.fdr)
    with whole_file(snakemake.output[0]) as path:
        table.to_csv(path, index=False, float_format="%.6g")

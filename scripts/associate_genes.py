"""Associate every gene with every image latent."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.section_association import Adjustment, associate_section, read_limma, read_section, select
    from spadework.tables import write_csv

    p, sample = snakemake.params, snakemake.wildcards.sample
    section = read_section(snakemake.input.expression, snakemake.input.manifest, snakemake.input.nuclei)
    tested = select(section, ad.read_h5ad(snakemake.input.latents), sample, **p.tested)
    fit, engine = None, "python"
    for path in snakemake.input.limma:
        fit, engine = read_limma(path, p.design)
    table = associate_section(
        section, tested, sample, design=p.design, adjustment=Adjustment(**p.adjustment), fit=fit
    )
    table.attrs["engine"] = engine
    with whole_file(snakemake.output.parquet) as path:
        table.to_parquet(path)
    write_csv(table, snakemake.output.csv)

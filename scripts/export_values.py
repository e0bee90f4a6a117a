"""Write what the association models are fitted to, for R."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.section_association import select, write_values

    tested = select(
        ad.read_h5ad(snakemake.input.expression),
        ad.read_h5ad(snakemake.input.latents),
        snakemake.wildcards.sample,
        **snakemake.params.tested,
    )
    with whole_file(snakemake.output[0]) as path:
        write_values(tested, path)

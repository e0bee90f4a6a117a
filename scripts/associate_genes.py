"""Associate every gene with every image latent."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.association import associate_section

    p, sample = snakemake.params, snakemake.wildcards.sample
    table = associate_section(
        ad.read_h5ad(snakemake.input.expression),
        ad.read_h5ad(snakemake.input.latents),
        sample,
        design=p.association["design"],
        min_spots_fraction=p.association["min_spots_fraction"],
    )
    with whole_file(snakemake.output.parquet) as path:
        table.to_parquet(path)
    with whole_file(snakemake.output.csv) as path:
        table.to_csv(path, index=False, float_format="%.6g")

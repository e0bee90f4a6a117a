"""Write the counts of the spots that pass the quality control, for R."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.expression import add_qc, filter_spots
    from spadework.readers.matrix import write_10x_h5

    p, sample = snakemake.params, snakemake.wildcards.sample
    adata = ad.read_h5ad(snakemake.input.section)
    add_qc(adata, p.species)
    adata = filter_spots(adata, sample, **p.filters)
    with whole_file(snakemake.output[0]) as path:
        write_10x_h5(path, adata.X, adata.obs_names, adata.var_names)

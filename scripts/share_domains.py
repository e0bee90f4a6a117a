"""Give the spots of a block domains and expression latents that mean the same in all its sections."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.tables import write_csv
    from spadework.volume.domains import share_domains

    p = snakemake.params
    sections = {name: ad.read_h5ad(path) for name, path in zip(p.samples, snakemake.input.sections, strict=True)}
    table = share_domains(sections, given=p.given, n_latents=p.n_latents, settings=p.expression, seed=p.seed)
    write_csv(table, snakemake.output[0])

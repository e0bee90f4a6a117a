"""Say which gene sets go with each latent."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from pathlib import Path

    import anndata as ad
    import pandas as pd

    from spadework.enrichment import N_PERMUTATIONS, enrich
    from spadework.gene_sets import read_gmt
    from spadework.headline import headline
    from spadework.section_association import Adjustment, permuted_correlations, read_section, select
    from spadework.tables import write_csv

    i, p, sample = snakemake.input, snakemake.params, snakemake.wildcards.sample
    association = pd.read_parquet(i.association)
    by = headline(association, p.by["headline"])
    section = read_section(i.expression, i.manifest, i.nuclei)
    tested = select(section, ad.read_h5ad(i.latents), sample, **p.tested)
    permuted = permuted_correlations(section, tested, sample, Adjustment(**p.adjustment), N_PERMUTATIONS)
    tables = [
        enrich(association, by, read_gmt(path), permuted, collection=Path(path).name, fdr=p.by["fdr"], **p.size)
        for path in i.gene_sets
    ]
    write_csv(pd.concat(tables, ignore_index=True), snakemake.output[0])

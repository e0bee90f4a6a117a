"""Say which gene sets go with each latent."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from pathlib import Path

    import pandas as pd

    from spadework.enrichment import enrich, read_gmt
    from spadework.headline import headline

    p = snakemake.params
    association = pd.read_parquet(snakemake.input.association)
    by = headline(association, p.by["headline"])
    tables = [
        enrich(association, by, read_gmt(path), collection=Path(path).name, fdr=p.by["fdr"], **p.size)
        for path in snakemake.input.gene_sets
    ]
    with whole_file(snakemake.output[0]) as path:
        pd.concat(tables, ignore_index=True).to_csv(path, index=False, float_format="%.6g")

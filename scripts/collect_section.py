"""Merge all results of a section into its final AnnData."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import json

    import anndata as ad
    import pandas as pd

    from spadework.collect import EncoderResults, PrototypeResults, collect
    from spadework.tables import read_csv, read_places, read_spots

    i, p = snakemake.input, snakemake.params
    encoders = [
        EncoderResults(
            name,
            ad.read_h5ad(features),
            ad.read_h5ad(latents),
            pd.read_parquet(association),
            read_csv(clusters, dtype=str).set_index("barcode"),
        )
        for name, features, latents, association, clusters in zip(
            p.encoders, i.features, i.latents, i.association, i.clusters, strict=True
        )
    ]
    with open(i.preflight) as handle:
        preflight = json.load(handle)
    nuclei = read_spots(i.nuclei)
    for path in i.all_nuclei:
        nuclei.attrs = pd.read_parquet(path, columns=["label"]).attrs
    prototypes = None
    for scores, table in zip(i.prototype_scores, i.prototypes, strict=True):
        # Classes called NA or None are classes.
        text = dict.fromkeys(("class", "source_sample", "source_barcode"), str)
        described = read_csv(table, text, keep_default_na=False)
        prototypes = PrototypeResults(pd.read_parquet(scores).loc[snakemake.wildcards.sample], described)
    adata = collect(
        ad.read_h5ad(i.expression),
        pd.read_parquet(i.manifest),
        encoders,
        preflight=preflight,
        parameters=p.parameters,
        annotations=p.annotations,
        nuclei=nuclei,
        prototypes=prototypes,
        placed=read_places(i.placed, snakemake.wildcards.sample),
    )
    with whole_file(snakemake.output[0]) as path:
        adata.write_h5ad(path, compression="lzf")

"""Explain what prototypes say of some spots of a section, and map them over it."""

import os

from spadework.job import logged

os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.style import resolution
    from spadework.prototypes.data import read_patches, read_spots
    from spadework.prototypes.explain import check_named
    from spadework.prototypes.model import ProtoPNet
    from spadework.prototypes.pages import draw_map, explain_section

    i, out, p, sample = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards.sample
    check_named(p.explained["shown"], {barcode for path in i.others for barcode in read_spots(path)["barcode"]})
    model, spots = ProtoPNet.load(i.model), read_spots(i.spots)
    spots = spots[spots["sample"] == sample].reset_index(drop=True)
    patches = read_patches({sample: i.patches}, spots)
    with resolution(p.dpi):
        explain_section(model, patches, spots, sample, **p.explained, outputs=out)
        draw_map(ad.read_h5ad(i.section), spots, pd.read_parquet(i.scores), model, sample, out.map)

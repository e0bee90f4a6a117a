"""Say which class each spot is of, which spots prototypes are learnt from, and which they are tested on."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.prototypes.data import split, spot_table, write_spots

    p = snakemake.params
    sections = {sample: ad.read_h5ad(path) for sample, path in zip(p.samples, snakemake.input.sections, strict=True)}
    spots = spot_table(sections, p.split["classes"], p.split["min_spots"])
    edges = [pd.read_parquet(path)[["width_um", "height_um"]].to_numpy().max() for path in snakemake.input.manifests]
    patch_um = max(p.split["um"], *edges)
    sets = split(spots, patch_um=patch_um, test_share=p.split["test_share"], held_out=p.held_out, seed=p.seed)
    write_spots(sets, snakemake.output[0])

"""Say which class each spot is of, which spots prototypes are learnt from, and which they are tested on."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.prototypes.data import split, spot_table, write_spots

    p = snakemake.params
    sections = {sample: ad.read_h5ad(path) for sample, path in zip(p.samples, snakemake.input, strict=True)}
    spots = spot_table(sections, p.split["classes"], p.split["min_spots"])
    sets = split(spots, patch_um=p.split["um"], test_share=p.split["test_share"], held_out=p.held_out, seed=p.seed)
    write_spots(sets, snakemake.output[0])

"""Say what the nuclei of a section are like under each spot, and show them."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.nuclei import nuclei_over_tissue, nuclei_per_spot
    from spadework.figures.style import finish, resolution
    from spadework.nuclei.spots import count_nuclei
    from spadework.patches import section_image
    from spadework.tables import write_csv

    i, p, out, sample = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards.sample
    section, nuclei, clumps = ad.read_h5ad(i.section), pd.read_parquet(i.nuclei), pd.read_parquet(i.clumps)
    spots = count_nuclei(section, nuclei, clumps)
    write_csv(spots, out.spots, index_label="barcode")
    scaled = section_image(section, sample, "best", next(iter(i.image), None), p.channels)
    with resolution(p.dpi):
        finish(nuclei_over_tissue(section, scaled, i.labels, nuclei, clumps, spots, sample), out.outlines)
        finish(nuclei_per_spot(section, spots, sample), out.maps)

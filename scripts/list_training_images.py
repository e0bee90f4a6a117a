"""Check the images that a U-Net is to be trained on, and list them."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from spadework.tables import write_csv
    from spadework.unet.data import read_sets

    write_csv(read_sets(**snakemake.params.data).table(), snakemake.output[0])

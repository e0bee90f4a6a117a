"""Read pairs of volumes, such as MRI and its segmentation, and make them ready for a network."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from spadework.volume.nifti import read_pairs
    from spadework.volume.pairs import write_volumes

    volumes = read_pairs(snakemake.params.table)
    with whole_file(snakemake.output[0]) as path:
        write_volumes(volumes, path)

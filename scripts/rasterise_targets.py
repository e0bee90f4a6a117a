"""Write what was measured at the spots of a block into voxels, for a network to learn."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from spadework.tables import read_block_table
    from spadework.volume.pairs import write_volumes
    from spadework.volume.rasterise import rasterise
    from spadework.volume.stack import read_stack

    i = snakemake.input
    spots, domains = read_block_table(i.spots), read_block_table(i.domains)
    volumes = rasterise(read_stack(i.stack), spots, domains, target=snakemake.params.target)
    with whole_file(snakemake.output[0]) as path:
        write_volumes(volumes, path)

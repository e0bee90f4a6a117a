"""Write what was measured at the spots of a block into voxels, for a network to learn."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from spadework.tables import read_csv
    from spadework.volume.pairs import write_volumes
    from spadework.volume.rasterise import rasterise
    from spadework.volume.stack import read_stack

    i = snakemake.input
    text = {"sample": str, "barcode": str, "domain": str}
    domains = read_csv(i.domains, dtype=text, keep_default_na=False)
    volumes = rasterise(read_stack(i.stack), read_csv(i.spots, dtype=text), domains, target=snakemake.params.target)
    with whole_file(snakemake.output[0]) as path:
        write_volumes(volumes, path)

"""Read a section, whatever it is on disk, and write the AnnData every later stage starts from."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from spadework.ingest import ingest
    from spadework.samples import Sample

    p = snakemake.params
    section = ingest(Sample(**p.sample), p.bin_um, p.checksums)
    with whole_file(snakemake.output[0]) as path:
        section.write_h5ad(path, compression="lzf")

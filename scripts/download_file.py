"""Download a file of a public dataset and verify its checksum."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.download import download

    p, target = snakemake.params, Path(snakemake.output[0])
    download(p.urls, target, p.sha256, sample=snakemake.wildcards.download.split("/")[0])

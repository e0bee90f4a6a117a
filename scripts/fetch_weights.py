"""Download published weights and verify their checksum."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.encoders.download import fetch_weights

    fetch_weights(snakemake.params.encoder, Path(snakemake.output[0]), snakemake.params.mirror)

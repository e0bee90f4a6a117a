"""Encode a section's patches."""

import os

from spadework.job import logged, whole_file

# Read by TensorFlow when it starts; without it, it takes every core of a shared machine.
os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.device import check_gpu_offer
    from spadework.encoders import registry
    from spadework.encoders.run import encode_file
    from spadework.encoders.weights import check_weights

    p = snakemake.params
    for path in snakemake.input.weights:
        check_weights(path, p.checksum)
    check_gpu_offer(p.encoder["device"], snakemake.resources.get("gpu", 0))
    encoder = registry.create(
        snakemake.wildcards.encoder,
        p.output_px,
        weights=next(map(Path, snakemake.input.weights), None),
        pixel_range=p.encoder["pixel_range"],
        precision=p.encoder["precision"],
        device=p.encoder["device"],
    )
    with whole_file(snakemake.output[0]) as path:
        encode_file(encoder, snakemake.input.patches).write_h5ad(path)

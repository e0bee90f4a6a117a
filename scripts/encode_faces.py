"""Encode a section's patches as published, with the right input range, and with the right patch as well."""

import os

from spadework.job import logged, whole_file

os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from pathlib import Path

    import anndata as ad

    from spadework.encoders.run import check_gpu_offer
    from spadework.faces import encode_face

    p, w = snakemake.params, snakemake.wildcards
    check_gpu_offer(p.encoder["device"], snakemake.resources.get("gpu", 0))
    section = ad.read_h5ad(snakemake.input.section)
    out = ad.AnnData(obs=section.obs[[]])
    for face, settings in p.faces.items():
        out.obsm[face], out.uns["encoder"] = encode_face(
            section,
            w.sample,
            w.encoder,
            image=next(map(Path, snakemake.input.image), None),
            channels=p.channels,
            weights=next(map(Path, snakemake.input.weights), None),
            **p.encoder,
            **settings,
        )
    with whole_file(snakemake.output[0]) as path:
        out.write_h5ad(path)

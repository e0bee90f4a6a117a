"""Label all nuclei of a section's image and measure them."""

import os

from spadework.job import logged, whole_file

# Read by TensorFlow when it starts; without it, it takes every core of a shared machine.
os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    import json

    import anndata as ad

    from spadework.device import check_gpu_offer
    from spadework.nuclei.engines import load_segmenter
    from spadework.nuclei.slide import OVERVIEW_PX, check_resolution, label_slide
    from spadework.patches import section_image
    from spadework.tissue import TissueModel
    from spadework.unet.objects import Objects

    i, p, out, sample = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards.sample
    with open(i.preflight) as handle:
        tissue = TissueModel(**json.load(handle)["tissue"])
    scaled = section_image(ad.read_h5ad(i.section), sample, "best", next(iter(i.image), None), p.channels)
    check_resolution(scaled, p.size["max_um_per_px"], sample)
    check_gpu_offer(p.engine["device"], snakemake.resources.get("gpu", 0), "nuclei.device")
    overview = scaled.image.overview(OVERVIEW_PX)
    segmenter = load_segmenter(model=p.model, objects=Objects(**p.objects), overview=overview, **p.engine)
    nuclei, clumps = label_slide(scaled, segmenter, tissue, out.labels, min_area_um2=p.size["min_area_um2"])
    for table, name in ((clumps, out.clumps), (nuclei, out.nuclei)):
        with whole_file(name) as path:
            table.to_parquet(path)

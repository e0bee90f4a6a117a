"""Cut a patch of the image around every spot and write down how."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import json

    import anndata as ad

    from spadework.patch_file import write_patches
    from spadework.patches import check_patch_size, patch_boxes, patch_size_px, section_image
    from spadework.perturbations import PERTURBATIONS, UNPERTURBED
    from spadework.tissue import TissueModel

    p, sample = snakemake.params, snakemake.wildcards.sample
    with open(snakemake.input.preflight) as handle:
        tissue = TissueModel(**json.load(handle)["tissue"])
    section = ad.read_h5ad(snakemake.input.section)
    fullres = next(iter(snakemake.input.image), None)
    scaled = section_image(section, sample, p.patch["image"], fullres, p.channels)
    size = patch_size_px(p.patch["um"], p.patch["px"], scaled.um_per_px)
    check_patch_size(size, scaled, sample)
    perturbation = PERTURBATIONS[p.get("perturbation", UNPERTURBED.name)]
    boxes = patch_boxes(perturbation.centres(scaled.to_px(section.obsm["spatial"]), size), size)
    with whole_file(snakemake.output.patches) as path:
        manifest = write_patches(
            path, scaled, boxes, section.obs_names, p.patch["output_px"], tissue, perturbation.transform
        )
    with whole_file(snakemake.output.manifest) as path:
        manifest.to_parquet(path)

"""Check a section and its image; stop here if the input cannot be right."""

from spadework.job import logged, whole_file

with logged(snakemake.log.text):
    import json
    from pathlib import Path

    import anndata as ad
    import numpy as np

    from spadework.figures.preflight import overlay
    from spadework.figures.style import finish, resolution
    from spadework.patches import section_image
    from spadework.preflight import PreflightError, preflight

    p, sample = snakemake.params, snakemake.wildcards.sample
    section = ad.read_h5ad(snakemake.input.section)
    fullres = next(iter(snakemake.input.image), None)
    scaled = section_image(section, sample, "best", fullres, p.channels)
    name = Path(fullres).name if scaled.source == "fullres" else f"the {scaled.source} image"
    report = preflight(section, sample, scaled, name, fluorescence=bool(p.channels))
    for check in report.checks:
        print(f"{check.status:5}{check.name}: {check.found}" + (f" -> {check.remedy}" if check.remedy else ""))
    spot = tuple(section.uns["spade"]["lattice"]["spot_um"] / um for um in scaled.um_per_px)
    # The log keeps the picture of a section that fails, when there is no result.
    with resolution(150):  # not figures.dpi, which must not re-run what comes after
        figure = overlay(report, scaled.image, scaled.to_px(section.obsm["spatial"]), spot)
        finish(figure, snakemake.log.overlay)
    if report.status == "stop":
        raise PreflightError(sample, name, report.checks, snakemake.log.overlay)
    with whole_file(snakemake.output.report) as path:
        path.write_text(json.dumps(report.as_dict(), indent=1, default=np.ndarray.tolist))
    with whole_file(snakemake.output.overlay) as path:
        path.write_bytes(Path(snakemake.log.overlay).read_bytes())

"""Read a section, whatever it is on disk, and check it: stop here if the input cannot be right."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import json
    from pathlib import Path

    import numpy as np

    from spadework.figures.preflight import overlay
    from spadework.figures.style import finish, resolution
    from spadework.ingest import ingest
    from spadework.patches import section_image
    from spadework.preflight import PreflightError, preflight
    from spadework.samples import Sample

    p, out, name = snakemake.params, snakemake.output, snakemake.wildcards.sample
    sample = Sample(**p.sample)
    section = ingest(sample, p.bin_um, p.checksums)
    fullres = next(iter(snakemake.input.image), None)
    scaled = section_image(section, name, "best", fullres, sample.channels)
    shown = Path(fullres).name if scaled.source == "fullres" else f"the {scaled.source} image"
    report = preflight(section, name, scaled, shown, fluorescence=bool(sample.channels))
    for check in report.checks:
        print(f"{check.status:5}{check.name}: {check.found}" + (f" -> {check.remedy}" if check.remedy else ""))
    spot = tuple(section.uns["spade"]["lattice"]["spot_um"] / um for um in scaled.um_per_px)
    with resolution(300):  # not figures.dpi, which must not re-run what comes after
        figure = overlay(report, scaled.image, scaled.to_px(section.obsm["spatial"]), spot)
        finish(figure, p.failed if report.status == "stop" else out.overlay)
    if report.status == "stop":
        raise PreflightError(name, shown, report.checks, p.failed)
    with whole_file(out.section) as path:
        section.write_h5ad(path, compression="lzf")
    with whole_file(out.report) as path:
        path.write_text(json.dumps(report.as_dict(), indent=1, default=np.ndarray.tolist))

"""Write the page of a group: its sections side by side, and what holds in all of them."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.headline import headline
    from spadework.patches import section_image
    from spadework.report.bundle import Bundle
    from spadework.report.cohort import GroupTables, Member, cohort_page
    from spadework.report.page import render
    from spadework.report.panels import add_results
    from spadework.report.tables import read_mixed
    from spadework.report.texts import methods_of

    i, p = snakemake.input, snakemake.params
    sections = {name: ad.read_h5ad(path) for name, path in zip(p.members, i.sections, strict=True)}
    images, members = iter(i.images), {}
    for (name, section), has_image, channels in zip(sections.items(), p.has_image, p.channels, strict=True):
        image = section_image(section, name, p.image, next(images) if has_image else None, channels)
        members[name] = Member(section, image)

    encoders = {}
    for k, (encoder, pooled, pairs) in enumerate(zip(p.encoders, i.pooled, i.replication, strict=True)):
        # Files of all members, encoder after encoder
        own = slice(k * len(members), (k + 1) * len(members))
        tables = {name: pd.read_parquet(path) for name, path in zip(members, i.association[own], strict=True)}
        latents = {name: ad.read_h5ad(path) for name, path in zip(members, i.latents[own], strict=True)}
        encoders[encoder] = GroupTables(
            {name: of_spots[sections[name].obs_names].obsm["pca"] for name, of_spots in latents.items()},
            tables,
            # None, if calibration is switched off
            {name: read_mixed(path, ["test"]) for name, path in zip(members, i.calibration[own], strict=False)},
            read_mixed(pooled, ["gene", "gene_id"]),
            read_mixed(pairs, ["discovery", "validation"]),
            headline(pd.concat(tables), p.by["headline"]),
        )
    software, texts = methods_of(dict(zip(p.members, i.sections, strict=True)), config=p.config, samples=p.samples)
    bundle, said = Bundle(), {"warning": p.warning, "software": software}
    page = cohort_page(
        bundle, snakemake.wildcards.group, members, encoders, settings=p.report, fdr=p.by["fdr"], **said
    )
    add_results(page, p.figures, i.figures)
    page["texts"] += texts
    with whole_file(snakemake.output[0]) as path:
        path.write_text(render(bundle, page), encoding="utf-8")

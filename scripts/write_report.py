"""Write the page of a section: all that is known of it, in one HTML file that needs no network."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import json

    import anndata as ad
    import pandas as pd

    from spadework.headline import headline
    from spadework.patches import section_image
    from spadework.report.bundle import Bundle
    from spadework.report.page import render
    from spadework.report.panels import add_results
    from spadework.report.section import EncoderTables, section_page
    from spadework.report.tables import read_mixed
    from spadework.report.texts import methods_of

    i, p, sample = snakemake.input, snakemake.params, snakemake.wildcards.sample
    section, row = ad.read_h5ad(i.section), p.samples[sample]
    # Columns that are text, whatever they look like.
    tables = {"calibration": ["test"], "terms": ["collection", "test", "direction", "set", "genes"]}
    tables |= {"summary": [], "replication": ["discovery", "validation"]}
    encoders = {}
    for k, name in enumerate(p.encoders):
        association = pd.read_parquet(i.association[k])
        read = {what: read_mixed(i[what][k], text) for what, text in tables.items() if i[what]}
        if "replication" in read:
            read["replication"] = read["replication"][~read["replication"]["validation"].isin(p.same_data)]
        shared = ad.read_h5ad(i.shared[k]) if i.shared else None
        encoders[name] = EncoderTables(association, headline(association, p.by["headline"]), **read, shared=shared)
    with open(i.preflight, encoding="utf-8") as handle:
        preflight = json.load(handle)
    image = section_image(section, sample, p.image, next(iter(i.image), None), p.channels)
    # A block is tested, or not.
    verdicts = zip(p.blocks, i.verdict, strict=False)
    said = {"registrations": zip(p.blocks, i.registration, strict=True), "verdicts": verdicts}
    software, texts = methods_of({sample: i.section}, config=p.config, samples={sample: row}, **said)
    bundle, of = Bundle(), {"species": row.get("species", ""), "group": row.get("group", ""), "software": software}
    page = section_page(
        *(bundle, section, image, pd.read_parquet(i.manifest), sample, encoders),
        **({"preflight": preflight, "settings": p.report, "fdr": p.by["fdr"], "warning": p.warning} | of),
    )
    add_results(page, p.figures, i.figures)
    page["texts"] += texts
    with whole_file(snakemake.output[0]) as path:
        path.write_text(render(bundle, page), encoding="utf-8")

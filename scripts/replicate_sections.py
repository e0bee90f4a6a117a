"""Ask whether what one section of a group shows holds in the others, and pool them."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.replication import replication_page
    from spadework.figures.section import weights_note
    from spadework.figures.style import finish, resolution
    from spadework.headline import headline
    from spadework.replication import pairwise, random_effects
    from spadework.tables import write_csv

    p, out, w = snakemake.params, snakemake.output, snakemake.wildcards
    tables = {name: pd.read_parquet(path) for name, path in zip(p.sections, snakemake.input.tables, strict=True)}
    by = headline(pd.concat(tables), p.by["headline"])
    pairs, pooled = pairwise(tables, by, p.by["fdr"]), random_effects(tables)
    write_csv(pairs, out.pairs)
    write_csv(pooled, out.pooled)
    fitted = [name for name in p.sections if name not in p.held_out]
    heading = f"{w.group}: {w.encoder} latents of {', '.join(fitted)}"
    if p.held_out:
        heading += f", applied to {', '.join(p.held_out)}"
    encoder = ad.read_h5ad(snakemake.input.features, backed="r").uns["encoder"]
    with resolution(p.dpi):
        page = replication_page(tables, pairs, pooled, by, p.by["fdr"], heading)
        finish(page, out.figure, "\n".join(filter(None, [p.warning, by.note, weights_note(encoder)])))

"""Draw what speaks for and against the genes found."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.figures.calibration import calibration_page
    from spadework.figures.clusters import cluster_comparison
    from spadework.figures.composition import composition_page
    from spadework.figures.section import weights_note
    from spadework.figures.style import finish, resolution
    from spadework.figures.terms import terms_page

    i, p, w = snakemake.input, snakemake.params, snakemake.wildcards
    heading = f"{w.sample}: {w.encoder}"
    note = weights_note(ad.read_h5ad(i.features, backed="r").uns["encoder"])
    with resolution(p.dpi):
        for calibration in i.calibration:
            page = calibration_page(pd.read_csv(calibration), p.fdr, f"{heading}, calibration of the tests")
            finish(page, snakemake.output.calibration, note)
        page = composition_page(pd.read_csv(i.composition), p.fdr, f"{heading}, beyond composition")
        finish(page, snakemake.output.beyond_composition, note)
        page = cluster_comparison(pd.read_csv(i.clusters), f"{heading}, clusters compared")
        finish(page, snakemake.output.cluster_comparison, note)
        for terms in i.terms:
            finish(terms_page(pd.read_csv(terms), p.fdr, f"{heading}, terms"), snakemake.output.terms, note)

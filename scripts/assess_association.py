"""Say what latents go along with and add to what is known, cluster by the genes found, and try the tests."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.calibration import calibrate
    from spadework.composition import beyond_composition
    from spadework.headline import headline
    from spadework.latent_summary import summarise_latents
    from spadework.section_association import Adjustment, read_section, select
    from spadework.spade_clusters import cluster_section
    from spadework.tables import write_csv

    i, p, out, sample = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards.sample
    section, table = read_section(i.expression, i.manifest, i.nuclei), pd.read_parquet(i.association)
    latents = ad.read_h5ad(i.latents)[section.obs_names]
    tested = select(section, latents, sample, **p.tested)
    adjustment, by, fdr = Adjustment(**p.adjustment), headline(table, p.by["headline"]), p.by["fdr"]
    seed = adjustment.seed
    clusters, comparison = cluster_section(
        section, latents, table, by, n_genes=p.n_genes, fdr=fdr, settings=p.clusters, seed=seed
    )
    write_csv(clusters.to_frame(), out.clusters, index_label="barcode")
    write_csv(comparison, out.comparison)
    write_csv(summarise_latents(section, latents, table, by, fdr), out.latents)
    write_csv(beyond_composition(section, tested, sample, residuals=adjustment.residuals, seed=seed), out.composition)
    for path in out.calibration:
        write_csv(calibrate(section, tested, sample, adjustment, n_fields=p.n_fields, fdr=fdr), path)

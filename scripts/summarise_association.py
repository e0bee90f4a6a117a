"""Say what each latent goes along with, and cluster the spots by the genes that follow the image."""

from spadework.job import logged

with logged(snakemake.log[0]):
    import anndata as ad
    import pandas as pd

    from spadework.headline import headline
    from spadework.latent_summary import summarise_latents
    from spadework.section_association import read_section
    from spadework.spade_clusters import cluster_section
    from spadework.tables import write_csv

    i, p, out = snakemake.input, snakemake.params, snakemake.output
    section, table = read_section(i.expression, i.manifest), pd.read_parquet(i.association)
    latents = ad.read_h5ad(i.latents)[section.obs_names]
    by = headline(table, p.by["headline"])
    summary = summarise_latents(section, latents, table, by, p.by["fdr"])
    clusters, comparison = cluster_section(
        section, latents, table, by, n_genes=p.n_genes, fdr=p.by["fdr"], settings=p.clusters, seed=p.seed
    )
    write_csv(summary, out.latents)
    write_csv(clusters.to_frame(), out.clusters, index_label="barcode")
    write_csv(comparison, out.comparison)

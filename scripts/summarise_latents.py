"""Say what each latent goes along with: depth, tissue content, space."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad
    import numpy as np
    import pandas as pd

    from spadework.keys import Keys
    from spadework.latent_summary import summarise_latents

    section = ad.read_h5ad(snakemake.input.expression, backed="r")
    latents = ad.read_h5ad(snakemake.input.latents)[section.obs_names]
    lattice = section.uns[Keys.SPADE]["lattice"]
    summary = summarise_latents(
        latents.obsm["pca"],
        section.obsm[Keys.SPATIAL] * np.array([lattice["um_per_px_x"], lattice["um_per_px_y"]]),
        lattice_kind=lattice["kind"],
        variance_ratio=latents.uns["variance_ratio"],
        total_counts=section.obs[Keys.TOTAL_COUNTS].to_numpy(),
        tissue_fraction=pd.read_parquet(snakemake.input.manifest)
        .loc[section.obs_names, "tissue_fraction"]
        .to_numpy(),
        table=pd.read_parquet(snakemake.input.association),
        which=snakemake.params.headline,
        fdr=snakemake.params.fdr,
    )
    with whole_file(snakemake.output[0]) as path:
        summary.to_csv(path, index=False, float_format="%.6g")

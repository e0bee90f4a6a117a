"""Make the published script's own files, as it makes them."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.figures import published
    from spadework.figures.section import weights_note
    from spadework.figures.style import finish
    from spadework.keys import Keys
    from spadework.patches import section_image

    w, out = snakemake.wildcards, snakemake.output
    section = ad.read_h5ad(snakemake.input.section)
    latents = section.obsm[Keys.latents(w.encoder, "pca")]
    tsne = section.obsm[Keys.latents(w.encoder, "tsne")]
    scaled = section_image(section, w.sample, "hires", None)
    image = scaled.image.read(0, 0, scaled.image.width, scaled.image.height)
    centres = scaled.to_px(section.obsm[Keys.SPATIAL])
    note = weights_note(section.uns[Keys.SPADE][w.encoder]["encoder"])
    finish(published.embedding(tsne, section.obs[Keys.CLUSTER]), out.embedding, note)
    for k, path in enumerate(out.maps):
        finish(published.latent_map(image, centres, latents[:, k]), path, note)
    with whole_file(out.table) as path:
        published.latent_table(latents, section.obs_names).to_csv(path)

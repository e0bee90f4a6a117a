"""Fit the principal components of the features of several sections together."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    import anndata as ad

    from spadework.latents import fit_sections

    p = snakemake.params
    features = {name: ad.read_h5ad(path) for name, path in zip(p.members, snakemake.input, strict=True)}
    model = fit_sections(features, **p.latents)
    with whole_file(snakemake.output[0]) as path:
        model.save(path)

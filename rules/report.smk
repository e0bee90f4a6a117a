LATENT_NUMBERS = range(1, config["latents"]["n_latents"] + 1)


rule draw_maps:
    """Draw latents, top genes and clusters over the tissue."""
    input:
        section="results/{sample}/{sample}.h5ad",
        association="results/{sample}/{encoder}/association.parquet",
    output:
        latents="results/{sample}/{encoder}/figures/latents.png",
        clusters="results/{sample}/{encoder}/figures/clusters.png",
        latent=expand("results/{{sample}}/{{encoder}}/figures/latent_{k}.png", k=LATENT_NUMBERS),
    log:
        "logs/{sample}/{encoder}/draw_maps.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_maps.tsv"
    params:
        figures=pick("figures", "dpi", "top_genes"),
        headline=config["association"]["headline"],
        code=code_id("figures.section"),
    resources:
        mem_mb=mem_mb(2000, 10),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_maps.py"


rule draw_charts:
    """Draw embeddings, volcano plots and the summary of the latents."""
    input:
        section="results/{sample}/{sample}.h5ad",
        association="results/{sample}/{encoder}/association.parquet",
        summary="results/{sample}/{encoder}/latents.csv",
    output:
        embeddings="results/{sample}/{encoder}/figures/embeddings.png",
        volcano="results/{sample}/{encoder}/figures/volcano.png",
        variance="results/{sample}/{encoder}/figures/variance.png",
    log:
        "logs/{sample}/{encoder}/draw_charts.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_charts.tsv"
    params:
        figures=pick("figures", "dpi", "top_genes"),
        by=pick("association", "headline", "fdr"),
        code=code_id("figures.section"),
    resources:
        mem_mb=mem_mb(2000, 4),
        runtime=30,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_charts.py"


rule draw_patches:
    """Draw the extreme patches of each latent."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
        manifest="results/{sample}/patches/manifest.parquet",
        features="results/{sample}/{encoder}/features.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
    output:
        expand("results/{{sample}}/{{encoder}}/figures/patches_{k}.png", k=LATENT_NUMBERS),
    log:
        "logs/{sample}/{encoder}/draw_patches.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_patches.tsv"
    params:
        figures=pick("figures", "dpi", "n_extreme"),
        patch=pick("patch", "image"),
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("figures.section"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=30,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_patches.py"


rule draw_published:
    """Make the published script's own files, as it makes them."""
    input:
        section="results/{sample}/{sample}.h5ad",
    output:
        embedding="results/{sample}/{encoder}/published/SPADE_image_features.png",
        maps=expand("results/{{sample}}/{{encoder}}/published/SPADE_pc{k}.png", k=LATENT_NUMBERS),
        table="results/{sample}/{encoder}/published/ts_features_pc.csv",
    log:
        "logs/{sample}/{encoder}/draw_published.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_published.tsv"
    params:
        code=code_id("figures.published", "figures.section"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_published.py"

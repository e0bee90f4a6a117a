PAGES = ["latents", "clusters", "embeddings", "volcano", "variance", *EVIDENCE]
# Pages in the report, and where; the others are for a closer look.
REPORTED = {"latents": "Latents", "clusters": "Latents", "volcano": "Genes", "terms": "Genes"}
REPORTED |= {"calibration": "Evidence", "beyond_composition": "Evidence"}
LATENT_NUMBERS = range(1, config["latents"]["n_latents"] + 1)


rule draw_section:
    """Draw maps, charts, extreme patches, and what speaks for and against the genes found."""
    input:
        **{page: f"results/{{sample}}/{{encoder}}/{table}" for page, table in EVIDENCE.items()},
        section="results/{sample}/{sample}.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
        manifest="results/{sample}/patches/manifest.parquet",
        association="results/{sample}/{encoder}/association.parquet",
        latents="results/{sample}/{encoder}/latents.csv",
    output:
        **{
            page: shown_section(path, page, REPORTED[page]) if page in REPORTED else path
            for page in PAGES
            for path in [f"results/{{sample}}/{{encoder}}/figures/{page}.png"]
        },
        latent=expand("results/{{sample}}/{{encoder}}/figures/latent_{k}.png", k=LATENT_NUMBERS),
        patches=expand("results/{{sample}}/{{encoder}}/figures/patches_{k}.png", k=LATENT_NUMBERS),
    log:
        "logs/{sample}/{encoder}/draw_section.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_section.tsv"
    params:
        figures=pick("figures", "dpi", "top_genes", "n_extreme"),
        evidence=list(EVIDENCE),
        by=pick("association", "headline", "fdr"),
        image=config["patch"]["image"],
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("draw_section.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_section.py"


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
        code=code_id("draw_published.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_published.py"

PUBLISHED = targets.published_settings(HOME / "config/spade2021.yaml")


rule compare:
    """Compare every section's results with those of the published method (not part of all)."""
    input:
        expand("results/{sample}/{encoder}/comparison/comparison.png", sample=SAMPLES, encoder=ENCODERS[:1]),


use rule cut_patches as cut_published_patches with:
    output:
        patches=temp("results/{sample}/patches/published.h5"),
        manifest=temp("results/{sample}/patches/published.parquet"),
    log:
        "logs/{sample}/cut_published_patches.log",
    benchmark:
        "benchmarks/{sample}/cut_published_patches.tsv"
    params:
        patch=PUBLISHED["patch"],
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("cut_patches.py"),


use rule encode_patches as encode_published_patches with:
    input:
        patches="results/{sample}/patches/published.h5",
        weights=lambda w: targets.weights_path(w.encoder, config),
    output:
        "results/{sample}/{encoder}/comparison/features_{pixel_range}.h5ad",
    log:
        "logs/{sample}/{encoder}/encode_published_patches_{pixel_range}.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/encode_published_patches_{pixel_range}.tsv"
    params:
        encoder=lambda w: pick("encoder", "device", "precision") | {"pixel_range": w.pixel_range},
        checksum=lambda w: targets.weights_checksum(w.encoder, config),
        output_px=PUBLISHED["patch"]["output_px"],
        code=code_id("encode_patches.py"),


rule compare_methods:
    """Say which latents correspond, which genes enter and leave, and because of which correction."""
    input:
        published="results/{sample}/{encoder}/comparison/features_0-1.h5ad",
        input_range="results/{sample}/{encoder}/comparison/features_0-255.h5ad",
        patch="results/{sample}/{encoder}/features.h5ad",
        expression="results/{sample}/expression/expression.h5ad",
        sct=comparable,
    output:
        steps="results/{sample}/{encoder}/comparison/steps.csv",
        latents="results/{sample}/{encoder}/comparison/latents.csv",
        genes="results/{sample}/{encoder}/comparison/genes.csv.gz",
        figure=multiext("results/{sample}/{encoder}/comparison/comparison", ".png", ".svg", ".pdf"),
    log:
        "logs/{sample}/{encoder}/compare_methods.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/compare_methods.tsv"
    params:
        patch=config["patch"],
        n_latents=config["latents"]["n_latents"],
        min_spots_fraction=config["association"]["min_spots_fraction"],
        fdr=config["association"]["fdr"],
        dpi=config["figures"]["dpi"],
        code=code_id("compare_methods.py"),
    resources:
        mem_mb=mem_mb(3000, 20),
        runtime=minutes(60, 0.5),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/compare_methods.py"

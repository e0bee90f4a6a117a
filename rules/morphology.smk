rule cut_patches:
    """Cut a patch of the image around every spot."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        preflight="results/{sample}/preflight/preflight.json",
        image=lambda w: INPUTS[w.sample]["image"],
    output:
        patches=temp("results/{sample}/patches/patches.h5"),
        manifest="results/{sample}/patches/manifest.parquet",
    log:
        "logs/{sample}/cut_patches.log",
    benchmark:
        "benchmarks/{sample}/cut_patches.tsv"
    params:
        patch=config["patch"],
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("cut_patches.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(20, 0.4),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/cut_patches.py"


rule fetch_weights:
    """Download published network weights, checksum verified.

    Only files that are not there have this rule: those put there by hand are neither fetched again nor removed.
    """
    # Nodes of a cluster often have no network.
    localrule: True
    output:
        "resources/cache/weights/{weights}",
    log:
        "logs/weights/{weights}.log",
    benchmark:
        "benchmarks/weights/{weights}.tsv"
    params:
        encoder=lambda w: w.weights.split("/")[0],
        mirror=config["encoder"]["mirror"],
    resources:
        mem_mb=500,
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/fetch_weights.py"


rule encode_patches:
    """Turn patches into features: the one rule that loads a network."""
    input:
        patches="results/{sample}/patches/patches.h5",
        weights=lambda w: targets.weights_path(w.encoder, config),
    output:
        "results/{sample}/{encoder}/features.h5ad",
    log:
        "logs/{sample}/{encoder}/encode_patches.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/encode_patches.tsv"
    params:
        encoder=pick("encoder", "device", "pixel_range", "precision"),
        checksum=lambda w: targets.weights_checksum(w.encoder, config),
        output_px=config["patch"]["output_px"],
        code=code_id("encode_patches.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(4000, 0.5),
        runtime=minutes(60, 0.02),
        gpu=1 if config["encoder"]["device"] == "gpu" else 0,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/encode_patches.py"


rule fit_shared_latents:
    """Fit principal components of the features of all sections of a group."""
    input:
        lambda w: [f"results/{s}/{w.encoder}/features.h5ad" for s in targets.unit_members(w.unit, SAMPLES)],
    output:
        "results/{unit}/{encoder}/latent_model.npz",
    log:
        "logs/{unit}/{encoder}/fit_shared_latents.log",
    benchmark:
        "benchmarks/{unit}/{encoder}/fit_shared_latents.tsv"
    params:
        members=lambda w: targets.unit_members(w.unit, SAMPLES),
        latents=pick("latents", "n_latents", "n_embed", "standardize"),
        code=code_id("fit_shared_latents.py"),
    threads: 2
    resources:
        mem_mb=mem_mb(1000, 14),
        runtime=minutes(10, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/fit_shared_latents.py"


rule embed_latents:
    """Fit the latents of a section, or take those of its group; t-SNE, UMAP and image clusters."""
    input:
        features="results/{sample}/{encoder}/features.h5ad",
        model=lambda w: [f"results/{UNITS[w.sample]}/{w.encoder}/latent_model.npz"] if UNITS[w.sample] else [],
    output:
        "results/{sample}/{encoder}/latents.h5ad",
    log:
        "logs/{sample}/{encoder}/embed_latents.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/embed_latents.tsv"
    params:
        fit=pick("latents", "n_latents", "n_embed", "standardize"),
        latents=pick("latents", "n_latents", "tsne", "perplexity", "n_neighbors", "resolution"),
        seed=config["seed"],
        code=code_id("embed_latents.py"),
    threads: few_threads
    resources:
        mem_mb=mem_mb(2000, 14),
        runtime=minutes(20, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/embed_latents.py"

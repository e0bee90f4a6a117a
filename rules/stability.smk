rule stability:
    """Repeat the image side with patches cut, oriented and stained a little differently (not part of all)."""
    input:
        expand("results/{sample}/{encoder}/stability/stability.png", sample=SAMPLES, encoder=ENCODERS),


use rule cut_patches as cut_perturbed_patches with:
    output:
        patches=temp("results/{sample}/patches/{perturbation}.h5"),
        manifest=temp("results/{sample}/patches/{perturbation}.parquet"),
    log:
        "logs/{sample}/cut_perturbed_patches_{perturbation}.log",
    benchmark:
        "benchmarks/{sample}/cut_perturbed_patches_{perturbation}.tsv"
    params:
        patch=config["patch"],
        perturbation=lambda w: w.perturbation,
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("cut_patches.py"),


use rule encode_patches as encode_perturbed_patches with:
    input:
        patches="results/{sample}/patches/{perturbation}.h5",
        weights=lambda w: targets.weights_path(w.encoder, config),
    output:
        "results/{sample}/{encoder}/stability/{perturbation}.h5ad",
    log:
        "logs/{sample}/{encoder}/encode_perturbed_patches_{perturbation}.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/encode_perturbed_patches_{perturbation}.tsv"


rule measure_stability:
    """Count how often each gene is found again, and how alike each latent is."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        nuclei=NUCLEI_COVARIATES,
        association="results/{sample}/{encoder}/association.parquet",
        runs=expand("results/{{sample}}/{{encoder}}/stability/{p}.h5ad", p=config["stability"]["perturbations"]),
        second=lambda w: [
            f"results/{w.sample}/{e}/" + ("features.h5ad" if e in ENCODERS else "stability/unperturbed.h5ad")
            for e in SECOND
            if e != w.encoder
        ],
    output:
        genes="results/{sample}/{encoder}/stability/genes.csv.gz",
        latents="results/{sample}/{encoder}/stability/latents.csv",
        summary="results/{sample}/{encoder}/stability/summary.csv",
        figure=multiext("results/{sample}/{encoder}/stability/stability", ".png", ".svg", ".pdf"),
    log:
        "logs/{sample}/{encoder}/measure_stability.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/measure_stability.tsv"
    params:
        names=lambda w: [*config["stability"]["perturbations"], *(e for e in SECOND if e != w.encoder)],
        threshold=config["stability"]["threshold"],
        standardize=config["latents"]["standardize"],
        tested=TESTED,
        design=config["association"]["design"],
        adjustment=ADJUSTMENT | {"mixed_model": False, "permutations": 0},
        by=pick("association", "headline", "fdr"),
        dpi=config["figures"]["dpi"],
        code=code_id("measure_stability.py"),
    resources:
        mem_mb=mem_mb(2000, 10),
        runtime=minutes(60, 0.5),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/measure_stability.py"

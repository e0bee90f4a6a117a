TESTED = pick("association", "values", "zscore", "min_spots_fraction", "n_latents")
LIMMA = config["association"]["engine"] == "limma"
ADJUSTMENT = pick("association", "residuals", "covariates", "mixed_model", "permutations") | {"seed": config["seed"]}
NUCLEI_PER_SPOT = ["results/{sample}/nuclei/spots.csv"] if config["nuclei"]["engine"] else []
NUCLEI_COVARIATES = NUCLEI_PER_SPOT if targets.nuclei_covariates(config) else []


rule associate_genes:
    """Test every gene against every image latent."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        nuclei=NUCLEI_COVARIATES,
        limma=["results/{sample}/{encoder}/limma.csv.gz"] if LIMMA else [],
    output:
        parquet="results/{sample}/{encoder}/association.parquet",
        csv="results/{sample}/{encoder}/association.csv.gz",
    log:
        "logs/{sample}/{encoder}/associate_genes.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/associate_genes.tsv"
    params:
        tested=TESTED,
        design=config["association"]["design"],
        adjustment=ADJUSTMENT,
        code=code_id("associate_genes.py"),
    resources:
        mem_mb=mem_mb(1500, 8),
        runtime=minutes(60, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/associate_genes.py"


rule export_values:
    """Hand what the association models are fitted to to R."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
    output:
        temp("results/{sample}/{encoder}/values.h5"),
    log:
        "logs/{sample}/{encoder}/export_values.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/export_values.tsv"
    params:
        tested=TESTED,
        code=code_id("export_values.py"),
    resources:
        mem_mb=mem_mb(1500, 30),
        runtime=minutes(15, 0.2),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/export_values.py"


rule fit_limma:
    """Fit the association models with R limma."""
    input:
        "results/{sample}/{encoder}/values.h5",
    output:
        temp("results/{sample}/{encoder}/limma.csv.gz"),
    log:
        "logs/{sample}/{encoder}/fit_limma.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/fit_limma.tsv"
    params:
        design=config["association"]["design"],
        code=code_id("fit_limma.R"),
    resources:
        mem_mb=mem_mb(1000, 5),
        runtime=minutes(30, 0.3),
    conda:
        "../envs/limma.yaml"
    script:
        "../scripts/fit_limma.R"


rule collect_section:
    """Merge everything into the section's final AnnData."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        preflight="results/{sample}/preflight/preflight.json",
        nuclei=NUCLEI_PER_SPOT,
        all_nuclei=["results/{sample}/nuclei/nuclei.parquet"] if NUCLEI_PER_SPOT else [],
        prototypes=lambda w: targets.prototype_files(SAMPLES[w.sample], config, "prototypes.csv"),
        prototype_scores=lambda w: targets.prototype_files(SAMPLES[w.sample], config, "scores.parquet"),
        placed=lambda w: plan.placed_files(SAMPLES[w.sample], config),
        features=expand("results/{{sample}}/{encoder}/features.h5ad", encoder=ENCODERS),
        latents=expand("results/{{sample}}/{encoder}/latents.h5ad", encoder=ENCODERS),
        association=expand("results/{{sample}}/{encoder}/association.parquet", encoder=ENCODERS),
        clusters=expand("results/{{sample}}/{encoder}/spade_clusters.csv", encoder=ENCODERS),
    output:
        "results/{sample}/{sample}.h5ad",
    log:
        "logs/{sample}/collect_section.log",
    benchmark:
        "benchmarks/{sample}/collect_section.tsv"
    params:
        encoders=ENCODERS,
        annotations=lambda w: targets.sheet_columns(SAMPLES[w.sample]),
        parameters=targets.result_parameters(config),
        code=code_id("collect_section.py"),
    resources:
        mem_mb=mem_mb(2000, 15),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/collect_section.py"

# Permuting every null latent in turn would take hours.
CALIBRATED = ADJUSTMENT | {"permutations": 0}


rule weigh_evidence:
    """Try all tests on patterns unrelated to any gene; ask what the latents add to what is known about the spots."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
    output:
        composition="results/{sample}/{encoder}/beyond_composition.csv.gz",
        calibration=["results/{sample}/{encoder}/calibration.csv"] if "calibration" in EVIDENCE else [],
    log:
        "logs/{sample}/{encoder}/weigh_evidence.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/weigh_evidence.tsv"
    params:
        tested=TESTED,
        adjustment=CALIBRATED,
        n_fields=config["calibration"]["n_fields"],
        fdr=config["association"]["fdr"],
        code=code_id("weigh_evidence.py"),
    resources:
        mem_mb=mem_mb(1500, 10),
        runtime=minutes(30, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/weigh_evidence.py"


rule enrich_terms:
    """Say which gene sets go with each latent."""
    input:
        association="results/{sample}/{encoder}/association.parquet",
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        gene_sets=config["terms"]["gene_sets"],
    output:
        "results/{sample}/{encoder}/terms.csv.gz",
    log:
        "logs/{sample}/{encoder}/enrich_terms.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/enrich_terms.tsv"
    params:
        tested=TESTED,
        adjustment=CALIBRATED | {"mixed_model": False},
        by=pick("association", "headline", "fdr"),
        size=pick("terms", "min_size", "max_size"),
        code=code_id("enrich_terms.py"),
    resources:
        mem_mb=mem_mb(1500, 10),
        runtime=minutes(30, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/enrich_terms.py"

# Permuting every null latent in turn would take hours.
CALIBRATED = ADJUSTMENT | {"permutations": 0}


rule assess_association:
    """Say what latents go along with and add to what is known, cluster by the genes found, and try the tests."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        nuclei=NUCLEI_COVARIATES,
        association="results/{sample}/{encoder}/association.parquet",
    output:
        latents=shown_section("results/{sample}/{encoder}/latents.csv", "latent_table", "Latents"),
        clusters="results/{sample}/{encoder}/spade_clusters.csv",
        comparison="results/{sample}/{encoder}/cluster_comparison.csv",
        composition="results/{sample}/{encoder}/beyond_composition.csv.gz",
        calibration=["results/{sample}/{encoder}/calibration.csv"] if "calibration" in EVIDENCE else [],
    log:
        "logs/{sample}/{encoder}/assess_association.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/assess_association.tsv"
    params:
        tested=TESTED,
        adjustment=CALIBRATED,
        by=pick("association", "headline", "fdr"),
        n_genes=config["spade_clusters"]["n_genes"],
        clusters=pick("expression", "n_pcs", "n_neighbors", "resolution"),
        n_fields=config["calibration"]["n_fields"],
        code=code_id("assess_association.py"),
    threads: few_threads
    resources:
        mem_mb=mem_mb(2000, 10),
        runtime=minutes(30, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/assess_association.py"


rule enrich_terms:
    """Say which gene sets go with each latent."""
    input:
        association="results/{sample}/{encoder}/association.parquet",
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        nuclei=NUCLEI_COVARIATES,
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

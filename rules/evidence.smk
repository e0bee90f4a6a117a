EVIDENCE = ["beyond_composition", "cluster_comparison"]
EVIDENCE += ["calibration"] * bool(config["calibration"]["n_fields"]) + ["terms"] * bool(config["terms"]["gene_sets"])
# Permuting every null latent in turn would take hours.
CALIBRATED = ADJUSTMENT | {"permutations": 0}


rule calibrate_tests:
    """Try all tests on patterns that have nothing to do with any gene."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
    output:
        "results/{sample}/{encoder}/calibration.csv",
    log:
        "logs/{sample}/{encoder}/calibrate_tests.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/calibrate_tests.tsv"
    params:
        tested=TESTED,
        adjustment=CALIBRATED,
        n_fields=config["calibration"]["n_fields"],
        fdr=config["association"]["fdr"],
        code=code_id("calibration"),
    resources:
        mem_mb=mem_mb(1500, 10),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/calibrate_tests.py"


rule explain_genes:
    """Ask what the image latents add to depth, tissue content and expression clusters."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
    output:
        "results/{sample}/{encoder}/beyond_composition.csv.gz",
    log:
        "logs/{sample}/{encoder}/explain_genes.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/explain_genes.tsv"
    params:
        tested=TESTED,
        residuals=config["association"]["residuals"],
        seed=config["seed"],
        code=code_id("composition"),
    resources:
        mem_mb=mem_mb(1500, 8),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/explain_genes.py"


rule cluster_spade_genes:
    """Cluster spots by the genes that follow the image, and compare with expression and image clusters."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        association="results/{sample}/{encoder}/association.parquet",
    output:
        clusters="results/{sample}/{encoder}/spade_clusters.csv",
        comparison="results/{sample}/{encoder}/cluster_comparison.csv",
    log:
        "logs/{sample}/{encoder}/cluster_spade_genes.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/cluster_spade_genes.tsv"
    params:
        n_genes=config["spade_clusters"]["n_genes"],
        by=pick("association", "headline", "fdr"),
        clusters=pick("expression", "n_pcs", "n_neighbors", "resolution"),
        seed=config["seed"],
        code=code_id("spade_clusters", "headline", "keys"),
    threads: 2
    resources:
        mem_mb=mem_mb(2000, 6),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/cluster_spade_genes.py"


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
        code=code_id("enrichment", "section_association"),
    resources:
        mem_mb=mem_mb(1500, 10),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/enrich_terms.py"


rule draw_evidence:
    """Draw what speaks for and against the genes found."""
    input:
        calibration=["results/{sample}/{encoder}/calibration.csv"] if "calibration" in EVIDENCE else [],
        composition="results/{sample}/{encoder}/beyond_composition.csv.gz",
        clusters="results/{sample}/{encoder}/cluster_comparison.csv",
        terms=["results/{sample}/{encoder}/terms.csv.gz"] if "terms" in EVIDENCE else [],
        features="results/{sample}/{encoder}/features.h5ad",
    output:
        **{page: f"results/{{sample}}/{{encoder}}/figures/{page}.png" for page in EVIDENCE},
    log:
        "logs/{sample}/{encoder}/draw_evidence.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_evidence.tsv"
    params:
        dpi=config["figures"]["dpi"],
        fdr=config["association"]["fdr"],
        code=code_id(
            "figures.calibration", "figures.composition", "figures.clusters", "figures.terms", "figures.section"
        ),
    resources:
        mem_mb=1000,
        runtime=30,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_evidence.py"

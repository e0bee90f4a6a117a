SEURAT = config["expression"]["engine"] == "seurat"
FILTERS = pick("expression", "min_counts", "min_genes", "max_pct_mt")


rule cluster_expression:
    """Filter, normalise and cluster a section by expression."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        clusters=lambda w: [str(c) for c in [SAMPLES[w.sample].clusters] if c],
        seurat="results/{sample}/expression/seurat.csv" if SEURAT else [],
        sct="results/{sample}/expression/sct_counts.h5" if SEURAT else [],
    output:
        "results/{sample}/expression/expression.h5ad",
    log:
        "logs/{sample}/cluster_expression.log",
    benchmark:
        "benchmarks/{sample}/cluster_expression.tsv"
    params:
        expression=pick("expression", "engine", "min_spots", "n_top_genes", "n_pcs", "n_neighbors", "resolution"),
        filters=FILTERS,
        species=lambda w: SAMPLES[w.sample].species,
        seed=config["seed"],
        code=code_id("cluster_expression.py"),
    threads: few_threads
    resources:
        mem_mb=mem_mb(3000, 20),
        runtime=minutes(20, 0.4),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/cluster_expression.py"


rule export_counts:
    """Hand the counts of the spots that pass the quality control to R."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
    output:
        temp("results/{sample}/expression/counts.h5"),
    log:
        "logs/{sample}/export_counts.log",
    benchmark:
        "benchmarks/{sample}/export_counts.tsv"
    params:
        filters=FILTERS,
        species=lambda w: SAMPLES[w.sample].species,
        code=code_id("export_counts.py"),
    resources:
        mem_mb=mem_mb(2000, 10),
        runtime=minutes(15, 0.2),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/export_counts.py"


rule cluster_seurat:
    """Normalise and cluster with Seurat: SCTransform, PCA, Louvain, t-SNE."""
    input:
        counts="results/{sample}/expression/counts.h5",
    output:
        clusters="results/{sample}/expression/seurat.csv",
        sct="results/{sample}/expression/sct_counts.h5",
    log:
        "logs/{sample}/cluster_seurat.log",
    benchmark:
        "benchmarks/{sample}/cluster_seurat.tsv"
    params:
        expression=pick("expression", "n_top_genes", "n_pcs", "n_neighbors", "resolution"),
        code=code_id("cluster_seurat.R"),
    resources:
        mem_mb=mem_mb(3000, 40),
        runtime=minutes(60, 1),
    conda:
        "../envs/seurat.yaml"
    script:
        "../scripts/cluster_seurat.R"

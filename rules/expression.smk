rule cluster_expression:
    """Filter, normalise and cluster a section by expression."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        # Only has to be there: what the preflight found about the image does not matter here.
        preflight=ancient("results/{sample}/preflight/preflight.json"),
        clusters=lambda w: [str(c) for c in [SAMPLES[w.sample].clusters] if c],
    output:
        "results/{sample}/expression/expression.h5ad",
    log:
        "logs/{sample}/cluster_expression.log",
    benchmark:
        "benchmarks/{sample}/cluster_expression.tsv"
    params:
        expression=config["expression"],
        species=lambda w: SAMPLES[w.sample].species,
        seed=config["seed"],
        code=code_id("expression", "clustering"),
    threads: 2
    resources:
        mem_mb=mem_mb(3000, 20),
        runtime=120,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/cluster_expression.py"

COMPARED = "results/{sample}/{encoder}/comparison/"


def sct_counts(wildcards):
    """Ask for R, and for settings other than the published ones, only where the comparison is wanted."""
    try:
        targets.check_comparison(config, conda=CONDA)
    except SpadeworkError as error:
        raise WorkflowError(str(error)) from None
    return f"results/{wildcards.sample}/expression/sct_counts.h5"


rule compare:
    """Compare every section's results with those of the published method (not part of all)."""
    input:
        expand(COMPARED + "comparison.png", sample=SAMPLES, encoder=ENCODERS[:1]),


rule encode_faces:
    """Encode patches as published, with the right input range, and with the right patch as well."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        preflight=ancient("results/{sample}/preflight/preflight.json"),
        image=lambda w: INPUTS[w.sample]["image"],
        weights=lambda w: targets.weights_path(w.encoder, config),
    output:
        temp(COMPARED + "features.h5ad"),
    log:
        "logs/{sample}/{encoder}/encode_faces.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/encode_faces.tsv"
    params:
        faces=targets.comparison_faces(config, Path(workflow.basedir, "config/spade2021.yaml")),
        encoder=pick("encoder", "device", "precision"),
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("faces", "encoders.run"),
    threads: 8
    resources:
        mem_mb=mem_mb(4000, 12),
        runtime=480,
        gpu=1 if config["encoder"]["device"] == "gpu" else 0,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/encode_faces.py"


rule compare_faces:
    """Say which latents correspond, which genes enter and leave, and because of which correction."""
    input:
        features=COMPARED + "features.h5ad",
        expression="results/{sample}/expression/expression.h5ad",
        sct=sct_counts,
    output:
        steps=COMPARED + "steps.csv",
        latents=COMPARED + "latents.csv",
        genes=COMPARED + "genes.csv.gz",
        figure=COMPARED + "comparison.png",
    log:
        "logs/{sample}/{encoder}/compare_faces.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/compare_faces.tsv"
    params:
        patch=config["patch"],
        n_latents=config["latents"]["n_latents"],
        min_spots_fraction=config["association"]["min_spots_fraction"],
        figures=pick("figures", "dpi", "fdr"),
        code=code_id("comparison", "figures.comparison", "seurat"),
    resources:
        mem_mb=mem_mb(3000, 20),
        runtime=120,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/compare_faces.py"

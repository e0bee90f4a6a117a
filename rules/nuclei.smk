rule segment_nuclei:
    """Label all nuclei of a section's image, and measure them."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        preflight="results/{sample}/preflight/preflight.json",
        image=lambda w: INPUTS[w.sample]["image"],
        model=targets.nuclei_model_files(config),
    output:
        labels="results/{sample}/nuclei/labels.ome.tif",
        nuclei="results/{sample}/nuclei/nuclei.parquet",
        clumps="results/{sample}/nuclei/clumps.parquet",
    log:
        "logs/{sample}/segment_nuclei.log",
    benchmark:
        "benchmarks/{sample}/segment_nuclei.tsv"
    params:
        engine=pick("nuclei", "engine", "um_per_px", "device"),
        objects=config["unet"]["objects"],
        model=lambda w: targets.nuclei_model(config),
        size=pick("nuclei", "max_um_per_px", "min_area_um2"),
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("segment_nuclei.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(4000, 12),
        runtime=minutes(120, 1),
        gpu=1 if config["nuclei"]["device"] == "gpu" else 0,
    conda:
        "../envs/stardist.yaml" if config["nuclei"]["engine"] == "stardist" else "../envs/tensorflow.yaml"
    script:
        "../scripts/segment_nuclei.py"


rule count_nuclei:
    """Say what the nuclei under each spot are like, and show them."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
        labels="results/{sample}/nuclei/labels.ome.tif",
        nuclei="results/{sample}/nuclei/nuclei.parquet",
        clumps="results/{sample}/nuclei/clumps.parquet",
    output:
        spots="results/{sample}/nuclei/spots.csv",
        outlines=shown(
            "results/{sample}/nuclei/figures/outlines.png", "nuclei_outlines", "Nuclei", section="{sample}"
        ),
        maps=shown("results/{sample}/nuclei/figures/spots.png", "nuclei_spots", "Nuclei", section="{sample}"),
    log:
        "logs/{sample}/count_nuclei.log",
    benchmark:
        "benchmarks/{sample}/count_nuclei.tsv"
    params:
        channels=lambda w: SAMPLES[w.sample].channels,
        dpi=config["figures"]["dpi"],
        code=code_id("count_nuclei.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/count_nuclei.py"

rule read_section:
    """Read a section of any kind into one AnnData."""
    input:
        lambda w: INPUTS[w.sample]["files"] + INPUTS[w.sample]["image"],
    output:
        "results/{sample}/ingest/spots.h5ad",
    log:
        "logs/{sample}/read_section.log",
    benchmark:
        "benchmarks/{sample}/read_section.tsv"
    params:
        sample=lambda w: targets.reading(SAMPLES[w.sample]),
        bin_um=config["ingest"]["bin_um"],
        checksums=lambda w: datasets.known_checksums(
            INPUTS[w.sample]["files"] + INPUTS[w.sample]["image"], REGISTRY
        ),
        code=code_id("read_section.py"),
    resources:
        mem_mb=mem_mb(2000, 20),
        runtime=minutes(15, 0.2),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/read_section.py"


rule check_section:
    """Check image, scale, orientation and positions before anything expensive runs."""
    input:
        section="results/{sample}/ingest/spots.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
    output:
        report="results/{sample}/preflight/preflight.json",
        overlay=shown("results/{sample}/preflight/overlay.png", "overlay", "Preflight", section="{sample}"),
    log:
        text="logs/{sample}/check_section.log",
        overlay="logs/{sample}/check_section.png",
    benchmark:
        "benchmarks/{sample}/check_section.tsv"
    params:
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("check_section.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/check_section.py"

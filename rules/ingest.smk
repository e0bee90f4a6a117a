rule read_section:
    """Read a section of any kind into one AnnData; check image, scale, orientation and positions."""
    input:
        files=lambda w: INPUTS[w.sample]["files"],
        image=lambda w: INPUTS[w.sample]["image"],
    output:
        section="results/{sample}/ingest/spots.h5ad",
        report="results/{sample}/preflight/preflight.json",
        overlay=shown("results/{sample}/preflight/overlay.png", "overlay", "Preflight", section="{sample}"),
    log:
        "logs/{sample}/read_section.log",
    benchmark:
        "benchmarks/{sample}/read_section.tsv"
    params:
        sample=lambda w: targets.reading(SAMPLES[w.sample]),
        bin_um=config["ingest"]["bin_um"],
        # Kept of a section that fails, and no log: those are printed then.
        failed=lambda w: f"logs/{w.sample}/read_section.png",
        checksums=lambda w: datasets.known_checksums(
            INPUTS[w.sample]["files"] + INPUTS[w.sample]["image"], REGISTRY
        ),
        code=code_id("read_section.py"),
    resources:
        mem_mb=mem_mb(2000, 20),
        runtime=minutes(15, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/read_section.py"

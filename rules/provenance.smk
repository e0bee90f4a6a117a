rule write_manifest:
    """Say what this run was: for a paper's methods, and to compare with another run."""
    localrule: True
    input:
        sections=expand("results/{sample}/{sample}.h5ad", sample=SAMPLES),
        others=targets.other_inputs(SAMPLES, config) + STAINED_IMAGES,
        registrations=[f"results/blocks/{block}/registration.csv" for block in BLOCKS],
        verdicts=[f"results/blocks/{block}/verdict.txt" for block in BLOCKS if LEFT_OUT[block]],
        # Nothing is said of a run that is not at its end.
        results=targets.final_outputs(SAMPLES, config),
    output:
        manifest=shown("results/manifest.json", "manifest", "Run", file="manifest"),
        methods=shown("results/methods.md", "methods", "Run", file="methods"),
    log:
        "logs/write_manifest.log",
    benchmark:
        "benchmarks/write_manifest.tsv"
    params:
        config=targets.comparable_config(config),
        samples={name: targets.sheet_row(sample) for name, sample in SAMPLES.items()},
        patterns=targets.benchmark_patterns(SAMPLES, config, INPUTS),
        blocks=list(BLOCKS),
        tested=[block for block in BLOCKS if LEFT_OUT[block]],
        code=code_id("write_manifest.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/write_manifest.py"

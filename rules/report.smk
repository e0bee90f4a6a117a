from spadework.report import plan as pages

MAPS = ["latents", "clusters"]
PAGES = [*MAPS, "embeddings", "volcano", "variance", *EVIDENCE]
# Pages in the report, and where; the others are for a closer look.
REPORTED = {"latents": "Latents", "clusters": "Latents", "volcano": "Genes", "terms": "Genes"}
REPORTED |= {"calibration": "Evidence", "beyond_composition": "Evidence"}
LATENT_NUMBERS = range(1, config["latents"]["n_latents"] + 1)


rule draw_section:
    """Draw maps, charts, extreme patches, and what speaks for and against the genes found."""
    input:
        **{page: f"results/{{sample}}/{{encoder}}/{table}" for page, table in EVIDENCE.items()},
        section="results/{sample}/{sample}.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
        manifest="results/{sample}/patches/manifest.parquet",
        association="results/{sample}/{encoder}/association.parquet",
        latents="results/{sample}/{encoder}/latents.csv",
    output:
        **{
            page: [
                shown_section(f"{path}.png", page, REPORTED[page]) if page in REPORTED else f"{path}.png",
                *([] if page in MAPS else multiext(path, ".svg", ".pdf")),
            ]
            for page in PAGES
            for path in [f"results/{{sample}}/{{encoder}}/figures/{page}"]
        },
        latent=expand("results/{{sample}}/{{encoder}}/figures/latent_{k}.png", k=LATENT_NUMBERS),
        patches=expand("results/{{sample}}/{{encoder}}/figures/patches_{k}.png", k=LATENT_NUMBERS),
    log:
        "logs/{sample}/{encoder}/draw_section.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_section.tsv"
    params:
        figures=pick("figures", "dpi", "top_genes", "n_extreme"),
        evidence=list(EVIDENCE),
        by=pick("association", "headline", "fdr"),
        image=config["patch"]["image"],
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("draw_section.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_section.py"


rule draw_published:
    """Make the published script's own files, as it makes them."""
    input:
        section="results/{sample}/{sample}.h5ad",
    output:
        embedding="results/{sample}/{encoder}/published/SPADE_image_features.png",
        maps=expand("results/{{sample}}/{{encoder}}/published/SPADE_pc{k}.png", k=LATENT_NUMBERS),
        table="results/{sample}/{encoder}/published/ts_features_pc.csv",
    log:
        "logs/{sample}/{encoder}/draw_published.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/draw_published.tsv"
    params:
        code=code_id("draw_published.py"),
    resources:
        mem_mb=mem_mb(2000, 12),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/draw_published.py"


CALIBRATION = ["calibration.csv"] if config["calibration"]["n_fields"] else []
TERMS = ["terms.csv.gz"] if config["terms"]["gene_sets"] else []
SHOWN = {
    s: pages.section_results(s, SAMPLES, config, EVIDENCE, targets.prototype_unit(SAMPLES[s], config)) for s in SAMPLES
}
BLOCK_OF = {s: [block for block, names in BLOCKS.items() if s in names] for s in SAMPLES}
SHOWN_OF_GROUP = {group: pages.group_results(group, config) for group in GROUPS}
# Where the results with the latents of a group are: with latents.scope: group, those of a section are these.
SHARED = {
    group: [
        f"results/{s}/{encoder}" if UNITS[s] == f"cohort/{group}" else f"results/cohort/{group}/{encoder}/{s}"
        for encoder in ENCODERS
        for s in members
    ]
    for group, members in GROUPS.items()
}
# Other names, in its group, of the data of a section: what they show alike confirms nothing.
SAME_DATA = {
    s: [
        other
        for other in GROUPS.get(SAMPLES[s].group, [])
        if other != s and SAMPLES[other].path.resolve() == SAMPLES[s].path.resolve()
    ]
    for s in SAMPLES
}
SETTINGS = {
    "report": config["report"],
    "by": pick("association", "headline", "fdr"),
    "image": config["patch"]["image"],
    "config": targets.comparable_config(config),
    "encoders": ENCODERS,
}


rule write_report:
    """Write the page of a section: one file that opens in any browser, without network."""
    input:
        section="results/{sample}/{sample}.h5ad",
        image=lambda w: INPUTS[w.sample]["image"],
        manifest="results/{sample}/patches/manifest.parquet",
        preflight="results/{sample}/preflight/preflight.json",
        association=expand("results/{{sample}}/{encoder}/association.parquet", encoder=ENCODERS),
        summary=expand("results/{{sample}}/{encoder}/latents.csv", encoder=ENCODERS),
        calibration=expand("results/{{sample}}/{encoder}/{table}", encoder=ENCODERS, table=CALIBRATION),
        terms=expand("results/{{sample}}/{encoder}/{table}", encoder=ENCODERS, table=TERMS),
        replication=lambda w: [
            f"results/cohort/{group}/{encoder}/replication.csv"
            for group, members in GROUPS.items()
            if w.sample in members
            for encoder in ENCODERS
        ],
        shared=lambda w: [
            f"results/cohort/{group}/{encoder}/{w.sample}/latents.h5ad"
            for group, members in GROUPS.items()
            if w.sample in members and UNITS[w.sample] != f"cohort/{group}"
            for encoder in ENCODERS
        ],
        registration=lambda w: [f"results/blocks/{block}/registration.csv" for block in BLOCK_OF[w.sample]],
        verdict=lambda w: [f"results/blocks/{b}/verdict.txt" for b in BLOCK_OF[w.sample] if LEFT_OUT[b]],
        figures=lambda w: [shown.file for shown in SHOWN[w.sample]],
    output:
        "results/{sample}/report.html",
    log:
        "logs/{sample}/write_report.log",
    benchmark:
        "benchmarks/{sample}/write_report.tsv"
    params:
        **SETTINGS,
        figures=lambda w: [shown._asdict() for shown in SHOWN[w.sample]],
        samples=lambda w: {w.sample: targets.sheet_row(SAMPLES[w.sample])},
        blocks=lambda w: BLOCK_OF[w.sample],
        channels=lambda w: SAMPLES[w.sample].channels,
        same_data=lambda w: SAME_DATA[w.sample],
        warning=lambda w: targets.read_twice([w.sample, *SAME_DATA[w.sample]], SAMPLES),
        code=code_id("write_report.py"),
    resources:
        mem_mb=mem_mb(2500, 14),
        runtime=minutes(5, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/write_report.py"


rule write_cohort_report:
    """Write the page of a group: its sections side by side, and what holds in all of them."""
    input:
        sections=lambda w: [f"results/{s}/{s}.h5ad" for s in GROUPS[w.group]],
        images=lambda w: [image for s in GROUPS[w.group] for image in INPUTS[s]["image"]],
        association=lambda w: [f"{folder}/association.parquet" for folder in SHARED[w.group]],
        latents=lambda w: [f"{folder}/latents.h5ad" for folder in SHARED[w.group]],
        calibration=lambda w: [
            f"results/{s}/{encoder}/{table}" for encoder in ENCODERS for s in GROUPS[w.group] for table in CALIBRATION
        ],
        pooled=expand("results/cohort/{{group}}/{encoder}/pooled.csv.gz", encoder=ENCODERS),
        replication=expand("results/cohort/{{group}}/{encoder}/replication.csv", encoder=ENCODERS),
        figures=lambda w: [shown.file for shown in SHOWN_OF_GROUP[w.group]],
    output:
        "results/cohort/{group}/report.html",
    log:
        "logs/cohort/{group}/write_cohort_report.log",
    benchmark:
        "benchmarks/cohort/{group}/write_cohort_report.tsv"
    params:
        **SETTINGS,
        members=lambda w: GROUPS[w.group],
        figures=lambda w: [shown._asdict() for shown in SHOWN_OF_GROUP[w.group]],
        samples=lambda w: {s: targets.sheet_row(SAMPLES[s]) for s in GROUPS[w.group]},
        has_image=lambda w: [bool(INPUTS[s]["image"]) for s in GROUPS[w.group]],
        channels=lambda w: [SAMPLES[s].channels for s in GROUPS[w.group]],
        warning=lambda w: targets.read_twice(GROUPS[w.group], SAMPLES),
        code=code_id("write_cohort_report.py"),
    resources:
        mem_mb=mem_mb(2500, 14),
        runtime=minutes(5, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/write_cohort_report.py"

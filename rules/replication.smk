rule project_latents:
    """Project a section on the latents of its group."""
    input:
        features="results/{sample}/{encoder}/features.h5ad",
        model="results/cohort/{group}/{encoder}/latent_model.npz",
    output:
        "results/cohort/{group}/{encoder}/{sample}/latents.h5ad",
    log:
        "logs/cohort/{group}/{encoder}/{sample}/project_latents.log",
    benchmark:
        "benchmarks/cohort/{group}/{encoder}/{sample}/project_latents.tsv"
    params:
        n_latents=config["latents"]["n_latents"],
        code=code_id("project_latents.py"),
    resources:
        mem_mb=mem_mb(1000, 5),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/project_latents.py"


use rule associate_genes as associate_shared_latents with:
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/cohort/{group}/{encoder}/{sample}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        nuclei=NUCLEI_COVARIATES,
        limma=[],
    output:
        parquet="results/cohort/{group}/{encoder}/{sample}/association.parquet",
        csv="results/cohort/{group}/{encoder}/{sample}/association.csv.gz",
    log:
        "logs/cohort/{group}/{encoder}/{sample}/associate_shared_latents.log",
    benchmark:
        "benchmarks/cohort/{group}/{encoder}/{sample}/associate_shared_latents.tsv"


rule replicate_sections:
    """Ask whether what one section of a group shows holds in the others, and pool them."""
    input:
        # With latents.scope: group, the sections' own latents are the shared ones.
        tables=lambda w: [
            f"results/{s}/{w.encoder}/association.parquet"
            if UNITS[s] == f"cohort/{w.group}"
            else f"results/cohort/{w.group}/{w.encoder}/{s}/association.parquet"
            for s in GROUPS[w.group]
        ],
        features=lambda w: f"results/{GROUPS[w.group][0]}/{w.encoder}/features.h5ad",
    output:
        pairs="results/cohort/{group}/{encoder}/replication.csv",
        pooled="results/cohort/{group}/{encoder}/pooled.csv.gz",
        figure=[
            shown(
                "results/cohort/{group}/{encoder}/replication.png",
                "replication",
                "Replication",
                group="{group}",
                encoder="{encoder}",
            ),
            *multiext("results/cohort/{group}/{encoder}/replication", ".svg", ".pdf"),
        ],
    log:
        "logs/cohort/{group}/{encoder}/replicate_sections.log",
    benchmark:
        "benchmarks/cohort/{group}/{encoder}/replicate_sections.tsv"
    params:
        sections=lambda w: GROUPS[w.group],
        warning=lambda w: targets.read_twice(GROUPS[w.group], SAMPLES),
        held_out=lambda w: [s for s in GROUPS[w.group] if SAMPLES[s].held_out],
        by=pick("association", "headline", "fdr"),
        dpi=config["figures"]["dpi"],
        code=code_id("replicate_sections.py"),
    resources:
        mem_mb=mem_mb(1000, 8),
        runtime=minutes(15, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/replicate_sections.py"

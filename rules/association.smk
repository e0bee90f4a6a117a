rule associate_genes:
    """Test every gene against every image latent."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
    output:
        parquet="results/{sample}/{encoder}/association.parquet",
        csv="results/{sample}/{encoder}/association.csv.gz",
    log:
        "logs/{sample}/{encoder}/associate_genes.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/associate_genes.tsv"
    params:
        association=config["association"],
        code=code_id("association"),
    resources:
        mem_mb=mem_mb(1500, 8),
        runtime=60,
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/associate_genes.py"


rule summarise_latents:
    """Say what each latent goes along with: depth, tissue content, space."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        latents="results/{sample}/{encoder}/latents.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        association="results/{sample}/{encoder}/association.parquet",
    output:
        "results/{sample}/{encoder}/latents.csv",
    log:
        "logs/{sample}/{encoder}/summarise_latents.log",
    benchmark:
        "benchmarks/{sample}/{encoder}/summarise_latents.tsv"
    params:
        fdr=config["figures"]["fdr"],
        code=code_id("latent_summary", "keys"),
    resources:
        mem_mb=mem_mb(2000, 2),
        runtime=30,
    conda:
        "../envs/squidpy.yaml"
    script:
        "../scripts/summarise_latents.py"


rule collect_section:
    """Merge everything into the section's final AnnData."""
    input:
        expression="results/{sample}/expression/expression.h5ad",
        manifest="results/{sample}/patches/manifest.parquet",
        preflight="results/{sample}/preflight/preflight.json",
        features=expand("results/{{sample}}/{encoder}/features.h5ad", encoder=ENCODERS),
        latents=expand("results/{{sample}}/{encoder}/latents.h5ad", encoder=ENCODERS),
        association=expand("results/{{sample}}/{encoder}/association.parquet", encoder=ENCODERS),
    output:
        "results/{sample}/{sample}.h5ad",
    log:
        "logs/{sample}/collect_section.log",
    benchmark:
        "benchmarks/{sample}/collect_section.tsv"
    params:
        encoders=ENCODERS,
        annotations=lambda w: targets.sheet_columns(SAMPLES[w.sample]),
        parameters=targets.result_parameters(config),
        code=code_id("collect"),
    resources:
        mem_mb=mem_mb(2000, 15),
        runtime=60,
    conda:
        "../envs/squidpy.yaml"
    script:
        "../scripts/collect_section.py"

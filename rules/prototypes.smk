MODELS = targets.prototype_units(SAMPLES, config)
MODEL_OF = {sample: model for model, members in MODELS.items() for sample in members}
PATCHES = lambda w: [f"results/{s}/prototypes/patches.h5" for s in MODELS[w.model]]
LEARNT = {
    "origin": {"classes_of": config["prototypes"]["classes"], "um": config["prototypes"]["um"]},
    "network": {"patch_px": config["prototypes"]["px"]} | pick("prototypes", "backbone", "pool", "dimension", "top_cells"),
    "checksum": targets.backbone_checksum(config),
    "seed": config["seed"],
    **pick("prototypes", "per_class", "training", "device"),
}
PROTOTYPES_GPU = 1 if config["prototypes"]["device"] == "gpu" else 0


wildcard_constraints:
    model="|".join(map(re.escape, MODELS)) or "(?!)",


rule prototypes:
    """Train prototypes of the classes of the configuration, test and explain them (part of all where there are classes)."""
    input:
        lambda w: stopping(targets.prototype_outputs, SAMPLES, config),


use rule cut_patches as cut_prototype_patches with:
    output:
        # Kept: made anew for another figure, they would train all networks anew.
        patches="results/{sample}/prototypes/patches.h5",
        manifest="results/{sample}/prototypes/manifest.parquet",
    log:
        "logs/{sample}/prototypes/cut_prototype_patches.log",
    benchmark:
        "benchmarks/{sample}/prototypes/cut_prototype_patches.tsv"
    params:
        patch={
            "um": config["prototypes"]["um"],
            "px": None,
            "output_px": config["prototypes"]["px"],
            "image": config["patch"]["image"],
        },
        channels=lambda w: SAMPLES[w.sample].channels,
        code=code_id("cut_patches.py"),


rule split_spots:
    """Say which class each spot is of, which spots prototypes are learnt from, and which they are tested on."""
    input:
        sections=lambda w: [f"results/{s}/expression/expression.h5ad" for s in MODELS[w.model]],
        # Nearest neighbours look at the encoders' patches.
        manifests=lambda w: [f"results/{s}/patches/manifest.parquet" for s in MODELS[w.model]],
    output:
        "results/{model}/prototypes/spots.csv",
    log:
        "logs/{model}/prototypes/split_spots.log",
    benchmark:
        "benchmarks/{model}/prototypes/split_spots.tsv"
    params:
        samples=lambda w: MODELS[w.model],
        held_out=lambda w: targets.tested_on(w.model, SAMPLES, config),
        split=pick("prototypes", "classes", "min_spots", "um", "test_share"),
        seed=config["seed"],
        code=code_id("split_spots.py"),
    resources:
        mem_mb=mem_mb(1500, 8),
        runtime=minutes(10, 0.1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/split_spots.py"


rule train_prototypes:
    """Train a network whose classes look like prototypes: parts of patches that there are."""
    input:
        spots="results/{model}/prototypes/spots.csv",
        patches=PATCHES,
        weights=targets.backbone_weights(config),
    output:
        model="results/{model}/prototypes/model.h5",
        history="results/{model}/prototypes/history.csv",
        img=directory("results/{model}/prototypes/img"),
    log:
        "logs/{model}/prototypes/train_prototypes.log",
    benchmark:
        "benchmarks/{model}/prototypes/train_prototypes.tsv"
    params:
        **LEARNT,
        samples=lambda w: MODELS[w.model],
        shuffled=False,
        # What an interrupted training goes on from: no output, which Snakemake would delete.
        state=lambda w: f"results/{w.model}/prototypes/interrupted.h5",
        code=code_id("train_prototypes.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(4000, 20),
        runtime=minutes(120, 2),
        gpu=PROTOTYPES_GPU,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/train_prototypes.py"


use rule train_prototypes as train_control with:
    output:
        model="results/{model}/prototypes/control.h5",
    log:
        "logs/{model}/prototypes/train_control.log",
    benchmark:
        "benchmarks/{model}/prototypes/train_control.tsv"
    params:
        **LEARNT,
        samples=lambda w: MODELS[w.model],
        # What the image says of classes that have nothing to do with it.
        shuffled=True,
        state=lambda w: f"results/{w.model}/prototypes/interrupted_control.h5",
        code=code_id("train_prototypes.py"),


rule score_prototypes:
    """Say how well the classes are told by prototypes, beside what needs none, and show the prototypes."""
    input:
        spots="results/{model}/prototypes/spots.csv",
        patches=PATCHES,
        model="results/{model}/prototypes/model.h5",
        control="results/{model}/prototypes/control.h5",
        history="results/{model}/prototypes/history.csv",
        features=lambda w: expand("results/{s}/{e}/features.h5ad", e=ENCODERS, s=MODELS[w.model]),
    output:
        scores="results/{model}/prototypes/scores.parquet",
        accuracy=shown("results/{model}/prototypes/accuracy.csv", "prototypes_table", "Prototypes", model="{model}"),
        verdict=shown("results/{model}/prototypes/verdict.txt", "prototypes_verdict", "Prototypes", model="{model}"),
        table="results/{model}/prototypes/prototypes.csv",
        history=[
            shown(
                "results/{model}/prototypes/figures/history.png", "prototypes_history", "Prototypes", model="{model}"
            ),
            *multiext("results/{model}/prototypes/figures/history", ".svg", ".pdf"),
        ],
        pages=shown(
            directory("results/{model}/prototypes/figures/prototypes"),
            "prototypes_pages",
            "Prototypes",
            patterns=["{page}.png"],
            model="{model}",
            result="prototypes, {page}",
        ),
        figure=[
            shown(
                "results/{model}/prototypes/figures/accuracy.png", "prototypes_accuracy", "Prototypes", model="{model}"
            ),
            *multiext("results/{model}/prototypes/figures/accuracy", ".svg", ".pdf"),
        ],
    log:
        "logs/{model}/prototypes/score_prototypes.log",
    benchmark:
        "benchmarks/{model}/prototypes/score_prototypes.tsv"
    params:
        name=lambda w: w.model.removeprefix("cohort/"),
        samples=lambda w: MODELS[w.model],
        encoders=ENCODERS,
        same_data=lambda w: targets.read_twice(MODELS[w.model], SAMPLES),
        neighbours=config["prototypes"]["neighbours"],
        device=config["prototypes"]["device"],
        seed=config["seed"],
        dpi=config["figures"]["dpi"],
        code=code_id("score_prototypes.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(4000, 20),
        runtime=minutes(60, 1),
        gpu=PROTOTYPES_GPU,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/score_prototypes.py"


rule explain_patches:
    """Explain what the prototypes say of some spots of a section, and map them over it."""
    input:
        model=lambda w: f"results/{MODEL_OF[w.sample]}/prototypes/model.h5",
        scores=lambda w: f"results/{MODEL_OF[w.sample]}/prototypes/scores.parquet",
        spots=lambda w: f"results/{MODEL_OF[w.sample]}/prototypes/spots.csv",
        # A barcode to be explained may be of any section.
        others=[f"results/{model}/prototypes/spots.csv" for model in MODELS] if config["prototypes"]["shown"] else [],
        patches="results/{sample}/prototypes/patches.h5",
        section="results/{sample}/expression/expression.h5ad",
    output:
        spots=directory("results/{sample}/prototypes/spots"),
        table="results/{sample}/prototypes/explanations.csv",
        figure=shown(
            "results/{sample}/prototypes/figures/explanations.png",
            "prototypes_explanations",
            "Prototypes",
            section="{sample}",
        ),
        map=shown("results/{sample}/prototypes/figures/map.png", "prototypes_map", "Prototypes", section="{sample}"),
    log:
        "logs/{sample}/prototypes/explain_patches.log",
    benchmark:
        "benchmarks/{sample}/prototypes/explain_patches.tsv"
    params:
        explained=pick("prototypes", "shown", "per_kind", "top_k"),
        dpi=config["figures"]["dpi"],
        code=code_id("explain_patches.py"),
    threads: 2
    resources:
        mem_mb=mem_mb(3000, 20),
        runtime=minutes(30, 0.5),
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/explain_patches.py"

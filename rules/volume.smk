BLOCKS = plan.blocks(SHEET, config)
SPOTS_OF = {block: plan.sequenced(names, SHEET) for block, names in BLOCKS.items()}
STAINED_OF = {block: [name for name in names if not SHEET[name].sequenced] for block, names in BLOCKS.items()}
LEFT_OUT = {block: plan.left_out(names, SHEET, config) for block, names in BLOCKS.items()}
STAINED_IMAGES = [str(SHEET[name].path) for names in STAINED_OF.values() for name in names]
PAIR_FILES = stopping(plan.pair_files, config)
VOLUME_GPU = 1 if config["volume"]["device"] == "gpu" else 0
of_fold = lambda name: lambda w: [f"results/blocks/{w.block}/{fold}/{name}" for fold in LEFT_OUT[w.block]]


wildcard_constraints:
    block="|".join(map(re.escape, BLOCKS)) or "(?!)",
    volume="|".join([plan.PAIRS, *(f"blocks/{re.escape(block)}" for block in BLOCKS)]),
    fold="|".join([plan.ALL, *(re.escape(name) for names in LEFT_OUT.values() for name in names)]),


rule volume:
    """Put serial sections together and predict what was not measured (part of all where there is a target)."""
    input:
        lambda w: stopping(plan.volume_outputs, SHEET, config),


rule vox2vox:
    """Train a network on pairs of volumes, and score it."""
    input:
        lambda w: stopping(plan.pair_outputs, config),


rule register_sections:
    """Lay the sections of a block on top of each other."""
    input:
        sections=lambda w: [f"results/{s}/ingest/spots.h5ad" for s in SPOTS_OF[w.block]],
        preflights=lambda w: [f"results/{s}/preflight/preflight.json" for s in SPOTS_OF[w.block]],
        images=lambda w: [image for s in SPOTS_OF[w.block] for image in INPUTS[s]["image"]],
        stained=lambda w: [str(SHEET[s].path) for s in STAINED_OF[w.block]],
    output:
        stack="results/blocks/{block}/stack.h5",
        spots="results/blocks/{block}/spots.csv",
        table=shown("results/blocks/{block}/registration.csv", "volume_registration", "Volume", block="{block}"),
        figure=shown(
            "results/blocks/{block}/figures/registration.png", "volume_registration", "Volume", block="{block}"
        ),
    log:
        "logs/blocks/{block}/register_sections.log",
    benchmark:
        "benchmarks/blocks/{block}/register_sections.tsv"
    params:
        samples=lambda w: plan.to_register(BLOCKS[w.block], SHEET, {s: bool(i["image"]) for s, i in INPUTS.items()}),
        registration=config["volume"]["registration"],
        voxel_um=config["volume"]["voxel_um"],
        stain_normalisation=config["volume"]["stain_normalisation"],
        code=code_id("register_sections.py"),
    threads: 2
    resources:
        mem_mb=mem_mb(4000, 20),
        runtime=minutes(60, 1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/register_sections.py"


rule share_domains:
    """Find domains, or latents of expression, that mean the same in all sections of a block."""
    input:
        sections=lambda w: [f"results/{s}/expression/expression.h5ad" for s in SPOTS_OF[w.block]],
    output:
        "results/blocks/{block}/domains.csv",
    log:
        "logs/blocks/{block}/share_domains.log",
    benchmark:
        "benchmarks/blocks/{block}/share_domains.tsv"
    params:
        samples=lambda w: SPOTS_OF[w.block],
        given=lambda w: all(SHEET[s].clusters for s in SPOTS_OF[w.block]),
        n_latents=config["volume"]["n_latents"],
        expression=pick("expression", "n_top_genes", "n_pcs", "n_neighbors", "resolution"),
        seed=config["seed"],
        code=code_id("share_domains.py"),
    resources:
        mem_mb=mem_mb(2000, 40),
        runtime=minutes(15, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/share_domains.py"


rule rasterise_targets:
    """Write into voxels what was measured at spots: what a network is to learn."""
    input:
        stack="results/blocks/{block}/stack.h5",
        spots="results/blocks/{block}/spots.csv",
        domains="results/blocks/{block}/domains.csv",
    output:
        "results/blocks/{block}/volumes.h5",
    log:
        "logs/blocks/{block}/rasterise_targets.log",
    benchmark:
        "benchmarks/blocks/{block}/rasterise_targets.tsv"
    params:
        target=config["volume"]["target"],
        code=code_id("rasterise_targets.py"),
    resources:
        mem_mb=mem_mb(2000, 40),
        runtime=minutes(15, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/rasterise_targets.py"


rule read_volume_pairs:
    """Read pairs of volumes, such as MRI scans and what was seen in them."""
    input:
        table=PAIR_FILES[:1],
        files=PAIR_FILES[1:],
    output:
        f"results/{plan.PAIRS}/volumes.h5",
    log:
        f"logs/{plan.PAIRS}/read_volume_pairs.log",
    benchmark:
        f"benchmarks/{plan.PAIRS}/read_volume_pairs.tsv"
    params:
        table=config["volume"]["pairs"],
        code=code_id("read_volume_pairs.py"),
    resources:
        mem_mb=mem_mb(2000, 60),
        runtime=minutes(15, 0.3),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/read_volume_pairs.py"


rule train_vox2vox:
    """Train a network that translates volumes; on a stack, without the spots of the section it is named after."""
    input:
        "results/{volume}/volumes.h5",
    output:
        model="results/{volume}/{fold}/model.h5",
        last="results/{volume}/{fold}/last.h5",
        history="results/{volume}/{fold}/history.csv",
        steps="results/{volume}/{fold}/steps.csv",
        samples=shown("results/{volume}/{fold}/samples.png", "volume_samples", "Volume", of="{volume}", network="{fold}"),
    log:
        "logs/{volume}/{fold}/train_vox2vox.log",
    benchmark:
        "benchmarks/{volume}/{fold}/train_vox2vox.tsv"
    params:
        **pick("volume", "network", "training", "augmentation", "device"),
        left_out=lambda w: [w.fold] if w.fold != plan.ALL else [],
        seed=config["seed"],
        # What an interrupted training goes on from: no output, which Snakemake would delete.
        state=lambda w: f"results/{w.volume}/{w.fold}/interrupted.h5",
        code=code_id("train_vox2vox.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(6000, 40),
        runtime=minutes(480, 4),
        gpu=VOLUME_GPU,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/train_vox2vox.py"


rule predict_vox2vox:
    """Translate whole volumes."""
    input:
        volumes="results/{volume}/volumes.h5",
        model="results/{volume}/{fold}/model.h5",
    output:
        "results/{volume}/{fold}/prediction.h5",
    log:
        "logs/{volume}/{fold}/predict_vox2vox.log",
    benchmark:
        "benchmarks/{volume}/{fold}/predict_vox2vox.tsv"
    params:
        device=config["volume"]["device"],
        code=code_id("predict_vox2vox.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(6000, 60),
        runtime=minutes(30, 1),
        gpu=VOLUME_GPU,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/predict_vox2vox.py"


rule score_volume:
    """Say how well sections are predicted whose spots were not seen, beside what needs no network."""
    input:
        volumes="results/blocks/{block}/volumes.h5",
        stack="results/blocks/{block}/stack.h5",
        spots="results/blocks/{block}/spots.csv",
        domains="results/blocks/{block}/domains.csv",
        predictions=of_fold("prediction.h5"),
        histories=of_fold("history.csv"),
    output:
        scores=shown("results/blocks/{block}/scores.csv", "volume_scores", "Volume", block="{block}"),
        verdict=shown("results/blocks/{block}/verdict.txt", "volume_verdict", "Volume", block="{block}"),
        spots="results/blocks/{block}/predicted_spots.csv",
        figure=[
            shown("results/blocks/{block}/figures/scores.png", "volume_scores", "Volume", block="{block}"),
            *multiext("results/blocks/{block}/figures/scores", ".svg", ".pdf"),
        ],
        sections=shown("results/blocks/{block}/figures/sections.png", "volume_sections", "Volume", block="{block}"),
        history=[
            shown("results/blocks/{block}/figures/history.png", "volume_history", "Volume", block="{block}"),
            *multiext("results/blocks/{block}/figures/history", ".svg", ".pdf"),
        ],
    log:
        "logs/blocks/{block}/score_volume.log",
    benchmark:
        "benchmarks/blocks/{block}/score_volume.tsv"
    params:
        name=lambda w: w.block,
        folds=lambda w: LEFT_OUT[w.block],
        **pick("volume", "target", "neighbours"),
        given=config["volume"]["network"]["given"],
        same_data=lambda w: targets.read_twice(SPOTS_OF[w.block], SAMPLES),
        seed=config["seed"],
        dpi=config["figures"]["dpi"],
        code=code_id("score_volume.py"),
    threads: 2
    resources:
        mem_mb=mem_mb(3000, 60),
        runtime=minutes(30, 1),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/score_volume.py"


rule export_volume:
    """Write the volume for viewers, and show it."""
    input:
        stack="results/blocks/{block}/stack.h5",
        volumes="results/blocks/{block}/volumes.h5",
        prediction=f"results/blocks/{{block}}/{plan.ALL}/prediction.h5",
    output:
        zarr=directory("results/blocks/{block}/volume.ome.zarr"),
        nifti=directory("results/blocks/{block}/nifti"),
        cuts=shown("results/blocks/{block}/figures/cuts.png", "volume_cuts", "Volume", block="{block}"),
        view=shown("results/blocks/{block}/figures/view.png", "volume_view", "Volume", block="{block}"),
    log:
        "logs/blocks/{block}/export_volume.log",
    benchmark:
        "benchmarks/blocks/{block}/export_volume.tsv"
    params:
        name=lambda w: w.block,
        dpi=config["figures"]["dpi"],
        code=code_id("export_volume.py"),
    resources:
        mem_mb=mem_mb(3000, 60),
        runtime=minutes(30, 0.5),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/export_volume.py"


rule score_pairs:
    """Score the predictions of volumes that the network has not seen, and write them where the volumes came from."""
    input:
        volumes=f"results/{plan.PAIRS}/volumes.h5",
        prediction=f"results/{plan.PAIRS}/{plan.ALL}/prediction.h5",
        history=f"results/{plan.PAIRS}/{plan.ALL}/history.csv",
    output:
        scores=shown(f"results/{plan.PAIRS}/scores.csv", "vox2vox_scores", "Vox2Vox", result="scores"),
        predictions=directory(f"results/{plan.PAIRS}/predictions"),
        figure=[
            shown(f"results/{plan.PAIRS}/figures/scores.png", "vox2vox_scores", "Vox2Vox", result="scores, drawn"),
            *multiext(f"results/{plan.PAIRS}/figures/scores", ".svg", ".pdf"),
        ],
        history=[
            shown(f"results/{plan.PAIRS}/figures/history.png", "volume_history", "Vox2Vox", result="training"),
            *multiext(f"results/{plan.PAIRS}/figures/history", ".svg", ".pdf"),
        ],
    log:
        f"logs/{plan.PAIRS}/score_pairs.log",
    benchmark:
        f"benchmarks/{plan.PAIRS}/score_pairs.tsv"
    params:
        dpi=config["figures"]["dpi"],
        code=code_id("score_pairs.py"),
    resources:
        mem_mb=mem_mb(3000, 60),
        runtime=minutes(30, 0.5),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/score_pairs.py"

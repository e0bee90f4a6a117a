TRAINED_ON = pick("unet", "images", "labels", "names", "held_out", "validation", "split_by")
# They are no inputs.
TRAINING_MB = partial(stopping, targets.training_mb, config)


rule unet:
    """Train the U-Net of the configuration and score it (part of all where nuclei need one)."""
    input:
        targets.UNET_SCORES,


rule list_training_images:
    """Check the images that a U-Net is to be trained on, and list them.

    Before a model is trained, and before the one there is makes way for it.
    """
    output:
        "results/unet/images.csv",
    log:
        "logs/unet/list_training_images.log",
    benchmark:
        "benchmarks/unet/list_training_images.tsv"
    params:
        data=TRAINED_ON,
        digest=lambda w: stopping(targets.training_digest, config),
        code=code_id("list_training_images.py"),
    resources:
        mem_mb=mem_mb(1000, 40, besides=TRAINING_MB),
        runtime=minutes(10, 0.5, besides=TRAINING_MB),
    conda:
        "../envs/scanpy.yaml"
    script:
        "../scripts/list_training_images.py"


rule train_unet:
    """Train a U-Net on labelled images."""
    input:
        "results/unet/images.csv",
    output:
        model="results/unet/model.h5",
        last="results/unet/last.h5",
        history="results/unet/history.csv",
    log:
        "logs/unet/train_unet.log",
    benchmark:
        "benchmarks/unet/train_unet.tsv"
    params:
        data=TRAINED_ON,
        # The list of images may read the same when an image has changed.
        digest=lambda w: stopping(targets.training_digest, config),
        unet=pick("unet", "um_per_px", "source", "network", "touching", "training", "augmentation", "device"),
        seed=config["seed"],
        # What an interrupted training goes on from: no output, which Snakemake would delete.
        state="results/unet/interrupted.h5",
        code=code_id("train_unet.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(3000, 40, besides=TRAINING_MB),
        runtime=minutes(240, 1, besides=TRAINING_MB),
        gpu=1 if config["unet"]["device"] == "gpu" else 0,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/train_unet.py"


rule score_unet:
    """Score the U-Net on images it has not seen, beside what needs no network."""
    input:
        model="results/unet/model.h5",
        history="results/unet/history.csv",
    output:
        scores=shown("results/unet/scores.csv", "unet_scores", "U-Net", result="scores"),
        history=[
            shown("results/unet/figures/history.png", "unet_history", "U-Net", result="training"),
            *multiext("results/unet/figures/history", ".svg", ".pdf"),
        ],
        examples=shown("results/unet/figures/examples.png", "unet_examples", "U-Net", result="examples"),
    log:
        "logs/unet/score_unet.log",
    benchmark:
        "benchmarks/unet/score_unet.tsv"
    params:
        data=TRAINED_ON,
        objects=config["unet"]["objects"],
        device=config["unet"]["device"],
        dpi=config["figures"]["dpi"],
        code=code_id("score_unet.py"),
    threads: 8
    resources:
        mem_mb=mem_mb(3000, 40, besides=TRAINING_MB),
        runtime=minutes(30, 0.5, besides=TRAINING_MB),
        gpu=1 if config["unet"]["device"] == "gpu" else 0,
    conda:
        "../envs/tensorflow.yaml"
    script:
        "../scripts/score_unet.py"

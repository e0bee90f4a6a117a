"""Train prototypes of classes, or a control that learns shuffled classes."""

import os

from spadework.job import logged, whole_file

# Read by TensorFlow when it starts; without it, it takes every core of a shared machine.
os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.device import check_gpu_offer, select_device
    from spadework.encoders.weights import check_weights
    from spadework.prototypes.architecture import Architecture, per_class
    from spadework.prototypes.data import read_spots
    from spadework.prototypes.learning import backbone_weights, training_set
    from spadework.prototypes.push_files import write_push
    from spadework.prototypes.recipe import Recipe
    from spadework.prototypes.training import train
    from spadework.tables import write_csv

    i, out, p = snakemake.input, snakemake.output, snakemake.params
    check_gpu_offer(p.device, snakemake.resources.get("gpu", 0), "prototypes.device")
    for path in i.weights:
        check_weights(path, p.checksum)
    patches = dict(zip(p.samples, i.patches, strict=True))
    data, classes = training_set(read_spots(i.spots), patches, p.seed if p.shuffled else None)
    architecture = Architecture(classes, per_class(p.per_class, data.sizes(len(classes))), **p.network)
    weights, described = backbone_weights(architecture, i.weights)
    trained = train(
        data,
        architecture,
        Recipe(**p.training),
        state=Path(p.state),
        seed=p.seed,
        origin=p.origin | {"sections": p.samples, "shuffled": p.shuffled, "n_train": len(data.labels)} | described,
        device=select_device(p.device, "prototypes.device"),
        code=p.code,
        backbone_weights=weights,
    )
    if not p.shuffled:
        write_csv(trained.history, out.history)
        for push in trained.pushes:
            write_push(Path(out.img), push, architecture.field)
    with whole_file(out.model) as path:
        trained.model.save(path)
    Path(p.state).unlink(missing_ok=True)

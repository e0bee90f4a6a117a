"""Train a U-Net on labelled images."""

import os

from spadework.job import logged, whole_file

# Read by TensorFlow when it starts; without it, it takes every core of a shared machine.
os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.device import check_gpu_offer, select_device
    from spadework.tables import write_csv
    from spadework.unet.augmentation import Augmentation
    from spadework.unet.data import read_sets
    from spadework.unet.network import Architecture
    from spadework.unet.training import Recipe, train

    p, out = snakemake.params, snakemake.output
    check_gpu_offer(p.unet["device"], snakemake.resources.get("gpu", 0), "unet.device")
    sets = read_sets(**p.data)
    recipe = Recipe(**p.unet["touching"], **p.unet["training"], augmentation=Augmentation(**p.unet["augmentation"]))
    trained = train(
        sets.train,
        sets.validation,
        Architecture(sets.channels, **p.unet["network"]),
        recipe,
        state=Path(p.state),
        seed=p.seed,
        um_per_px=p.unet["um_per_px"],
        origin=sets.describe() | {"source": p.unet["source"]},
        device=select_device(p.unet["device"], "unet.device"),
        code=p.code,
    )
    write_csv(trained.history, out.history)
    for model, path in ((trained.last, out.last), (trained.best, out.model)):
        with whole_file(path) as partial:
            model.save(partial)
    Path(p.state).unlink(missing_ok=True)

"""Train a network that translates volumes, on all that was measured but for what is left out."""

import os

from spadework.job import logged, whole_file

# Read by TensorFlow when it starts; without it, it takes every core of a shared machine.
os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from functools import partial
    from pathlib import Path

    from spadework.device import check_gpu_offer, select_device
    from spadework.figures.style import resolution
    from spadework.figures.volume_samples import draw_samples
    from spadework.tables import write_csv
    from spadework.volume.augmentation import Augmentation
    from spadework.volume.learning import architecture_for, recipe_for
    from spadework.volume.pairs import read_volumes, without
    from spadework.volume.training import train

    p, out = snakemake.params, snakemake.output
    check_gpu_offer(p.device, snakemake.resources.get("gpu", 0), "volume.device")
    volumes = without(read_volumes(snakemake.input[0]), p.left_out)
    with resolution(300):  # not figures.dpi, which must not train anew
        trained = train(
            volumes,
            architecture_for(volumes, **p.network),
            recipe_for(volumes, Augmentation(**p.augmentation), **p.training),
            state=Path(p.state),
            seed=p.seed,
            origin={"volumes": [pair.name for pair in volumes.of("train")], "left_out": p.left_out},
            device=select_device(p.device, "volume.device"),
            code=p.code,
            show=partial(draw_samples, volumes, Path(out.samples)),
        )
    write_csv(trained.history, out.history)
    write_csv(trained.steps, out.steps)
    for model, path in ((trained.last, out.last), (trained.best, out.model)):
        with whole_file(path) as partial_file:
            model.save(partial_file)
    Path(p.state).unlink(missing_ok=True)

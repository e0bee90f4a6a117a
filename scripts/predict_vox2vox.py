"""Translate whole volumes."""

import os

from spadework.job import logged, whole_file

os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from spadework.device import check_gpu_offer, select_device
    from spadework.volume.model import Vox2Vox
    from spadework.volume.pairs import read_volumes, without, write_predictions

    p = snakemake.params
    check_gpu_offer(p.device, snakemake.resources.get("gpu", 0), "volume.device")
    model = Vox2Vox.load(snakemake.input.model, select_device(p.device, "volume.device"))
    # Of a section left out the network was not to see the spots, and is not to be given them now.
    volumes = without(read_volumes(snakemake.input.volumes), model.origin["left_out"])
    n = len(volumes.classes)
    with whole_file(snakemake.output[0]) as path:
        write_predictions({pair.name: model.translate(pair, n) for pair in volumes.pairs}, path)

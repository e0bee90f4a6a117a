"""Score a U-Net on images it has not seen, beside what needs no network."""

import os

from spadework.job import logged

os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from spadework.device import check_gpu_offer, select_device
    from spadework.figures.style import finish, resolution
    from spadework.figures.unet import examples_figure, history_figure
    from spadework.tables import read_csv, write_csv
    from spadework.unet.data import read_sets
    from spadework.unet.evaluation import evaluate
    from spadework.unet.model import UNet
    from spadework.unet.objects import Objects

    i, p, out = snakemake.input, snakemake.params, snakemake.output
    sets, objects = read_sets(**p.data), Objects(**p.objects)
    check_gpu_offer(p.device, snakemake.resources.get("gpu", 0), "unet.device")
    model = UNet.load(i.model, select_device(p.device, "unet.device"))
    found = [objects.find(model.foreground(item.pixels)) for item in sets.held_out]
    table = evaluate(sets, found, objects)
    write_csv(table, out.scores, index_label="method")
    images = model.origin.get("source") or "images"
    with resolution(p.dpi):
        finish(history_figure(read_csv(i.history), f"U-Net: training on {images}"), out.history)
        finish(examples_figure(sets.held_out, found, f"U-Net: {images}, held out"), out.examples)

"""Say how well classes are told by prototypes, beside what needs none, and show the prototypes."""

import os

from spadework.job import logged, whole_file

os.environ["TF_NUM_INTRAOP_THREADS"] = str(snakemake.threads)
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

with logged(snakemake.log[0]):
    from itertools import product

    from spadework.device import check_gpu_offer, select_device
    from spadework.figures.style import resolution
    from spadework.prototypes.data import TEST, one_sided, read_patches, read_spots
    from spadework.prototypes.evaluation import accuracy_table, verdict
    from spadework.prototypes.model import ProtoPNet
    from spadework.prototypes.pages import draw_model
    from spadework.prototypes.scoring import describe, features_of, predictions, prototypes_table, scores_table
    from spadework.tables import read_csv, write_csv

    i, out, p = snakemake.input, snakemake.output, snakemake.params
    check_gpu_offer(p.device, snakemake.resources.get("gpu", 0), "prototypes.device")
    device = select_device(p.device, "prototypes.device")
    model, spots = ProtoPNet.load(i.model, device), read_spots(i.spots)
    patches = read_patches(dict(zip(p.samples, i.patches, strict=True)), spots)
    said, classes = model.say(patches), model.architecture.classes
    features = features_of(spots, dict(zip(product(p.samples, p.encoders), i.features, strict=True)), patches)
    control = ProtoPNet.load(i.control, device).say(patches)
    predicted = predictions(spots, said, control, classes, features, p.neighbours)
    accuracy = accuracy_table(spots[spots["set"] == TEST], predicted, p.seed)
    words = " ".join(filter(None, [verdict(accuracy, *one_sided(spots)), p.same_data]))
    write_csv(accuracy, out.accuracy)
    write_csv(prototypes_table(model, spots, said), out.table)
    scores = scores_table(spots, said, classes)
    scores.attrs = describe(model, accuracy, words)
    with whole_file(out.scores) as path:
        scores.to_parquet(path)
    with whole_file(out.verdict) as path:
        path.write_text(words + "\n", encoding="utf-8")
    with resolution(p.dpi):
        draw_model(model, said, patches, spots, read_csv(i.history), accuracy, p.name, out)

"""Score predicted volumes, and write them as NIfTI on the grids of the files they came from."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.figures.style import finish, resolution
    from spadework.figures.volume_charts import history_figure, scores_figure
    from spadework.tables import read_csv, write_csv
    from spadework.volume.nifti import write_prediction
    from spadework.volume.pair_scores import score_pairs, strictest
    from spadework.volume.pairs import read_predictions, read_volumes

    i, out = snakemake.input, snakemake.output
    volumes, predictions = read_volumes(i.volumes), read_predictions(i.prediction)
    table = score_pairs(volumes, predictions)
    write_csv(table, out.scores)
    folder = Path(out.predictions)
    folder.mkdir(parents=True, exist_ok=True)
    for pair in volumes.pairs:
        write_prediction(predictions[pair.name], pair, volumes.classes, folder / f"{pair.name}.nii.gz")
    shown = strictest(table)
    drawn = table[table["set"] == shown].rename(columns={"volume": "section"})
    with resolution(snakemake.params.dpi):
        finish(scores_figure(drawn, f"Vox2Vox: volumes of the set {shown}", "label", "volume"), out.figure)
        finish(history_figure({"all": read_csv(i.history)}, "Vox2Vox: training"), out.history)

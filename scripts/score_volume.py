"""Say how well sections are predicted whose spots a network has not seen, beside what needs no network."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from spadework.figures.style import finish, resolution
    from spadework.figures.volume import sections_figure
    from spadework.figures.volume_charts import history_figure, scores_figure
    from spadework.figures.volume_content import predicted_content
    from spadework.tables import read_block_table, read_csv, write_csv
    from spadework.volume.evaluation import predict_spots, spots_table
    from spadework.volume.pairs import read_predictions, read_volumes
    from spadework.volume.scores import score_table, verdict
    from spadework.volume.stack import read_stack

    i, out, p = snakemake.input, snakemake.output, snakemake.params
    spots, domains = read_block_table(i.spots), read_block_table(i.domains)
    volumes, stack = read_volumes(i.volumes), read_stack(i.stack)
    predictions = {
        fold: read_predictions(path)[volumes.pairs[0].name] for fold, path in zip(p.folds, i.predictions, strict=True)
    }
    predicted = predict_spots(volumes, stack, spots, domains, predictions, neighbours=p.neighbours)
    table = score_table(predicted, volumes.outputs, p.seed)
    depths = [z for z, sequenced in zip(stack.z_um, stack.sequenced, strict=True) if sequenced]
    write_csv(table, out.scores)
    write_csv(spots_table(predicted, volumes.outputs), out.spots)
    with whole_file(out.verdict) as path:
        path.write_text(
            " ".join(filter(None, [verdict(table, depths, given=p.given), p.same_data])) + "\n", encoding="utf-8"
        )
    kind = volumes.classes, volumes.values
    contents = {fold: predicted_content(volume, stack.tissue, *kind) for fold, volume in predictions.items()}
    histories = {fold: read_csv(path) for fold, path in zip(p.folds, i.histories, strict=True)}
    with resolution(p.dpi):
        diameters = spots.groupby("sample")["spot_um"].median().to_dict()
        note = "Vox2Vox had not seen the spots of the section. Lines: 95 % intervals, over squares of tissue of 1 mm."
        finish(scores_figure(table, f"{p.name}: sections left out", p.target[:-1]), out.figure, note)
        figure, note = sections_figure(stack, predicted, contents, diameters, f"{p.name}: sections left out")
        finish(figure, out.sections, note)
        finish(history_figure(histories, f"{p.name}: training"), out.history)

"""Write the volume of a block for viewers, and show it."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.figures.style import category_colours, finish, resolution
    from spadework.figures.volume_content import predicted_content
    from spadework.figures.volume_views import cuts_figure, view_figure
    from spadework.volume.export import write_viewers_files
    from spadework.volume.pairs import read_predictions, read_volumes
    from spadework.volume.stack import read_stack

    i, out, p = snakemake.input, snakemake.output, snakemake.params
    stack, volumes = read_stack(i.stack), read_volumes(i.volumes)
    prediction = read_predictions(i.prediction)[volumes.pairs[0].name]
    content = predicted_content(prediction, stack.tissue, volumes.classes, volumes.values)
    with resolution(p.dpi):
        for draw, path, what in ((cuts_figure, out.cuts, "cuts"), (view_figure, out.view, "view")):
            figure, note = draw(stack, content, f"{p.name}: {what} of the volume")
            finish(figure, path, note)
    colours = category_colours(list(volumes.classes))
    folders = {"zarr": Path(out.zarr), "nifti": Path(out.nifti)}
    write_viewers_files(stack, volumes, prediction, colours, p.name, **folders)

"""Bring the sections of a block into one frame: a stack of their stain, and their spots."""

from spadework.job import logged

with logged(snakemake.log[0]):
    from spadework.figures.registration import registration_figure
    from spadework.figures.style import finish, resolution
    from spadework.tables import write_csv
    from spadework.volume.block import build_block
    from spadework.volume.sections import read_views
    from spadework.volume.stack import write_stack

    i, out, p = snakemake.input, snakemake.output, snakemake.params
    finest = min(p.voxel_um, p.registration["um_per_px"])
    views = read_views(p.samples, i.sections, i.preflights, i.images, i.stained, finest)
    block = build_block(views, p.voxel_um, **p.registration, stain_normalisation=p.stain_normalisation)
    print(block.table.to_string(index=False))
    write_stack(block.stack, out.stack)
    write_csv(block.spots, out.spots)
    write_csv(block.table, out.table)
    with resolution(300):  # not figures.dpi, which must not re-run what comes after
        figure, note = registration_figure(block, f"{snakemake.wildcards.block}: sections brought into one frame")
        finish(figure, out.figure, note)

"""Write the manifest of a run, and the methods paragraph that follows from it."""

from spadework.job import logged, whole_file

with logged(snakemake.log[0]):
    from pathlib import Path

    from spadework.methods import methods
    from spadework.provenance import manifest, to_json

    i, o, p = snakemake.input, snakemake.output, snakemake.params
    document = manifest(
        dict(zip(p.samples, map(Path, i.sections), strict=True)),
        config=p.config,
        samples=p.samples,
        other_inputs=i.others,
        # Beside the results; when the job starts, the benchmarks of all others are written.
        benchmarks=Path(o.manifest).parents[1] / "benchmarks",
        patterns=p.patterns,
        registrations=dict(zip(p.blocks, map(Path, i.registrations), strict=True)),
        verdicts=dict(zip(p.tested, map(Path, i.verdicts), strict=True)),
    )
    for path, text in ((o.manifest, to_json(document)), (o.methods, methods(document))):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")

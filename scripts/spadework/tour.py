"""Say where the results of a section are, and what they say, in a screenful."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pandas as pd


def _if_there(path: Path, what: str) -> list[str]:
    return [f"  {path}  {what}"] if path.exists() else []


def tour(folder: Path) -> str:
    """Describe a results folder.

    Parameters
    ----------
    folder
        ``results/{sample}``.

    Raises
    ------
    FileNotFoundError
        If the section has no results.
    """
    tables = sorted(folder.glob("*/latents.csv"))
    if not tables:
        raise FileNotFoundError(f"no results in {folder}")
    lines = [f"Results of {folder.name}:"]
    page = folder / "report.html"
    if page.exists():
        lines += [f"  {page}    open this in a browser: {page.absolute().as_uri()}", ""]
    for table in tables:
        encoder = table.parent
        lines += [
            f"  {folder / folder.name}.h5ad    everything, opens in scanpy, squidpy and cellxgene",
            f"  {folder}/preflight/overlay.png    do the spots sit on the tissue?",
            f"  {encoder}/figures/latents.png    image latents over the tissue",
            f"  {encoder}/figures/latent_1.png   a latent and its strongest genes",
            f"  {encoder}/figures/patches_1.png  what the tissue looks like at both ends of it",
            *_if_there(encoder / "figures/calibration.png", "are the p-values of this section to be believed?"),
            f"  {encoder}/association.csv.gz     every gene against every latent",
            "",
            f"  {encoder.name} latents ({encoder}/latents.csv):",
            *("  " + line for line in pd.read_csv(table).round(2).to_string(index=False).splitlines()),
        ]
    return "\n".join([*lines, *_nuclei(folder), *_prototypes(folder)])


def _nuclei(folder: Path) -> list[str]:
    """Describe the nuclei of a section, if they were looked for, and the network that found them."""
    spots, scores = folder / "nuclei/spots.csv", folder.parent / "unet/scores.csv"
    if not spots.exists():
        return []
    counts, nuclei = pd.read_csv(spots)["nuclei_count"], len(pd.read_parquet(folder / "nuclei/nuclei.parquet"))
    lines = [
        "",
        "  Nuclei:",
        f"  {folder}/nuclei/figures/outlines.png  are they outlined well? Only then believe the numbers",
        f"  {folder}/nuclei/figures/spots.png     density, size, shape and darkness per spot",
        f"  {spots}              {counts.sum()} of {nuclei} nuclei, in {len(counts)} spots; also in obs and obsm",
    ]
    if scores.exists():
        f1 = pd.read_csv(scores, index_col="method")["object_f1"]
        unet, without = f1["U-Net"], f1.drop("U-Net").max()
        lines += [
            f"  {scores.parent}/figures/examples.png       the U-Net on images it was not trained on",
            f"  {scores}                 ... in numbers: object F1 {unet:.2f}, without a network {without:.2f}",
        ]
    return lines


def _prototypes(folder: Path) -> list[str]:
    """Describe the prototypes of a section, if there are some; those of a group are in its own folder."""
    explained = folder / "prototypes"
    if not (explained / "explanations.csv").exists():
        return []
    models = [explained / "verdict.txt", *folder.parent.glob("cohort/*/prototypes/verdict.txt")]
    models = [path for path in models if path.exists() and folder.name in _sections(path.with_name("spots.csv"))]
    lines = [
        "",
        "  Prototypes:",
        f"  {explained}/figures/explanations.png  why spots look like their classes",
        f"  {explained}/figures/map.png           where in the tissue each prototype is found",
    ]
    # One of an earlier run, of another scope, may be there, too.
    for verdict in sorted(models, key=lambda path: path.stat().st_mtime)[-1:]:
        words = textwrap.wrap(verdict.read_text(encoding="utf-8"), 110, initial_indent="  ", subsequent_indent="  ")
        lines += [
            f"  {verdict.parent}/figures/prototypes/page_1.png  the prototypes, and the patches most like them",
            f"  {verdict.parent}/figures/accuracy.png           are the classes told? In words:",
            *words,
        ]
    return lines


def _sections(spots: Path) -> set[str]:
    return set(pd.read_csv(spots, usecols=["sample"], dtype=str)["sample"])


if __name__ == "__main__":
    print(tour(Path(sys.argv[1])))

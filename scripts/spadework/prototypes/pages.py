"""The pictures of a model, and the explained spots of a section, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.figures import prototype_charts as charts
from spadework.figures import prototypes as figures
from spadework.figures.maps import section_canvas
from spadework.figures.style import finish
from spadework.keys import Keys
from spadework.prototypes.data import TEST
from spadework.prototypes.explain import (
    Explanation,
    choose_spots,
    explain,
    explanations_table,
    nearest_to,
    prototypes_of,
)
from spadework.prototypes.explanation_files import write_explanation
from spadework.prototypes.model import ProtoPNet, Said
from spadework.tables import write_csv

# Patches shown beside each prototype.
_NEAREST = 6


def weights_note(model: ProtoPNet) -> str:
    """Return the warning that every picture of a backbone with random weights carries, or nothing."""
    if model.origin.get("weights") != "seeded":
        return ""
    return (
        "The network began with random weights (encoder.weights: seeded): this shows that the workflow runs, not "
        "what a trained network sees."
    )


def draw_model(
    model: ProtoPNet,
    said: Said,
    patches: NDArray[np.uint8],
    spots: pd.DataFrame,
    history: pd.DataFrame,
    accuracy: pd.DataFrame,
    name: str,
    outputs: Any,  # noqa: ANN401  (Snakemake's outputs by name)
) -> None:
    """Draw the ``history`` of the training, the ``pages`` of prototypes (a folder) and the accuracy (``figure``).

    Parameters
    ----------
    said, patches, spots
        Of all spots, in one order; prototypes are shown with test patches.
    accuracy
        Of :func:`spadework.prototypes.evaluation.accuracy_table`.
    name
        Of the section, or of its group.
    """
    classes, note = model.architecture.classes, weights_note(model)
    test = (spots["set"] == TEST).to_numpy()
    tested = spots[test].reset_index(drop=True)
    finish(charts.history_figure(history, f"{name}: training of the prototypes"), outputs.history, note)
    nearest = nearest_to(model, said.scores[test], patches[test], tested, _NEAREST)
    heading = f"{name}: prototypes and the test patches most like them"
    folder = Path(outputs.pages)
    folder.mkdir(parents=True, exist_ok=True)
    pages = figures.prototypes_figure(prototypes_of(model), nearest, classes, heading)
    for number, page in enumerate(pages, 1):
        finish(page, folder / f"page_{number}.png", note)
    predicted = np.array(classes)[said.predicted[test]]
    heading = f"{name}: are the classes told by what they look like?"
    finish(charts.accuracy_figure(accuracy, tested, predicted, heading), outputs.figure, note)


def explain_section(
    model: ProtoPNet,
    patches: NDArray[np.uint8],
    spots: pd.DataFrame,
    sample: str,
    *,
    shown: Sequence[str],
    per_kind: int,
    top_k: int,
    outputs: Any,  # noqa: ANN401  (Snakemake's outputs by name)
) -> None:
    """Explain some spots of a section: a folder of each in ``spots``, all in ``table``, some of them in ``figure``.

    Parameters
    ----------
    patches, spots
        Of the section, in one order.
    shown
        Barcodes of spots that are explained in any case.
    per_kind
        Typical spots, and borderline ones, of each class.
    top_k
        Prototypes shown for each spot.
    """
    a, note = model.architecture, weights_note(model)
    chosen = choose_spots(model.say(patches), spots, a.classes, per_kind, sources=model.sources, named=shown)
    rows = [row for row, _ in chosen]
    folder = Path(outputs.spots)
    folder.mkdir(parents=True, exist_ok=True)
    explanations: list[Explanation] = []
    if chosen:
        said, prototypes = model.say(patches[rows], maps=True), prototypes_of(model)
        for i, (row, kind) in enumerate(chosen):
            spot = spots.iloc[row]
            explanations.append(explain(prototypes, a, said, i, patches[row], spot, kind, top_k))
            write_explanation(folder, explanations[-1], note)
    write_csv(explanations_table(explanations), outputs.table)
    heading = f"{sample}: why spots look like their classes"
    finish(figures.explanations_figure(explanations, heading), outputs.figure, note)


def draw_map(
    section: ad.AnnData, spots: pd.DataFrame, scores: pd.DataFrame, model: ProtoPNet, sample: str, path: str
) -> None:
    """Draw class, prediction, confidence and the score of every prototype over the tissue of a section.

    Parameters
    ----------
    section
        AnnData of the expression stage.
    spots
        Of the section.
    scores
        Of :func:`spadework.prototypes.scoring.scores_table`.
    """
    a = model.architecture
    own = scores.loc[sample].loc[spots["barcode"]]
    places = section[spots["barcode"].to_numpy()].obsm[Keys.SPATIAL]
    canvas = section_canvas(section.uns[Keys.SPATIAL][sample], section.uns[Keys.SPADE]["lattice"], places)
    page = charts.map_figure(
        canvas,
        spots,
        own["prediction"].tolist(),
        own["confidence"].to_numpy(),
        own[[f"prototype_{j}" for j in range(a.n_prototypes)]].to_numpy(),
        [a.classes[k] for k in a.class_of],
        a.classes,
        f"{sample}: prototypes over the tissue",
    )
    finish(page, path, weights_note(model))

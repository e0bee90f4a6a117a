"""What a model says of all spots, as tables, and what is said of them without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.encoders.colour_texture import ColourTextureEncoder
from spadework.prototypes.data import TEST, TRAIN
from spadework.prototypes.evaluation import (
    MAJORITY,
    PROTOTYPES,
    SHUFFLED,
    majority,
    nearest_neighbours,
    nearest_patches,
)
from spadework.prototypes.model import ProtoPNet, Said

COLOUR_TEXTURE = "colour_texture"
# Patches most like a prototype that its purity is counted in.
_NEAREST = 20


def features_of(
    spots: pd.DataFrame, paths: Mapping[tuple[str, str], str | Path], patches: NDArray[np.uint8]
) -> dict[str, NDArray[np.floating]]:
    """Gather features of spots to find nearest neighbours by.

    Parameters
    ----------
    paths
        (sample, encoder) -> AnnData of its features.
    patches
        (n, px, px, 3) uint8 of the spots, for colour and texture if this is none of the encoders.

    Returns
    -------
    dict
        Name of the encoder -> (n, d), in the order of the rows. The name says if its weights are random.
    """
    found: dict[str, NDArray[np.floating]] = {}
    for encoder in dict.fromkeys(encoder for _, encoder in paths):
        parts, name = [], encoder
        for sample, rows in spots.groupby("sample", sort=False):
            features = ad.read_h5ad(paths[str(sample), encoder])
            values = np.asarray(features[rows["barcode"].to_numpy()].X)
            parts.append(pd.DataFrame(values, index=rows.index))
            if features.uns["encoder"].get("weights") == "seeded":
                name = f"{encoder} (random weights)"
        found[name] = pd.concat(parts).loc[spots.index].to_numpy()
    if COLOUR_TEXTURE not in found:
        colour = ColourTextureEncoder()
        starts = range(0, len(patches), colour.batch_size)
        found[COLOUR_TEXTURE] = np.concatenate([colour.encode(patches[k : k + colour.batch_size]) for k in starts])
    return found


def predictions(
    spots: pd.DataFrame,
    said: Said,
    control: Said,
    classes: Sequence[str],
    features: Mapping[str, NDArray[np.floating]],
    k: int,
) -> dict[str, NDArray]:
    """Predict the classes of the test spots by every method: prototypes, their control, and what needs no network.

    Parameters
    ----------
    said, control
        What the model, and that trained on shuffled classes, say of all spots.
    features
        Of :func:`features_of`.
    k
        Neighbours.

    Returns
    -------
    dict
        Method -> names of classes, in the order of the test spots.
    """
    train, test = ((spots["set"] == name).to_numpy() for name in (TRAIN, TEST))
    known, names = spots["class"].to_numpy(str)[train], np.array(classes)
    found = {PROTOTYPES: names[said.predicted[test]], SHUFFLED: names[control.predicted[test]]}
    found[MAJORITY] = majority(known, int(test.sum()))
    for name, values in features.items():
        found[f"k-NN on {name}"] = nearest_neighbours(values[train], known, values[test], k)
    return found


def prototypes_table(model: ProtoPNet, spots: pd.DataFrame, said: Said) -> pd.DataFrame:
    """Describe prototypes, a row each.

    Returns
    -------
    pandas.DataFrame
        ``prototype`` (from 0, as in the push files of the last cycle), ``class``, ``source_sample``,
        ``source_barcode``, ``y1``, ``y2``, ``x1``, ``x2`` (what its cell sees of that patch, px, ends exclusive),
        ``weight`` (to its class), ``purity`` (share of its class among the 20 test patches most like it),
        ``share`` of its class among all test patches, which is the purity by chance, and ``twin_r``, the highest
        correlation, over all patches, of its similarity with that of another prototype of its class (NaN if there
        is none): near 1, both are the same.
    """
    a, rows = model.architecture, []
    test = (spots["set"] == TEST).to_numpy()
    tested = spots["class"].to_numpy(str)[test]
    nearest = nearest_patches(said.scores[test], _NEAREST)
    for j, (source, k) in enumerate(zip(model.sources, a.class_of, strict=True)):
        y1, y2, x1, x2 = a.field.box(source.row, source.column, a.patch_px)
        rows.append(
            {
                "prototype": j,
                "class": a.classes[k],
                "source_sample": source.sample,
                "source_barcode": source.barcode,
                **{"y1": y1, "y2": y2, "x1": x1, "x2": x2},
                "weight": float(model.weights[j, k]),
                "purity": float((tested[nearest[j]] == a.classes[k]).mean()),
                "share": float((tested == a.classes[k]).mean()),
                "twin_r": _alike(said.scores, j, [i for i in a.of_class(k) if i != j]),
            }
        )
    return pd.DataFrame(rows)


def _alike(scores: NDArray[np.floating], j: int, others: list[int]) -> float:
    """Return the highest correlation of a column with some others; NaN where none of them varies."""
    with np.errstate(invalid="ignore"):
        r = [np.corrcoef(scores[:, j], scores[:, i])[0, 1] for i in others]
    return float(max((x for x in r if np.isfinite(x)), default=np.nan))


def scores_table(spots: pd.DataFrame, said: Said, classes: Sequence[str]) -> pd.DataFrame:
    """Tabulate what the model says of spots.

    Returns
    -------
    pandas.DataFrame
        By ``sample`` and ``barcode``: ``prediction``, ``confidence``, and ``prototype_<j>``, the similarity to each
        prototype.
    """
    index = pd.MultiIndex.from_frame(spots[["sample", "barcode"]])
    table = pd.DataFrame(said.scores, index, [f"prototype_{j}" for j in range(said.scores.shape[1])])
    table.insert(0, "prediction", np.array(classes)[said.predicted])
    table.insert(1, "confidence", said.confidence)
    return table


def describe(model: ProtoPNet, accuracy: pd.DataFrame, verdict: str) -> dict[str, Any]:
    """Say how prototypes were made and what they are worth, as JSON can hold it."""
    a = model.architecture
    numbers = accuracy.set_index("method")["balanced_accuracy"]
    return model.origin | {
        "classes": list(a.classes),
        "n_classes": len(a.classes),
        "weights_to_classes": [[round(float(w), 5) for w in row] for row in model.weights],
        "backbone": a.backbone,
        "pool": a.pool,
        "px": a.patch_px,
        "field_px": a.field.size,
        "cells": a.field.cells,
        "dimension": a.dimension,
        "top_cells": a.top_cells,
        "n_prototypes": a.n_prototypes,
        "balanced_accuracy": {method: round(float(value), 4) for method, value in numbers.items()},
        "n_test": int(accuracy["n_test"].iloc[0]),
        "n_regions": int(accuracy["n_regions"].iloc[0]),
        "verdict": verdict,
    }

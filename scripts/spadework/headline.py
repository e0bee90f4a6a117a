"""Which of a gene's tests pictures and counts go by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

Which = Literal["spatial", "depth", "published"]


@dataclass(frozen=True)
class Headline:
    """Columns of the association table, and what a reader of a picture made of them must know.

    Attributes
    ----------
    effect, label
        Effect between -1 and 1, and its name.
    log10_p, fdr
        Strength and false discovery rate.
    note
        Empty where there is nothing to warn of.
    """

    effect: str
    label: str
    log10_p: str
    fdr: str
    note: str


_ADJUSTED = "correlation given sequencing depth"
_HEADLINES: dict[str, Headline] = {
    "spatial": Headline("r_depth", _ADJUSTED, "log10_p_spatial", "fdr_spatial", ""),
    "depth": Headline(
        "r_depth",
        _ADJUSTED,
        "log10_p_depth",
        "fdr_depth",
        "Adjusted for sequencing depth, but spots are taken as independent: p-values are too small, a ranking only.",
    ),
    "published": Headline(
        "coef_std",
        "standardised coefficient",
        "log10_p",
        "fdr",
        "p-values as published: they take spots as independent and ignore sequencing depth; read them as a ranking.",
    ),
}


def headline(table: pd.DataFrame, which: Which) -> Headline:
    """Return the columns to go by; without a lattice there is no spatial test, and the note says so.

    Parameters
    ----------
    table
        Association table.
    """
    if which == "spatial" and table["fdr_spatial"].isna().all():
        depth = _HEADLINES["depth"]
        return replace(depth, note=f"No spatial test: no lattice, or fewer than 30 spots. {depth.note}")
    return _HEADLINES[which]

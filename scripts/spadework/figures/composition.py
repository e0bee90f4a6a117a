"""What the latents add to composition, gene by gene."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_NAMED = 10


def composition_page(table: pd.DataFrame, fdr: float, heading: str) -> Figure:
    """Draw what composition explains against what latents add, within the section and in parts not fitted on.

    Parameters
    ----------
    table
        As :func:`spadework.composition.beyond_composition` makes it.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8), layout="constrained")
    hit = (table["fdr"] < fdr).to_numpy()
    for ax, x, y in ((left, "r2_composition", "partial_r2"), (right, "cv_r2_composition", "cv_r2_latents")):
        for members, colour in ((~hit, "#BBBBBB"), (hit, "#B2182B")):
            ax.scatter(table[x][members], table[y][members], s=5, color=colour, linewidths=0, rasterized=True)
    known = table["fdr"].notna().any()
    title = f"{hit.sum()} of {len(table)} genes follow the image beyond it (FDR < {fdr:g})" if known else "not tested"
    left.set(
        title=title,
        xlabel="R² of depth, tissue fraction and cluster",
        ylabel="partial R² of the image latents",
        xlim=(0, None),
        ylim=(0, None),
    )
    _name(left, table[hit].head(_NAMED), "r2_composition", "partial_r2")
    # Predictions can be far below zero where a gene is all noise: nothing to see there.
    top = float(np.nanmax(table[["cv_r2_composition", "cv_r2_latents"]].to_numpy(), initial=0.05)) * 1.05
    low = -0.25 * top
    right.plot([low, top], [low, top], color="black", lw=0.6)
    right.set(
        title=f"tissue not fitted on: better with the image for {(table['cv_gain'] > 0).mean():.0%} of genes",
        xlabel="predicted R² of depth, tissue fraction and cluster",
        ylabel="predicted R² with the image latents",
        xlim=(low, top),
        ylim=(low, top),
    )
    gaining = table[table["cv_r2_latents"] > max(0.0, low)].nlargest(_NAMED, "cv_gain")
    _name(right, gaining[gaining["cv_gain"] > 0], "cv_r2_composition", "cv_r2_latents")
    figure.suptitle(heading)
    return figure


def _name(ax: Axes, genes: pd.DataFrame, x: str, y: str) -> None:
    """Name genes, the first first, where there is room."""
    width, height = np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]
    named: list[tuple[float, float]] = []
    for name, at_x, at_y in zip(genes["gene"], genes[x], genes[y], strict=True):
        if all(abs(at_x - i) > 0.3 * width or abs(at_y - j) > 0.03 * height for i, j in named):
            ax.annotate(name, (at_x, at_y), (3, 2), textcoords="offset points", fontsize=7)
            named.append((at_x, at_y))

"""What the latents add to composition, gene by gene."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spadework.figures.style import TINY, gene_label

_NAMED = 10


def composition_page(table: pd.DataFrame, fdr: float, heading: str) -> Figure:
    """Draw what composition explains against what latents add, within the section and in parts not fitted on.

    Parameters
    ----------
    table
        As :func:`spadework.composition.beyond_composition` makes it.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
    hit = (table["fdr"] < fdr).to_numpy()
    for ax, x, y in ((left, "r2_composition", "partial_r2"), (right, "cv_r2_composition", "cv_r2_latents")):
        for members, colour in ((~hit, "#BBBBBB"), (hit, "#B2182B")):
            ax.scatter(table[x][members], table[y][members], s=2, color=colour, linewidths=0, rasterized=True)
    known = table["fdr"].notna().any()
    title = (
        f"{hit.sum():,} of {len(table):,} genes follow the image\nbeyond composition (FDR < {fdr:g})"
        if known
        else "not tested"
    )
    left.set(
        title=title,
        xlabel="R² of depth, tissue fraction and cluster",
        ylabel="partial R² of the image latents",
        xlim=(0, None),
        ylim=(0, None),
    )
    _name(left, table[hit].head(_NAMED), "r2_composition", "partial_r2", turn=0.75)
    # Predictions can be far below zero where a gene is all noise: nothing to see there.
    top = float(np.nanmax(table[["cv_r2_composition", "cv_r2_latents"]].to_numpy(), initial=0.05)) * 1.05
    low = -0.25 * top
    right.plot([low, top], [low, top], color="black", lw=0.4)
    right.set(
        title=f"tissue not fitted on: better with the image for {(table['cv_gain'] > 0).mean():.0%} of genes",
        xlabel="predicted R² of depth, tissue fraction and cluster",
        ylabel="predicted R² with the image latents",
        xlim=(low, top),
        ylim=(low, top),
    )
    gaining = table[table["cv_r2_latents"] > max(0.0, low)].nlargest(_NAMED, "cv_gain")
    # Most points lie along the diagonal and below it.
    _name(right, gaining[gaining["cv_gain"] > 0], "cv_r2_composition", "cv_r2_latents", turn=0.3)
    figure.suptitle(heading)
    return figure


def _name(ax: Axes, genes: pd.DataFrame, x: str, y: str, turn: float) -> None:
    """Name genes, the first first, where there is room; left of the point beyond a share of the width."""
    width, height = np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]
    named: list[tuple[float, float]] = []
    for name, at_x, at_y in zip(genes["gene"], genes[x], genes[y], strict=True):
        if all(abs(at_x - i) > 0.3 * width or abs(at_y - j) > 0.04 * height for i, j in named):
            side = -1 if at_x > ax.get_xlim()[0] + turn * width else 1
            ax.annotate(
                gene_label(str(name)), (at_x, at_y), (2 * side, 1), textcoords="offset points", fontsize=TINY,
                ha="left" if side > 0 else "right",
            )  # fmt: skip
            named.append((at_x, at_y))

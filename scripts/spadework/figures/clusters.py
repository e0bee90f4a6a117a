"""How clusterings of the same spots compare."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from spadework.figures.style import CATEGORICAL, SMALL

EXPRESSION, IMAGE, SPACE = CATEGORICAL[:3]


def cluster_comparison(table: pd.DataFrame, heading: str) -> Figure:
    """A row per labelling: which others it is like, how well it separates expression and image, how it lies in space.

    Parameters
    ----------
    table
        From :func:`spadework.spade_clusters.compare_clusters`.
    """
    n = len(table)
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(0.45 * n + 5, 0.37 * n + 1.3), sharey=True,
        layout=ConstrainedLayoutEngine(w_pad=0.07), gridspec_kw={"width_ratios": [0.45 * n, 1.9, 1.9]},
    )  # fmt: skip
    _likeness(left, table)
    _silhouettes(middle, table)
    _coherence(right, table)
    clusters = table["n_clusters"].map(lambda c: f"{c} cluster" if c == 1 else f"{c} clusters")
    left.set_yticks(np.arange(n), [f"{name}\n{c}" for name, c in zip(table["labelling"], clusters, strict=True)])
    left.set_ylim(n - 0.5, -0.5)
    for ax in (left, middle, right):
        ax.tick_params(axis="y", length=0)
    figure.suptitle(heading)
    return figure


def _likeness(ax: Axes, table: pd.DataFrame) -> None:
    names = table["labelling"]
    values = table[[f"ari_{name}" for name in names]].to_numpy(float)
    ax.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(~np.isnan(values)):
        shade = "white" if values[i, j] > 0.6 else "black"
        ax.text(j, i, f"{values[i, j]:.2f}".replace("-", "−"), ha="center", va="center", fontsize=SMALL, color=shade)
    ax.set_xticks(np.arange(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("adjusted Rand index\n(1: same clusters, 0: chance)")


def _silhouettes(ax: Axes, table: pd.DataFrame) -> None:
    y = np.arange(len(table))
    for shift, column, label, colour in (
        (-0.18, "silhouette_expression", "expression", EXPRESSION),
        (0.18, "silhouette_image", "image", IMAGE),
    ):
        ax.barh(y + shift, table[column], height=0.32, color=colour, label=label)
    ax.axvline(0, color="black", lw=0.4)
    ax.margins(x=0.1)
    ax.set_xlabel("mean silhouette")
    _title_over_legend(ax, "separation of the clusters in")


def _coherence(ax: Axes, table: pd.DataFrame) -> None:
    y = np.arange(len(table))
    ax.barh(y, table["coherence"], height=0.5, color=SPACE, label="measured")
    ax.vlines(table["coherence_by_chance"], y - 0.33, y + 0.33, color="black", lw=1, label="by chance")
    ax.set(xlim=(0, 1), xlabel="share of neighbours in the same cluster")
    _title_over_legend(ax, "spatial coherence")


def _title_over_legend(ax: Axes, title: str) -> None:
    ax.set_title(title, pad=14)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.1, ncols=2)

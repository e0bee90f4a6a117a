"""Figures without a tissue: embeddings, volcano plots, explained variance, extreme patches."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spadework.figures.style import DENSE, TINY, WIDTH, category_colours, gene_label
from spadework.headline import Headline


def embeddings(coordinates: dict[str, NDArray[np.floating]], labels: dict[str, pd.Series], heading: str) -> Figure:
    """Scatter each embedding once per labelling, with a categorical legend per row.

    Parameters
    ----------
    coordinates
        Name of the embedding -> (n, 2).
    labels
        Title -> (n,) categorical.
    """
    figure, axes = plt.subplots(
        len(labels), len(coordinates), figsize=(3.1 * len(coordinates) + 0.8, 2.65 * len(labels)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, (title, values) in zip(axes, labels.items(), strict=True):
        categories = list(values.cat.categories.astype(str))
        colours = category_colours(categories)
        for ax, (name, xy) in zip(row, coordinates.items(), strict=True):
            size = float(np.clip(2600 / len(xy), 0.5, 10))
            for category in categories:
                members = (values.astype(str) == category).to_numpy()
                ax.scatter(
                    *xy[members].T, s=size, color=colours[category], label=category, linewidths=0,
                    rasterized=len(xy) > DENSE,
                )  # fmt: skip
            ax.set(title=f"{name}, {title}", xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
        row[-1].legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=max(1.0, 3.3 / np.sqrt(size)),
            ncols=1 + len(categories) // 18,
        )  # fmt: skip
    figure.suptitle(heading)
    return figure


def volcano(
    table: pd.DataFrame, by: Headline, latents: list[int], fdr: float, top_genes: int, heading: str
) -> Figure:
    """One volcano plot per latent: effect against p.

    Parameters
    ----------
    table
        The association table, one row per gene and latent.
    by
        The columns to go by.
    fdr
        Genes below this false discovery rate are coloured.
    top_genes
        Genes named at each side.
    """
    columns = min(3, len(latents))
    rows = -(-len(latents) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH / 3 * columns, 2.15 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(latents) :]:
        ax.set_visible(False)
    for ax, latent in zip(axes.flat, latents, strict=False):
        rows = table[(table["latent"] == latent) & table[by.effect].notna() & table[by.log10_p].notna()]
        _one_volcano(ax, rows, by, latent, fdr, top_genes)
    figure.suptitle(heading)
    return figure


def _one_volcano(ax: Axes, rows: pd.DataFrame, by: Headline, latent: int, fdr: float, top_genes: int) -> None:
    x, y = rows[by.effect].to_numpy(), -rows[by.log10_p].to_numpy()
    hit = (rows[by.fdr] < fdr).to_numpy()
    up, down = hit & (x > 0), hit & (x < 0)
    for members, colour in ((~hit, "#BBBBBB"), (down, "#2166AC"), (up, "#B2182B")):
        ax.scatter(x[members], y[members], s=2, color=colour, linewidths=0, rasterized=True)
    ax.axvline(0, color="#888888", lw=0.4)
    longest = 0
    for side, members in ((1, x > 0), (-1, x < 0)):
        best = np.flatnonzero(members)[np.argsort(-y[members], kind="stable")][:top_genes]
        names = [gene_label(str(name)) for name in rows["gene"].to_numpy()[best]]
        _name_points(ax, x[best], y[best], names, side)
        longest = max([longest, *map(len, names)])
    # Room for the names beyond the outermost gene: a letter takes a fortieth of the width.
    reach = max(1.5, 1.1 / (1 - longest / 20)) * float(np.abs(x).max(initial=1e-3))
    ax.set_xlim(-reach, reach)
    ax.margins(y=0.08)
    ax.set_ylim(bottom=0)
    ax.set(
        title=f"latent {latent}: {down.sum()} down, {up.sum()} up (FDR < {fdr:g})",
        xlabel=by.label,
        ylabel="−log10 p",
    )


def _name_points(ax: Axes, x: NDArray, y: NDArray, names: list[str], side: int) -> None:
    """Write names in a column beside the outermost of the points, pushed apart so that none covers another."""
    span = max(float(ax.dataLim.height), 1e-9)
    gap = 0.07 * span
    heights = np.array(y, float)
    for i in range(1, len(heights)):  # down from the strongest ...
        heights[i] = min(heights[i], heights[i - 1] - gap)
    floor = 0.5 * gap
    for i in range(len(heights) - 1, -1, -1):  # ... and up again from the axis
        heights[i] = max(heights[i], floor)
        floor = heights[i] + gap
    column = side * 1.05 * float(np.abs(x).max(initial=0))
    line = {"arrowstyle": "-", "lw": 0.3, "color": "#666666", "shrinkA": 0, "shrinkB": 1}
    for xi, yi, at, name in zip(x, y, heights, names, strict=True):
        ax.annotate(
            name, (xi, yi), (column, at), fontsize=TINY, ha="left" if side > 0 else "right", va="center",
            arrowprops=line | {"relpos": (0.5 - 0.5 * side, 0.5)},
        )  # fmt: skip


def latent_summary(summary: pd.DataFrame, heading: str) -> Figure:
    """Explained variance, and what each latent goes along with, as two panels.

    Parameters
    ----------
    summary
        One row per latent: ``variance_ratio``, ``moran_i``, ``r_log10_umi``, ``r_tissue_fraction``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    x = summary["latent"].to_numpy()
    ratio = 100 * summary["variance_ratio"].to_numpy()
    left.bar(x, ratio, color="#4C72B0")
    left.plot(x, np.cumsum(ratio), "o-", color="#333333", ms=2.7, lw=0.7, label="cumulative")
    for xi, value in zip(x, ratio, strict=True):
        above = 4 if xi == x[0] else 1  # the cumulative line starts on the first bar
        left.annotate(f"{value:.1f}", (xi, value), (0, above), textcoords="offset points", ha="center", fontsize=TINY)
    left.set(title="explained variance", xlabel="latent", ylabel="% of feature variance", xticks=x)
    left.set_ylim(0, min(105, np.cumsum(ratio)[-1] * 1.12))
    left.legend(loc="center right")
    series = {
        "r_log10_umi": ("correlation with log10 UMI", "#D55E00"),
        "r_tissue_fraction": ("correlation with tissue fraction", "#009E73"),
        "moran_i": ("Moran's I (alike neighbours)", "#7F7F7F"),
    }
    for i, (column, (label, colour)) in enumerate(series.items()):
        right.bar(x + (i - 1) * 0.27, summary[column], width=0.25, color=colour, label=label)
    right.axhline(0, color="black", lw=0.4)
    right.set(title="what each latent goes along with", xlabel="latent", xticks=x, ylim=(-1.05, 1.05))
    right.legend(loc="lower right")
    figure.suptitle(heading)
    return figure


def contact_sheet(
    low: NDArray[np.uint8], high: NDArray[np.uint8], low_values: NDArray, high_values: NDArray, heading: str
) -> Figure:
    """The patches at both ends of a latent: lowest in the upper rows, highest in the lower.

    Parameters
    ----------
    low, high
        (n, h, w, 3) uint8, most extreme first.
    """
    n, edge = len(low), low.shape[1]
    columns = min(n, 8)
    rows = -(-n // columns)
    gap = (edge // 8, edge // 32)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH / 8 * columns, 2 * rows + 0.5), layout="constrained")
    for ax, patches, values, title, colour in (
        (axes[0], low, low_values, "lowest", "#2166AC"),
        (axes[1], high, high_values, "highest", "#B2182B"),
    ):
        # One picture of all patches: an axes for each takes three times as long to lay out.
        sheet = np.full((rows * (edge + gap[0]), columns * (edge + gap[1]), 3), 255, np.uint8)
        for i, (patch, value) in enumerate(zip(patches, values, strict=True)):
            y, x = gap[0] + (i // columns) * (edge + gap[0]), (i % columns) * (edge + gap[1])
            sheet[y : y + edge, x : x + edge] = patch
            ax.text(x + edge / 2, y - edge / 40, f"{value:.3g}", fontsize=TINY, ha="center", va="bottom")
        ax.imshow(sheet, interpolation="bilinear")
        ax.set_title(title, color=colour, loc="left", y=1)
        ax.axis("off")
    figure.suptitle(heading)
    return figure

"""One page on what stays when the image side is repeated."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from spadework.figures.style import CATEGORICAL, SEQUENTIAL, SMALL, TEXT, TINY, TITLE, UNLABELLED

SHOWN = 25
CONSENSUS, OTHER = CATEGORICAL[0], UNLABELLED
_COLUMNS = 3
# Inches: a cell of the latents, a line of the genes, and what stands around the genes of a latent.
_CELL, _LINE, _AROUND = (0.25, 0.2), 0.105, 0.6
_TOP = 1.25  # the end of the colours, so that perfect agreement is not black


def stability_page(genes: pd.DataFrame, latents: pd.DataFrame, threshold: float, heading: str) -> Figure:
    """How well latents are met again on the left, how often their genes are on the right.

    Parameters
    ----------
    genes, latents
        Tables of :func:`spadework.stability.stability`, in its order.
    threshold
        Share of the repeats from which on a gene of the reference is consensus.
    """
    n_runs, n_latents = latents["run"].nunique(), latents["latent"].nunique()
    by_latent = {f"{latent}": rows for latent, rows in genes[genes["in_reference"]].groupby("latent")}
    columns = int(np.clip(len(by_latent), 2, _COLUMNS))
    lines = _lines([len(rows) for rows in by_latent.values()], columns)
    left_inches, right_inches = 0.8 + _CELL[0] * n_runs, 1.35 * columns
    height = max(1.3 + _CELL[1] * n_latents, 0.9 + sum(_AROUND + _LINE * n for n in lines))
    figure = plt.figure(figsize=(left_inches + right_inches, height), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=[left_inches, right_inches])
    left, right = (figure.add_subfigure(grid[i]) for i in (0, 1))
    _matches(left.subplots(), latents)
    if by_latent:
        without = [name for name in latents["latent"].unique().astype(str) if name not in by_latent]
        _all_genes(right, by_latent, without, n_runs, threshold, lines, columns)
    else:
        right.text(0.5, 0.5, "no gene is found with any latent in the reference", ha="center", va="center")
    figure.suptitle(heading)
    return figure


def _lines(n_genes: list[int], columns: int) -> list[int]:
    """Lines each row of panels needs."""
    return [max(min(SHOWN, n) for n in n_genes[i : i + columns]) for i in range(0, len(n_genes), columns)]


def _matches(ax: Axes, latents: pd.DataFrame) -> None:
    """Draw |r| of each latent with its match in each repeat; grey where it has none."""
    wide = latents.pivot(index="latent", columns="run", values="abs_r")[latents["run"].unique()]
    colours = mpl.colormaps[SEQUENTIAL].with_extremes(bad="#E5E5E5")
    ax.imshow(wide, cmap=colours, vmin=0, vmax=_TOP, aspect=_CELL[1] / _CELL[0])
    ax.set_anchor("N")
    for (i, j), value in np.ndenumerate(wide.to_numpy(float)):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=TINY, color="white" if value > 0.6 else "black")
    names = [run.replace("_", " ") for run in wide.columns]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(wide)), wide.index)
    ax.set(ylabel="latent", title="latents met again:\n|r| with the match")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _all_genes(
    figure: SubFigure,
    by_latent: dict[str, pd.DataFrame],
    without: list[str],
    n_runs: int,
    threshold: float,
    lines: list[int],
    columns: int,
) -> None:
    ratios = [_AROUND + _LINE * n for n in lines]
    axes = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw={"height_ratios": ratios})
    for ax in axes.flat[len(by_latent) :]:
        ax.set_visible(False)
    for at, (name, rows) in enumerate(by_latent.items()):
        _genes(axes.flat[at], rows, name, threshold, lines[at // columns])
    title = f"genes of the reference, by the share of {n_runs} repeats that find them again"
    if any(len(rows) > SHOWN for rows in by_latent.values()):
        title += f" (no more than {SHOWN} drawn)"
    title = textwrap.fill(title, 28 * columns)
    if without:
        none = f"none with latent{'s' * (len(without) > 1)} {', '.join(without)}"
        title += f"\n{textwrap.fill(none, 28 * columns)}"
    figure.suptitle(title, fontsize=TITLE)
    handles = [
        Line2D([], [], marker="o", ms=2.7, lw=0.8, color=colour, label=label)
        for colour, label in ((CONSENSUS, f"in ≥ {threshold:.0%} of the repeats: consensus"), (OTHER, "in fewer"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _genes(ax: Axes, rows: pd.DataFrame, name: str, threshold: float, lines: int) -> None:
    shown = rows.head(SHOWN)
    y = np.arange(len(shown))
    share = 100 * shown["selection_frequency"].to_numpy()
    colours = [CONSENSUS if consensus else OTHER for consensus in shown["consensus"]]
    ax.hlines(y, 0, share, colors=colours, lw=0.8)
    ax.scatter(share, y, s=6, c=colours, zorder=3, clip_on=False)
    ax.axvline(100 * threshold, color="#555555", lw=0.5, ls=":", zorder=0)
    ax.set_yticks(y, shown["gene"], fontsize=TINY)
    ax.set_xticks([0, 50, 100])
    ax.set(xlim=(0, 104), ylim=(lines - 0.3, -0.7))
    ax.set_title(f"latent {name}\n{rows['consensus'].sum():,} of {len(rows):,} in ≥ {threshold:.0%}", fontsize=TEXT)
    ax.set_xlabel("% of repeats", fontsize=SMALL)
    ax.tick_params(axis="x", labelsize=TINY)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)

"""One page of functional terms: the gene sets that go with each latent."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spadework.columns import DOWN, RANK, UP
from spadework.figures.style import TINY, WIDTH

N_BEST = 5  # at each side
MAX_LETTERS = 40
_COLOURS = {UP: "#B2182B", DOWN: "#2166AC"}
_HOLLOW = "#8C8C8C"


def terms_page(table: pd.DataFrame, fdr: float, heading: str) -> Figure:
    """Show the best sets of the rank test at each side, a panel per latent.

    Parameters
    ----------
    table
        From :func:`spadework.enrichment.enrich`.
    fdr
        Sets below this false discovery rate are filled; the table's genes found are those below it, too.
    """
    ranked = table[table["test"] == RANK]
    panels = {int(latent): _best(of_latent) for latent, of_latent in ranked.groupby("latent")}
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = plt.figure(figsize=(WIDTH if columns > 1 else 5.4, 1.6 * rows + 0.8), layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[0.3, *[1] * rows])
    _legend(figure.add_subplot(grid[0, :]), fdr, columns, bool((ranked["fdr"] < fdr).any()))
    reach = 1.5 * max(float(-np.log10(ranked["p"].min())), -np.log10(fdr))  # room for the counts
    lowest = 0.3 - max(len(best) for best in panels.values())
    for i, (latent, best) in enumerate(panels.items()):
        ax = figure.add_subplot(grid[1 + i // columns, i % columns])
        _sets(ax, best, fdr)
        ax.set(xlim=(-reach, reach), ylim=(lowest, 0.7))
        ax.set_title(f"latent {latent}: {_count(ranked[ranked['latent'] == latent], fdr)}", x=1, ha="right")
    figure.suptitle(heading)
    return figure


def _best(ranked: pd.DataFrame) -> pd.DataFrame:
    up, down = (ranked[ranked["direction"] == side].nsmallest(N_BEST, "p") for side in (UP, DOWN))
    return pd.concat([up, down[::-1]])


def _count(ranked: pd.DataFrame, fdr: float) -> str:
    down, up = ((ranked["fdr"] < fdr) & (ranked["direction"] == side) for side in (DOWN, UP))
    if not (down | up).any():
        return f"no set with FDR < {fdr:g}"
    return f"{down.sum()} down, {up.sum()} up of {len(ranked):,} sets (FDR < {fdr:g})"


def _sets(ax: Axes, shown: pd.DataFrame, fdr: float) -> None:
    y = -np.arange(len(shown))
    for at, row in zip(y, shown.itertuples(), strict=True):
        colour, sign = _COLOURS[str(row.direction)], 1 if row.direction == UP else -1
        x, sure = -sign * np.log10(row.p), row.fdr < fdr
        ax.plot([0, x], [at, at], color=colour if sure else _HOLLOW, lw=1.1 if sure else 0.5, solid_capstyle="butt")
        ax.plot(x, at, "o", ms=4, color=colour if sure else _HOLLOW, mfc=colour if sure else "white", clip_on=False)
        ax.annotate(
            f"{row.n_overlap:.0f}/{row.n:.0f}", (x, at), (4 * sign, 0), textcoords="offset points", va="center",
            ha="left" if sign > 0 else "right", fontsize=TINY, color="#555555",
        )  # fmt: skip
    ax.axvline(0, color="black", lw=0.5)
    ax.set_yticks(y, [_shortened(str(name)) for name in shown["set"]], fontsize=TINY)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    ax.set_xlabel("down   ←   −log10 p   →   up")


def _shortened(name: str) -> str:
    """Cut the middle out of a long name: names of one collection begin alike, and many end alike."""
    kept = MAX_LETTERS // 2
    return name if len(name) <= MAX_LETTERS else f"{name[:kept]}…{name[1 - kept :]}"


def _legend(ax: Axes, fdr: float, columns: int, any_sure: bool) -> None:
    marks = [
        Line2D([], [], marker="o", ls="none", color=colour, label=f"FDR < {fdr:g}, genes {side}")
        for side, colour in _COLOURS.items()
    ]
    marks.append(Line2D([], [], marker="o", ls="none", color=_HOLLOW, mfc="white", label="not significant"))
    nothing = "" if any_sure else f"No set goes with any latent (FDR < {fdr:g}); the smallest p-values are shown. "
    reading = (
        f"The {N_BEST} best sets at each side by the rank test of all genes, which compares the latent with "
        "permutations of itself: genes of a set may be correlated, and need not be significant one by one. "
        f"k/n: of n genes tested in the set, k have FDR < {fdr:g} themselves."
    )
    title = textwrap.fill(nothing + reading, 66 * columns)
    ax.legend(handles=marks, ncols=3, loc="center", title=title)
    ax.axis("off")

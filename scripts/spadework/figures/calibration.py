"""The calibration page: what each test makes of latents that have nothing to do with any gene."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spadework.columns import LEVEL
from spadework.figures.style import TITLE

_NAMES = {"published": "as published", "depth": "+ depth", "spatial": "+ depth\nand space", "mixed": "mixed\nmodel"}
_LINEAR = 10  # genes that a linear axis can show
_COLOURS = {"published": "#D55E00", "depth": "#E69F00", "spatial": "#0072B2", "mixed": "#56B4E9"}


def calibration_page(table: pd.DataFrame, fdr: float, heading: str) -> Figure:
    """Draw the share of small p-values and the number of false discoveries, a dot per null latent.

    Parameters
    ----------
    table
        As :func:`spadework.calibration.calibrate` makes it.
    """
    figure, axes = plt.subplots(1, 2, figsize=(6.7, 3), layout="constrained")
    tests = [test for test in _NAMES if (table["test"] == test).any()]
    _strips(axes[0], table, tests, "share_below_05")
    axes[0].axhline(LEVEL, color="black", lw=0.5, ls="--")
    axes[0].set(title=f"genes with p < {LEVEL} (dashed: as it should be)", ylabel="share of genes", ylim=(0, None))
    _strips(axes[1], table, tests, "found")
    most = max(float(table["found"].max()), 1.0) if len(table) else 1.0
    if most > _LINEAR:
        axes[1].set_yscale("symlog", linthresh=1)
        axes[1].yaxis.set_major_formatter("{x:g}")
        limits = (-0.3, 1.5 * most)
    else:
        axes[1].yaxis.set_major_locator(MaxNLocator(integer=True))
        limits = (-0.06 * most, 1.06 * most)
    axes[1].set(title=f"false discoveries at FDR {fdr:.0%}", ylabel="genes", ylim=limits)
    figure.suptitle(heading + "\n" + textwrap.fill(verdict(table, fdr), 120), fontsize=TITLE)
    return figure


def _strips(ax: Axes, table: pd.DataFrame, tests: list[str], column: str) -> None:
    for x, test in enumerate(tests):
        values = np.sort(table.loc[table["test"] == test, column].to_numpy(float))
        # Spread evenly, so that equal values do not cover each other.
        ax.scatter(x + np.linspace(-0.28, 0.28, len(values)), values, s=6, color=_COLOURS[test], linewidths=0)
        ax.hlines(values.mean(), x - 0.34, x + 0.34, color=_COLOURS[test], lw=1)
    ax.set_xticks(range(len(tests)), [_NAMES[test] for test in tests])
    ax.set_xlim(-0.6, max(len(tests), 1) - 0.4)


def verdict(table: pd.DataFrame, fdr: float) -> str:
    """Say in a sentence what the published test and the spatial one make of null latents."""
    if table.empty:
        return "No lattice, or too few spots: there is no spatial test, and calibration cannot be shown."
    n = table["field"].nunique()

    def says(test: str) -> str:
        found = table[table["test"] == test]["found"]
        share = table[table["test"] == test]["share_below_05"].mean()
        return (
            f"for {(found > 0).sum()} of them ({found.mean():.3g} genes on average; p < 0.05 in {share:.1%} of tests)"
        )

    return (
        f"{n} random patterns, as smooth as this section's latents but unrelated to any gene: at FDR {fdr:.0%} the "
        f"published test finds genes {says('published')}, the spatial test {says('spatial')}."
    )

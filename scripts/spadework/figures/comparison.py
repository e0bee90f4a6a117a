"""One page on what the corrections change."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from spadework.comparison import Comparison
from spadework.figures.style import SMALL, TINY, WIDTH

# Half of the variance in common: below this, two latents are not one and the same.
SAME = 0.7
KEPT, ENTERED, LEFT = "#8C8C8C", "#0072B2", "#D55E00"


def comparison_page(result: Comparison, heading: str, fdr: float) -> Figure:
    """Genes found after each correction on the left, which latents correspond on the right."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 4.3), layout="constrained", gridspec_kw={"width_ratios": [1.9, 1]}
    )
    _account(left, result, fdr)
    _correspondence(right, result)
    figure.suptitle(heading)
    return figure


def _account(ax: Axes, result: Comparison, fdr: float) -> None:
    table = result.steps
    y = np.arange(len(table))[::-1]
    first = np.arange(len(table)) == 0  # nothing was before it
    kept, entered = np.where(first, table["found"], table["kept"]), np.where(first, 0, table["entered"])
    ax.barh(y, kept, color=KEPT, height=0.5, label="kept")
    ax.barh(y, entered, left=kept, color=ENTERED, height=0.5, label="new by this correction")
    ax.barh(y, -table["left"], color=LEFT, height=0.5, label="lost by this correction")
    ax.plot(
        table["found_alone"][1:], y[1:] - 0.42, "D", ms=2.7, mfc="white", mec="black", ls="none",
        label="found if this were the only correction",
    )  # fmt: skip
    reach = max(float(table["found"].max()), float(table["left"].max()), float(table["found_alone"].max()), 1.0)
    for at, row in zip(y, table.itertuples(), strict=True):
        ax.annotate(
            f"{row.found:,} of {row.tested:,}", (row.found, at), (3, 0), textcoords="offset points", va="center",
            fontsize=SMALL,
        )  # fmt: skip
        if at < y[0]:
            ax.annotate(
                f"{row.found_alone:,}", (row.found_alone, at - 0.42), (4, 0), textcoords="offset points", va="center",
                fontsize=TINY, color="#555555",
            )  # fmt: skip
        if row.left:
            ax.annotate(
                f"−{row.left:,}", (-row.left, at), (-3, 0), textcoords="offset points", va="center", ha="right",
                fontsize=SMALL, color=LEFT,
            )  # fmt: skip
    ax.set_yticks(
        y,
        [f"{s}\n{textwrap.fill(c, 40)}" for s, c in zip(table["step"], table["change"], strict=True)],
        fontsize=SMALL,
    )
    ax.axvline(0, color="black", lw=0.5)
    ax.set_xlim(-1.5 * max(float(table["left"].max()), 0.15 * reach), 1.35 * reach)
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    ax.set(xlabel="genes", title=f"genes with FDR < {fdr:g} for any latent, correction upon correction")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.17), ncols=4)


def _correspondence(ax: Axes, result: Comparison) -> None:
    """Draw absolute correlations; pairs that share half their variance are framed."""
    values = result.correspondence
    ax.imshow(values, cmap="Greys", vmin=0, vmax=1)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            ax.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if value > 0.6 else "black",
            )
    for i, j in np.argwhere(values >= SAME):
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=ENTERED, lw=1.3, clip_on=False))
    names = np.arange(1, len(values) + 1)
    ax.set_xticks(names - 1, names)
    ax.set_yticks(names - 1, names)
    ax.set(
        xlabel="corrected latent",
        ylabel="published latent",
        title=f"which latents correspond:\n|r| (framed: {SAME} and more)",
    )
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)

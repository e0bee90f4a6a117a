"""How well volumes are predicted, and how the networks learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from spadework.figures.style import CATEGORICAL, WIDTH, shortened

_OWN = CATEGORICAL[5]
_OTHERS = (CATEGORICAL[0], CATEGORICAL[4], CATEGORICAL[2], CATEGORICAL[7])
_MARKERS = "osD^v"
_NAMES = {
    "dice": "Dice (1: all right)",
    "pearson_r": "Pearson's r between predicted and measured",
}
_MOST_FOLDS = 8  # told apart by colour


def scores_figure(table: pd.DataFrame, heading: str, what: str, of: str = "section") -> Figure:
    """Draw the methods side by side, on every section and for every class or latent.

    Parameters
    ----------
    table
        ``section`` (or any name of what is scored; ``all`` for all), ``method`` (the network first),
        ``class_or_latent`` (``mean`` for the summary), ``score`` (``dice`` or ``pearson_r``, others are not drawn),
        ``value``, ``low``, ``high``.
    what
        Name of the classes: ``domain``, ``latent`` or ``label``.
    of
        What is scored: a ``section`` or a ``volume``.
    """
    table = table[table["score"].isin(_NAMES) & table["value"].notna()]
    methods = list(dict.fromkeys(table["method"]))
    summary = table[table["class_or_latent"] == "mean"]
    sections = [s for s in dict.fromkeys(summary["section"]) if s != "all"]
    rows = [*sections, "all"] if len(sections) > 1 else sections
    whole = table[(table["section"] == rows[-1]) & (table["class_or_latent"] != "mean")]
    classes = list(dict.fromkeys(whole["class_or_latent"]))
    each = 0.075 * len(methods) + 0.15
    most = max(len(rows), len(classes))
    height = max(1.1 + each * most, 2.2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, height), layout="constrained", sharex=True)
    _dodged(left, summary, "section", rows, methods, most)
    _dodged(right, whole, "class_or_latent", classes, methods, most)
    score = _NAMES[table["score"].iloc[0]]
    over = f"all {of}s" if len(rows) > 1 else shortened(str(rows[-1]), 30)
    left.set(title=f"mean over the {what}s", xlabel=score)
    right.set(title=f"each {what}, {over}", xlabel=score)
    if table["score"].iloc[0] == "dice":
        left.set_xlim(-0.02, 1.02)
    else:
        left.set_xlim(min(-0.1, float(table[["value", "low"]].min().min()) - 0.05), 1.02)
    handles = [
        Line2D([], [], color=_colour(k), marker=_MARKERS[k % len(_MARKERS)], lw=0.9, ms=3.3, label=name)
        for k, name in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="outside right center")  # below, it would meet the note
    figure.suptitle(heading)
    return figure


def _dodged(
    ax: Axes, table: pd.DataFrame, column: str, rows: Sequence[str], methods: Sequence[str], most: int
) -> None:
    """Draw a row per name, in it a point and an interval per method; leave room for so many rows at most."""
    step = 0.7 / max(len(methods), 1)
    for k, method in enumerate(methods):
        own = table[table["method"] == method].set_index(column).reindex(rows)
        y = np.arange(len(rows)) + (k - (len(methods) - 1) / 2) * step
        ax.hlines(y, own["low"], own["high"], color=_colour(k), lw=0.9)
        ax.plot(own["value"], y, ls="", marker=_MARKERS[k % len(_MARKERS)], color=_colour(k), ms=3)
    for boundary in np.arange(len(rows) - 1) + 0.5:
        ax.axhline(boundary, color="#E0E0E0", lw=0.5, zorder=0)
    ax.axvline(0, color="#999999", lw=0.5, zorder=0)
    ax.set_yticks(range(len(rows)), [shortened(str(row), 24) for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(most - 0.5, -0.5)


def _colour(k: int) -> str:
    return _OWN if k == 0 else _OTHERS[(k - 1) % len(_OTHERS)]


def history_figure(histories: Mapping[str, pd.DataFrame], heading: str) -> Figure:
    """Draw what the networks of all folds went through, epoch by epoch.

    Parameters
    ----------
    histories
        What the network is called (the section left out) -> ``epoch``, ``g_adversarial``, ``voxel_loss``, ``d_loss``,
        ``d_accuracy``, ``d_updated`` (share of the steps) and, where there was validation, ``val_loss``.
    """
    figure, axes = plt.subplots(2, 2, figsize=(6.7, 4), layout="constrained", sharex=True)
    panels = {
        axes[0, 0]: ("voxel loss of the generator", {"voxel_loss": "-", "val_loss": "--"}),
        axes[0, 1]: ("adversarial loss of the generator", {"g_adversarial": "-"}),
        axes[1, 0]: ("loss of the discriminator", {"d_loss": "-"}),
        axes[1, 1]: ("discriminator: share", {"d_accuracy": "-", "d_updated": ":"}),
    }
    labels = {
        "voxel_loss": "what is trained on",
        "val_loss": "validation",
        "d_accuracy": "of patches it is right about",
        "d_updated": "of steps in which it learnt",
    }
    colours = {
        name: CATEGORICAL[k % len(CATEGORICAL)] if len(histories) <= _MOST_FOLDS else "#55555580"
        for k, name in enumerate(histories)
    }
    for ax, (title, lines) in panels.items():
        drawn = {}
        for name, history in histories.items():
            for column, style in lines.items():
                if column in history and history[column].notna().any():
                    drawn[column] = style
                    marker = "o" if len(history) == 1 else ""
                    ax.plot(
                        history["epoch"], history[column], color=colours[name], ls=style, lw=0.8, marker=marker, ms=2
                    )
        ax.set(title=title, ylim=(0, None))
        if len(drawn) > 1:
            keys = [
                Line2D([], [], color="#444444", ls=style, label=labels[column]) for column, style in drawn.items()
            ]
            ax.legend(handles=keys, loc="best")
    axes[1, 1].set_ylim(0, 1.03)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if 1 < len(histories) <= _MOST_FOLDS:
        handles = [Line2D([], [], color=colour, label=shortened(name, 24)) for name, colour in colours.items()]
        figure.legend(handles=handles, loc="outside right center", title="left out")
    figure.suptitle(heading)
    return figure

"""How prototypes were trained, how well they tell classes, and where in the tissue they are found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from spadework.figures.maps import Canvas, category_map, draw_spots, draw_tissue, value_map
from spadework.figures.style import CATEGORICAL, SEQUENTIAL, SMALL, TEXT, TINY, UNLABELLED, WIDTH, shortened
from spadework.labels import categorical

_GRAPHED = 25  # steps that the lines of the history are means of
_STAGES = {"pretrain": "#DCE9F5", "warm": "#FFF0D0", "joint": "#DDF0E3", "last layer": "#F3E3EE", "prune": "#EBEBEB"}
_SETS = {"train": "#9ECAE1", "margin": "white", "test": "#08306B", "unused": UNLABELLED}


def history_figure(history: pd.DataFrame, heading: str) -> Figure:
    """Draw the costs and the accuracy of every step of a training.

    Parameters
    ----------
    history
        ``stage``, ``cycle``, ``step``, ``cross_entropy``, ``cluster``, ``separation``, ``accuracy``, in the order of
        training; NaN where a stage has no such cost.
    """
    figure, axes = plt.subplots(3, 1, figsize=(6.7, 4.4), layout="constrained", sharex=True, height_ratios=(3, 3, 2))
    panels = {
        axes[0]: {"cross_entropy": ("cross entropy", CATEGORICAL[0])},
        axes[1]: {
            "cluster": ("to the nearest prototype of the own class (cluster)", CATEGORICAL[2]),
            "separation": ("to the nearest of another class (separation)", CATEGORICAL[5]),
        },
        axes[2]: {"accuracy": ("accuracy", CATEGORICAL[0])},
    }
    number = np.arange(1, len(history) + 1)
    # Stages follow each other, and the same one comes again: cut where either changes.
    part = (history[["stage", "cycle"]] != history[["stage", "cycle"]].shift()).any(axis=1).cumsum()
    starts = []
    for _, rows in history.groupby(part):
        first, stage, cycle = int(rows.index[0] - history.index[0]), rows["stage"].iloc[0], rows["cycle"].iloc[0]
        x = number[first : first + len(rows)]
        if stage == "joint":
            starts.append((first + 0.5, cycle))
        # Where a stage is one line of the history, it is a point.
        marker = "o" if len(rows) == 1 else ""
        for ax, lines in panels.items():
            ax.axvspan(first + 0.5, first + len(rows) + 0.5, color=_STAGES.get(stage, "#EBEBEB"), lw=0)
            for column, (_, colour) in lines.items():
                ax.plot(x, rows[column], color=colour, lw=0.3, alpha=0.35)
                smooth = rows[column].rolling(_GRAPHED, min_periods=1, center=True).mean()
                ax.plot(x, smooth, color=colour, lw=0.9, marker=marker, ms=2.7)
    for ax in axes:
        for start, _ in starts:
            ax.axvline(start, color="#666666", lw=0.4, ls=(0, (4, 3)))
        ax.margins(x=0)
    for start, cycle in starts:
        axes[0].annotate(
            f"cycle {cycle}", (start, 1), (2, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            fontsize=SMALL, color="#444444",
        )  # fmt: skip
    axes[0].set(ylabel="cross entropy", ylim=(0, None))
    axes[1].set(ylabel="squared distance", ylim=(0, None))
    axes[1].legend(handles=[Line2D([], [], color=c, label=label) for label, c in panels[axes[1]].values()])
    axes[2].set(ylabel="accuracy", xlabel="step (all numbers are of patches that are trained on)", ylim=(0, 1.03))
    lengths = history.groupby(part)["stage"].agg(["first", "size"]).groupby("first")["size"].max()
    stages = [stage for stage in _STAGES if stage in lengths]
    handles: list[Artist] = [
        Patch(facecolor=_STAGES[stage], edgecolor="#999999", lw=0.3, label=stage)
        for stage in stages
        if lengths[stage] > 1
    ]
    points = ", ".join(stage for stage in stages if lengths[stage] == 1)
    if points:
        handles.append(Line2D([], [], color=CATEGORICAL[0], marker="o", ms=2.7, ls="", label=points))
    figure.legend(handles=handles, loc="outside right upper", title="stage")
    figure.suptitle(heading)
    return figure


def accuracy_figure(table: pd.DataFrame, spots: pd.DataFrame, predicted: Sequence[str], heading: str) -> Figure:
    """Draw the methods side by side, and what the prototypes take for what.

    Parameters
    ----------
    table
        From :func:`spadework.prototypes.evaluation.accuracy_table`.
    spots
        The test spots, with their ``class``.
    predicted
        What the prototypes say of them.
    """
    truth = pd.Series(spots["class"].to_numpy(str))
    said = pd.Series(np.asarray(predicted, str))
    names = list(dict.fromkeys([*categorical(truth).categories, *categorical(said).categories]))
    n_rows, n_columns = truth.nunique(), len(names)
    right_width = 1.2 + 0.37 * n_columns
    height = max(1.35 + 0.24 * len(table), 1.5 + 0.28 * n_rows)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(3.5 + right_width, height), layout="constrained", width_ratios=(3.5, right_width)
    )
    _methods(left, table)
    _confusion(right, truth, said, names)
    figure.suptitle(heading)
    return figure


def _methods(ax: Axes, table: pd.DataFrame) -> None:
    y = np.arange(len(table))
    mean = table["balanced_accuracy"].to_numpy(float)
    low, high = (table[f"balanced_accuracy_{end}"].to_numpy(float) for end in ("low", "high"))
    first = table["method"].to_numpy() == "prototypes"
    for members, colour in ((first, CATEGORICAL[5]), (~first, "#444444")):
        ax.hlines(y[members], low[members], high[members], color=colour, lw=1.1)
        ax.plot(mean[members], y[members], "o", color=colour, ms=4)
    chance = 1 / int(table["n_classes"].iloc[0])
    ax.axvline(chance, color="#888888", lw=0.6, ls="--")
    ax.annotate(
        "chance", (chance, 0), (2, 2), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=TINY,
        color="#666666",
    )  # fmt: skip
    for yi, value in zip(y, mean, strict=True):
        ax.annotate(f"{value:.2f}", (value, yi), (0, 4), textcoords="offset points", ha="center", fontsize=TINY)
    ax.set_yticks(y, [textwrap.fill(shortened(name, 60), 26) for name in table["method"]])
    ax.tick_params(axis="y", length=0)
    regions = int(table["n_regions"].iloc[0])
    whiskers = "95 % interval over regions" if np.isfinite(low).any() else "no interval from one region"
    ax.set(xlim=(0, 1.03), ylim=(len(table) - 0.3, -0.7), xlabel="balanced accuracy (mean over classes)")
    place = "1 region" if regions == 1 else f"{regions} regions"
    ax.set_title(f"{int(table['n_test'].iloc[0])} test spots in {place}\n{whiskers}", fontsize=TEXT)


def _confusion(ax: Axes, truth: pd.Series, said: pd.Series, names: list[str]) -> None:
    rows = [name for name in names if (truth == name).any()]
    counts = pd.crosstab(truth, said).reindex(index=rows, columns=names, fill_value=0)
    share = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    ax.imshow(share, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(share >= 0.005):
        shade = "white" if share[i, j] > 0.6 else "black"
        ax.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", fontsize=SMALL, color=shade)
    ax.set_xticks(
        range(len(names)), [shortened(n, 16) for n in names], rotation=40, ha="right", rotation_mode="anchor"
    )
    sizes = counts.sum(axis=1)
    ax.set_yticks(range(len(counts)), [f"{shortened(str(n), 16)} ({sizes[n]})" for n in counts.index])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="what the prototypes say", ylabel="class (test spots)")
    ax.set_title("share of the spots of each class", fontsize=TEXT)


def map_figure(
    canvas: Canvas,
    spots: pd.DataFrame,
    predicted: Sequence[str],
    confidence: NDArray[np.floating],
    scores: NDArray[np.floating],
    class_of: Sequence[str],
    classes: Sequence[str],
    heading: str,
) -> Figure:
    """Draw class, prediction, confidence, set and the score of every prototype over the tissue.

    Parameters
    ----------
    canvas
        Of the section, its ``xy`` in the order of the spots.
    spots
        ``class`` (empty for none) and ``set``.
    predicted, confidence
        Name of the class, and its probability.
    scores
        (spots, prototypes).
    class_of
        Name of the class of each prototype.
    classes
        Of the model, in its order.
    """
    n = scores.shape[1]
    columns, panel = 4, WIDTH / 4
    top = 2  # rows of two wide panels each
    rows = -(-n // columns)
    height = panel * canvas.aspect * 0.86 + 0.25
    figure = plt.figure(figsize=(columns * panel, rows * height + top * 1.35 * height), layout="constrained")
    grid = figure.add_gridspec(top + rows, columns, height_ratios=[1.35] * top + [1] * rows)
    wide = canvas.for_width(1.35 * panel * figure.dpi)
    named = [*classes, *sorted(set(spots["class"]) - {*classes, ""})]
    truth = spots["class"].replace("", "unlabelled")
    shown = [*named, "unlabelled"] if (truth == "unlabelled").any() else named
    category_map(figure.add_subplot(grid[0, :2]), wide, _categories(truth, shown), "class")
    category_map(figure.add_subplot(grid[0, 2:]), wide, _categories(predicted, list(classes)), "what the model says")
    value_map(
        figure.add_subplot(grid[1, :2]), wide, np.asarray(confidence), limits=(1 / len(classes), 1.0),
        colours="viridis", title="how sure the model is", label="probability of the class it says",
    )  # fmt: skip
    _set_map(figure.add_subplot(grid[1, 2:]), wide, spots["set"])
    # One scale for all: a prototype that nothing is like is to look that way.
    highest = float(np.percentile(scores, 99.5)) or 1.0
    small = canvas.for_width(panel * figure.dpi)
    for j in range(n):
        ax = figure.add_subplot(grid[top + j // columns, j % columns])
        title = f"prototype {j}, class {shortened(class_of[j], 14)}"
        value_map(ax, small, scores[:, j], limits=(0.0, highest), colours=SEQUENTIAL, title=title, label="similarity")
    figure.suptitle(heading)
    return figure


def _categories(values: Sequence[str] | pd.Series, categories: list[str]) -> pd.Series:
    # Names are cut for the legend only after colours are given in the order of the categories.
    short = _unique([shortened(c, 24) for c in categories])
    return pd.Series(pd.Categorical(np.asarray(values, str), categories=categories).rename_categories(short))


def _unique(names: list[str]) -> list[str]:
    """Number names that became the same by being cut."""
    return [f"{n} {names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _set_map(ax: Axes, canvas: Canvas, sets: pd.Series) -> None:
    draw_tissue(ax, canvas)
    draw_spots(ax, canvas, facecolors=[_SETS[s] for s in sets], linewidths=0.15, edgecolors="#555555")
    handles = [
        Patch(facecolor=colour, edgecolor="#555555", lw=0.3, label=f"{name} ({(sets == name).sum()})")
        for name, colour in _SETS.items()
        if (sets == name).any()
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=TINY)
    ax.set_title("trained on, tested on", y=1)

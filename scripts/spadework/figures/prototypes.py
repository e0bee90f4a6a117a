"""What a ProtoPNet learnt, how well it tells classes, and why it says what it says of a spot."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from spadework.figures.maps import Canvas, category_map, draw_spots, draw_tissue, value_map
from spadework.figures.style import CATEGORICAL, SEQUENTIAL, UNLABELLED, category_colours
from spadework.labels import categorical
from spadework.prototypes.boxes import Box, crop, overlay
from spadework.prototypes.explain import BORDERLINE, NAMED, TYPICAL, Explanation, Match, Nearest, Prototype

_YELLOW, _WHITE = "#FFE800", "white"
_RIM = [Stroke(linewidth=2.6, foreground="#000000A0"), Normal()]
_MOST_ROWS = 12  # of prototypes on a page
_MOST_SPOTS = 10  # on the page of explanations
_GRAPHED = 25  # steps that the lines of the history are means of
_STAGES = {"pretrain": "#DCE9F5", "warm": "#FFF0D0", "joint": "#DDF0E3", "last layer": "#F3E3EE", "prune": "#EBEBEB"}
_SETS = {"train": "#9ECAE1", "margin": "white", "test": "#08306B", "unused": UNLABELLED}
_BOX = "part most like the prototype (around the peak, top 5 % of the patch)"
_FIELD = "all that the network sees there"


def history_figure(history: pd.DataFrame, heading: str) -> Figure:
    """Draw the costs and the accuracy of every step of a training.

    Parameters
    ----------
    history
        ``stage``, ``cycle``, ``step``, ``cross_entropy``, ``cluster``, ``separation``, ``accuracy``, in the order of
        training; NaN where a stage has no such cost.
    """
    figure, axes = plt.subplots(3, 1, figsize=(10, 6.5), layout="constrained", sharex=True, height_ratios=(3, 3, 2))
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
                ax.plot(x, rows[column], color=colour, lw=0.5, alpha=0.35)
                smooth = rows[column].rolling(_GRAPHED, min_periods=1, center=True).mean()
                ax.plot(x, smooth, color=colour, lw=1.4, marker=marker, ms=4)
    for ax in axes:
        for start, _ in starts:
            ax.axvline(start, color="#666666", lw=0.6, ls=(0, (4, 3)))
        ax.margins(x=0)
    for start, cycle in starts:
        axes[0].annotate(
            f"cycle {cycle}", (start, 1), (3, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
            fontsize=8, color="#444444",
        )  # fmt: skip
    axes[0].set(ylabel="cross entropy", ylim=(0, None))
    axes[1].set(ylabel="squared distance", ylim=(0, None))
    axes[1].legend(
        handles=[Line2D([], [], color=c, label=label) for label, c in panels[axes[1]].values()], fontsize=8
    )
    axes[2].set(ylabel="accuracy", xlabel="step (all numbers are of patches that are trained on)", ylim=(0, 1.03))
    lengths = history.groupby(part)["stage"].agg(["first", "size"]).groupby("first")["size"].max()
    stages = [stage for stage in _STAGES if stage in lengths]
    handles: list[Artist] = [
        Patch(facecolor=_STAGES[stage], edgecolor="#999999", lw=0.5, label=stage)
        for stage in stages
        if lengths[stage] > 1
    ]
    points = ", ".join(stage for stage in stages if lengths[stage] == 1)
    if points:
        handles.append(Line2D([], [], color=CATEGORICAL[0], marker="o", ms=4, ls="", label=points))
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, title="stage", title_fontsize=8)
    figure.suptitle(heading)
    return figure


def prototypes_figure(
    prototypes: Sequence[Prototype], nearest: Sequence[Nearest], classes: Sequence[str], heading: str
) -> list[Figure]:
    """Draw every prototype with the patches most like it: pages of twelve rows at most, in the order of the classes.

    Parameters
    ----------
    nearest
        In the order of the prototypes.
    classes
        Of the model, in its order.
    """
    colours = category_colours(list(classes))
    order = sorted(range(len(prototypes)), key=lambda j: (list(classes).index(prototypes[j].class_name), j))
    pages = -(-len(order) // _MOST_ROWS)
    rows_each = -(-len(order) // pages)
    figures = []
    for page in range(pages):
        shown = order[page * rows_each : (page + 1) * rows_each]
        title = heading if pages == 1 else f"{heading} (page {page + 1} of {pages})"
        figures.append(_prototypes_page([(prototypes[j], nearest[j]) for j in shown], classes, colours, title))
    return figures


def _prototypes_page(
    rows: Sequence[tuple[Prototype, Nearest]], classes: Sequence[str], colours: Mapping[str, str], heading: str
) -> Figure:
    left, edge, gap, row_height = 2.5, 1.15, 0.1, 1.5
    beside = left + edge + 0.35
    n = max((len(near.classes) for _, near in rows), default=0)
    width = max(beside + n * (edge + gap), 7.5)
    sheet = _Sheet(width, 0.3 + len(rows) * row_height, heading)
    sheet.text(left, 0.1, "its source", weight="bold")
    sheet.text(0.15, 0.1, "prototype", weight="bold")
    if n:
        sheet.text(beside, 0.1, "most similar patches, best first: class and similarity", weight="bold")
    for i, (p, near) in enumerate(rows):
        y = 0.5 + i * row_height
        if i and rows[i - 1][0].class_name != p.class_name:
            sheet.rule(y - 0.28)
        sheet.swatch(0.0, y, 0.07, edge, colours[p.class_name])
        sheet.text(0.15, y, f"prototype {p.number}, class {_short(p.class_name, 10)}", weight="bold")
        lines = [f"from {_short(p.source.barcode, 24)}", f"in {_short(p.source.sample, 26)}", "weights:"]
        sheet.text(0.15, y + 0.2, "\n".join([*lines, *_weights(p, classes)]), size=7.5)
        sheet.patch(left, y, edge, p.patch, box=p.box, field=p.field)
        for k, (patch, name, score, box) in enumerate(
            zip(near.patches, near.classes, near.scores, near.boxes, strict=True)
        ):
            x = beside + k * (edge + gap)
            colour = colours.get(name, UNLABELLED)
            sheet.text(x, y - 0.14, f"{_short(name or 'no class', 13)}: {score:.2f}", size=7.5)
            sheet.patch(x, y, edge, patch, box=box, border=colour)
    return sheet.finished()


def _weights(p: Prototype, classes: Sequence[str], most: int = 5) -> list[str]:
    """Name the classes a prototype speaks for and against, the largest weights first."""
    order = np.argsort(-np.abs(p.weights), kind="stable")
    if len(order) > most:
        order, smaller = order[: most - 1], [f"  and {len(order) - most + 1} smaller"]
    else:
        smaller = []
    return [f"  {_signed(p.weights[k])} for {_short(classes[k], 16)}" for k in order] + smaller


def explanation_figure(e: Explanation) -> Figure:
    """Draw why the model says what it says of one spot: a row for each of the top prototypes."""
    edge, gap, top, row_height = 1.6, 0.15, 2.15, 1.95
    columns = [i * (edge + gap) for i in range(4)]
    left = columns[-1] + edge + 0.25
    width = left + 2.5
    colours = category_colours(list(e.classes))
    heading = f"{_short(e.sample, 30)}, spot {_short(e.barcode, 30)} ({e.kind})"
    sheet = _Sheet(width, top + 0.2 + len(e.shown) * row_height, heading)
    sheet.patch(0, 0.1, edge, e.patch)
    sheet.text(columns[1], 0.1, _verdict(e), size=10)
    sheet.bars(columns[1], 0.85, 3.2, _probabilities(e), colours)
    titles = ("where it is most alike", "similarity (own scale)", "the prototype", "its source")
    for x, title in zip(columns, titles, strict=True):
        sheet.text(x, top - 0.2, title, weight="bold")
    for i, m in enumerate(e.shown):
        y, p = top + i * row_height, m.prototype
        sheet.patch(columns[0], y, edge, e.patch, box=m.box, field=m.field)
        sheet.patch(columns[1], y, edge, overlay(e.patch, m.activation))
        sheet.patch(columns[2], y, edge, crop(p.patch, p.box), border=colours[p.class_name])
        sheet.patch(columns[3], y, edge, p.patch, box=p.box, field=p.field)
        sheet.swatch(left, y + 0.02, 0.12, 0.12, colours[p.class_name])
        sheet.text(left + 0.18, y, f"prototype {p.number}, class {_short(p.class_name, 14)}", weight="bold")
        k = e.predicted
        lines = [
            f"from {_short(p.source.barcode, 28)}",
            f"in {_short(p.source.sample, 30)}",
            "",
            f"{m.score:.2f} similarity",
            f"× {_signed(p.weights[k])} weight to {_short(e.classes[k], 16)}",
            f"= {_signed(m.contribution(k))}",
        ]
        if m.own_source:
            lines += ["", "its own source: says nothing"]
        sheet.text(left, y + 0.22, "\n".join(lines), size=8.5)
    return sheet.finished()


def explanations_figure(explanations: Sequence[Explanation], heading: str, top: int = 3) -> Figure:
    """Draw some explained spots on one page, each with its top prototypes.

    Parameters
    ----------
    explanations
        All of a section; ten are drawn: those the user named, then a typical and a borderline spot of each class.
    """
    shown = _some(explanations)
    edge, gap, row_height, pair = 1.05, 0.05, 1.6, 2.4
    left = edge + 0.12 + 1.95
    sheet = _Sheet(left + top * pair, 0.3 + len(shown) * row_height, heading)
    colours = category_colours(list(shown[0].classes)) if shown else {}
    for c in range(top if shown else 0):
        sheet.text(left + c * pair, 0.1, f"{c + 1}. this part ...", weight="bold", size=8.5)
        sheet.text(left + c * pair + edge + gap, 0.1, "looks like this", weight="bold", size=8.5)
    for i, e in enumerate(shown):
        y = 0.35 + i * row_height
        sheet.patch(0, y, edge, e.patch)
        barcode = _short(e.barcode, 22)
        sheet.text(edge + 0.12, y, e.kind, size=7.5, weight="bold")
        sheet.text(edge + 0.12, y + 0.15, f"{barcode}\n\n{_verdict(e, 22)}", size=7.5)
        for c, m in enumerate(e.shown[:top]):
            _pair(sheet, left + c * pair, y, edge, gap, e, m, colours)
    if not shown:
        sheet.text(0, 0.1, "No spot of this section is explained.")
    return sheet.finished()


def _pair(
    sheet: _Sheet, x: float, y: float, edge: float, gap: float, e: Explanation, m: Match, colours: Mapping[str, str]
) -> None:
    """Draw the patch and the source of a prototype side by side, and what it adds."""
    p, k = m.prototype, e.predicted
    sheet.patch(x, y, edge, e.patch, box=m.box, field=m.field)
    sheet.patch(x + edge + gap, y, edge, p.patch, box=p.box, field=p.field, border=colours[p.class_name])
    which = "its own source" if m.own_source else _short(p.class_name, 20)
    sums = f"{m.score:.2f} × {_signed(p.weights[k])} = {_signed(m.contribution(k))} for {_short(e.classes[k], 14)}"
    sheet.text(x, y + edge + 0.06, f"prototype {p.number}, class {which}\n{sums}", size=7.5)


def _some(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Choose what is shown: named spots, then of each class the first typical, then the first borderline one."""
    named = [e for e in explanations if e.kind == NAMED]
    first: dict[tuple[str, str], Explanation] = {}
    for e in explanations:
        first.setdefault((e.kind, e.class_name), e)
    others = [e for kind in (TYPICAL, BORDERLINE) for (of, _), e in first.items() if of == kind]
    return (named + others)[:_MOST_SPOTS]


def _verdict(e: Explanation, longest: int = 26) -> str:
    k = e.predicted
    name = _short(e.classes[k], longest)
    lines = [f"looks like {name} ({e.probability[k]:.2f})"]
    if not e.class_name:
        lines.append("has no class")
    else:
        lines.append(f"{'and' if e.class_name == e.classes[k] else 'but'} is {_short(e.class_name, longest)}")
    if e.set == "train":
        lines.append("was trained on")
    return "\n".join(lines)


def _probabilities(e: Explanation, most: int = 5) -> list[tuple[str, float]]:
    order = np.argsort(-e.logits, kind="stable")[:most]
    return [(e.classes[k], float(e.probability[k])) for k in order]


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
    right_width = 1.8 + 0.55 * n_columns
    height = max(2.0 + 0.36 * len(table), 2.2 + 0.42 * n_rows)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(5.2 + right_width, height), layout="constrained", width_ratios=(5.2, right_width)
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
        ax.hlines(y[members], low[members], high[members], color=colour, lw=1.6)
        ax.plot(mean[members], y[members], "o", color=colour, ms=6)
    chance = 1 / int(table["n_classes"].iloc[0])
    ax.axvline(chance, color="#888888", lw=0.9, ls="--")
    ax.annotate(
        "chance", (chance, 0), (3, 3), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7.5,
        color="#666666",
    )  # fmt: skip
    for yi, value in zip(y, mean, strict=True):
        ax.annotate(f"{value:.2f}", (value, yi), (0, 6), textcoords="offset points", ha="center", fontsize=7.5)
    ax.set_yticks(y, [textwrap.fill(_short(name, 60), 26) for name in table["method"]])
    ax.tick_params(axis="y", length=0)
    regions = int(table["n_regions"].iloc[0])
    whiskers = "95 % interval over regions" if np.isfinite(low).any() else "no interval from one region"
    ax.set(xlim=(0, 1.03), ylim=(len(table) - 0.3, -0.7), xlabel="balanced accuracy (mean over classes)")
    place = "1 region" if regions == 1 else f"{regions} regions"
    ax.set_title(f"{int(table['n_test'].iloc[0])} test spots in {place}\n{whiskers}", fontsize=9)


def _confusion(ax: Axes, truth: pd.Series, said: pd.Series, names: list[str]) -> None:
    rows = [name for name in names if (truth == name).any()]
    counts = pd.crosstab(truth, said).reindex(index=rows, columns=names, fill_value=0)
    share = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    ax.imshow(share, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(share >= 0.005):
        shade = "white" if share[i, j] > 0.6 else "black"
        ax.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", fontsize=8, color=shade)
    ax.set_xticks(range(len(names)), [_short(n, 16) for n in names], rotation=40, ha="right", rotation_mode="anchor")
    sizes = counts.sum(axis=1)
    ax.set_yticks(range(len(counts)), [f"{_short(str(n), 16)} ({sizes[n]})" for n in counts.index])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="what the prototypes say", ylabel="class (test spots)")
    ax.set_title("share of the spots of each class", fontsize=9)


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
    columns, panel = 4, 3.6
    top = 2  # rows of two wide panels each
    rows = -(-n // columns)
    height = panel * canvas.aspect * 0.86 + 0.35
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
        title = f"prototype {j}, class {_short(class_of[j], 14)}"
        value_map(ax, small, scores[:, j], limits=(0.0, highest), colours=SEQUENTIAL, title=title, label="similarity")
    figure.suptitle(heading)
    return figure


def _categories(values: Sequence[str] | pd.Series, categories: list[str]) -> pd.Series:
    # Names are cut for the legend only after colours are given in the order of the categories.
    short = _unique([_short(c, 24) for c in categories])
    return pd.Series(pd.Categorical(np.asarray(values, str), categories=categories).rename_categories(short))


def _unique(names: list[str]) -> list[str]:
    """Number names that became the same by being cut."""
    return [f"{n} {names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _set_map(ax: Axes, canvas: Canvas, sets: pd.Series) -> None:
    draw_tissue(ax, canvas)
    draw_spots(ax, canvas, facecolors=[_SETS[s] for s in sets], linewidths=0.15, edgecolors="#555555")
    handles = [
        Patch(facecolor=colour, edgecolor="#555555", lw=0.5, label=f"{name} ({(sets == name).sum()})")
        for name, colour in _SETS.items()
        if (sets == name).any()
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    ax.set_title("trained on, tested on", y=1)


def _short(name: str, longest: int) -> str:
    """Cut a name of a class, a section or a spot."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


class _Sheet:
    """A page on which things are put in inches from its upper left corner.

    One axes for all: a page of a hundred axes takes half a minute to lay out.
    """

    def __init__(self, width: float, height: float, heading: str) -> None:
        # A line at the foot is for what the boxes mean.
        self._foot = height
        self._figure = plt.figure(figsize=(width + 0.3, height + 0.9), layout="constrained")
        self._ax = self._figure.add_subplot()
        self._ax.set(xlim=(-0.05, width), ylim=(height + 0.3, 0), aspect="equal", autoscale_on=False)
        self._ax.axis("off")
        self._figure.suptitle(heading)
        self._boxed = False

    def text(self, x: float, y: float, text: str, *, size: float = 9, weight: str = "normal") -> None:
        """Write text below and to the right of a place."""
        self._ax.text(x, y, text, fontsize=size, weight=weight, va="top", linespacing=1.25)

    def patch(
        self,
        x: float,
        y: float,
        edge: float,
        pixels: NDArray[np.uint8],
        *,
        box: Box | None = None,
        field: Box | None = None,
        border: str | None = None,
    ) -> None:
        """Draw a picture into a square of an edge, whole and undistorted, and boxes in it."""
        scale = edge / max(pixels.shape[:2])
        height, width = pixels.shape[0] * scale, pixels.shape[1] * scale
        self._ax.imshow(pixels, extent=(x, x + width, y + height, y), interpolation="bilinear")
        if border:
            self._rectangle(x, y, width, height, color=border, lw=2.5)
        for which, colour, style in ((field, _WHITE, (0, (3, 2))), (box, _YELLOW, "-")):
            if which is not None:
                y1, y2, x1, x2 = (scale * v for v in which)
                self._rectangle(x + x1, y + y1, x2 - x1, y2 - y1, color=colour, lw=1.3, ls=style, path_effects=_RIM)
                self._boxed = True

    def swatch(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle."""
        self._ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, lw=0))

    def rule(self, y: float) -> None:
        """Draw a line across the page."""
        self._ax.axhline(y, color="#CCCCCC", lw=0.8)

    def bars(
        self, x: float, y: float, width: float, values: Sequence[tuple[str, float]], colours: Mapping[str, str]
    ) -> None:
        """Draw shares as bars, with their names."""
        for i, (name, value) in enumerate(values):
            top = y + 0.18 * i
            self.swatch(x, top, max(width * 0.45 * value, 0.01), 0.13, colours[name])
            self.text(x + width * 0.45 * value + 0.06, top - 0.01, f"{value:.2f} {_short(name, 24)}", size=8)

    def finished(self) -> Figure:
        """Return the page, with what its boxes mean."""
        if self._boxed:
            x = 0.02
            for label, colour, style in ((_BOX, _YELLOW, "-"), (_FIELD, _WHITE, (0, (3, 2)))):
                self._rectangle(x, self._foot + 0.06, 0.22, 0.14, color=colour, lw=1.3, ls=style, path_effects=_RIM)
                self.text(x + 0.3, self._foot + 0.05, label, size=8)
                x += 4.7
        return self._figure

    def _rectangle(self, x: float, y: float, width: float, height: float, **style: Any) -> None:  # noqa: ANN401
        self._ax.add_patch(Rectangle((x, y), width, height, fill=False, joinstyle="miter", **style))

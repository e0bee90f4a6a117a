"""What a ProtoPNet learnt, how well it tells classes, and why it says what it says of a spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from spadework.figures.style import SMALL, TEXT, TINY, TITLE, UNLABELLED, category_colours, shortened
from spadework.prototypes.boxes import Box, crop, overlay
from spadework.prototypes.explain import BORDERLINE, NAMED, TYPICAL, Explanation, Match, Nearest, Prototype

_YELLOW, _WHITE = "#FFE800", "white"
_RIM = [Stroke(linewidth=1.7, foreground="#000000A0"), Normal()]
_MOST_ROWS = 12  # of prototypes on a page
_MOST_SPOTS = 10  # on the page of explanations
# Of the size in which things are put on a page, so that it is as wide as a journal's.
_PRINTED = 2 / 3
_BOX = "part most like the prototype (around the peak, top 5 % of the patch)"
_FIELD = "all that the network sees there"


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
            sheet.rule(y - 0.2)
        sheet.swatch(0.0, y, 0.07, edge, colours[p.class_name])
        sheet.text(0.15, y, f"prototype {p.number}, class {shortened(p.class_name, 10)}", weight="bold")
        lines = [f"from {shortened(p.source.barcode, 24)}", f"in {shortened(p.source.sample, 26)}", "weights:"]
        sheet.text(0.15, y + 0.2, "\n".join([*lines, *_weights(p, classes)]), size=TINY)
        sheet.patch(left, y, edge, p.patch, box=p.box, field=p.field)
        for k, (patch, name, score, box) in enumerate(
            zip(near.patches, near.classes, near.scores, near.boxes, strict=True)
        ):
            x = beside + k * (edge + gap)
            colour = colours.get(name, UNLABELLED)
            sheet.text(x, y - 0.14, f"{shortened(name or 'no class', 13)}: {score:.2f}", size=TINY)
            sheet.patch(x, y, edge, patch, box=box, border=colour)
    return sheet.finished()


def _weights(p: Prototype, classes: Sequence[str], most: int = 5) -> list[str]:
    """Name the classes a prototype speaks for and against, the largest weights first."""
    order = np.argsort(-np.abs(p.weights), kind="stable")
    if len(order) > most:
        order, smaller = order[: most - 1], [f"  and {len(order) - most + 1} smaller"]
    else:
        smaller = []
    return [f"  {_signed(p.weights[k])} for {shortened(classes[k], 16)}" for k in order] + smaller


def explanation_figure(e: Explanation) -> Figure:
    """Draw why the model says what it says of one spot: a row for each of the top prototypes."""
    edge, gap, top, row_height = 1.6, 0.15, 2.15, 1.95
    columns = [i * (edge + gap) for i in range(4)]
    left = columns[-1] + edge + 0.25
    width = left + 2.5
    colours = category_colours(list(e.classes))
    heading = f"{shortened(e.sample, 30)}, spot {shortened(e.barcode, 30)} ({e.kind})"
    sheet = _Sheet(width, top + 0.2 + len(e.shown) * row_height, heading)
    sheet.patch(0, 0.1, edge, e.patch)
    sheet.text(columns[1], 0.1, _verdict(e), size=TITLE)
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
        sheet.text(left + 0.18, y, f"prototype {p.number}, class {shortened(p.class_name, 14)}", weight="bold")
        k = e.predicted
        lines = [
            f"from {shortened(p.source.barcode, 28)}",
            f"in {shortened(p.source.sample, 30)}",
            "",
            f"{m.score:.2f} similarity",
            f"× {_signed(p.weights[k])} weight to {shortened(e.classes[k], 16)}",
            f"= {_signed(m.contribution(k))}",
        ]
        if m.own_source:
            lines += ["", "its own source: says nothing"]
        sheet.text(left, y + 0.22, "\n".join(lines), size=SMALL)
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
        sheet.text(left + c * pair, 0.1, f"{c + 1}. this part ...", weight="bold", size=SMALL)
        sheet.text(left + c * pair + edge + gap, 0.1, "looks like this", weight="bold", size=SMALL)
    for i, e in enumerate(shown):
        y = 0.35 + i * row_height
        sheet.patch(0, y, edge, e.patch)
        barcode = shortened(e.barcode, 22)
        sheet.text(edge + 0.12, y, e.kind, size=TINY, weight="bold")
        sheet.text(edge + 0.12, y + 0.15, f"{barcode}\n\n{_verdict(e, 22)}", size=TINY)
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
    which = "its own source" if m.own_source else shortened(p.class_name, 20)
    sums = f"{m.score:.2f} × {_signed(p.weights[k])} = {_signed(m.contribution(k))} for {shortened(e.classes[k], 14)}"
    sheet.text(x, y + edge + 0.06, f"prototype {p.number}, class {which}\n{sums}", size=TINY)


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
    name = shortened(e.classes[k], longest)
    lines = [f"looks like {name} ({e.probability[k]:.2f})"]
    if not e.class_name:
        lines.append("has no class")
    else:
        lines.append(f"{'and' if e.class_name == e.classes[k] else 'but'} is {shortened(e.class_name, longest)}")
    if e.set == "train":
        lines.append("was trained on")
    return "\n".join(lines)


def _probabilities(e: Explanation, most: int = 5) -> list[tuple[str, float]]:
    order = np.argsort(-e.logits, kind="stable")[:most]
    return [(e.classes[k], float(e.probability[k])) for k in order]


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


class _Sheet:
    """A page on which things are put in inches from its upper left corner.

    One axes for all: a page of a hundred axes takes half a minute to lay out.
    """

    def __init__(self, width: float, height: float, heading: str) -> None:
        # A line at the foot is for what the boxes mean.
        self._foot = height
        self._figure = plt.figure(figsize=(_PRINTED * (width + 0.3), _PRINTED * (height + 0.9)), layout="constrained")
        self._ax = self._figure.add_subplot()
        self._ax.set(xlim=(-0.05, width), ylim=(height + 0.3, 0), aspect="equal", autoscale_on=False)
        self._ax.axis("off")
        self._figure.suptitle(heading)
        self._boxed = False

    def text(self, x: float, y: float, text: str, *, size: float = TEXT, weight: str = "normal") -> None:
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
            self._rectangle(x, y, width, height, color=border, lw=1.7)
        for which, colour, style in ((field, _WHITE, (0, (3, 2))), (box, _YELLOW, "-")):
            if which is not None:
                y1, y2, x1, x2 = (scale * v for v in which)
                self._rectangle(x + x1, y + y1, x2 - x1, y2 - y1, color=colour, lw=0.9, ls=style, path_effects=_RIM)
                self._boxed = True

    def swatch(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle."""
        self._ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, lw=0))

    def rule(self, y: float) -> None:
        """Draw a line across the page."""
        self._ax.axhline(y, color="#CCCCCC", lw=0.5)

    def bars(
        self, x: float, y: float, width: float, values: Sequence[tuple[str, float]], colours: Mapping[str, str]
    ) -> None:
        """Draw shares as bars, with their names."""
        for i, (name, value) in enumerate(values):
            top = y + 0.18 * i
            self.swatch(x, top, max(width * 0.45 * value, 0.01), 0.13, colours[name])
            self.text(x + width * 0.45 * value + 0.06, top - 0.01, f"{value:.2f} {shortened(name, 24)}", size=SMALL)

    def finished(self) -> Figure:
        """Return the page, with what its boxes mean."""
        if self._boxed:
            x = 0.02
            for label, colour, style in ((_BOX, _YELLOW, "-"), (_FIELD, _WHITE, (0, (3, 2)))):
                self._rectangle(x, self._foot + 0.06, 0.22, 0.14, color=colour, lw=0.9, ls=style, path_effects=_RIM)
                self.text(x + 0.3, self._foot + 0.05, label, size=SMALL)
                x += 4.7
        return self._figure

    def _rectangle(self, x: float, y: float, width: float, height: float, **style: Any) -> None:  # noqa: ANN401
        self._ax.add_patch(Rectangle((x, y), width, height, fill=False, joinstyle="miter", **style))

"""How a U-Net learnt, and what it makes of images it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from spadework.figures.style import CATEGORICAL, TEXT
from spadework.unet.data import LabelledImage
from spadework.unet.scores import ObjectCounts, match_objects

_TRAINING, _HELD_OUT, _RATE = CATEGORICAL[0], CATEGORICAL[5], CATEGORICAL[7]
# Yellow and orange-red, told apart by all, on violet tissue as on grey; the dark rim is for bright tissue.
_RIGHT, _WRONG = "#F0E442", "#FF4B00"
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # of a decade, where losses have ticks
_LONGEST = 20  # characters of a name in a title
_RIM = [Stroke(linewidth=1.2, foreground="#00000070"), Normal()]


def history_figure(history: pd.DataFrame, heading: str) -> Figure:
    """Draw loss and learning rate by epoch.

    Parameters
    ----------
    history
        Columns ``epoch``, ``loss``, ``learning_rate`` and, if some images are held out, ``val_loss``; NaN where there
        was no validation.
    """
    figure, (ax, below) = plt.subplots(
        2, 1, figsize=(4.7, 3.4), layout="constrained", sharex=True, height_ratios=(3, 1)
    )
    epoch = history["epoch"]
    ax.plot(epoch, history["loss"], color=_TRAINING, lw=0.8, label="training images")
    validated = history[history["val_loss"].notna()] if "val_loss" in history else history[:0]
    if len(validated):
        ax.plot(validated["epoch"], validated["val_loss"], color=_HELD_OUT, lw=0.8, label="validation images")
        best = validated.loc[validated["val_loss"].idxmin()]
        label = f"best: {best['val_loss']:.3g} in epoch {best['epoch']:.0f}"
        ax.plot(best["epoch"], best["val_loss"], "o", color=_HELD_OUT, ms=4, label=label)
    ax.set(ylabel="loss")
    _log_axis(ax, _STEPS)
    ax.legend()
    below.step(epoch, history["learning_rate"], where="post", color=_RATE, lw=0.8)
    below.set(xlabel="epoch", ylabel="learning rate")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    _log_axis(below, (1.0,))
    figure.suptitle(heading)
    return figure


def _log_axis(ax: Axes, steps: tuple[float, ...]) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=steps))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")


def examples_figure(items: Sequence[LabelledImage], predicted: Sequence[NDArray[np.integer]], heading: str) -> Figure:
    """Draw the images of lowest, median and highest object F1, with true and predicted outlines.

    Parameters
    ----------
    items
        Images held out.
    predicted
        Their predicted labels.
    """
    matches = [match_objects(item.labels, labels) for item, labels in zip(items, predicted, strict=True)]
    rows = _chosen([counts for _, _, counts in matches])
    aspect = max(items[i].labels.shape[0] / items[i].labels.shape[1] for i in rows.values())
    panel = 2.3
    figure, axes = plt.subplots(
        len(rows),
        3,
        figsize=(3 * panel + 0.2, len(rows) * (panel * aspect + 0.25) + 0.5),
        layout="constrained",
        squeeze=False,
    )
    for (rank, i), (image, truth, prediction) in zip(rows.items(), axes, strict=True):
        item = items[i]
        missed, wrong, n = matches[i]
        for ax in (image, truth, prediction):
            _draw_image(ax, item.pixels)
        _draw_outlines(truth, item.labels, missed)
        _draw_outlines(prediction, predicted[i], wrong)
        name = item.name if len(item.name) <= _LONGEST else f"{item.name[: _LONGEST - 1]}…"
        f1 = "not defined" if np.isnan(n.f1) else f"{n.f1:.2f}"
        image.set_title(f"{rank} (image {name}): F1 {f1}")
        truth.set_title(f"truth: {n.true}, of which {n.true - n.matched} missed")
        prediction.set_title(f"predicted: {n.found}, of which {n.found - n.matched} wrong")
    handles = [Line2D([], [], color=_RIGHT, path_effects=_RIM), Line2D([], [], color=_WRONG, path_effects=_RIM)]
    figure.legend(
        handles, ["matched (IoU > 0.5)", "missed, or wrong"], loc="outside lower center", ncols=2, fontsize=TEXT
    )
    figure.suptitle(heading)
    return figure


def _chosen(counts: list[ObjectCounts]) -> dict[str, int]:
    """Pick the worst, the median and the best image; fewer where there are fewer."""
    defined = [i for i, n in enumerate(counts) if not np.isnan(n.f1)] or list(range(len(counts)))
    order = sorted(defined, key=lambda i: (counts[i].f1, -counts[i].true))
    if len(order) == 1:
        return {"all there is": order[0]}
    median = {"median": order[(len(order) - 1) // 2]} if len(order) > 2 else {}
    return {"worst": order[0]} | median | {"best": order[-1]}


def _draw_image(ax: Axes, pixels: NDArray[np.uint8]) -> None:
    # Edges of pixels, not their centres, are whole numbers: outlines run along edges.
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    ax.axis("off")


def _draw_outlines(ax: Axes, labels: NDArray[np.integer], marked: NDArray[np.integer]) -> None:
    """Draw the edges of objects; those marked in another colour, and on top."""
    is_marked = np.isin(labels, marked)
    for colour, shown in ((_RIGHT, np.where(is_marked, 0, labels)), (_WRONG, np.where(is_marked, labels, 0))):
        ax.add_collection(LineCollection(list(_edges(shown)), colors=colour, linewidths=0.6, path_effects=_RIM))


def _edges(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the sides of pixels where one label meets another as (n, 2, 2) x and y; the border is no outline."""
    y, x = np.nonzero(labels[:, 1:] != labels[:, :-1])
    upright = np.stack([np.stack([x + 1, y], -1), np.stack([x + 1, y + 1], -1)], axis=1)
    y, x = np.nonzero(labels[1:] != labels[:-1])
    level = np.stack([np.stack([x, y + 1], -1), np.stack([x + 1, y + 1], -1)], axis=1)
    return np.concatenate([upright, level]).astype(float)

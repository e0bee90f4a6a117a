"""What a network made of a plane as it learnt."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spadework.figures.style import finish
from spadework.figures.volume_content import Content
from spadework.volume.pairs import Volumes
from spadework.volume.training import Samples

_EDGE = 1.4  # inches


def draw_samples(volumes: Volumes, path: Path, samples: Samples) -> None:
    """Draw and write a figure of the samples there are so far."""
    finish(samples_figure(volumes, samples), path)


def samples_figure(volumes: Volumes, samples: Samples) -> Figure:
    """Show a plane, what was measured in it, and what it was translated to after some epochs."""
    n = len(samples.predicted)
    figure, axes = plt.subplots(1, n + 2, figsize=(_EDGE * (n + 2) + 0.9, _EDGE + 0.5), layout="constrained")
    axes[0].imshow(_grey_or_rgb(samples.inputs), cmap="gray", interpolation="nearest")
    axes[0].set_title("input")
    target = samples.target if volumes.classes else samples.target[..., 0]
    label = volumes.outputs[0] if volumes.values else "domain" if volumes.planes else "label"
    truth = Content(target, volumes.classes, label)
    _show(axes[1], truth, target, "measured")
    for ax, epoch, predicted in zip(axes[2:], samples.epochs, samples.predicted, strict=True):
        shown = predicted.argmax(-1) if volumes.classes else predicted[..., 0]
        _show(ax, truth, shown, f"epoch {epoch}")
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("0.8")
    truth.explain(figure, axes)
    figure.suptitle("What the network makes of a plane as it learns", ha="left", x=0.01)
    return figure


def _show(ax: Axes, content: Content, plane: NDArray, title: str) -> None:
    ax.imshow(content.rgba(plane), interpolation="nearest")
    ax.set_title(title)


def _grey_or_rgb(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a plane to 0 to 1: colours as they are, otherwise the first channel over its range."""
    if inputs.shape[-1] == 3:
        return np.clip((inputs + 1) / 2, 0, 1)
    low, high = np.percentile(inputs[..., 0], (1, 99))
    return np.clip((inputs[..., 0] - low) / max(high - low, 1e-6), 0, 1)

"""Draw the preflight: whether the spots sit where the tissue is."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from spadework.figures.style import TINY, WIDTH
from spadework.images import SlideImage
from spadework.preflight import Preflight

_COLOURS = {"ok": "#1B7F4B", "warn": "#B86E00", "stop": "#B2182B"}
_ZOOM_SPOTS = 9.0  # how many spot widths the close-up shows


def overlay(
    report: Preflight,
    image: SlideImage,
    points: NDArray[np.float64],
    spot_px: tuple[float, float],
) -> Figure:
    """Draw spots over the whole image, a close-up, and the findings.

    Parameters
    ----------
    points
        (n, 2) spot centres in pixels of the image.
    spot_px
        Width and height of a spot in pixels of the image.
    """
    height, width = report.overview.shape[:2]
    shrink = np.array([width / image.width, height / image.height])
    figure = plt.figure(figsize=(WIDTH, 3.1), layout="constrained")
    whole, close, text = figure.subplots(1, 3, width_ratios=(1.1, 1, 0.9))
    whole.imshow(report.overview)
    _spots(whole, points * shrink, np.asarray(spot_px) * shrink, 0.3)
    whole.set(title="spots on tissue, true size", xticks=[], yticks=[])
    where = points[np.argsort(((points - np.median(points, axis=0)) ** 2).sum(axis=1))[0]]
    reach = np.maximum(np.asarray(spot_px) * _ZOOM_SPOTS / 2, 1)
    low = np.clip(where - reach, 0, None).astype(int)
    high = np.minimum(where + reach, (image.width, image.height)).astype(int)
    if (high > low).all():
        close.imshow(image.read(low[0], low[1], high[0], high[1]), extent=(low[0], high[0], high[1], low[1]))
        _spots(close, points, np.asarray(spot_px), 0.7)
        close.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), title="close-up (yellow frame)")
        whole.add_patch(Rectangle(low * shrink, *((high - low) * shrink), fill=False, ec="#FFD500", lw=0.8))
    close.set(xticks=[], yticks=[])
    for ax in (whole, close):
        ax.spines[:].set_visible(False)
    text.axis("off")
    lines = [(c.status, f"{c.name}: {c.found}", c.remedy if c.status != "ok" else "") for c in report.checks]
    y = 0.99
    for status, found, remedy in lines:
        for line, colour in (
            (f"{status.upper()}  {found}", _COLOURS[status]),
            (f"→ {remedy}" if remedy else "", "#333333"),
        ):
            if line:
                wrapped = _wrap(line, 62)
                text.text(0, y, wrapped, va="top", fontsize=TINY, color=colour, transform=text.transAxes)
                y -= 0.036 * (wrapped.count("\n") + 1) + 0.008
    figure.suptitle(f"{report.sample}: preflight {report.status.upper()} · {report.image['file']}")
    return figure


def _spots(ax: plt.Axes, xy: NDArray[np.float64], size: NDArray[np.float64], lw: float) -> None:
    n = len(xy)
    ax.add_collection(
        EllipseCollection(
            np.full(n, size[0]),
            np.full(n, size[1]),
            np.zeros(n),
            units="xy",
            offsets=xy,
            offset_transform=ax.transData,
            facecolors="none",
            edgecolors="#0050C8",
            linewidths=lw,
        )
    )


def _wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width, subsequent_indent="      "))

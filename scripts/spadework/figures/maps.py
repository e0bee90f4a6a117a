"""Values over the tissue: spots at their true size on the H&E image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection, EllipseCollection, PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from PIL import Image

from spadework.figures.style import (
    DIVERGING,
    SEQUENTIAL,
    SMALL,
    TINY,
    TITLE,
    WIDTH,
    category_colours,
    two_sd_limits,
)

# How far the image is washed out towards white, so that the colours of the spots carry.
_WASH = 0.35
_MARGIN_UM = 150.0
_HALO = [Stroke(linewidth=2, foreground="white"), Normal()]


@dataclass(frozen=True)
class Canvas:
    """A section's image, cropped to its spots, in µm.

    Attributes
    ----------
    image
        (h, w, 3) uint8.
    extent
        Left, right, bottom, top of the image, µm.
    xy
        (n, 2) spot centres, µm.
    spot_um
        Spot diameter or bin edge, µm.
    square
        Draw bins instead of spots.
    """

    image: NDArray[np.uint8]
    extent: tuple[float, float, float, float]
    xy: NDArray[np.float64]
    spot_um: float
    square: bool

    @property
    def aspect(self) -> float:
        """Height over width."""
        return abs(self.extent[2] - self.extent[3]) / abs(self.extent[1] - self.extent[0])

    def for_width(self, px: float) -> Canvas:
        """Return the canvas with its image no wider than ``px``: drawing time goes with image size."""
        width = round(px)
        if self.image.shape[1] <= width:
            return self
        size = (width, max(1, round(self.image.shape[0] * width / self.image.shape[1])))
        small = Image.fromarray(self.image).resize(size, Image.Resampling.BOX)
        return replace(self, image=np.asarray(small))


def section_canvas(spatial: dict, lattice: dict, points: NDArray[np.float64], kind: str = "hires") -> Canvas:
    """Prepare the image under the maps.

    Parameters
    ----------
    spatial
        ``uns["spatial"][sample]``.
    lattice
        ``uns["spade"]["lattice"]``.
    points
        (n, 2) full-resolution pixels.
    """
    images = spatial["images"]
    kind = kind if kind in images else next(iter(images))
    image = np.asarray(images[kind])
    scale = float(spatial["scalefactors"][f"tissue_{kind}_scalef"])
    um = np.array([float(lattice["um_per_px_x"]), float(lattice["um_per_px_y"])])
    um_per_image_px = um / scale
    xy = np.asarray(points, float) * um
    margin = _MARGIN_UM + float(lattice["spot_um"])
    low = np.maximum(np.floor((xy.min(axis=0) - margin) / um_per_image_px), 0).astype(int)
    high = np.ceil((xy.max(axis=0) + margin) / um_per_image_px).astype(int)
    high = np.maximum(np.minimum(high, (image.shape[1], image.shape[0])), low + 1)
    crop = image[low[1] : high[1], low[0] : high[0]]
    left, top = low * um_per_image_px
    right, bottom = high * um_per_image_px
    square = lattice["kind"] == "square" and float(lattice["pitch_um"]) == float(lattice["spot_um"])
    return Canvas(crop, (left, right, bottom, top), xy, float(lattice["spot_um"]), square)


def draw_tissue(ax: Axes, canvas: Canvas, wash: float = _WASH) -> None:
    """Draw the image with a scale bar and no axes."""
    pale = (canvas.image * (1 - wash) + 255 * wash).astype(np.uint8)
    ax.imshow(pale, extent=canvas.extent, interpolation="bilinear")
    ax.set(aspect="equal", xlim=canvas.extent[:2], ylim=canvas.extent[2:])
    ax.axis("off")
    width = canvas.extent[1] - canvas.extent[0]
    bar = next((b for b in (5000, 2000, 1000, 500, 200, 100, 50, 20) if b <= width / 4), 10)
    label = f"{bar // 1000} mm" if bar >= 1000 else f"{bar} µm"
    start = 0.02  # of the width and height of the axes
    ax.plot(
        [start, start + bar / width],
        [start, start],
        transform=ax.transAxes,
        color="black",
        lw=1.7,
        solid_capstyle="butt",
        path_effects=_HALO,
    )
    ax.annotate(
        label,
        (start, start),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=TINY,
        path_effects=_HALO,
    )


def draw_spots(ax: Axes, canvas: Canvas, **style: Any) -> Collection:  # noqa: ANN401  (matplotlib's own properties)
    """Draw all spots at their true size; ``style`` goes to the collection."""
    n = len(canvas.xy)
    if canvas.square:
        half = canvas.spot_um / 2
        corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
        return ax.add_collection(PolyCollection(canvas.xy[:, None] + corners, **style))
    size = np.full(n, canvas.spot_um)
    spots = EllipseCollection(
        size, size, np.zeros(n), units="xy", offsets=canvas.xy, offset_transform=ax.transData, **style
    )
    return ax.add_collection(spots)


def _outline(canvas: Canvas) -> dict[str, Any]:
    """Style that keeps both spots and tissue visible.

    Spots get a hair of an outline, for pale ones on pale tissue; bins leave no gaps and are see-through instead.
    """
    if canvas.square:
        return {"linewidths": 0, "alpha": 0.65}
    return {"linewidths": 0.15, "edgecolors": "#555555"}


def value_map(
    ax: Axes,
    canvas: Canvas,
    values: NDArray[np.floating],
    *,
    limits: tuple[float, float],
    colours: str | Colormap,
    title: str,
    label: str = "",
) -> None:
    """Draw one value per spot over the tissue, with a colour bar; missing ones in what the colours have for bad."""
    draw_tissue(ax, canvas)
    spots = draw_spots(ax, canvas, cmap=colours, norm=Normalize(*limits), **_outline(canvas))
    spots.set_array(np.ma.masked_invalid(np.asarray(values, float)))
    low, high = bool((values < limits[0]).any()), bool((values > limits[1]).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[low, high]
    bar = ax.figure.colorbar(spots, ax=ax, shrink=0.75, pad=0.02, extend=extend, aspect=18)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=TINY)
    bar.set_label(label, fontsize=SMALL)
    ax.set_title(title, fontsize=TITLE if max(map(len, title.split("\n"))) < 36 else SMALL, y=1)


def latent_map(ax: Axes, canvas: Canvas, latent: NDArray[np.floating], title: str) -> None:
    """Draw a latent, mean ± 2 SD, blue to red."""
    value_map(
        ax,
        canvas,
        latent,
        limits=two_sd_limits(latent),
        colours=DIVERGING,
        title=title,
        label="latent (colours: mean ± 2 SD)",
    )


def gene_map(ax: Axes, canvas: Canvas, expression: NDArray[np.floating], title: str) -> None:
    """Draw a gene's log-normalised expression from its 1st to its 99th percentile."""
    low, high = (float(v) for v in np.percentile(expression, (1, 99)))
    if high <= low:
        low, high = float(expression.min()), float(expression.max()) or 1.0
    value_map(ax, canvas, expression, limits=(low, high), colours=SEQUENTIAL, title=title, label="log expression")


def category_map(ax: Axes, canvas: Canvas, labels: pd.Series, title: str) -> None:
    """Draw a category per spot, with a legend."""
    draw_tissue(ax, canvas)
    categories = list(labels.cat.categories.astype(str))
    colours = category_colours(categories)
    draw_spots(ax, canvas, facecolors=[colours[str(v)] for v in labels], **_outline(canvas))
    handles = [Patch(color=colours[c], label=c) for c in categories]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=TINY,
        ncols=1 + len(handles) // 16,
    )
    ax.set_title(title, y=1)


def _grid(n: int, canvas: Canvas, columns: int, width: float) -> tuple[Figure, NDArray]:
    rows = -(-n // columns)
    height = width / columns * canvas.aspect * 0.86 + 0.25
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), layout="constrained", squeeze=False)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, axes.ravel()


def all_latents(canvas: Canvas, latents: NDArray[np.floating], ratio: NDArray[np.floating], heading: str) -> Figure:
    """All latents of a section on one page."""
    n = latents.shape[1]
    columns = min(3, n)
    figure, axes = _grid(n, canvas, columns, WIDTH)
    small = canvas.for_width(WIDTH / columns * figure.dpi)
    for j in range(n):
        latent_map(axes[j], small, latents[:, j], f"latent {j + 1} ({ratio[j]:.1%} of variance)")
    figure.suptitle(heading)
    return figure


def latent_with_genes(
    canvas: Canvas,
    latent: NDArray[np.floating],
    genes: list[tuple[str, NDArray[np.floating]]],
    title: str,
    heading: str,
) -> Figure:
    """One latent, large, and its top genes beside it; ``genes`` are titles and values."""
    columns = -(-len(genes) // 2)
    panel = WIDTH / 4
    height = 2 * (panel * canvas.aspect * 0.86 + 0.37)
    figure = plt.figure(figsize=(panel * (2 + columns), height), layout="constrained")
    grid = figure.add_gridspec(2, 2 + columns)
    small = canvas.for_width(panel * figure.dpi)
    latent_map(figure.add_subplot(grid[:, :2]), canvas.for_width(2 * panel * figure.dpi), latent, title)
    for i, (name, values) in enumerate(genes):
        gene_map(figure.add_subplot(grid[i // columns, 2 + i % columns]), small, values, name)
    figure.suptitle(heading)
    return figure


def clusters_over_tissue(canvas: Canvas, labels: dict[str, pd.Series], heading: str) -> Figure:
    """The H&E image and several clusterings (title -> categorical labels) side by side, two in a row."""
    figure, axes = _grid(1 + len(labels), canvas, 2, 6)
    canvas = canvas.for_width(6 / 2 * figure.dpi)
    draw_tissue(axes[0], canvas, wash=0)
    axes[0].set_title("H&E", y=1)
    for ax, (title, values) in zip(axes[1:], labels.items(), strict=False):
        category_map(ax, canvas, values, title)
    figure.suptitle(heading)
    return figure

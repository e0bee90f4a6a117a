"""The figures and the table of the published script, as it makes them, its oddities included.

Bae, Choi & Lee 2021: colours fixed to -1..1 whatever the latents are, discs of 10 image pixels whatever the spots
are, and 0, a value like any other, between them. See the better ones in :mod:`spadework.figures.maps`.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.draw import disk

RADIUS_PX = 10
LIMIT = 1.0
ALPHA = 0.7
DPI = 300


@plt.style.context("default")
def embedding(tsne: NDArray[np.floating], clusters: pd.Series) -> Figure:
    """Scatter the t-SNE of the image features, coloured by the codes of the clusters (``SPADE_image_features.png``).

    Eight colours, as published: beyond that clusters share them. The colour bar names the clusters, words included.
    """
    figure, ax = plt.subplots(figsize=(8, 7), dpi=DPI)
    points = ax.scatter(tsne[:, 0], tsne[:, 1], c=clusters.cat.codes, cmap="Dark2", s=5, alpha=0.5)
    names = clusters.cat.categories.astype(str)
    bar = figure.colorbar(points, ax=ax, ticks=np.arange(len(names)))
    bar.ax.set_yticklabels(names)
    ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2", title="t-SNE of image features")
    return figure


@plt.style.context("default")
def latent_map(image: NDArray[np.uint8], centres: NDArray[np.floating], latent: NDArray[np.floating]) -> Figure:
    """Lay one latent over the whole image (``SPADE_pc<k>.png``).

    Parameters
    ----------
    image
        (h, w, 3) uint8.
    centres
        (n, 2) spot centres, image pixels; discs are cut off at the borders.
    """
    overlay = np.zeros(image.shape[:2])
    for (x, y), value in zip(np.rint(centres), latent, strict=True):
        overlay[disk((y, x), RADIUS_PX, shape=overlay.shape)] = value
    figure, ax = plt.subplots(figsize=(10, 10), dpi=DPI)
    ax.imshow(image)
    ax.imshow(overlay, cmap="bwr", vmin=-LIMIT, vmax=LIMIT, alpha=ALPHA)
    return figure


def latent_table(latents: NDArray[np.floating], barcodes: pd.Index) -> pd.DataFrame:
    """Return ``ts_features_pc.csv``: a row per spot, columns 0, 1, ..."""
    return pd.DataFrame(latents, index=pd.Index(barcodes, name="barcodes"))

"""Cards of the latents: numbers, extreme patches, terms, and how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.figures.section import extreme_spots, weights_note
from spadework.keys import Keys
from spadework.patches import ScaledImage, cut_patches
from spadework.report.bundle import data_uri
from spadework.report.tiles import MIME, webp

_SHOWN_PX = 112  # edge of a patch on a card
_N_EXTREME = 6  # patches at each end
# Sets that are shown of each latent; the table beside the page has them all.
_MOST_TERMS = 100


def extreme_patches(
    section: ad.AnnData, scaled: ScaledImage, manifest: pd.DataFrame, encoder: str
) -> list[dict[str, list[dict[str, Any]]]]:
    """Return the patches at both ends of each latent, ``low`` and ``high``, as the contact sheets show them."""
    latents = np.asarray(section.obsm[Keys.latents(encoder, "pca")])
    rows = manifest.loc[section.obs_names]
    corner, size = rows[["x0", "y0"]].to_numpy(), rows[["width_px", "height_px"]].to_numpy()
    boxes = np.hstack([corner, corner + size])
    ends = extreme_spots(latents, _N_EXTREME)
    used = np.unique(np.concatenate([np.concatenate(pair) for pair in ends]))
    images = {
        int(used[i]): data_uri(webp(patch), MIME) for i, patch in cut_patches(scaled.image, boxes[used], _SHOWN_PX)
    }

    def shown(spots: NDArray[np.int64], values: NDArray[np.floating]) -> list[dict[str, Any]]:
        return [{"spot": int(i), "value": float(values[i]), "image": images[int(i)]} for i in spots]

    return [
        {"low": shown(low, latents[:, j]), "high": shown(high, latents[:, j])} for j, (low, high) in enumerate(ends)
    ]


def terms_of(table: pd.DataFrame, latent: int) -> list[dict[str, Any]]:
    """Return the rows of a latent in the table of terms, the surest first."""
    rows = table[table["latent"] == latent].sort_values("p", kind="stable").head(_MOST_TERMS)
    return rows.drop(columns="latent").to_dict("records")


def encoder_of(section: ad.AnnData, encoder: str) -> Mapping[str, Any]:
    """Return what is known of an encoder."""
    return section.uns[Keys.SPADE][encoder]["encoder"]


def warnings_of(section: ad.AnnData, encoders: list[str]) -> list[str]:
    """Return what everyone who looks at the page must know first."""
    return list(dict.fromkeys(filter(None, (weights_note(dict(encoder_of(section, e))) for e in encoders))))

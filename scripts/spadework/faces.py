"""The faces of the method that are compared: the same spots, patches cut and fed to the network in different ways."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from spadework.encoders import registry
from spadework.encoders.keras_applications import Device, PixelRange, Precision
from spadework.keys import Keys
from spadework.patches import cut_patches, patch_boxes, patch_size_px, section_image

_BLOCK = 256


def encode_face(
    section: ad.AnnData,
    sample: str,
    encoder: str,
    *,
    patch: dict[str, Any],
    pixel_range: PixelRange,
    image: Path | None,
    channels: tuple[str, ...],
    weights: Path | None,
    precision: Precision,
    device: Device,
) -> tuple[NDArray[np.floating], dict[str, Any]]:
    """Cut and encode the patches of one face.

    Parameters
    ----------
    section
        AnnData of the ingest stage.
    patch
        ``um`` or ``px``, ``output_px`` and ``image``, as in the configuration.

    Returns
    -------
    features
        (spots, d), rows as in ``section``.
    description
        Of the encoder, for provenance, with ``same_units``.

    Raises
    ------
    InputError
        If the section lacks the image asked for.
    """
    scaled = section_image(section, sample, patch["image"], image, channels)
    boxes = patch_boxes(
        scaled.to_px(section.obsm[Keys.SPATIAL]), patch_size_px(patch["um"], patch["px"], scaled.um_per_px)
    )
    network = registry.create(
        encoder, patch["output_px"], weights=weights, pixel_range=pixel_range, precision=precision, device=device
    )
    features = np.empty((len(boxes), network.dim), network.dtype)
    patches = cut_patches(scaled.image, boxes, patch["output_px"])
    while block := list(islice(patches, _BLOCK)):
        features[[i for i, _ in block]] = network.encode(np.stack([pixels for _, pixels in block]))
    return features, network.describe() | {"same_units": network.same_units}

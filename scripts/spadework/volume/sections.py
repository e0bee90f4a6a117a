"""The sections of a block as they are read: one overview of each image, its tissue, and its spots in µm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import remove_small_holes

from spadework.errors import InputError
from spadework.images import SlideImage, open_image
from spadework.keys import Keys
from spadework.lattice import positions_um
from spadework.patches import section_image
from spadework.tissue import TissueModel, fit_tissue
from spadework.volume.registration import Picture
from spadework.volume.stains import white_glass

_FINER = 2.0  # pixels of an overview per pixel of what is made of it
_CLOSING_UM = 60.0  # gaps of loose tissue
_SMALLEST_PIECE = 0.1  # of the largest: less is dust, or print of the slide
_SMALLEST_HOLE = 10  # discs of the closing


@dataclass(frozen=True)
class View:
    """A section at low resolution.

    Attributes
    ----------
    picture
        What it is registered by.
    rgb
        (h, w, 3) uint8 on white, the pixels of ``picture``. Fluorescence is shown inverted, dark on white.
    spots
        ``barcode``, ``x_um``, ``y_um`` (own µm, from the corner of the image) and ``spot_um`` of the spots on tissue;
        None where none were measured.
    """

    picture: Picture
    rgb: NDArray[np.uint8]
    spots: pd.DataFrame | None


def read_views(
    samples: Sequence[Mapping[str, Any]],
    sections: Sequence[str | Path],
    preflights: Sequence[str | Path],
    images: Sequence[str | Path],
    stained: Sequence[str | Path],
    um_per_px: float,
) -> list[View]:
    """Read the sections of a block, one full-resolution image at a time, in the order of depth.

    Parameters
    ----------
    samples
        In the order of the sheet: ``name``, ``z_um``, ``flip``, ``channels``, ``image`` (whether it has an entry in
        ``images``), ``um_per_px`` (of stained sections) and ``sequenced``.
    sections, preflights
        Ingest stage and preflight of the sequenced sections, in this order.
    images, stained
        Images of the sequenced sections that have one, and of the others.
    um_per_px
        Resolution of what is made of the views.

    Raises
    ------
    InputError
        If an image cannot be read, or the scale of one is not known.
    """
    h5ad, reports, fullres, others = iter(sections), iter(preflights), iter(images), iter(stained)
    views = []
    for sample in samples:
        if sample["sequenced"]:
            image = next(fullres) if sample["image"] else None
            views.append(_sequenced(sample, next(h5ad), next(reports), image, um_per_px))
        else:
            views.append(_stained(sample, next(others), um_per_px))
    return sorted(views, key=lambda view: view.picture.z_um)


def _sequenced(
    sample: Mapping[str, Any], h5ad: str | Path, report: str | Path, fullres: str | Path | None, um_per_px: float
) -> View:
    section = ad.read_h5ad(h5ad, backed="r")  # counts are not needed
    name, channels = sample["name"], tuple(sample["channels"])
    scaled = section_image(section, name, "best", fullres, channels)
    model = TissueModel(**json.loads(Path(report).read_text(encoding="utf-8"))["tissue"])
    xy = positions_um(section)
    spots = pd.DataFrame(
        {
            "barcode": section.obs_names.to_numpy(str),
            "x_um": xy[:, 0],
            "y_um": xy[:, 1],
            "spot_um": float(section.uns[Keys.SPADE]["lattice"]["spot_um"]),
        }
    )
    section.file.close()
    return make_view(
        scaled.image, scaled.um_per_px, um_per_px, sample, spots=spots, model=model, inverted=bool(channels)
    )


def _stained(sample: Mapping[str, Any], path: str | Path, um_per_px: float) -> View:
    scale, channels = sample["um_per_px"], tuple(sample["channels"])
    if not scale or not scale > 0:
        raise InputError(
            sample["name"],
            path,
            found="a stained section without a scale",
            expected="µm per pixel of its image",
            remedy="fill in `um_per_px` in the sample sheet",
        )
    image = open_image(path, sample["name"], channels)
    return make_view(image, (float(scale), float(scale)), um_per_px, sample, inverted=bool(channels))


def make_view(
    image: SlideImage,
    image_um: tuple[float, float],
    um_per_px: float,
    sample: Mapping[str, Any],
    *,
    spots: pd.DataFrame | None = None,
    model: TissueModel | None = None,
    inverted: bool = False,
) -> View:
    """Look at a section at low resolution.

    Parameters
    ----------
    image_um
        µm per pixel of the image, in x and y.
    um_per_px
        Resolution of what is made of the view; its own is twice as fine, where the image has it.
    sample
        ``name``, ``z_um`` and ``flip``.
    spots
        As of :class:`View`. Print and dirt on the slide have no spots on them, and are no tissue.
    model
        Glass and threshold of the image; estimated where it is None or the image is fluorescence (``inverted``).
    """
    size = image.width * image_um[0], image.height * image_um[1]
    fine = um_per_px / _FINER
    overview = image.overview(max(1, *(int(np.ceil(side / fine)) for side in size)))
    if inverted:
        overview = 255 - overview
    if model is None or inverted:
        model = fit_tissue(overview)
    um = size[0] / overview.shape[1], size[1] / overview.shape[0]
    density = model.density(overview)
    mask = tissue_mask(density, model.threshold, um, None if spots is None else spots[["x_um", "y_um"]].to_numpy())
    picture = Picture(sample["name"], float(sample["z_um"]), density, mask, um, sample["flip"])
    return View(picture, white_glass(overview, model), spots)


def tissue_mask(
    density: NDArray[np.float32],
    threshold: float,
    um_per_px: tuple[float, float],
    spots_um: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Find tissue: dense enough, gaps of loose tissue closed, pinholes filled, print and dust gone.

    Parameters
    ----------
    density, threshold
        As of :class:`spadework.tissue.TissueModel`, (h, w).
    um_per_px
        In x and y.
    spots_um
        (n, 2) spots on tissue, x and y from the corner: pieces without one are no tissue. Without spots, pieces
        smaller than a tenth of the largest are none.

    Returns
    -------
    numpy.ndarray
        (h, w) bool.
    """
    radius = [max(1, round(_CLOSING_UM / 2 / um)) for um in um_per_px[::-1]]
    y, x = np.ogrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
    disc = (y / radius[0]) ** 2 + (x / radius[1]) ** 2 <= 1
    pad = 4 * max(radius)
    # Padded by the border itself: otherwise tissue there would be eaten.
    padded = np.pad(density > threshold, pad, mode="edge")
    mask = ndimage.binary_opening(ndimage.binary_closing(padded, disc), disc)[pad:-pad, pad:-pad]
    pieces = label(mask)
    if not pieces.any():
        return mask
    areas = np.bincount(pieces.ravel())[1:]
    if spots_um is None:
        kept = np.flatnonzero(areas >= _SMALLEST_PIECE * areas.max()) + 1
    else:
        at = np.floor(spots_um / um_per_px).astype(int)[:, ::-1]
        kept = np.unique(pieces[tuple(at[((at >= 0) & (at < mask.shape)).all(axis=1)].T)])
        kept = kept[kept > 0]
    return remove_small_holes(np.isin(pieces, kept), max_size=int(_SMALLEST_HOLE * disc.sum()))

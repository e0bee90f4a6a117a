"""From probabilities to objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import h_maxima
from skimage.segmentation import relabel_sequential, watershed

_WAIST_PX = 1.0


@dataclass(frozen=True)
class Objects:
    """What counts as an object; the keys of ``unet.objects``.

    Attributes
    ----------
    core
        An object has a core: a connected area of a higher probability of foreground.
    min_area_px
        A core of fewer pixels is none.
    threshold
        The object is its core and the area of a higher probability than this around it; where two meet, a watershed
        parts them. At or above ``core``: the core alone.
    watershed
        Cut cores at their waists, too (:func:`cut_at_waists`).
    fill_holes
        Background that an object encloses is of that object (:func:`fill_holes`).
    """

    threshold: float = 0.5
    core: float = 0.7
    min_area_px: int = 30
    watershed: bool = False
    fill_holes: bool = True

    def find(self, probability: NDArray[np.floating]) -> NDArray[np.int32]:
        """Label the objects of a probability map.

        Parameters
        ----------
        probability
            (h, w), 0 to 1.

        Returns
        -------
        numpy.ndarray
            (h, w) int32, numbered from 1; 0 is background.
        """
        cores = label(probability > self.core, connectivity=1)
        if self.watershed:
            cores = cut_at_waists(cores)
        labels = drop_small(cores, self.min_area_px)
        if self.threshold < self.core:
            labels = watershed(-probability, labels, mask=probability > self.threshold).astype(np.int32)
        return fill_holes(labels) if self.fill_holes else labels


def drop_small(labels: NDArray[np.integer], min_area_px: int) -> NDArray[np.int32]:
    """Leave out objects of fewer pixels, and number the others from 1."""
    kept = np.bincount(labels.ravel()) >= min_area_px
    kept[0] = False
    return relabel_sequential(np.where(kept[labels], labels, 0).astype(np.int32))[0]


def fill_holes(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Fill background that an object encloses, with that object; nucleoli are pale. Other objects in it stay."""
    labels = labels.copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            part = labels[box]
            part[ndimage.binary_fill_holes(part == number) & (part == 0)] = number
    return labels


def cut_at_waists(labels: NDArray[np.int32], depth_px: float = _WAIST_PX) -> NDArray[np.int32]:
    """Cut objects apart where they are narrower, by more than ``depth_px``, than to both sides (watershed)."""
    inside = labels > 0
    distance = ndimage.distance_transform_edt(inside)
    parts = watershed(-distance, label(h_maxima(distance, depth_px), connectivity=1), mask=inside)
    # threads nowhere as wide as that have no middle
    threads = label(inside & (parts == 0), connectivity=1)
    return np.where(threads > 0, threads + parts.max(), parts).astype(np.int32)

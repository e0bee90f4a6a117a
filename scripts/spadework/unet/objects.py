"""From probabilities to objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import h_maxima
from skimage.segmentation import expand_labels, relabel_sequential, watershed

_WAIST_PX = 1.0


@dataclass(frozen=True)
class Objects:
    """What counts as an object; the keys of ``unet.objects``.

    Attributes
    ----------
    threshold
        An object is a connected area of a higher probability of foreground.
    grow_px
        ... and what is nearer to it than this, px: training put a gap between objects.
    min_area_px
        A smaller one is none.
    watershed
        Cut objects at their waists, too (:func:`cut_at_waists`).
    """

    threshold: float = 0.5
    grow_px: int = 0
    min_area_px: int = 30
    watershed: bool = False

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
        labels = label(probability > self.threshold, connectivity=1)
        if self.watershed:
            labels = cut_at_waists(labels)
        return expand_labels(drop_small(labels, self.min_area_px), self.grow_px)


def drop_small(labels: NDArray[np.integer], min_area_px: int) -> NDArray[np.int32]:
    """Leave out objects of fewer pixels, and number the others from 1."""
    kept = np.bincount(labels.ravel()) >= min_area_px
    kept[0] = False
    return relabel_sequential(np.where(kept[labels], labels, 0).astype(np.int32))[0]


def cut_at_waists(labels: NDArray[np.int32], depth_px: float = _WAIST_PX) -> NDArray[np.int32]:
    """Cut objects apart where they are narrower, by more than ``depth_px``, than to both sides (watershed)."""
    inside = labels > 0
    distance = ndimage.distance_transform_edt(inside)
    parts = watershed(-distance, label(h_maxima(distance, depth_px), connectivity=1), mask=inside)
    # threads nowhere as wide as that have no middle
    threads = label(inside & (parts == 0), connectivity=1)
    return np.where(threads > 0, threads + parts.max(), parts).astype(np.int32)

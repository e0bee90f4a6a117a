"""From probabilities to objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import expand_labels, relabel_sequential, watershed


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
        Cut objects at their waists, too: watershed of the distance to the background.
    """

    threshold: float = 0.5
    grow_px: int = 0
    min_area_px: int = 20
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
            labels = _cut_at_waists(labels)
        return expand_labels(drop_small(labels, self.min_area_px), self.grow_px)


def drop_small(labels: NDArray[np.integer], min_area_px: int) -> NDArray[np.int32]:
    """Leave out objects of fewer pixels, and number the others from 1."""
    kept = np.bincount(labels.ravel()) >= min_area_px
    kept[0] = False
    return relabel_sequential(np.where(kept[labels], labels, 0).astype(np.int32))[0]


def _cut_at_waists(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(labels > 0), 1.0)
    # of a plateau one peak, not each of its pixels
    peaks, _ = ndimage.label((ndimage.maximum_filter(distance, size=7) == distance) & (labels > 0))
    return watershed(-distance, peaks, mask=labels > 0)

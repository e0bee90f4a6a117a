"""How good a segmentation is: pixels, objects, and what is split or merged.

Labels are (h, w) integers, 0 is background; their numbers may have gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.metrics import adapted_rand_error, contingency_table
from skimage.segmentation import relabel_sequential

Labels = NDArray[np.integer]
_FEWEST_COUNTS = 3  # through two points there is always a line


@dataclass(frozen=True)
class PixelCounts:
    """Pixels that are foreground in truth and prediction, in one of them, in neither."""

    both: int
    one: int
    neither: int

    @property
    def error(self) -> float:
        """Share of pixels that are wrong."""
        return _share(self.one, self.both + self.neither)

    @property
    def foreground_iou(self) -> float:
        """Intersection over union of the foreground."""
        return _share(self.both, self.one)

    @property
    def background_iou(self) -> float:
        """Intersection over union of the background: of the membranes, where objects are cells."""
        return _share(self.neither, self.one)

    @property
    def dice(self) -> float:
        """Dice coefficient of the foreground."""
        return _share(2 * self.both, self.one)


@dataclass(frozen=True)
class ObjectCounts:
    """Numbers of objects: there, found, and found right, at an intersection over union above 0.5."""

    true: int
    found: int
    matched: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where there is nothing and nothing is found."""
        return _share(2 * self.matched, self.true + self.found - 2 * self.matched)


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")


def count_pixels(true: Sequence[Labels], predicted: Sequence[Labels]) -> PixelCounts:
    """Count the pixels of all images together."""
    both = one = neither = 0
    for t, p in zip(true, predicted, strict=True):
        one += int(np.count_nonzero((t > 0) != (p > 0)))
        both += int(np.count_nonzero((t > 0) & (p > 0)))
        neither += int(np.count_nonzero((t == 0) & (p == 0)))
    return PixelCounts(both, one, neither)


def match_objects(true: Labels, predicted: Labels) -> tuple[NDArray[np.integer], NDArray[np.integer], ObjectCounts]:
    """Match the objects of an image.

    An object is matched if its intersection over union with an object of the other side is above 0.5, which can hold
    for one object only.

    Returns
    -------
    tuple
        Numbers of the true objects that are missed, numbers of the predicted ones that are wrong, and the counts.
    """
    (true, true_numbers), (predicted, predicted_numbers) = _compact(true), _compact(predicted)
    shared = contingency_table(true, predicted, sparse_type="array")
    of_true, of_predicted = shared.sum(axis=1), shared.sum(axis=0)
    shared = shared.tocoo()
    union = of_true[shared.row] + of_predicted[shared.col] - shared.data
    # Twice the intersection against the union: exact, where a quotient may round to one half.
    right = (shared.row > 0) & (shared.col > 0) & (2 * shared.data > union)
    unmatched = []
    for sizes, matched in ((of_true, shared.row[right]), (of_predicted, shared.col[right])):
        there = sizes > 0
        there[0] = there[matched] = False
        unmatched.append(np.flatnonzero(there))
    missed, wrong = unmatched
    n = int(right.sum())
    return true_numbers[missed], predicted_numbers[wrong], ObjectCounts(len(missed) + n, len(wrong) + n, n)


def rand_error(true: Labels, predicted: Labels) -> float:
    """Adapted Rand error of an image: 1 - F-score of the pairs of pixels that lie in one object.

    True background does not count; what is taken for background within a true object counts as one more predicted
    object. Where objects are cells between membranes, this is what splits and mergers of cells cost. NaN without true
    objects.
    """
    (true, _), (predicted, _) = _compact(true), _compact(predicted)
    if not (np.bincount(true[true > 0]) > 1).any():
        return float("nan")
    with np.errstate(invalid="ignore"):  # precision and recall, which are not used, may be 0 / 0
        return float(adapted_rand_error(true, predicted)[0])


def score(true: Sequence[Labels], predicted: Sequence[Labels]) -> dict[str, float]:
    """Score the segmentations of several images.

    Returns
    -------
    dict
        ``pixel_error``, ``foreground_iou``, ``background_iou`` and ``dice`` of all pixels together; ``rand_error``,
        the mean over images (see :func:`rand_error`); ``object_f1`` of all objects together, with ``objects_true``,
        ``objects_found`` and ``objects_matched``; ``count_correlation``, Pearson's, of the numbers of objects of
        the images. NaN where a score is not defined.
    """
    pixels = count_pixels(true, predicted)
    each = [match_objects(t, p)[-1] for t, p in zip(true, predicted, strict=True)]
    objects = total(each)
    errors = [error for t, p in zip(true, predicted, strict=True) if not np.isnan(error := rand_error(t, p))]
    return {
        "pixel_error": pixels.error,
        "foreground_iou": pixels.foreground_iou,
        "background_iou": pixels.background_iou,
        "dice": pixels.dice,
        "rand_error": float(np.mean(errors)) if errors else float("nan"),
        "object_f1": objects.f1,
        "objects_true": objects.true,
        "objects_found": objects.found,
        "objects_matched": objects.matched,
        "count_correlation": _correlation([o.true for o in each], [o.found for o in each]),
    }


def total(counts: Sequence[ObjectCounts]) -> ObjectCounts:
    """Add up the objects of several images."""
    return ObjectCounts(sum(c.true for c in counts), sum(c.found for c in counts), sum(c.matched for c in counts))


def score_table(true: Sequence[Labels], methods: Mapping[str, Sequence[Labels]]) -> pd.DataFrame:
    """Score several methods on the same images: a row per method, in their order, a column per score."""
    rows = {name: score(true, predicted) for name, predicted in methods.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    counts = ["objects_true", "objects_found", "objects_matched"]
    return table.astype(dict.fromkeys(counts, int))


def _correlation(a: list[int], b: list[int]) -> float:
    if len(a) < _FEWEST_COUNTS or len(set(a)) == 1 or len(set(b)) == 1:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _compact(labels: Labels) -> tuple[Labels, NDArray[np.integer]]:
    """Renumber labels that are large, and return their own numbers by the new ones.

    A contingency table has a row for every number up to the largest.
    """
    if labels.max() <= labels.size:
        return labels, np.arange(labels.max() + 1)
    compact, _, numbers = relabel_sequential(labels)
    return compact, np.asarray(numbers)

"""A U-Net beside what needs no network, on images it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from numpy.typing import NDArray

from spadework.unet.baselines import Criterion, baselines
from spadework.unet.data import Sets
from spadework.unet.objects import Objects
from spadework.unet.scores import score_table

_TUNED_FOR: tuple[Criterion, ...] = ("object_f1", "background_iou", "pixel_error")


def evaluate(sets: Sets, found: Sequence[NDArray], objects: Objects) -> pd.DataFrame:
    """Score the objects a U-Net found in the images held out, and those of every baseline.

    Parameters
    ----------
    found
        Labels of the images held out, each (h, w).
    objects
        What made objects of the U-Net's probabilities; it makes those of the baselines, too.

    Returns
    -------
    pandas.DataFrame
        As from :func:`spadework.unet.scores.score_table`, ``U-Net`` first.
    """
    others = baselines([*sets.train, *sets.validation], sets.held_out, objects, _TUNED_FOR)
    return score_table([item.labels for item in sets.held_out], {"U-Net": found} | others)

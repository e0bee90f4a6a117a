"""Segmentations without a network: what a sceptic would try first."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

from spadework.unet.data import LabelledImage
from spadework.unet.objects import Objects
from spadework.unet.scores import count_pixels, match_objects, total

log = logging.getLogger("spadework")

Criterion = Literal["object_f1", "background_iou", "pixel_error"]
_SIGMAS = (0.0, 1.0, 2.0, 3.0)
_OFFSETS = tuple(np.arange(-4, 5) / 4)


@dataclass(frozen=True)
class Threshold:
    """A blur and a threshold.

    Attributes
    ----------
    channel
        ``haematoxylin`` (Ruifrok & Johnston 2001, for RGB only) or ``grey value``, the mean of the channels.
    above
        Whether objects are what is above the threshold, or below.
    sigma
        Of the Gaussian blur, px.
    offset
        How far the threshold is from Otsu's of the blurred image, in standard deviations of the blurred image. On
        nuclei as on membranes this does better than one level for all images, which differ in stain and brightness.
    """

    channel: str
    above: bool
    sigma: float = 0.0
    offset: float = 0.0

    def __str__(self) -> str:
        side = "above" if self.above else "below"
        return f"{self.channel}, sigma {self.sigma:g} px, {side} Otsu's threshold {self.offset:+.2f} SD"

    def segment(self, item: LabelledImage, objects: Objects) -> NDArray[np.int32]:
        """Label the objects of an image."""
        return self._label(*_blurred(item, self.channel, self.sigma), objects)

    def _label(self, image: NDArray[np.float32], otsu: float, sd: float, objects: Objects) -> NDArray[np.int32]:
        level = otsu + self.offset * sd
        return objects.find((image > level if self.above else image < level).astype(np.float32))


def baselines(
    train: list[LabelledImage], held: list[LabelledImage], objects: Objects, criteria: Sequence[Criterion]
) -> dict[str, list[NDArray[np.int32]]]:
    """Segment the images held out in every way that needs no network.

    Objects are found as the network's are: what is above a threshold has probability 1.

    Parameters
    ----------
    criteria
        What thresholds are tuned for, each by itself. The side of Otsu's threshold goes by the first of them.

    Returns
    -------
    dict
        Labels of the images held out, by method. Those called unfair are tuned on the images that they are scored
        on: an upper bound of their kind, not a competitor.
    """
    shapes = [item.labels.shape for item in held]
    methods = {
        "all foreground": [np.ones(shape, np.int32) for shape in shapes],
        "all background": [np.zeros(shape, np.int32) for shape in shapes],
    }
    thresholds = {}
    for channel in _channels(held):
        # Nuclei hold haematoxylin; whether objects are dark or bright is for the training images to say.
        sides = [True] if channel == "haematoxylin" else [True, False]
        best = _best(train, [Threshold(channel, above) for above in sides], objects, criteria[:1])
        thresholds[f"Otsu on {channel}"] = best[criteria[0]]
    for images, where in ((train, "training images"), (held, "held-out images (unfair)")):
        for criterion, threshold in tune(images, objects, criteria).items():
            thresholds[f"blur and threshold, {criterion} tuned on {where}"] = threshold
    for name, threshold in thresholds.items():
        log.info("%s: %s", name, threshold)
        methods[name] = [threshold.segment(item, objects) for item in held]
    return methods


def tune(items: list[LabelledImage], objects: Objects, criteria: Sequence[Criterion]) -> dict[Criterion, Threshold]:
    """Find the channel, side, blur and level that score best on these images, for each criterion by itself."""
    tried = itertools.product(_channels(items), _SIGMAS, (True, False), _OFFSETS)
    settings = [Threshold(channel, above, sigma, float(offset)) for channel, sigma, above, offset in tried]
    return _best(items, settings, objects, criteria)


def _best(
    items: list[LabelledImage], settings: list[Threshold], objects: Objects, criteria: Sequence[Criterion]
) -> dict[Criterion, Threshold]:
    """Return for each criterion the first of those settings that score best; like images are next to each other."""
    true = [item.labels for item in items]
    scores: dict[Criterion, list[float]] = {criterion: [] for criterion in criteria}
    for (channel, sigma), group in itertools.groupby(settings, lambda s: (s.channel, s.sigma)):
        images = [_blurred(item, channel, sigma) for item in items]
        for threshold in group:
            predicted = [threshold._label(*image, objects) for image in images]
            for criterion in criteria:
                if criterion == "object_f1":
                    each = [match_objects(t, p)[-1] for t, p in zip(true, predicted, strict=True)]
                    scores[criterion].append(total(each).f1)
                else:
                    pixels = count_pixels(true, predicted)
                    better = pixels.background_iou if criterion == "background_iou" else -pixels.error
                    scores[criterion].append(better)
    return {criterion: settings[int(np.argmax(values))] for criterion, values in scores.items()}


def _channels(items: list[LabelledImage]) -> list[str]:
    return ["grey value"] if items[0].pixels.shape[2] == 1 else ["haematoxylin", "grey value"]


def _blurred(item: LabelledImage, channel: str, sigma: float) -> tuple[NDArray[np.float32], float, float]:
    """Return a channel, blurred, with its Otsu threshold and standard deviation."""
    values = rgb2hed(item.pixels)[..., 0] if channel == "haematoxylin" else item.pixels.mean(axis=2)
    image = ndimage.gaussian_filter(values.astype(np.float32), sigma)
    return image, float(threshold_otsu(image)), float(image.std())

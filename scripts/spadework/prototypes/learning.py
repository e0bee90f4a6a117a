"""What a network begins with: patches with classes, and layers that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.encoders.keras_applications import KerasEncoder
from spadework.encoders.networks import min_px
from spadework.prototypes.architecture import BACKBONES, Architecture
from spadework.prototypes.data import TRAIN, class_names, read_patches
from spadework.prototypes.recipe import TrainingSet


def training_set(
    spots: pd.DataFrame, paths: Mapping[str, str | Path], shuffled_by: int | None
) -> tuple[TrainingSet, tuple[str, ...]]:
    """Read what a network is trained on, and name its classes.

    Parameters
    ----------
    spots
        As :func:`spadework.prototypes.data.split` leaves them.
    paths
        Sample -> patch file.
    shuffled_by
        A seed: every training spot gets the class of another one. None: they keep theirs.
    """
    train = spots[spots["set"] == TRAIN]
    classes = class_names(spots)
    labels = pd.Index(classes).get_indexer(train["class"]).astype(np.int64)
    if shuffled_by is not None:
        labels = np.random.default_rng(shuffled_by).permutation(labels)
    patches = read_patches(paths, train)
    return TrainingSet(patches, labels, train["sample"].tolist(), train["barcode"].tolist()), classes


def backbone_weights(
    architecture: Architecture, files: Sequence[str | Path]
) -> tuple[list[NDArray] | None, dict[str, str]]:
    """Return the weights that the backbone begins with, and what they are.

    Parameters
    ----------
    files
        One Keras weights file of VGG16 without classifier; none for the random weights that encoders have, too, the
        same on every machine.

    Returns
    -------
    list, dict
        Kernels and biases (float32), first layers first; ``weights`` (``seeded``, or the name of the file) and
        ``weights_digest`` (of all layers of VGG16). None and nothing for a backbone that is trained from scratch.

    Raises
    ------
    InputError
        If the file does not fit.
    """
    if architecture.backbone != "vgg16":
        return None, {}
    encoder = KerasEncoder("vgg16", min_px("vgg16"), weights=next(map(Path, files), None))
    n_convolutions = sum(n for n, _ in BACKBONES["vgg16"][: architecture.pool])
    described = encoder.describe()
    return encoder.weights()[: 2 * n_convolutions], {key: described[key] for key in ("weights", "weights_digest")}

"""What a ProtoPNet is trained on, how, and what the training aims at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from spadework.prototypes.architecture import Architecture


@dataclass(frozen=True)
class Recipe:
    """How a ProtoPNet is trained; the keys of ``prototypes.training`` in the configuration.

    Attributes
    ----------
    pretrain_steps
        Of the backbone with an ordinary classifier, before there are prototypes.
    warm_steps
        Of add-on layers and prototypes, the backbone frozen.
    joint_steps, last_layer_steps, cycles
        Every cycle: steps of all but the last layer, a push, steps of the last layer alone.
    batch_size, learning_rate
        Patches per step, as many of each class on average; of Adam, halved with every cycle of joint training.
    cluster, separation, off_class_l1
        Weights of the costs beside the cross entropy (ibid., equations 2 and 3).
    stain, brightness
        Random changes of colour, see :class:`spadework.unet.augmentation.Augmentation`. Patches are turned, too.
    """

    pretrain_steps: int = 300
    warm_steps: int = 60
    joint_steps: int = 80
    last_layer_steps: int = 200
    cycles: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-3
    cluster: float = 0.8
    separation: float = 0.08
    off_class_l1: float = 1e-4
    stain: float = 0.05
    brightness: float = 0.02


@dataclass(frozen=True)
class TrainingSet:
    """Patches with their classes.

    Attributes
    ----------
    patches
        (n, px, px, 3) uint8.
    labels
        (n,) int64: index of the class.
    samples, barcodes
        (n,): the spot of each patch.
    """

    patches: NDArray[np.uint8]
    labels: NDArray[np.int64]
    samples: list[str]
    barcodes: list[str]

    def sizes(self, n_classes: int) -> list[int]:
        """Count the patches of every class."""
        return np.bincount(self.labels, minlength=n_classes).tolist()


class Costs(keras.losses.Loss):
    """Cluster and separation costs (Chen et al. 2019, equation 3) of pooled distances."""

    def __init__(self, architecture: Architecture, recipe: Recipe) -> None:
        super().__init__(name="costs")
        self._class_of = np.eye(len(architecture.classes), dtype=np.float32)[:, list(architecture.class_of)]
        self._weights = recipe.cluster, recipe.separation

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401
        """Return the costs of each patch, (n,)."""
        cluster, separation = self._weights
        return cluster * self.cluster(y_true, y_pred) - separation * self.separation(y_true, y_pred)

    def cluster(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401
        """Return the distance to the nearest prototype of the patch's own class, (n,)."""
        return self._nearest(y_pred, ops.matmul(y_true, self._class_of))

    def separation(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401
        """Return the distance to the nearest prototype of another class, (n,)."""
        return self._nearest(y_pred, 1 - ops.matmul(y_true, self._class_of))

    @staticmethod
    def _nearest(distances: Any, counted: Any) -> Any:  # noqa: ANN401
        return ops.min(ops.where(counted > 0, distances, np.float32(1e6)), axis=-1)

"""The layers of a ProtoPNet (Chen, Li, Tao, Barnett, Rudin & Su, NeurIPS 2019), in Keras."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from spadework.prototypes.architecture import BACKBONES, Architecture

EPSILON = 1e-4
# Weights of the last layer at first: of a prototype to its own class, and to any other (ibid., section 2.1).
OWN, OTHER = 1.0, -0.5
# What the published weights of VGG16 were trained with: mean of the blue, green and red channel.
_VGG_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Network:
    """The parts of a network, which share their layers.

    Attributes
    ----------
    backbone
        Pixels (n, px, px, 3), 0 to 255, to features.
    add_on
        Features to latent cells (n, cells, cells, dimension), each channel in 0 to 1.
    prototypes
        The layer that measures distances.
    last
        Scores to logits.
    whole
        Pixels to logits (n, classes) and pooled distances (n, prototypes).
    """

    architecture: Architecture
    backbone: keras.Model
    add_on: keras.Model
    prototypes: PrototypeDistance
    last: layers.Dense
    whole: keras.Model

    @cached_property
    def latent(self) -> keras.Model:
        """From pixels to latent cells (n, cells, cells, dimension)."""
        return ready(keras.Model(self.backbone.input, self.add_on(self.backbone.output)))

    @cached_property
    def maps(self) -> keras.Model:
        """From pixels to distances (n, cells, cells, prototypes)."""
        return ready(keras.Model(self.backbone.input, self.prototypes(self.add_on(self.backbone.output))))


class PrototypeDistance(layers.Layer):
    """Squared Euclidean distance of every cell to every prototype.

    By ``|z|² - 2 z p + |p|²`` (Nova 2018, as in the original), cut off at 0 where rounding takes it below.
    """

    def __init__(self, n: int, dimension: int) -> None:
        super().__init__(name="prototypes")
        self._size = (n, dimension)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the prototypes, (n, dimension)."""
        self.vectors = self.add_weight(shape=self._size, initializer=keras.initializers.RandomUniform(0, 1))

    def call(self, cells: Any) -> Any:  # noqa: ANN401  (a tensor of any backend)
        """Return (batch, h, w, n) distances of cells (batch, h, w, dimension)."""
        # Channels are 0 to 1: about their middle, numbers are smaller and less is lost to rounding.
        z, p = cells - 0.5, self.vectors - 0.5
        crossed = ops.matmul(z, ops.transpose(p))
        return ops.relu(ops.sum(z**2, axis=-1, keepdims=True) - 2 * crossed + ops.sum(p**2, axis=-1))


class OffClassL1(keras.regularizers.Regularizer):
    """Sum of the absolute weights of prototypes to classes that are not theirs (ibid., equation 3)."""

    def __init__(self, class_of: tuple[int, ...], n_classes: int, strength: float) -> None:
        self._strength, self._off = strength, np.ones((len(class_of), n_classes), np.float32)
        self._off[np.arange(len(class_of)), list(class_of)] = 0

    def __call__(self, x: Any) -> Any:  # noqa: ANN401
        """Return the penalty of a kernel (prototypes, classes)."""
        return self._strength * ops.sum(ops.abs(x) * self._off)


def similarity(distance: Any) -> Any:  # noqa: ANN401  (a tensor or an array)
    """Return log((d + 1) / (d + 1e-4)): 9.21 where nothing differs, towards 0 far away (ibid., section 2.1)."""
    return ops.log((distance + 1) / (distance + EPSILON))


def pooled(cells: Any, k: int) -> Any:  # noqa: ANN401
    """Return the mean of the ``k`` largest values of each map (n, h, w, p), as (n, p)."""
    _, h, w, p = cells.shape
    flat = ops.transpose(ops.reshape(cells, (-1, h * w, p)), (0, 2, 1))
    return ops.max(flat, axis=-1) if k == 1 else ops.mean(ops.top_k(flat, k, sorted=False)[0], axis=-1)


def initial_last(architecture: Architecture) -> NDArray[np.float32]:
    """Return the weights (prototypes, classes) that the last layer begins with."""
    weights = np.full((architecture.n_prototypes, len(architecture.classes)), OTHER, np.float32)
    weights[np.arange(architecture.n_prototypes), list(architecture.class_of)] = OWN
    return weights


def build(architecture: Architecture, off_class_l1: float = 0.0) -> Network:
    """Build a network with new weights."""
    a = architecture
    backbone = _backbone(a)
    features = keras.Input(backbone.output.shape[1:])
    x = layers.Conv2D(a.dimension, 1, activation="relu", kernel_initializer="he_normal", name="add_on_1")(features)
    x = layers.Conv2D(a.dimension, 1, activation="sigmoid", name="add_on_2")(x)
    add_on = keras.Model(features, x, name="add_on")
    prototypes = PrototypeDistance(a.n_prototypes, a.dimension)
    last = layers.Dense(
        len(a.classes),
        use_bias=False,
        kernel_regularizer=OffClassL1(a.class_of, len(a.classes), off_class_l1) if off_class_l1 else None,
        name="last",
    )
    distances = prototypes(add_on(backbone.output))
    scores = pooled(similarity(distances), a.top_cells)
    outputs = {"logits": last(scores), "distances": -pooled(-distances, a.top_cells)}
    whole = keras.Model(backbone.input, outputs)
    last.set_weights([initial_last(a)])
    return Network(a, backbone, add_on, prototypes, last, whole)


def _backbone(a: Architecture) -> keras.Model:
    pixels = keras.Input((a.patch_px, a.patch_px, 3))
    if a.backbone == "vgg16":
        x = layers.Rescaling(1.0, [-mean for mean in _VGG_MEAN])(pixels[..., ::-1])
    else:
        x = layers.Rescaling(1 / 127.5, -1.0)(pixels)
    for stage, (convolutions, channels) in enumerate(BACKBONES[a.backbone][: a.pool], 1):
        for k in range(1, convolutions + 1):
            x = layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{stage}_conv{k}",
            )(x)
        x = layers.MaxPooling2D(name=f"block{stage}_pool")(x)
    return keras.Model(pixels, x, name="backbone")


def ready(model: keras.Model) -> keras.Model:
    """Make a model ready to predict: left to itself, Keras compiles with XLA, which is slow on a CPU."""
    model.compile(jit_compile=False)
    return model

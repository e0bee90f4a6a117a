"""The networks of ``keras.applications`` as encoders: convolutional part, global average pooling."""

from __future__ import annotations

import hashlib
import importlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spadework.device import Device, select_device
from spadework.encoders.base import Encoder
from spadework.encoders.networks import NETWORKS, min_px
from spadework.errors import InputError

SEED = 20210530
PixelRange = Literal["0-255", "0-1"]
Precision = Literal["float32", "float64"]


class KerasEncoder(Encoder):
    """A network of ``keras.applications`` without its classifier.

    Parameters
    ----------
    name
        Lower-case class name, such as ``vgg16``.
    px
        Edge of the patches, px.
    weights
        Path of a Keras weights file without classifier, or ``None`` for seeded random weights.
    pixel_range
        ``0-255`` is what the published weights were trained with. ``0-1`` reproduces the script of Bae et al.
        (2021), which fed PNG pixels scaled to 0..1 through the same preprocessing.
    precision
        ``float64`` is slow and serves to check numbers.
    device
        Where the network runs; ``gpu`` without a usable GPU is an error.

    Raises
    ------
    SpadeworkError
        If a GPU is asked for and there is none.
    InputError
        If the patches are too small or the weights do not fit the network.
    """

    def __init__(
        self,
        name: str,
        px: int,
        *,
        weights: Path | None = None,
        pixel_range: PixelRange = "0-255",
        precision: Precision = "float32",
        device: Device = "cpu",
    ) -> None:
        if px < min_px(name):
            raise InputError(
                "config",
                None,
                found=f"patch.output_px: {px} for {name}",
                expected=f"at least {min_px(name)} px",
                remedy="raise patch.output_px",
            )
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        self.name = name
        self._keras = keras
        self._device = select_device(device)
        self._pixel_range = pixel_range
        self._precision = precision
        self.dtype = precision
        module, class_name = NETWORKS[name]
        self._preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input
        keras.utils.set_random_seed(SEED)
        with keras.device(self._device), _dtype_policy(precision):
            build = getattr(keras.applications, class_name)
            self._model = build(include_top=False, weights=None, pooling="avg", input_shape=(px, px, 3))
        if weights is not None:
            self._load(weights)
        elif name == "vgg16":
            self._model.set_weights(seeded_vgg16([w.shape for w in self._model.weights]))
        self._weights = "seeded" if weights is None else weights.name
        self._digest = _digest(self._model.get_weights())
        self.dim = int(self._model.output_shape[-1])
        # As many pixels at once as fill two cores and still fit a laptop.
        self.batch_size = int(np.clip(800_000 // px**2, 1, 128))

    def _load(self, weights: Path) -> None:
        try:
            self._model.load_weights(weights)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(
                "config",
                weights,
                found=f"weights that do not fit {self.name} ({error})",
                expected=f"Keras weights of {self.name} without classifier (notop), .h5",
                remedy="give the file whose name ends in notop.h5, or set encoder.weights: imagenet to download it",
            ) from error

    def _encode(self, patches: NDArray[np.uint8]) -> NDArray[np.floating]:
        # One shape for all calls: the network is compiled once, and a short last batch costs no second time.
        batch = min(self.batch_size, len(patches))
        out = np.empty((len(patches), self.dim), self._precision)
        for start in range(0, len(patches), batch):
            part = patches[start : start + batch]
            pixels = np.zeros((batch, *patches.shape[1:]), self._precision)
            pixels[: len(part)] = part
            if self._pixel_range == "0-1":
                # matplotlib, which read the published script's PNG, divides in single precision.
                pixels = (pixels.astype(np.float32) / np.float32(255)).astype(self._precision)
            with self._keras.device(self._device):
                features = self._model.predict_on_batch(self._preprocess(pixels))
            out[start : start + len(part)] = features[: len(part)]
        return out

    def weights(self) -> list[NDArray]:
        """Return the weights themselves, first layers first."""
        return self._model.get_weights()

    def describe(self) -> dict[str, Any]:
        """Return weights, digest, preprocessing and device."""
        backend = self._keras.backend.backend()
        return super().describe() | {
            "weights": self._weights,
            "weights_digest": self._digest,
            "pixel_range": self._pixel_range,
            "precision": self._precision,
            "input_px": int(self._model.input_shape[1]),
            "device": self._device,
            "backend": backend,
            "backend_version": importlib.import_module(backend).__version__,
            "keras": self._keras.__version__,
        }


def seeded_vgg16(shapes: list[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    """Random weights for VGG16, the same on every machine: He-normal kernels in order, zero biases.

    They let the workflow run and be tested without a download; features made with them say so.
    """
    rng = np.random.default_rng(SEED)
    return [
        (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)
        if len(shape) == 4
        else np.zeros(shape, np.float32)
        for shape in shapes
    ]


@contextmanager
def _dtype_policy(precision: Precision) -> Iterator[None]:
    import keras

    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def _digest(weights: list[NDArray]) -> str:
    digest = hashlib.sha256()
    for array in weights:
        digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return f"sha256:{digest.hexdigest()}"

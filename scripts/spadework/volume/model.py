"""A trained Vox2Vox: one file that holds its weights and what is needed to use them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spadework.arrays import read_arrays, write_arrays
from spadework.errors import InputError
from spadework.volume.architecture import Architecture, Shape
from spadework.volume.packing import spread_of, with_given
from spadework.volume.pairs import VolumePair

if TYPE_CHECKING:
    import keras

_GENERATOR, _DISCRIMINATOR = "generator", "discriminator"


@dataclass
class Vox2Vox:
    """A generator with its weights, and those of the discriminator that it was trained against.

    Attributes
    ----------
    window
        Sides (z, y, x) of the crops it was trained on: it looks at volumes through windows of that size.
    outputs
        Names of the output channels.
    origin
        What it was trained on and how.
    device
        Keras name of the device it runs on.
    """

    architecture: Architecture
    generator: keras.Model
    window: Shape
    outputs: tuple[str, ...]
    discriminator_weights: list[NDArray] = field(default_factory=list, repr=False)
    origin: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Translate a volume of any size, without dropout.

        Windows overlap by half; where several look at a voxel, those that have it near their middle count more.
        Instance normalisation depends on all of a window: in one piece, a large volume would look unlike the crops
        that the network was trained on.

        Parameters
        ----------
        inputs
            (z, y, x, channels) float32.

        Returns
        -------
        numpy.ndarray
            (z, y, x, outputs) float32: probabilities of classes, or values.
        """
        import keras

        shape = inputs.shape[:3]
        lacking = [max(0, window - n) for window, n in zip(self.window, shape, strict=True)]
        # as training crops are, in the middle
        before = [n - n // 2 for n in lacking]
        padded = np.pad(inputs, [*zip(before, (n // 2 for n in lacking), strict=True), (0, 0)], mode="edge")
        weight = _tent(self.window)[..., None]
        total = np.zeros((*padded.shape[:3], self.architecture.outputs), np.float32)
        weights = np.zeros((*padded.shape[:3], 1), np.float32)
        with keras.device(self.device):
            for start in product(*(_starts(n, w) for n, w in zip(padded.shape[:3], self.window, strict=True))):
                here = tuple(slice(s, s + w) for s, w in zip(start, self.window, strict=True))
                total[here] += weight * np.asarray(self.generator.predict_on_batch(padded[here][None]))[0]
                weights[here] += weight
        total /= weights
        return total[tuple(slice(first, first + n) for first, n in zip(before, shape, strict=True))]

    def translate(self, pair: VolumePair, n_classes: int) -> NDArray[np.float32]:
        """Translate a volume; in a stack, every plane from its image and what was measured in the others.

        Returns
        -------
        numpy.ndarray
            (z, y, x, outputs) float32.
        """
        if not self.architecture.given:
            return self.predict(pair.inputs)
        spread = spread_of(pair)
        looked_at = (with_given(pair.inputs, pair.target, z, n_classes, spread) for z in range(pair.shape[0]))
        planes = [self.predict(inputs)[z] for z, inputs in enumerate(looked_at)]
        return np.stack(planes)

    def save(self, path: Path) -> None:
        """Write weights and description into one HDF5 file."""
        described = {"architecture": asdict(self.architecture), "window": self.window, "outputs": self.outputs}
        arrays = {_GENERATOR: self.generator.get_weights(), _DISCRIMINATOR: self.discriminator_weights}
        write_arrays(path, arrays, described | {"origin": self.origin})

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Vox2Vox:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is no such model.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        from spadework.volume.network import generator, ready

        try:
            arrays, described = read_arrays(path)
            made = described["architecture"]
            architecture = Architecture(**made | {"strides_z": tuple(made["strides_z"])})
            with keras.device(device):
                network = ready(generator(architecture))
                network.set_weights(arrays[_GENERATOR])
            window, outputs = tuple(described["window"]), tuple(described["outputs"])
            return cls(architecture, network, window, outputs, arrays[_DISCRIMINATOR], described["origin"], device)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                "volume",
                path,
                found=f"a file that is no Vox2Vox of this workflow ({error})",
                expected="a model made by `snakemake volume` or `snakemake vox2vox`, model.h5",
                remedy="delete it, so that it is made again",
            ) from error


def _starts(length: int, window: int) -> list[int]:
    """Places of windows that cover ``length``, each half a window after the other at most."""
    n = 1 + -(-(length - window) // max(1, window // 2))
    return [round(k * (length - window) / max(1, n - 1)) for k in range(n)]


def _tent(window: Shape) -> NDArray[np.float32]:
    """Weigh the voxels of a window: most in its middle, least at its border, never nothing."""
    z, y, x = (np.minimum(np.arange(n) + 1, n - np.arange(n)) for n in window)
    return (z[:, None, None] * y[:, None] * x).astype(np.float32)

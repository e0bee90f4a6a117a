"""A trained U-Net: one file that holds its weights and what is needed to use them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from spadework.arrays import read_arrays, write_arrays
from spadework.errors import InputError
from spadework.patches import reflect
from spadework.unet.network import Architecture, build

if TYPE_CHECKING:
    import keras

_WEIGHTS = "weights"


@dataclass
class UNet:
    """A network with its weights.

    Attributes
    ----------
    um_per_px
        Scale of the images it was trained on; None where they have none.
    origin
        What it was trained on and how: kept with it, and with every result.
    device
        Keras name of the device it runs on.
    """

    architecture: Architecture
    network: keras.Model
    um_per_px: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    _by_size: dict[int, keras.Model] = field(default_factory=dict, repr=False)

    def foreground(
        self, pixels: NDArray[np.uint8], tile_px: int = 640, part: tuple[slice, slice] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of foreground at every pixel of an image, by overlapping tiles (ibid., figure 2).

        The image is mirrored at its borders. The result is that of the whole image in one piece, whatever the tiles.

        Parameters
        ----------
        pixels
            (h, w, channels) uint8.
        tile_px
            Edge of the part of a tile that is kept, at most; less where tiles of one size then fit better.
        part
            Rows and columns that are wanted; all, if not given. The others are looked at as their surroundings.

        Returns
        -------
        numpy.ndarray
            (h, w) float32, of the part that is wanted.

        Raises
        ------
        ValueError
            If the image is not uint8, or has other channels than the network.
        """
        a = self.architecture
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != a.channels:
            raise ValueError(f"pixels {pixels.dtype} {pixels.shape}, expected uint8 (height, width, {a.channels})")
        rows, columns = part or (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
        # Tiles begin at multiples of the step: otherwise pixels would be pooled with other neighbours.
        top, left = (s.start // a.step * a.step for s in (rows, columns))
        longest = max(rows.stop - top, columns.stop - left)
        n_tiles = -(-longest // max(tile_px, a.step))
        tile = -(-longest // n_tiles // a.step) * a.step
        result = np.empty((rows.stop - top, columns.stop - left), np.float32)
        for y in range(0, result.shape[0], tile):
            for x in range(0, result.shape[1], tile):
                logits = self._logits(_with_context(pixels, top + y, left + x, tile, a))
                if a.padding == "same":
                    logits = logits[a.context :, a.context :]
                here = result[y : y + tile, x : x + tile]
                logits = logits[: here.shape[0], : here.shape[1]]
                here[:] = expit(logits[..., 1] - logits[..., 0])
        return result[rows.start - top :, columns.start - left :]

    def _logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import keras

        n = len(pixels)
        with keras.device(self.device):
            if n not in self._by_size:
                inputs = keras.Input((n, n, self.architecture.channels))
                self._by_size[n] = keras.Model(inputs, self.network(inputs))
                # left to itself, Keras compiles with XLA, which is slow on a CPU
                self._by_size[n].compile(jit_compile=False)
            return np.asarray(self._by_size[n].predict_on_batch(pixels[None].astype(np.float32)))[0]

    def save(self, path: Path) -> None:
        """Write weights and description into one HDF5 file."""
        described = {"architecture": asdict(self.architecture), "um_per_px": self.um_per_px, "origin": self.origin}
        write_arrays(path, {_WEIGHTS: self.network.get_weights()}, described)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> UNet:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is no such model.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        try:
            arrays, described = read_arrays(path)
            architecture = Architecture(**described["architecture"])
            with keras.device(device):
                network = build(architecture)
                network.set_weights(arrays[_WEIGHTS])
            return cls(architecture, network, described["um_per_px"], described["origin"], device)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                "config",
                path,
                found=f"a file that is no U-Net of this workflow ({error})",
                expected="a model made by `snakemake unet`, results/unet/model.h5",
                remedy="correct nuclei.model, or leave it empty to train one",
            ) from error


def _with_context(pixels: NDArray[np.uint8], y: int, x: int, tile: int, a: Architecture) -> NDArray[np.uint8]:
    """Return the tile that begins at y and x, with what the network needs around it."""
    offset = np.arange(a.input_px(tile)) - (a.context if a.padding == "same" else a.margin)
    return pixels[np.ix_(reflect(y + offset, pixels.shape[0]), reflect(x + offset, pixels.shape[1]))]

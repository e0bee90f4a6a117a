"""A trained ProtoPNet: one file that holds its weights, its prototypes' patches, and what is needed to use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from spadework.arrays import read_arrays, write_arrays
from spadework.errors import InputError
from spadework.prototypes.architecture import Architecture
from spadework.prototypes.network import Network, build, similarity

# Patches that go through the network at once.
_BATCH = 128
_WEIGHTS, _PATCHES = "weights", "source_patches"


@dataclass(frozen=True)
class Source:
    """The cell of a patch that a prototype is.

    Attributes
    ----------
    sample, barcode
        The spot whose patch it is.
    row, column
        The cell of the patch's map.
    """

    sample: str
    barcode: str
    row: int
    column: int


@dataclass(frozen=True)
class Said:
    """What a model says of patches.

    Attributes
    ----------
    scores
        (n, prototypes) float32: how similar each patch is to each prototype.
    logits
        (n, classes) float32: the scores times the weights of the last layer, and nothing else.
    maps
        (n, prototypes, cells, cells) float32 similarity of every cell, where asked for.
    """

    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    maps: NDArray[np.float32] | None = None

    @property
    def probability(self) -> NDArray[np.float32]:
        """(n, classes): the softmax of the logits. Not calibrated."""
        return softmax(self.logits, axis=1)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,): the class with the highest logit."""
        return np.argmax(self.logits, axis=1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,): the probability of the predicted class."""
        return self.probability.max(axis=1)


class ProtoPNet:
    """A network with its weights and what its prototypes are.

    Attributes
    ----------
    sources
        The cell each prototype was set to at the last push.
    source_patches
        (prototypes, px, px, 3) uint8: the patches of these cells.
    origin
        What it was trained on and how: kept with it, and with every result.
    """

    def __init__(
        self,
        network: Network,
        sources: list[Source],
        source_patches: NDArray[np.uint8],
        origin: dict[str, Any],
        device: str = "cpu",
    ) -> None:
        self.network, self.sources, self.source_patches = network, sources, source_patches
        self.origin, self._device = origin, device

    @property
    def architecture(self) -> Architecture:
        """What it looks like."""
        return self.network.architecture

    @property
    def weights(self) -> NDArray[np.float32]:
        """(prototypes, classes) float32: weights of the last layer."""
        return self.network.last.get_weights()[0]

    def say(self, patches: NDArray[np.uint8], *, maps: bool = False) -> Said:
        """Score patches.

        Parameters
        ----------
        patches
            (n, px, px, 3) uint8.
        maps
            Return the similarity of every cell, too: n x prototypes x cells² x 4 bytes.

        Raises
        ------
        ValueError
            If the patches are of another size or type.
        """
        a = self.architecture
        if patches.dtype != np.uint8 or patches.shape[1:] != (a.patch_px, a.patch_px, 3):
            raise ValueError(
                f"patches {patches.dtype} {patches.shape}, expected uint8 (n, {a.patch_px}, {a.patch_px}, 3)"
            )
        scores = np.empty((len(patches), a.n_prototypes), np.float32)
        cells = a.field.cells
        kept = np.empty((len(patches), a.n_prototypes, cells, cells), np.float32) if maps else None
        for start, distances in distance_maps(self.network.maps, patches, self._device):
            here = slice(start, start + len(distances))
            similar = keras.ops.convert_to_numpy(similarity(distances))
            scores[here] = pool_cells(similar, a.top_cells)
            if kept is not None:
                kept[here] = similar.transpose(0, 3, 1, 2)
        return Said(scores, scores @ self.weights, kept)

    def save(self, path: Path) -> None:
        """Write weights, patches of the prototypes and description into one HDF5 file."""
        described = {
            "architecture": asdict(self.architecture),
            "sources": [asdict(source) for source in self.sources],
            "origin": self.origin,
        }
        arrays = {_WEIGHTS: self.network.whole.get_weights(), _PATCHES: [self.source_patches]}
        write_arrays(path, arrays, described)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> ProtoPNet:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is no such model.
        """
        try:
            arrays, described = read_arrays(path)
            a = described["architecture"]
            architecture = Architecture(**a | {key: tuple(a[key]) for key in ("classes", "class_of")})
            with keras.device(device):
                network = build(architecture)
                network.whole.set_weights(arrays[_WEIGHTS])
            sources = [Source(**source) for source in described["sources"]]
            return cls(network, sources, arrays[_PATCHES][0], described["origin"], device)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                "prototypes",
                path,
                found=f"a file that is no ProtoPNet of this workflow ({error})",
                expected="results/<section or cohort/group>/prototypes/model.h5",
                remedy="delete it: the workflow makes it anew",
            ) from error


def distance_maps(
    model: keras.Model, patches: NDArray[np.uint8], device: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield what a model gives for patches, in blocks: the first row, and the block's result."""
    batch = min(_BATCH, len(patches))
    for start in range(0, len(patches), batch):
        part = patches[start : start + batch]
        # One shape for all calls: the network is compiled once.
        pixels = np.zeros((batch, *patches.shape[1:]), np.float32)
        pixels[: len(part)] = part
        with keras.device(device):
            yield start, np.asarray(model.predict_on_batch(pixels))[: len(part)]


def pool_cells(similar: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the mean of the ``k`` largest values of each map (n, h, w, p), as (n, p)."""
    flat = similar.reshape(len(similar), -1, similar.shape[-1])
    return np.sort(flat, axis=1)[:, -k:].mean(axis=1)

"""What every encoder is: uint8 patches in, one feature vector per patch out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Encoder(ABC):
    """Weights, preprocessing, input size and output dimension in one object.

    All handling of pixel ranges happens behind :meth:`encode` and nowhere else. Features of a patch do not depend
    on the patches encoded with it.

    Attributes
    ----------
    name
        Key in the registry.
    dim
        Length of a feature vector.
    batch_size
        Patches that are best encoded together.
    dtype
        Type of the features.
    same_units
        Whether all features share one unit; if not, the PCA scales them to unit variance.
    """

    name: str
    dim: int
    batch_size: int = 256
    same_units: bool = True
    dtype: str = "float32"

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Encode patches.

        Parameters
        ----------
        patches
            (n, h, w, 3) uint8 RGB, 0 to 255.

        Returns
        -------
        numpy.ndarray
            (n, dim) float32; float64 from an encoder made for double precision.

        Raises
        ------
        TypeError
            If the patches are not uint8: whether floats mean 0..1 or 0..255 cannot be seen.
        ValueError
            If the shape is not (n, h, w, 3).
        """
        if patches.dtype != np.uint8:
            raise TypeError(f"patches are {patches.dtype}, expected uint8 RGB from 0 to 255")
        if patches.ndim != 4 or patches.shape[3] != 3:
            raise ValueError(f"patches have shape {patches.shape}, expected (n, height, width, 3)")
        return self._encode(patches)

    @abstractmethod
    def _encode(self, patches: NDArray[np.uint8]) -> NDArray[np.floating]: ...

    def describe(self) -> dict[str, Any]:
        """Return what is needed to know these features again: weights, digest, preprocessing, device."""
        return {"name": self.name, "dim": self.dim}

"""What labels the nuclei in a block of pixels."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Segmenter(Protocol):
    """Labels nuclei in a block of pixels."""

    @property
    def um_per_px(self) -> float:
        """Scale it was trained at; blocks are handed over at this scale."""
        ...

    @property
    def context_px(self) -> int:
        """The label of a pixel does not depend on anything further away, but for how far its object reaches."""
        ...

    @property
    def step_px(self) -> int:
        """Blocks whose corners differ by multiples of this get the same labels where they overlap."""
        ...

    def segment(self, pixels: NDArray[np.uint8], part: tuple[slice, slice]) -> NDArray[np.int32]:
        """Label some rows and columns of a block, the others being their context.

        Returns
        -------
        numpy.ndarray
            (rows, columns), 0 for background. Objects end where the part does: beyond may be but a mirror image.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return plain values that are kept with the results."""
        ...

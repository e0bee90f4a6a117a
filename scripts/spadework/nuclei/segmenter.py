"""What labels the nuclei in a block of pixels."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Segmenter(Protocol):
    """Labels nuclei in a block of pixels.

    Attributes
    ----------
    um_per_px
        Scale it was trained at; blocks are handed over at this scale.
    context_px
        The label of a pixel does not depend on anything further away, but for how far its object reaches.
    step_px
        Blocks whose corners differ by multiples of this get the same labels where they overlap.
    """

    um_per_px: float
    context_px: int
    step_px: int

    def segment(self, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label a block, context included: (h, w, 3) to (h, w), 0 for background."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return plain values that are kept with the results."""
        ...

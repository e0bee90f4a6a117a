"""A segmenter without a network, which depends on its block as much as the contract allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import label, uniform_filter


@dataclass(frozen=True)
class ThresholdSegmenter:
    """What absorbs red is nuclear. Pixels are averaged over their surroundings, then in tiles of a few px."""

    um_per_px: float = 0.5
    threshold: float = 120.0
    blur_px: int = 5
    step_px: int = 4

    @property
    def context_px(self) -> int:
        return self.blur_px // 2 + self.step_px

    def segment(self, pixels: np.ndarray, part: tuple[slice, slice]) -> np.ndarray:
        red = uniform_filter(pixels[..., 0].astype(np.int64), self.blur_px, mode="constant")
        k = self.step_px
        assert [n % k for n in red.shape] == [0, 0]
        tiles = red.reshape(red.shape[0] // k, k, red.shape[1] // k, k)
        tile = np.kron(tiles.mean(axis=(1, 3)), np.ones((k, k)))
        return label(((red + 0.25 * (tile - red)) < self.threshold)[part])[0].astype(np.int32)

    def describe(self) -> dict[str, Any]:
        return {"engine": "threshold", "threshold": self.threshold}

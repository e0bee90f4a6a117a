"""What labels nuclei, by name: the U-Net of this workflow, or StarDist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from skimage.morphology import h_maxima
from skimage.segmentation import watershed as flood

from spadework.device import Device, select_device
from spadework.errors import InputError
from spadework.nuclei.segmenter import Segmenter

# Halves of a waist less deep than this are one nucleus.
_WAIST_UM = 0.5


@dataclass(frozen=True)
class UNetSegmenter:
    """Nuclei as connected foreground of a network that gives each pixel a probability.

    Attributes
    ----------
    foreground
        (h, w, 3) uint8 to (h, w) float32.
    threshold
        What is more probable is foreground. Pixels that share an edge are of one nucleus.
    split
        Cut touching nuclei apart at their waists, by watershed.
    """

    foreground: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    um_per_px: float
    context_px: int
    step_px: int
    threshold: float = 0.5
    split: bool = False
    origin: dict[str, Any] = field(default_factory=dict)

    def segment(self, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label a block, (h, w, 3) to (h, w)."""
        mask = self.foreground(pixels) > self.threshold
        labels = label(mask)[0]
        return cut_at_waists(labels, _WAIST_UM / self.um_per_px) if self.split else labels

    def describe(self) -> dict[str, Any]:
        """Return the settings, and where the network is from."""
        return {"engine": "unet", "threshold": self.threshold, "watershed": self.split, "origin": self.origin}


def cut_at_waists(labels: NDArray[np.int32], depth_px: float) -> NDArray[np.int32]:
    """Cut objects apart where they are narrower, by more than ``depth_px``, than to both sides (watershed)."""
    mask = labels > 0
    distance = distance_transform_edt(mask)
    parts = flood(-distance, label(h_maxima(distance, depth_px))[0], mask=mask)
    # Threads nowhere as wide as that have no centre.
    threads = label(mask & (parts == 0))[0]
    return np.where(threads > 0, threads + parts.max(), parts).astype(np.int32)


def load_segmenter(
    engine: str,
    model: str | Path,
    *,
    threshold: float,
    watershed: bool,
    um_per_px: float | None,
    device: Device,
) -> Segmenter:
    """Load what labels nuclei.

    Parameters
    ----------
    engine
        ``unet`` or ``stardist``.
    model
        File of a U-Net, or folder of a StarDist model.
    threshold, watershed
        How a U-Net's foreground becomes nuclei.
    um_per_px
        Scale the model was trained at, where it does not say so itself: a U-Net mostly does, StarDist does not.

    Raises
    ------
    InputError
        If the model has no scale.
    """
    if engine == "stardist":
        from spadework.nuclei.stardist import StarDistSegmenter

        return StarDistSegmenter.load(model, um_per_px, device)
    from spadework.unet.model import UNet

    net = UNet.load(model, select_device(device, "nuclei.device"))
    scale = net.um_per_px or um_per_px
    if not scale:
        raise InputError(
            "config",
            model,
            found="a U-Net trained on images without a scale",
            expected="µm per pixel of the images it was trained on",
            remedy="set nuclei.um_per_px",
        )
    a = net.architecture
    context = a.context if a.padding == "same" else a.margin
    return UNetSegmenter(net.foreground, scale, context, a.step, threshold, watershed, net.origin)

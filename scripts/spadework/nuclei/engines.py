"""What labels nuclei, by name: the U-Net of this workflow, or StarDist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spadework.device import Device, select_device
from spadework.errors import InputError
from spadework.nuclei.segmenter import Segmenter
from spadework.unet.objects import Objects


@dataclass(frozen=True)
class UNetSegmenter:
    """Nuclei as connected foreground of a network that gives each pixel a probability.

    Attributes
    ----------
    foreground
        As :meth:`spadework.unet.model.UNet.foreground`.
    objects
        How probabilities become nuclei.
    """

    foreground: Callable[..., NDArray[np.float32]]
    um_per_px: float
    context_px: int
    step_px: int
    objects: Objects = field(default_factory=Objects)
    origin: dict[str, Any] = field(default_factory=dict)

    def segment(self, pixels: NDArray[np.uint8], part: tuple[slice, slice]) -> NDArray[np.int32]:
        """Label a part of a block."""
        return self.objects.find(self.foreground(pixels, part=part))

    def describe(self) -> dict[str, Any]:
        """Return the settings, and where the network is from."""
        return {"engine": "unet", "objects": asdict(self.objects), "origin": self.origin}


def load_segmenter(
    engine: str,
    model: str | Path,
    *,
    objects: Objects,
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
    objects
        How the foreground of a U-Net becomes nuclei.
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
    if net.architecture.channels != 3:
        raise InputError(
            "config",
            model,
            found="a U-Net trained on grey images",
            expected="one trained on RGB images of H&E",
            remedy="correct nuclei.model, or unet.images",
        )
    scale = um_per_px or net.um_per_px
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
    return UNetSegmenter(net.foreground, scale, context, a.step, objects, net.origin)

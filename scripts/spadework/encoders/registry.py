"""Encoders by name. Listing and checking them imports nothing but names: the start of the workflow does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spadework.encoders.networks import NETWORKS, min_px
from spadework.errors import InputError

if TYPE_CHECKING:
    from spadework.device import Device
    from spadework.encoders.base import Encoder
    from spadework.encoders.keras_applications import PixelRange, Precision

WITHOUT_WEIGHTS = ("colour_texture", "dummy")


def names() -> list[str]:
    """List all encoders."""
    return [*NETWORKS, *WITHOUT_WEIGHTS]


def needs_weights(name: str) -> bool:
    """Tell networks from encoders that are pure arithmetic."""
    return name in NETWORKS


def check(name: str, px: int) -> None:
    """Check an encoder's name and input size before anything runs.

    Raises
    ------
    InputError
        If there is no such encoder, or the patches are too small for it.
    """
    if name not in names():
        raise InputError(
            "config",
            None,
            found=f"the encoder {name!r}",
            expected=f"one of {', '.join(names())}",
            remedy="correct encoder.names in config/config.yaml",
        )
    if needs_weights(name) and px < min_px(name):
        raise InputError(
            "config",
            None,
            found=f"patch.output_px: {px}",
            expected=f"at least {min_px(name)} px for {name}",
            remedy="raise patch.output_px",
        )


def create(
    name: str,
    px: int,
    *,
    weights: Path | None = None,
    pixel_range: PixelRange = "0-255",
    precision: Precision = "float32",
    device: Device = "cpu",
) -> Encoder:
    """Make an encoder; the options are those of :class:`KerasEncoder` and mean nothing to the others."""
    check(name, px)
    if needs_weights(name):
        from spadework.encoders.keras_applications import KerasEncoder

        return KerasEncoder(name, px, weights=weights, pixel_range=pixel_range, precision=precision, device=device)
    if name == "colour_texture":
        from spadework.encoders.colour_texture import ColourTextureEncoder

        return ColourTextureEncoder()
    from spadework.encoders.dummy import DummyEncoder

    return DummyEncoder()

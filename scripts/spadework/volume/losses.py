"""What a translated volume is compared by, where something was measured.

Targets come packed, see :mod:`spadework.volume.packing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

Loss = Callable[[Any, Any], Any]
# Keeps the Dice of a class that is not there, and not predicted, at 1 (Milletari et al. 2016; Cirillo et al. 2020).
_SMOOTH = 1.0


def dice_loss(packed: Any, predicted: Any) -> Any:  # noqa: ANN401  (tensors of any backend)
    """Return 1 minus the soft Dice, the mean over classes.

    Over all classes at once, as published, a rare class can be missing and the loss be low.
    """
    measured = packed[..., -1:]
    target, predicted = packed[..., :-1] * measured, predicted * measured
    axes = (0, 1, 2, 3)
    both = ops.sum(target * predicted, axis=axes)
    either = ops.sum(target**2, axis=axes) + ops.sum(predicted**2, axis=axes)
    return 1.0 - ops.mean((2.0 * both + _SMOOTH) / (either + _SMOOTH))


def flat_dice_loss(packed: Any, predicted: Any) -> Any:  # noqa: ANN401
    """Return 1 minus the soft Dice over all classes at once: the published loss, kept for comparison."""
    measured = packed[..., -1:]
    target, predicted = packed[..., :-1] * measured, predicted * measured
    either = ops.sum(target**2) + ops.sum(predicted**2)
    return 1.0 - (2.0 * ops.sum(target * predicted) + _SMOOTH) / (either + _SMOOTH)


def l1_loss(packed: Any, predicted: Any) -> Any:  # noqa: ANN401
    """Return the mean absolute difference."""
    measured = packed[..., -1:]
    channels = predicted.shape[-1]
    difference = ops.sum(ops.absolute(packed[..., :-1] - predicted) * measured)
    return difference / (ops.maximum(ops.sum(measured), 1.0) * channels)


LOSSES: dict[str, Loss] = {"dice": dice_loss, "flat_dice": flat_dice_loss, "l1": l1_loss}

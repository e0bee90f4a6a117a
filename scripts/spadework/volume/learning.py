"""What the configuration says of a network and its training, for the volumes there are."""

from __future__ import annotations

from typing import Any

from spadework.errors import InputError
from spadework.volume.architecture import Architecture, strides_for
from spadework.volume.augmentation import Augmentation
from spadework.volume.pairs import Volumes
from spadework.volume.training import Recipe


def architecture_for(
    volumes: Volumes, *, width: int, dropout: float, strides_z: list[int] | None, given: bool
) -> Architecture:
    """Return the networks for volumes; without ``strides_z``, as their planes are many or few.

    Parameters
    ----------
    given
        Give the network what was measured in other sections of a stack; with fewer than two that were, there is
        nothing to learn that from, and it is not done.

    Raises
    ------
    InputError
        If there is no volume to train on.
    """
    depths = [pair.shape[0] for pair in volumes.of("train")]
    if not depths:
        raise InputError(
            "volume",
            None,
            found="no volume to train on",
            expected="at least one of the set `train`",
            remedy="correct the column `set` of the table of volume.pairs",
        )
    return Architecture(
        len(volumes.inputs),
        len(volumes.outputs),
        "softmax" if volumes.classes else "linear",
        width,
        tuple(strides_z) if strides_z else strides_for(min(depths)),
        dropout,
        given and bool(volumes.planes) and _measured_planes(volumes) > 1,
    )


def _measured_planes(volumes: Volumes) -> int:
    return sum(int(pair.measured.any(axis=(1, 2)).sum()) for pair in volumes.of("train"))


def recipe_for(
    volumes: Volumes,
    augmentation: Augmentation,
    *,
    voxel_loss: str | None,
    **training: Any,  # noqa: ANN401
) -> Recipe:
    """Return the recipe for volumes; without ``voxel_loss``, by Dice for classes and by difference for values.

    Raises
    ------
    InputError
        If values were to be compared as if they were classes.
    """
    if voxel_loss in ("dice", "flat_dice") and not volumes.classes:
        raise InputError(
            "config",
            None,
            found=f"volume.training.voxel_loss: {voxel_loss} for values ({', '.join(volumes.values)})",
            expected="l1: Dice is for classes",
            remedy="set volume.training.voxel_loss: null",
        )
    return Recipe(
        voxel_loss=voxel_loss or ("dice" if volumes.classes else "l1"), augmentation=augmentation, **training
    )

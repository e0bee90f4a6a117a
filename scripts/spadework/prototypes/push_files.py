"""Files about the prototypes of a push, with the names and the layout of the published code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from spadework.prototypes.architecture import Field
from spadework.prototypes.boxes import crop, located, overlay

if TYPE_CHECKING:
    from spadework.prototypes.training import Push


def write_push(folder: Path, push: Push, field: Field) -> None:
    """Write ``epoch-<cycle>/`` with what every prototype is after a push.

    For prototype ``j`` (from 0), all in pixels of the patches the network sees:

    - ``prototype-img-original<j>.png``: the patch it was taken from;
    - ``prototype-img<j>.png``: the box around the peak of its own map, see
      :func:`spadework.prototypes.boxes.located`;
    - ``prototype-img-original_with_self_act<j>.png``: the patch with that map over it;
    - ``prototype-self-act<j>.npy``: the map, (cells, cells) float32 similarity;
    - ``prototype-img-receptive_field<j>.png``: what the cell it was taken from sees.

    And for all of them, ``bb<cycle>.npy`` and ``bb-receptive_field<cycle>.npy``: (prototypes, 6) int64 of image (row
    of the training set), y1, y2, x1, x2 (ends exclusive) and class (index). Every prototype has a source: no row is
    -1, the published mark of one that is not set.

    Parameters
    ----------
    folder
        Made, if it is not there.
    field
        What a cell sees.
    """
    place = folder / f"epoch-{push.cycle}"
    place.mkdir(parents=True, exist_ok=True)
    px = push.images.shape[1]
    boxes, fields = np.empty((2, len(push.sources), 6), np.int64)
    for j, (source, row) in enumerate(zip(push.sources, push.rows, strict=True)):
        patch = push.images[j]
        activation, box, _ = located(push.maps[j], px)
        seen = field.box(source.row, source.column, px)
        boxes[j] = row, *box, push.class_of[j]
        fields[j] = row, *seen, push.class_of[j]
        for name, image in (
            ("prototype-img", crop(patch, box)),
            ("prototype-img-original", patch),
            ("prototype-img-original_with_self_act", overlay(patch, activation)),
            ("prototype-img-receptive_field", crop(patch, seen)),
        ):
            Image.fromarray(np.ascontiguousarray(image)).save(place / f"{name}{j}.png")
        np.save(place / f"prototype-self-act{j}.npy", push.maps[j].astype(np.float32))
    np.save(place / f"bb{push.cycle}.npy", boxes)
    np.save(place / f"bb-receptive_field{push.cycle}.npy", fields)

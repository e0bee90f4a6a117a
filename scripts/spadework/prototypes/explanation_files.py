"""The folder of an explained spot: text, figure, and pictures with the names of the published code."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spadework.figures.prototypes import explanation_figure
from spadework.figures.style import finish
from spadework.prototypes.boxes import crop, outlined, overlay
from spadework.prototypes.explain import Explanation, explanation_text

_LONGEST = 60  # characters of a barcode in a name of a folder


def folder_name(e: Explanation) -> str:
    """Return a name for the folder of a spot: its kind and barcode.

    Barcodes may hold anything. What no file system minds stays; a name that had to be changed ends in a digest of the
    spot, so that no two are the same.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", e.barcode)[:_LONGEST]
    if safe == e.barcode:
        return f"{e.kind}_{safe}"
    digest = hashlib.sha256(f"{e.sample}\t{e.barcode}".encode()).hexdigest()[:8]
    return f"{e.kind}_{safe}_{digest}"


def write_explanation(folder: Path, e: Explanation, note: str = "") -> None:
    """Write what :func:`spadework.prototypes.explain.explain` found into ``<folder>/<kind>_<barcode>/``.

    ``explanation.txt``, ``explanation.png``, and in ``most_activated/`` for each of the top prototypes, ``k`` from 1:

    - ``top-<k>_activated_prototype.png``: the prototype;
    - ``top-<k>_activated_prototype_in_original_pimg.png``: its box in its source;
    - ``most_highly_activated_patch_by_top-<k>_prototype.png``: the part of this patch that is most like it;
    - ``prototype_activation_map_by_top-<k>_prototype.png``: how much each part of this patch is like it.

    Parameters
    ----------
    note
        For the foot of the figure.
    """
    place = folder / folder_name(e)
    pictures = place / "most_activated"
    pictures.mkdir(parents=True, exist_ok=True)
    (place / "explanation.txt").write_text(explanation_text(e), encoding="utf-8")
    finish(explanation_figure(e), place / "explanation.png", note)
    for k, m in enumerate(e.shown, start=1):
        p = m.prototype
        _save(crop(p.patch, p.box), pictures / f"top-{k}_activated_prototype.png")
        _save(outlined(p.patch, p.box), pictures / f"top-{k}_activated_prototype_in_original_pimg.png")
        _save(crop(e.patch, m.box), pictures / f"most_highly_activated_patch_by_top-{k}_prototype.png")
        _save(overlay(e.patch, m.activation), pictures / f"prototype_activation_map_by_top-{k}_prototype.png")


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)

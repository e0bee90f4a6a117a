"""Figures and texts of a page that are files of the results."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from spadework.job import PACKAGE
from spadework.report.bundle import data_uri
from spadework.report.tiles import MIME

CAPTIONS = PACKAGE.parents[1] / "report"
_WIDEST_PX = 1600
_QUALITY = 85  # line drawings suffer below


def add_results(page: dict[str, Any], described: Sequence[Mapping[str, Any]], files: Sequence[str]) -> None:
    """Add results that are files to the ``panels`` and ``texts`` of a page.

    Parameters
    ----------
    described
        Of each file the ``tab`` it is on, its ``title``, and if it has one the ``caption`` (name of a file of the
        folder ``report``) with its ``wildcards``.
    files
        SVG, PNG or text.

    Raises
    ------
    ValueError
        If a file is something else, or a figure holds a script.
    """
    for said, path in zip(described, map(Path, files), strict=True):
        tab, title = said["tab"], said["title"]
        words = caption(said["caption"], said.get("wildcards", {})) if said.get("caption") else ""
        if path.suffix == ".txt":
            text = path.read_text(encoding="utf-8").strip()
            page["texts"].append({"tab": tab, "title": title, "text": text, "copy": False})
        else:
            # Figures of two encoders have the same name: what they are of tells them apart.
            of = [str(value).replace("/", "_") for value in said.get("wildcards", {}).values()]
            file = "_".join([*of, path.stem])
            page["panels"].append({"tab": tab, "title": title, "caption": words, "file": file, **_figure(path)})


def caption(name: str, wildcards: Mapping[str, str], folder: Path = CAPTIONS) -> str:
    """Return a caption of the folder ``report`` as plain text, its wildcards filled in."""
    # Marks are taken off before names are put in, which may look like some.
    text = re.sub(r"(``|\*\*|\*)(.+?)\1", r"\2", (folder / f"{name}.rst").read_text(encoding="utf-8"))
    stand_in = SimpleNamespace(wildcards=SimpleNamespace(**wildcards))
    # A page shows this as plain text: escaped here, names would come out wrong.
    template = Environment(undefined=StrictUndefined, autoescape=False).from_string(text)  # noqa: S701
    return " ".join(template.render(snakemake=stand_in).split())


def _figure(path: Path) -> dict[str, str | None]:
    if path.suffix == ".svg":
        content = path.read_bytes()
        if re.search(rb"<\s*script", content, re.IGNORECASE):
            raise ValueError(f"{path.name} holds a script; figures of a page are pictures only")
        return {"svg": data_uri(content, "image/svg+xml"), "image": None}
    if path.suffix != ".png":
        raise ValueError(f"{path.name}: a page shows SVG, PNG and text")
    return {"svg": None, "image": _as_webp(path)}


def _as_webp(path: Path) -> str:
    with Image.open(path) as figure:
        image = figure.convert("RGB")
    if image.width > _WIDEST_PX:
        size = (_WIDEST_PX, max(1, round(image.height * _WIDEST_PX / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=4)
    return data_uri(out.getvalue(), MIME)

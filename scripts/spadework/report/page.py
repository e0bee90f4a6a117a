"""The HTML of a page: its data, and the libraries and scripts that show them, in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spadework.report.bundle import Bundle, to_json

ASSETS = Path(__file__).parent / "assets"
STYLES = ("vendor/ol.css", "css/app.css")
LIBRARIES = ("vendor/ol.js", "vendor/d3.min.js", "vendor/plot.umd.min.js")
# In the order in which they build on each other.
MODULES = (
    *("data", "state", "colour", "download", "table", "spots", "slide", "explore", "panels", "charts", "genes"),
    *("latents", "quality", "cohort", "main"),
)
SCRIPTS = (*LIBRARIES, *(f"js/{name}.js" for name in MODULES))
# Nothing may be fetched, whatever is in the data: what a page needs is in it.
POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob:; "
    "worker-src blob:; font-src data:; base-uri 'none'; form-action 'none'"
)


def render(bundle: Bundle, page: Mapping[str, Any]) -> str:
    """Write a page.

    Parameters
    ----------
    bundle
        Arrays and tiles that ``page`` names.
    page
        As :mod:`spadework.report` says; ``blobs`` come from the bundle.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("page.html.jinja").render(
        title=page["title"],
        licences=(ASSETS / "vendor/LICENCES.txt").read_text(encoding="utf-8"),
        policy=POLICY,
        styles=[_style(path) for path in STYLES],
        scripts=[_script(path) for path in SCRIPTS],
        page=to_json({**page, "blobs": bundle.described}),
        tiles={name: to_json(tiles) for name, tiles in bundle.tiles.items()},
        blobs=bundle.blobs,
    )


def inline_script(text: str) -> str:
    """Take out of JavaScript what means something to the HTML around it, and addresses of files that are not here."""
    text = re.sub(r"(?m)^\s*//[#@]\s*sourceMappingURL=.*$", "", text)
    return re.sub(r"</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", r"<\!--")


def _script(path: str) -> str:
    return inline_script((ASSETS / path).read_text(encoding="utf-8"))


def _style(path: str) -> str:
    text = re.sub(r"/\*[#@]\s*sourceMappingURL=.*?\*/", "", (ASSETS / path).read_text(encoding="utf-8"))
    return re.sub(r"</(?=style)", r"<\\/", text, flags=re.IGNORECASE)

"""What files are, by their names and by their first bytes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO

IMAGE_SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
OPENSLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide")
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".qptiff")


def open_by_content(path: Path) -> IO[bytes]:
    """Open by content: downloads are sometimes plain text named ``.gz`` and the reverse."""
    with path.open("rb") as handle:
        gzipped = handle.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if gzipped else path.open("rb")  # type: ignore[return-value]

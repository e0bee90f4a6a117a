"""What a page carries besides its text: arrays and tiles, packed so that a browser can unpack them."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


class Bundle:
    """Arrays and tiles of a page, by name.

    Attributes
    ----------
    described
        Name -> ``dtype`` and ``length`` of an array.
    blobs
        Name -> base64 of the gzipped array, little-endian.
    tiles
        Name -> "level/x/y" -> base64 of an encoded image.
    """

    def __init__(self) -> None:
        self.described: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, str] = {}
        self.tiles: dict[str, dict[str, str]] = {}

    def add(self, values: NDArray[Any]) -> str:
        """Pack an array, in C order, and return its name.

        Raises
        ------
        ValueError
            If a page cannot read the type.
        """
        if values.dtype.name not in _DTYPES:
            raise ValueError(f"an array of {values.dtype}; a page reads {', '.join(_DTYPES)}")
        name = f"a{len(self.blobs)}"
        raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        # Without a time, so that the same results make the same page.
        self.blobs[name] = _base64(gzip.compress(raw, compresslevel=6, mtime=0))
        self.described[name] = {"dtype": values.dtype.name, "length": values.size}
        return name

    def add_tiles(self, tiles: Mapping[str, bytes]) -> str:
        """Pack encoded tiles by "level/x/y" and return the name of the set."""
        name = f"tiles-{len(self.tiles)}"
        self.tiles[name] = {place: _base64(tile) for place, tile in tiles.items()}
        return name


def data_uri(content: bytes, mime: str) -> str:
    """Return a file as a data URI."""
    return f"data:{mime};base64,{_base64(content)}"


def to_json(value: object) -> str:
    """Write JSON that can stand inside a script element, whatever names it holds; what is no number becomes null."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Line separators are line ends to old JavaScript; the others would end the element, or begin a comment in it.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def plain(value: Any) -> Any:  # noqa: ANN401  (whatever a table or AnnData holds)
    """Turn values of NumPy and pandas into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    # pandas has a missing value of its own
    return None if str(value) in ("<NA>", "NaT") else str(value)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")

"""Tables that people open in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from spadework.job import whole_file

# What a spreadsheet takes for the beginning of a formula, wherever the text came from.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# gzip's own level: pandas takes the highest, which is half as fast and makes the file a hundredth smaller. The header
# would hold the time.
_GZIP = {"method": "gzip", "compresslevel": 6, "mtime": 0}


def write_csv(table: pd.DataFrame, path: str | Path, *, index_label: str | None = None) -> None:
    """Write a table whole or not at all, numbers to six digits; ``.gz`` is compressed.

    Text that a spreadsheet would run as a formula gets an apostrophe in front (names of genes and clusters come from
    files of others).

    Parameters
    ----------
    index_label
        Name of a first column that holds the index; without it, the index is left out.
    """
    if index_label:
        table = table.rename_axis(index_label).reset_index()
    harmless = table.apply(lambda column: column if pd.api.types.is_numeric_dtype(column) else column.map(_harmless))
    with whole_file(path) as partial:
        harmless.to_csv(
            partial, index=False, float_format="%.6g", compression=_GZIP if partial.suffix == ".gz" else None
        )


def read_csv(
    path: str | Path, dtype: type | dict[str, type] | None = None, *, keep_default_na: bool = True
) -> pd.DataFrame:
    """Read a table of :func:`write_csv`, its text as it was; the options are those of :func:`pandas.read_csv`."""
    table = pd.read_csv(path, dtype=dtype, keep_default_na=keep_default_na)
    return table.apply(lambda column: column if pd.api.types.is_numeric_dtype(column) else column.map(_as_it_was))


def read_spots(paths: Iterable[str | Path]) -> pd.DataFrame | None:
    """Read the table of the nuclei per spot, by barcode, if there is one."""
    tables = [read_csv(path, dtype={"barcode": str}).set_index("barcode") for path in paths]
    return tables[0] if tables else None


def read_block_table(path: str | Path) -> pd.DataFrame:
    """Read a table of the spots of a block; names are text, whether they look like numbers or like nothing (NA)."""
    text: dict[str, type] = dict.fromkeys(("sample", "barcode", "domain"), str)
    return read_csv(path, text, keep_default_na=False)


def read_places(paths: Iterable[str | Path], sample: str) -> pd.DataFrame | None:
    """Read where the spots of a section lie in its block, by barcode, if it is part of one."""
    tables = [read_block_table(path) for path in paths]
    return tables[0][tables[0]["sample"] == sample].set_index("barcode") if tables else None


def _as_it_was(value: object) -> object:
    return value[1:] if isinstance(value, str) and value[:1] == "'" and value[1:].startswith(_FORMULA) else value


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

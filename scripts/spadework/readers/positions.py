"""Spot positions as Space Ranger writes them: CSV with or without a header line, and parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from spadework.errors import InputError
from spadework.keys import Keys

# Rows come before columns in the file; a Section has x (column) before y (row).
_HEADER = {
    "barcode": "barcode",
    "in_tissue": Keys.IN_TISSUE,
    "array_row": Keys.ARRAY_ROW,
    "array_col": Keys.ARRAY_COL,
    "pxl_row_in_fullres": "y",
    "pxl_col_in_fullres": "x",
}
_FILE_COLUMNS = ["barcode", Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL, "y", "x"]


def has_header(first_line: str) -> bool:
    """Tell a header from data the way Space Ranger itself does: a header holds no digit."""
    return not any(character.isdigit() for character in first_line)


def read_positions(sample: str, path: Path) -> pd.DataFrame:
    """Read a positions file of any Space Ranger version.

    Returns
    -------
    pandas.DataFrame
        By barcode: ``in_tissue`` (0 or 1), ``array_row``, ``array_col`` (int) and ``y``, ``x``
        (float64, full-resolution pixels). Positions outside the image are kept.

    Raises
    ------
    InputError
        If a column is missing or holds something else than numbers, or ``in_tissue`` is not 0 or 1.
    """
    expected = "barcode, in_tissue, array_row, array_col, pxl_row_in_fullres, pxl_col_in_fullres"
    remedy = "give the positions file of Space Ranger unchanged"
    try:
        header: int | None = 0
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            with path.open(encoding="utf-8-sig") as handle:
                header = 0 if has_header(handle.readline()) else None
            table = pd.read_csv(path, header=header, dtype={0: str}, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            sample,
            path,
            found=f"an unreadable file ({error})",
            expected=f"a table of {expected}",
            remedy=remedy,
        ) from error
    if table.shape[1] < len(_FILE_COLUMNS):
        raise InputError(
            sample,
            path,
            found=f"{table.shape[1]} columns",
            expected=f"six comma-separated columns: {expected}",
            remedy=remedy,
        )
    named = [str(c).strip().lower() for c in table.columns]
    if "barcode" not in named:  # tables written with the barcodes as an unnamed index
        named[0] = "barcode"
    if set(_HEADER) <= set(named):
        table = table.set_axis(named, axis=1)[list(_HEADER)].rename(columns=_HEADER)
    elif path.suffix == ".parquet" or header is not None:
        raise InputError(
            sample, path, found=f"columns {', '.join(named)}", expected=f"columns {expected}", remedy=remedy
        )
    table = table.iloc[:, : len(_FILE_COLUMNS)].set_axis(_FILE_COLUMNS, axis=1)
    numeric = table[_FILE_COLUMNS[1:]].apply(pd.to_numeric, errors="coerce")
    broken = ~np.isfinite(numeric).all(axis=1) | table["barcode"].isna()
    if broken.any():
        raise InputError(
            sample,
            path,
            found=f"{broken.sum()} of {len(table)} rows with a missing or non-numeric value, first in data row "
            f"{int(np.flatnonzero(broken)[0]) + 1}",
            expected=f"numbers in {expected.partition(', ')[2]}",
            remedy=remedy,
        )
    if not numeric[Keys.IN_TISSUE].isin((0, 1)).all():
        raise InputError(
            sample,
            path,
            found=f"in_tissue = {numeric[Keys.IN_TISSUE][~numeric[Keys.IN_TISSUE].isin((0, 1))].iloc[0]:g}",
            expected="0 or 1 (the second column)",
            remedy=remedy,
        )
    numeric = numeric.astype({Keys.IN_TISSUE: int, Keys.ARRAY_ROW: int, Keys.ARRAY_COL: int})
    numeric = numeric.astype({"x": float, "y": float})
    return numeric.set_index(pd.Index(table["barcode"].astype(str), name=None))

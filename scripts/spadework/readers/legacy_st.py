"""Legacy Spatial Transcriptomics: a spots x genes table, a table of spot positions and an image."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from spadework.errors import InputError
from spadework.files import open_by_content
from spadework.keys import Keys
from spadework.lattice import fit_lattice, is_checkerboard
from spadework.readers.locate import SectionFiles
from spadework.readers.matrix import GENE_EXPRESSION
from spadework.samples import Sample
from spadework.section import Matrix, Section, join_positions, unique_gene_names

PITCH_UM = 200.0
SPOT_UM = 100.0


def read_legacy_st(sample: Sample, files: SectionFiles) -> Section:
    """Read a legacy ST section.

    Spots are named ``<x>x<y>``, x being the column and y the row of the array. A section whose positions all
    have the same parity was read at half pitch (a checkerboard).

    Raises
    ------
    InputError
        If a table is not what it should be, or no image is given.
    """
    if files.fullres is None:
        raise InputError(
            sample.name,
            files.matrix.parent,
            found="no image",
            expected="the H&E image beside the counts, or in the column `image`",
            remedy="add the image",
        )
    matrix = _read_counts(sample.name, files)
    table = _read_spots(sample.name, files)
    counts, positions, left_out = join_positions(sample.name, matrix, table, files.matrix, files.positions)
    on_grid = is_checkerboard(table[Keys.ARRAY_ROW].to_numpy(), table[Keys.ARRAY_COL].to_numpy())
    try:
        lattice = fit_lattice(
            "checkerboard" if on_grid else "square",
            PITCH_UM,
            SPOT_UM,
            table["printed_row"].to_numpy(),
            table["printed_col"].to_numpy(),
            table[["x", "y"]].to_numpy(float),
        )
    except ValueError as error:
        raise InputError(
            sample.name,
            files.positions,
            found=str(error),
            expected="spots spread over the array",
            remedy="check the columns x, y, pixel_x and pixel_y",
        ) from error
    return Section(
        sample=sample.name,
        platform="legacy_st",
        counts=counts,
        positions=positions,
        genes=matrix.genes.set_axis(unique_gene_names(sample.name, files.matrix, matrix.genes)),
        lattice=lattice,
        scalefactors={"spot_diameter_fullres": SPOT_UM / lattice.um_per_px},
        fullres=files.fullres,
        left_out=left_out,
        notes=list(files.notes),
    )


def _read_counts(sample: str, files: SectionFiles) -> Matrix:
    separator = "," if ".csv" in files.matrix.name else "\t"
    try:
        with open_by_content(files.matrix) as handle:
            header = pd.Series(handle.readline().decode().strip().split(separator))
        with open_by_content(files.matrix) as handle:
            table = pd.read_csv(handle, sep=separator, index_col=0)
        values = table.to_numpy(float)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(
            sample,
            files.matrix,
            found=f"a table that cannot be read as numbers ({error})",
            expected="spots in rows, genes in columns, counts in the cells",
            remedy="give the raw counts table, tab separated",
        ) from error
    _check_once(sample, files.matrix, header)  # pandas numbers repeated columns, which hides them
    spots, genes = table.index.astype(str), table.columns.astype(str)
    if not spots.str.match(r"^[\d.]+x[\d.]+$").all():
        if genes.str.match(r"^[\d.]+x[\d.]+$").all():
            values, spots, genes = values.T, genes, spots
        else:
            raise InputError(
                sample,
                files.matrix,
                found=f"rows such as {spots[0]!r} and columns such as {genes[0]!r}",
                expected="spots named <x>x<y>, such as 10x14",
                remedy="name the rows of the counts table by array position",
            )
    if not np.array_equal(values, np.rint(values)) or (values < 0).any():
        raise InputError(
            sample,
            files.matrix,
            found="fractions, negative or missing values",
            expected="raw counts: whole numbers, none negative",
            remedy="give the unnormalised table",
        )
    gene_table = pd.DataFrame({Keys.GENE_IDS: genes, Keys.GENE_NAME: genes, Keys.FEATURE_TYPES: GENE_EXPRESSION})
    _check_once(sample, files.matrix, genes.to_series())
    counts = sparse.csr_matrix(values.astype(np.int32))
    return Matrix(counts, np.array([_spot_id(s) for s in spots]), gene_table)


def _check_once(sample: str, path: Path, names: pd.Series) -> None:
    if names.duplicated().any():
        raise InputError(
            sample,
            path,
            found=f"{names[names.duplicated()].iloc[0]} more than once",
            expected="one column per gene and one row per spot",
            remedy="merge or rename what is repeated",
        )


def _read_spots(sample: str, files: SectionFiles) -> pd.DataFrame:
    path = files.positions
    try:
        table = pd.read_csv(path, sep=None, engine="python")
    except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(
            sample,
            path,
            found=f"a table that cannot be read ({error})",
            expected="a table of spots with the columns x, y, pixel_x and pixel_y",
            remedy="give the spots table the spot detector wrote",
        ) from error
    needed = ["x", "y", "pixel_x", "pixel_y"]
    missing = [c for c in needed if c not in table.columns]
    if missing:
        raise InputError(
            sample,
            path,
            found=f"columns {', '.join(map(str, table.columns))}",
            expected=", ".join(needed),
            remedy="give the spots table the spot detector wrote",
        )
    # Spots are printed irregularly; where their real places on the array are known, the scale comes from those.
    printed = ["new_x", "new_y"] if {"new_x", "new_y"} <= set(table.columns) else ["x", "y"]
    optional = ["selected"] if "selected" in table.columns else []
    numbers = table[list(dict.fromkeys([*needed, *printed, *optional]))].apply(pd.to_numeric, errors="coerce")
    broken = [c for c in numbers.columns if not np.isfinite(numbers[c]).all()]
    if broken:
        raise InputError(
            sample,
            path,
            found=f"missing or non-numeric values in {', '.join(broken)}",
            expected=f"numbers in {', '.join(numbers.columns)}",
            remedy="give the spots table unchanged",
        )
    col, row = (np.rint(numbers[c]).astype(int) for c in ("x", "y"))
    return pd.DataFrame(
        {
            Keys.IN_TISSUE: numbers["selected"].astype(int) if optional else 1,
            Keys.ARRAY_ROW: row,
            Keys.ARRAY_COL: col,
            "x": numbers["pixel_x"],
            "y": numbers["pixel_y"],
            "printed_row": numbers[printed[1]],
            "printed_col": numbers[printed[0]],
        }
    ).set_axis([f"{c}x{r}" for c, r in zip(col, row, strict=True)])


def _spot_id(name: str) -> str:
    """Round ``10.02x13.97``, as some spot detectors name spots, to the array position ``10x14``."""
    x, y = name.split("x")
    return f"{round(float(x))}x{round(float(y))}"

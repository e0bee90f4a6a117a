"""Legacy Spatial Transcriptomics: a spots x genes table, a table of spot positions and an image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from spadework.errors import InputError
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
        genes=matrix.genes.set_axis(unique_gene_names(matrix.genes)),
        lattice=lattice,
        scalefactors={"spot_diameter_fullres": SPOT_UM / lattice.um_per_px},
        fullres=files.fullres,
        left_out=left_out,
        notes=list(files.notes),
    )


def _read_counts(sample: str, files: SectionFiles) -> Matrix:
    separator = "," if ".csv" in files.matrix.name else "\t"
    try:
        table = pd.read_csv(files.matrix, sep=separator, index_col=0)
        values = table.to_numpy(float)
    except (OSError, ValueError, EOFError, pd.errors.ParserError) as error:
        raise InputError(
            sample,
            files.matrix,
            found=f"a table that cannot be read as numbers ({error})",
            expected="spots in rows, genes in columns, counts in the cells",
            remedy="give the raw counts table, tab separated",
        ) from error
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
    if genes.has_duplicates:
        raise InputError(
            sample,
            files.matrix,
            found=f"the gene {genes[genes.duplicated()][0]} more than once",
            expected="one column per gene",
            remedy="merge or rename the repeated columns",
        )
    counts = sparse.csr_matrix(values.astype(np.int32))
    return Matrix(counts, np.array([_spot_id(s) for s in spots]), gene_table)


def _read_spots(sample: str, files: SectionFiles) -> pd.DataFrame:
    path = files.positions
    table = pd.read_csv(path, sep=None, engine="python")
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
    numbers = table[needed].apply(pd.to_numeric, errors="coerce")
    if numbers.isna().any(axis=None):
        raise InputError(
            sample,
            path,
            found="missing or non-numeric values",
            expected=f"numbers in {', '.join(needed)}",
            remedy="give the spots table unchanged",
        )
    col, row = (np.rint(numbers[c]).astype(int) for c in ("x", "y"))
    selected = table["selected"] if "selected" in table.columns else 1
    # Spots are printed irregularly; where their real places on the array are known, the scale comes from those.
    printed = table[["new_x", "new_y"]] if {"new_x", "new_y"} <= set(table.columns) else numbers[["x", "y"]]
    return pd.DataFrame(
        {
            Keys.IN_TISSUE: pd.Series(selected, index=table.index).astype(int),
            Keys.ARRAY_ROW: row,
            Keys.ARRAY_COL: col,
            "x": numbers["pixel_x"],
            "y": numbers["pixel_y"],
            "printed_row": printed.iloc[:, 1],
            "printed_col": printed.iloc[:, 0],
        }
    ).set_axis([f"{c}x{r}" for c, r in zip(col, row, strict=True)])


def _spot_id(name: str) -> str:
    """Round ``10.02x13.97``, as some spot detectors name spots, to the array position ``10x14``."""
    x, y = name.split("x")
    return f"{round(float(x))}x{round(float(y))}"

"""The table of volume pairs: which files are translated into which. No numpy: the workflow reads it as it starts."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from spadework.errors import InputError

_COLUMNS = ("name", "input", "target", "set")
Set = Literal["train", "validation", "test"]
SETS: tuple[Set, ...] = get_args(Set)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class PairRow:
    """One row of the table.

    Attributes
    ----------
    name
        Of the pair, and of the file its prediction is written to.
    inputs
        NIfTI files: one per modality, or one with all of them in its fourth dimension.
    target
        NIfTI file of integer labels on the same grid.
    set
        ``train``, ``validation`` or ``test``.
    """

    name: str
    inputs: tuple[Path, ...]
    target: Path
    set: Set

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the pair."""
        return *self.inputs, self.target


def read_pair_table(table: str | Path) -> list[PairRow]:
    """Read the table of volume pairs.

    Parameters
    ----------
    table
        Tab-separated text with the columns ``name``, ``input`` (files, separated by commas), ``target`` and ``set``;
        lines that begin with # are comments. Relative paths start at the working directory, as in the sample sheet.

    Raises
    ------
    InputError
        If a column or a file is missing, a name repeats or cannot be that of a file, a set is not known, or no row
        is for training.
    """
    table = Path(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            lines = [line for line in handle if line.strip() and not line.lstrip().startswith("#")]
            reader = csv.DictReader(lines, delimiter="\t")
            columns = [c.strip() for c in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{k: (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            "volume.pairs",
            table,
            found=f"an unreadable table ({error})",
            expected="a tab-separated table",
            remedy="correct volume.pairs, or write the table again as UTF-8 text",
        ) from error
    rows = [row for row in rows if any(row.values())]
    missing = [c for c in _COLUMNS if c not in columns]
    if missing:
        raise InputError(
            "volume.pairs",
            table,
            found=f"columns {', '.join(columns) or '(none)'}",
            expected=f"columns {', '.join(_COLUMNS)}, separated by tabs",
            remedy=f"add {', '.join(missing)}",
        )
    pairs = [_row(row, table) for row in rows]
    repeated = [name for name, n in Counter(pair.name.lower() for pair in pairs).items() if n > 1]
    if repeated:
        raise InputError(
            repeated[0],
            table,
            found="two rows with this name (capitals are no difference: some disks make none)",
            expected="a name of its own for every pair",
            remedy="rename one of them",
        )
    if not any(pair.set == "train" for pair in pairs):
        raise InputError(
            "volume.pairs",
            table,
            found=f"{len(pairs)} pairs, none of them of the set train",
            expected="at least one pair to learn from",
            remedy="write train into the column set of some rows",
        )
    return pairs


def _row(row: dict[str, str], table: Path) -> PairRow:
    name, inputs = row["name"], tuple(Path(p.strip()).expanduser() for p in row["input"].split(",") if p.strip())
    if not _NAME.fullmatch(name):
        raise InputError(
            "volume.pairs",
            table,
            found=f"the name {name!r}",
            expected="letters, digits, dots, dashes and underscores: it becomes the name of a file",
            remedy="rename the pair",
        )
    if row["set"] not in SETS:
        raise InputError(
            name, table, found=f"set {row['set']!r}", expected=" or ".join(SETS), remedy="correct the column set"
        )
    if not inputs or not row["target"]:
        raise InputError(
            name,
            table,
            found=f"no {'target' if inputs else 'input'}",
            expected="files in the columns input and target",
            remedy="fill in the cell, or leave the row out",
        )
    pair = PairRow(name, inputs, Path(row["target"]).expanduser(), cast(Set, row["set"]))
    for file in pair.files:
        if not file.is_file():
            raise InputError(
                name,
                file,
                found="no such file",
                expected="a NIfTI file",
                remedy=f"correct the path in {table.name} (relative paths start at the working directory)",
            )
        if not file.name.lower().endswith(_SUFFIXES):
            raise InputError(
                name,
                file,
                found="a file of another kind",
                expected=f"a NIfTI file ({' or '.join(_SUFFIXES)})",
                remedy="convert it, for example with dcm2niix",
            )
    return pair

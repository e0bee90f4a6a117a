"""The sample sheet: one row per section, read as text, checked before anything runs."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spadework.errors import InputError
from spadework.keys import NUCLEI, Keys

PLATFORMS = ("auto", "visium", "visium_hd", "visium_hd_cells", "legacy_st", "h5ad")
# A serial section that was stained and not sequenced: its path is the image.
STAINED = "stained"
# What a path or image begins with that is not a file but the name of a public dataset.
DATASET = "dataset:"
_KNOWN = ("sample", "path", "image", "channels", "platform", "species", "clusters", "group", "held_out")
_SERIAL = ("block", "z_um", "flip", "um_per_px")
# Folders of results that are no section's.
_FOLDERS = ("cohort", "blocks", "unet", "vox2vox")
# Columns of obs that the workflow writes.
_TAKEN = {
    *(Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL, Keys.TOTAL_COUNTS, Keys.N_GENES, Keys.PCT_MT, Keys.CLUSTER),
    *(Keys.IMAGE_CLUSTER, Keys.SPADE_CLUSTER, Keys.TISSUE_FRACTION, Keys.PADDED_FRACTION, "total_counts_mt"),
    *("cluster_scanpy", "cluster_seurat", Keys.PROTOTYPE_CLASS, Keys.PROTOTYPE_CONFIDENCE),
    *NUCLEI,
}
# How alike (difflib's ratio) an unknown column and a known one may be before it is taken for a slip of the pen.
_ALIKE = 0.85


@dataclass(frozen=True)
class Sample:
    """One row of the sample sheet; empty cells are empty strings.

    Attributes
    ----------
    path
        Space Ranger folder, download prefix, legacy ST folder or counts table, an ``.h5ad``, or ``dataset:<name>``;
        of a section that was only stained, its image.
    image
        An image better than the one in ``path`` (usually the full-resolution H&E), or None.
    channels
        Up to three channel names or numbers of a fluorescence image, shown as red, green and blue.
    clusters
        CSV with a cluster per barcode made elsewhere, or None.
    group
        Sections of one group can share their latents, and replicate each other.
    held_out
        The group's latents are fitted without this section.
    block
        Tissue block of a serial section, or nothing.
    z_um
        Its depth in the block, µm.
    flip
        Whether it lies mirrored: ``yes``, ``no``, or nothing where that is to be found out.
    um_per_px
        Scale of the image of a section that was only stained, µm per pixel.
    extra
        Every further column, and those of serial sections as they were typed, kept in ``obs``.
    """

    name: str
    path: Path
    image: Path | None = None
    channels: tuple[str, ...] = ()
    platform: str = "auto"
    species: str = ""
    clusters: Path | None = None
    group: str = ""
    held_out: bool = False
    block: str = ""
    z_um: float | None = None
    flip: str = ""
    um_per_px: float | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def sequenced(self) -> bool:
        """Whether there are counts, and not an image alone."""
        return self.platform != STAINED


def load_samples(sheet: str | Path) -> dict[str, Sample]:
    """Read and check a sample sheet.

    Parameters
    ----------
    sheet
        Tab-separated text with the columns of ``config/schemas/samples.schema.yaml``. Relative paths are
        relative to the working directory.

    Returns
    -------
    dict
        Samples by name, in the order of the sheet; also those that were only stained.

    Raises
    ------
    InputError
        If the sheet is missing, unreadable or empty, lacks or misspells a column, or repeats or misnames a sample.
    """
    sheet = Path(sheet)
    if not sheet.is_file():
        raise InputError(
            "sample sheet",
            sheet,
            found="no such file",
            expected="a tab-separated table with at least the columns sample and path",
            remedy="create it (config/README.md explains the columns) or set `samples:` in config/config.yaml",
        )
    columns, rows = _read_table(sheet)
    _check_columns(sheet, columns)
    missing = [c for c in ("sample", "path") if c not in columns]
    if missing:
        marks = {",": "commas", ";": "semicolons", " ": "spaces"}
        apart = next((name for mark, name in marks.items() if any(mark in column for column in columns)), "")
        hint = f"the sheet is separated by {apart}; save it with tabs" if apart else "add it"
        raise InputError(
            "sample sheet",
            sheet,
            found=f"columns {', '.join(columns) or '(none: the sheet is empty)'}",
            expected=f"a column called {' and one called '.join(missing)}",
            remedy=hint,
        )
    if not rows:
        raise InputError(
            "sample sheet",
            sheet,
            found="no samples",
            expected="one row per section",
            remedy="add a row: a name of your choice and the path to the Space Ranger folder; "
            "or run `make demo` to see the workflow on a simulated section",
        )
    samples: dict[str, Sample] = {}
    for row in rows:
        name = row["sample"]
        if not row["path"] and re.search(r"[,;\s]", name):
            raise InputError(
                "sample sheet",
                sheet,
                found=f"the row {name!r}, a single cell",
                expected="cells separated by tabs, as in the first line",
                remedy="put tabs, not commas or spaces, between the cells",
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in _FOLDERS:
            raise InputError(
                "sample sheet",
                sheet,
                found=f"the sample name {name!r}",
                expected="letters, digits, '_', '-' or '.' (it names folders), other than "
                f"{', '.join(map(repr, _FOLDERS))}",
                remedy="rename the sample",
            )
        if name in samples:
            raise InputError(
                "sample sheet",
                sheet,
                found=f"the sample name {name!r} twice",
                expected="one row per section, each with its own name",
                remedy="rename one of the two",
            )
        samples[name] = _sample(name, row, sheet)
    fitted = {sample.group for sample in samples.values() if sample.sequenced and not sample.held_out} - {""}
    for name, sample in samples.items():
        if sample.held_out and sample.group not in fitted:
            raise InputError(
                name,
                sheet,
                found="held_out in a section whose group has no other"
                if sample.group
                else "held_out without a group",
                expected="another section of the same group, to fit the latents on",
                remedy="fill in `group`, or empty `held_out`",
            )
    if not any(sample.sequenced for sample in samples.values()):
        raise InputError(
            "sample sheet",
            sheet,
            found=f"no section but those of platform {STAINED}",
            expected="a section that was sequenced",
            remedy="add its row; an image alone says nothing of expression",
        )
    return samples


def _read_table(sheet: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read columns and rows as text, without white space around cells; lines that start with # are comments."""
    try:
        text = sheet.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO("\n".join(lines)), delimiter="\t")]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            "sample sheet",
            sheet,
            found=f"a file that cannot be read ({error})",
            expected="tab-separated text (UTF-8)",
            remedy="save the sheet as text with tabs, not as a spreadsheet",
        ) from error
    header = table[0] if table else []
    while header and not header[-1]:  # tabs some editors leave at the ends of lines
        header.pop()
    for number, row in enumerate(table[1:], 1):
        if any(row[len(header) :]):
            raise InputError(
                "sample sheet",
                sheet,
                found=f"{len(row)} cells in row {number}, under {len(header)} column names",
                expected="as many cells as columns",
                remedy="give every column a name, and put a single tab between cells",
            )
    cells = [(row + [""] * len(header))[: len(header)] for row in table[1:]]
    return header, [dict(zip(header, row, strict=True)) for row in cells]


def _check_columns(sheet: Path, columns: list[str]) -> None:
    """Refuse columns named twice, and names that look like a known one misspelt: they would be ignored."""
    known = (*_KNOWN, *_SERIAL)
    for i, column in enumerate(columns):
        if column in columns[:i]:
            raise InputError(
                "sample sheet",
                sheet,
                found=f"the column {column!r} twice",
                expected="every column once",
                remedy="remove or rename one of the two",
            )
        meant = difflib.get_close_matches(re.sub(r"[\s-]+", "_", column.lower()), known, 1, _ALIKE)
        if column not in known and meant:
            raise InputError(
                "sample sheet",
                sheet,
                found=f"a column {column!r}",
                expected=f"one of {', '.join(known)}, or a name unlike these for a column of your own",
                remedy=f"did you mean {meant[0]!r}? Rename the column",
            )
        if column in _TAKEN or "/" in column or column.startswith("_"):
            raise InputError(
                "sample sheet",
                sheet,
                found=f"the column {column!r}",
                expected="a name the results do not use themselves, without '/' or a leading '_'",
                remedy="rename the column",
            )


def _sample(name: str, row: dict[str, str], sheet: Path) -> Sample:
    platform = row.get("platform") or "auto"
    if platform not in (*PLATFORMS, STAINED):
        raise InputError(
            name,
            sheet,
            found=f"platform {platform!r}",
            expected=f"one of {', '.join((*PLATFORMS, STAINED))}",
            remedy="correct the column, or leave it empty to have the platform recognised by content",
        )
    if not row["path"]:
        raise InputError(
            name, sheet, found="an empty path", expected="a folder, prefix or table", remedy="fill in `path`"
        )
    sample = Sample(
        name=name,
        path=Path(row["path"]).expanduser(),
        image=_file(name, "image", row.get("image", "")),
        channels=tuple(c.strip() for c in row.get("channels", "").split(",") if c.strip()),
        platform=platform,
        species=row.get("species", "").lower(),
        clusters=_file(name, "clusters", row.get("clusters", "")),
        group=row.get("group", ""),
        held_out=_yes(name, sheet, "held_out", row.get("held_out", "")) == "yes",
        block=row.get("block", ""),
        z_um=_number(name, sheet, "z_um", row.get("z_um", "")),
        flip=_yes(name, sheet, "flip", row.get("flip", "")),
        # In a section that was sequenced, a column of one's own like any other.
        um_per_px=_number(name, sheet, "um_per_px", row.get("um_per_px", "")) if platform == STAINED else None,
        extra={k: v for k, v in row.items() if k not in _KNOWN and (v or k not in _SERIAL)},
    )
    if not sample.sequenced:
        _check_stained(sample, sheet)
    return sample


def _check_stained(sample: Sample, sheet: Path) -> None:
    """Refuse a section without counts that lacks what places it, or has what only counts have."""
    _file(sample.name, "path", str(sample.path))
    needed = {"block": sample.block, "z_um": sample.z_um, "um_per_px": sample.um_per_px}
    missing = [column for column, value in needed.items() if value in ("", None)]
    if missing:
        raise InputError(
            sample.name,
            sheet,
            found=f"a section of platform {STAINED} with an empty {missing[0]}",
            expected="the block it is of, its depth in there (z_um, µm), and the scale of its image (um_per_px)",
            remedy=f"fill in `{missing[0]}`",
        )
    if not (sample.um_per_px or 0) > 0:
        raise InputError(
            sample.name,
            sheet,
            found=f"um_per_px {sample.um_per_px:g}",
            expected="the scale of the image, µm per pixel, such as 0.5",
            remedy="correct the cell",
        )
    extra = {"image": sample.image, "clusters": sample.clusters, "held_out": sample.held_out}
    given = [column for column, value in extra.items() if value]
    if given:
        raise InputError(
            sample.name,
            sheet,
            found=f"a section of platform {STAINED} with {given[0]}",
            expected="nothing there: its image is its `path`, and it has no spots",
            remedy=f"empty `{given[0]}`, or correct the platform",
        )


def _yes(sample: str, sheet: Path, column: str, value: str) -> str:
    """Read a cell as yes, no or nothing."""
    if value.lower() not in ("", "yes", "no", "true", "false"):
        raise InputError(
            sample,
            sheet,
            found=f"{column} {value!r}",
            expected="yes or no",
            remedy="correct the cell, or leave it empty",
        )
    return {"true": "yes", "false": "no"}.get(value.lower(), value.lower())


def _number(sample: str, sheet: Path, column: str, value: str) -> float | None:
    """Read a cell as a number or nothing."""
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            sample,
            sheet,
            found=f"{column} {value!r}",
            expected="a number, with a point for decimals",
            remedy="correct the cell, or leave it empty",
        )
    return number


def groups(samples: Mapping[str, Sample]) -> dict[str, list[str]]:
    """List the sections of each group that has more than one, in the order of the sheet."""
    members: dict[str, list[str]] = {}
    for name, sample in samples.items():
        if sample.group:
            members.setdefault(sample.group, []).append(name)
    return {group: names for group, names in members.items() if len(names) > 1}


def _file(sample: str, column: str, value: str) -> Path | None:
    if not value:
        return None
    if column == "image" and value.startswith(DATASET):
        return Path(value)
    path = Path(value).expanduser()
    if not path.is_file():
        found = "a link that leads nowhere" if path.is_symlink() else "no such file"
        raise InputError(
            sample,
            path,
            found=found,
            expected=f"the file named in the column `{column}`",
            remedy="correct the path (relative paths start at the working directory) or empty the cell",
        )
    return path

"""Gene sets from a GMT file."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from spadework.errors import InputError
from spadework.files import open_by_content

_GMT = "lines of tab-separated cells: name of the set, description, genes"


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Read gene sets, one per line: name, description, genes, separated by tabs.

    Plain or gzipped, with Unix or Windows line ends; blank lines and genes that repeat within a set do not matter.

    Returns
    -------
    dict
        Name -> genes, in the order of the file.

    Raises
    ------
    InputError
        If there is no such file, it is not GMT, it is empty, or two sets share a name.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            "config", file, found="no such file", expected="gene sets as a GMT file", remedy="correct the path"
        )
    try:
        with open_by_content(file) as handle, io.TextIOWrapper(handle, encoding="utf-8-sig") as text:
            lines = list(text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _not_gmt(file, f"a file that cannot be read ({error})") from error
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        name, genes = cells[0], frozenset(cells[2:]) - {""}
        if not name or not genes:
            raise _not_gmt(file, f"no name or no genes in line {number} ({len(cells)} cells): {line.strip()[:60]!r}")
        if name in sets:
            raise InputError(
                "config",
                file,
                found=f"the set {name!r} twice, again in line {number}",
                expected="every set once",
                remedy="rename or remove one of the two",
            )
        sets[name] = genes
    if not sets:
        raise _not_gmt(file, "an empty file")
    return sets


def _not_gmt(file: Path, found: str) -> InputError:
    return InputError(
        "config", file, found=found, expected=_GMT, remedy="give gene sets as a GMT file, plain or gzipped"
    )

"""Tables of a page that say how its data came to be, and what was checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from spadework.columns import LEVEL
from spadework.keys import Keys
from spadework.tables import read_csv

_LEFT_OUT = {
    "off_tissue": "spots that do not lie on tissue",
    "positions_without_counts": "positions without counts",
    "without_position": "barcodes of the matrix without a position",
    "failed_qc": "spots that failed the quality control",
    "features_other_than_genes": "features of the matrix that are no genes",
}
_TESTS = {
    "published": "as published",
    "depth": "given depth",
    "spatial": "given depth and space (modified t-test)",
    "mixed": "mixed model",
}


def table(
    tab: str, title: str, file: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
) -> dict[str, Any]:
    """Describe a table; ``file`` is the name it is saved by."""
    return {
        "tab": tab,
        "title": title,
        "note": note,
        "file": file,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
    }


def of_frame(tab: str, title: str, file: str, frame: pd.DataFrame, note: str = "") -> dict[str, Any]:
    """Describe a table as it is."""
    return table(tab, title, file, list(map(str, frame.columns)), frame.astype(object).to_numpy().tolist(), note)


def preflight_table(preflight: Mapping[str, Any]) -> dict[str, Any]:
    """Say what was checked before anything was computed."""
    columns = ["name", "status", "found", "expected", "remedy"]
    rows = [[check[column] for column in columns] for check in preflight["checks"]]
    n = sum(check["status"] != "ok" for check in preflight["checks"])
    note = f"{n} of {len(rows)} checks ask for a look." if n else "All checks passed."
    return table("quality", "Checks of the input", "preflight.csv", ["check", *columns[1:]], rows, note)


def left_out_table(section: ad.AnnData) -> dict[str, Any]:
    """Say what was left out, and why."""
    spade = section.uns[Keys.SPADE]
    e = json.loads(str(spade["parameters"]))["expression"]
    limits = f"fewer than {e['min_counts']:,} counts or {e['min_genes']:,} genes"
    if e["max_pct_mt"] < 100:
        limits += f", or more than {e['max_pct_mt']:g} % mitochondrial counts"
    why = {"failed_qc": limits, "off_tissue": "the input says so"}
    rows = [[_LEFT_OUT.get(key, key), int(n), why.get(key, "")] for key, n in spade["left_out"].items()]
    kept = f"{section.n_obs:,} spots and {section.n_vars:,} genes are left"
    notes = [kept + f"; genes in fewer than {e['min_spots']} spots are not among them.", *map(str, spade["notes"])]
    return table("quality", "What was left out", "left_out.csv", ["what", "number", "why"], rows, " ".join(notes))


def calibration_table(calibration: pd.DataFrame, encoder: str, fdr: float) -> dict[str, Any]:
    """Sum up the calibration by test."""
    rows = [
        [
            _TESTS.get(str(test), str(test)),
            100 * float(part["share_below_05"].mean()),
            int((part["found"] > 0).sum()),
            len(part),
            float(part["found"].mean()),
        ]
        for test, part in calibration.groupby("test", sort=False)
    ]
    columns = ["test", f"% of genes with p < {LEVEL:g}", "patterns with genes", "patterns", "genes called, mean"]
    note = (
        "Every test on random patterns that are as smooth as the latents and have nothing to do with any gene. "
        f"{LEVEL:.0%} should have p < {LEVEL:g}, and hardly any gene should be called (FDR {fdr:.0%})."
    ).replace("%", " %")
    title, file = f"Calibration of the tests ({encoder})", f"{encoder}_calibration.csv"
    return table("quality", title, file, columns, rows, note)


def replication_table(tab: str, pairs: pd.DataFrame, encoder: str, group: str, *, own: bool = True) -> dict[str, Any]:
    """Say what of some sections holds in others.

    Parameters
    ----------
    pairs
        Rows of ``replication.csv``.
    own
        The latents compared are those that the page shows.
    """
    named = {
        "discovery": "found in",
        "validation": "looked for in",
        "latent": "latent",
        "spearman": "rank correlation of effects",
        "n_found": "genes called",
        "same_sign": "share of same sign",
        "same_sign_chance": "by chance",
        "n_replicated": "genes replicated",
    }
    note = f"Do the genes that one section of {group} shows hold in the others?"
    if not own:
        note += " The latents are those fitted to all sections of the group, not the latents of this page."
    title = f"Replication ({encoder})"
    return of_frame(tab, title, f"{encoder}_replication.csv", pairs[list(named)].rename(columns=named), note)


def provenance_tables(section: ad.AnnData, sample: str) -> list[dict[str, Any]]:
    """Say what a section was made from, by what software and with which settings."""
    spade = section.uns[Keys.SPADE]
    made = [
        ("Input files", "digests", ["file", "SHA-256"], [[k, str(v)] for k, v in spade["digests"].items()]),
        ("Software", "versions", ["software", "version"], [[k, str(v)] for k, v in spade["versions"].items()]),
        ("Settings", "settings", ["setting", "value"], list(flat(json.loads(str(spade["parameters"]))))),
    ]
    for encoder in map(str, spade["encoders"]):
        said = flat(_encoder(spade[encoder]))
        made.append((f"Encoder {encoder}", f"{encoder}_encoder", ["what", "value"], list(said)))
    for key in ("nuclei", "prototypes"):
        if key in spade:
            said = flat(json.loads(str(spade[key] if key == "nuclei" else spade[key]["made"])))
            made.append((f"How {key} were found", key, ["what", "value"], list(said)))
    return [
        table("methods", f"{title} ({sample})", f"{sample}_{file}.csv", columns, rows)
        for title, file, columns, rows in made
    ]


def prototypes_table(section: ad.AnnData) -> list[dict[str, Any]]:
    """List the prototypes that the section's spots were compared with, if there are any."""
    spade = section.uns[Keys.SPADE]
    if "prototypes" not in spade:
        return []
    return [of_frame("prototypes", "Prototypes", "prototypes.csv", pd.DataFrame(spade["prototypes"]["table"]))]


def read_mixed(path: str | Path, text: Sequence[str]) -> pd.DataFrame:
    """Read a table: columns named ``text`` as text, whatever it looks like (NA, nan, 1), all others as numbers."""
    frame = read_csv(path, str, keep_default_na=False)
    numbers = [column for column in frame if column not in text]
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce")
    return frame


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    """Write nested settings as rows of a dotted key and a text."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{prefix}{key}.")
        elif isinstance(item, list | tuple | np.ndarray):
            yield [f"{prefix}{key}", ", ".join(map(_text, item))]
        else:
            yield [f"{prefix}{key}", _text(item)]


def _text(value: object) -> str:
    """Write a setting as the configuration has it."""
    if value is None or isinstance(value, bool | np.bool_):
        return {None: "null", True: "true", False: "false"}[None if value is None else bool(value)]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _encoder(of_encoder: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in of_encoder["encoder"].items() if key != "device"}
    return said | {
        "latents fitted on": [str(name) for name in of_encoder["fitted_on"]],
        "association fitted by": str(of_encoder["association_engine"]),
    }

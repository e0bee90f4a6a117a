"""What a run was: configuration, inputs, software and results on one hand, the machine and its times on the other."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from spadework import __version__
from spadework.job import PACKAGE, file_digest
from spadework.keys import Keys
from spadework.tables import read_csv

# What results depend on; those that an environment does not have are left out.
_SOFTWARE = (
    *("anndata", "h5py", "igraph", "keras", "numpy", "openTSNE", "pandas", "pillow", "scanpy", "scikit-image"),
    *("scikit-learn", "scipy", "squidpy", "tifffile", "umap-learn"),
)
# Benchmarks are named by rule, but for downloads, which are named by file.
_DOWNLOADS = {"weights": "fetch_weights", "datasets": "download_file"}
_ARCHIVED = ".git_archival.txt"


def manifest(
    sections: Mapping[str, Path],
    *,
    config: Mapping[str, Any],
    samples: Mapping[str, Mapping[str, str]],
    other_inputs: Iterable[str],
    benchmarks: Path,
    patterns: Mapping[str, Iterable[str]],
    registrations: Mapping[str, Path] | None = None,
    verdicts: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Describe a run.

    Parameters
    ----------
    sections
        The final AnnData of every section. Digests of what it was read from are taken from there.
    samples
        Rows of the sample sheet by section.
    other_inputs
        Files besides those of the sections: clusters made elsewhere, gene sets.
    benchmarks, patterns
        Folder of the benchmark files, and which of them are of this run
        (:func:`spadework.targets.benchmark_patterns`).
    registrations, verdicts
        Of blocks of serial sections, by block: how sections were laid on top of each other, and what was said of the
        predictions of those left out, where some were.

    Returns
    -------
    dict
        Under ``deterministic`` what the same input, configuration and software give again, under ``measured`` what
        differs from run to run.
    """
    described = {name: _read_section(path) for name, path in sections.items()}
    encoders = _encoders(described.values(), config["encoder"]["names"])
    return {
        "deterministic": {
            "workflow": {"name": "spadework", "version": __version__, **revision(PACKAGE.parents[1])},
            "software": _software(described.values()),
            "configuration": config,
            "samples": samples,
            "inputs": {name: section["digests"] for name, section in described.items()},
            "other_inputs": _by_name(other_inputs),
            "encoders": encoders,
            "sections": {name: section["facts"] for name, section in described.items()},
            "blocks": blocks_facts(registrations or {}, verdicts or {}),
        },
        "measured": {
            "written_on": machine(),
            "devices": {name: section["devices"] for name, section in described.items()},
            **times(benchmarks, **patterns),
        },
    }


def blocks_facts(registrations: Mapping[str, Path], verdicts: Mapping[str, Path]) -> dict[str, Any]:
    """Say how well the sections of blocks lie on each other, and what predictions were worth."""
    text, numbers = ["sample", "registered_to", "mirrored"], ["z_um", "rotation_deg", "overlap", "correlation"]
    found = {}
    for block, path in registrations.items():
        # A section called NA is one; the section that others are registered to has no numbers of its own.
        table = read_csv(path, str, keep_default_na=False)[text + numbers]
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
        sections = [{key: _rounded(value) for key, value in row.items()} for row in table.to_dict("records")]
        verdict = verdicts[block].read_text(encoding="utf-8").strip() if block in verdicts else None
        found[block] = {"sections": sections, "verdict": verdict}
    return found


def _by_name(files: Iterable[str]) -> dict[str, str]:
    """Digest files; of those of one name, all digests."""
    found: dict[str, set[str]] = {}
    for path in files:
        found.setdefault(Path(path).name, set()).add(file_digest(path))
    return {name: ", ".join(sorted(digests)) for name, digests in sorted(found.items())}


def revision(home: Path) -> dict[str, Any]:
    """Return the git commit of a folder and what was changed since, or why there is none.

    A copy made by ``git archive``, as releases and modules are, knows its commit without git.

    Returns
    -------
    dict
        ``commit`` (or None), ``changed`` (tracked files that differ from it; None where nobody can tell) and
        ``reason``, empty where there is a commit.
    """
    archived = home / _ARCHIVED
    if archived.is_file():
        commit = re.fullmatch(r"node: ([0-9a-f]{40})\s*", archived.read_text(encoding="utf-8"))
        if commit:
            return {"commit": commit[1], "changed": None, "reason": ""}
    try:
        top, commit_now = _git(home, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != home.resolve():  # a copy inside a repository of something else
            raise OSError(f"{home.name} is not the top of a git repository")
        # Settings are to be changed; the manifest has them.
        kept = ("--", ".", ":!config", ":!profiles")
        changed = _git(home, "status", "--porcelain", "--untracked-files=no", *kept).splitlines()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None, "reason": "no git, or no repository of its own"}
    return {"commit": commit_now, "changed": sorted(line[3:] for line in changed), "reason": ""}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


def machine() -> dict[str, Any]:
    """Describe the machine this runs on; None for what it does not tell."""
    processors = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", processors.read_text(), re.MULTILINE) if processors.exists() else []
    gpus = [p.read_text() for p in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return {
        "os": platform.platform(),
        "cpu": names[0] if names else platform.processor() or None,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [name.strip() for text in gpus for name in re.findall(r"^Model:\s*(.*)$", text, re.MULTILINE)],
    }


def times(folder: Path, used: Iterable[str], idle: Iterable[str]) -> dict[str, Any]:
    """Sum up benchmark files by rule: number of jobs, seconds, CPU seconds, and the largest memory of a job.

    Parameters
    ----------
    used, idle
        Patterns of files below ``folder``: those to count, and of these those of rules that take no part in this
        run, which an earlier run with another configuration may have left.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted({path for pattern in used for path in folder.glob(pattern)}):
        name = path.relative_to(folder)
        if not any(name.match(pattern) for pattern in idle):
            files.setdefault(_DOWNLOADS.get(name.parts[0], path.stem), []).append(path)
    rules: dict[str, dict[str, Any]] = {}
    for rule, found in sorted(files.items()):
        # The last line is the last attempt. A job too short to be measured has neither CPU time nor memory.
        table = pd.concat([pd.read_csv(path, sep="\t", na_values=["-", "NA"]).tail(1) for path in found])
        rules[rule] = {
            "jobs": len(found),
            "wall_s": round(float(table["s"].sum()), 2),
            "cpu_s": round(float(table["cpu_time"].sum()), 2),
            "max_rss_mb": _rounded(float(table["max_rss"].max())),
        }
    total = {key: round(sum(r[key] for r in rules.values()), 2) for key in ("jobs", "wall_s", "cpu_s")}
    most = max((r["max_rss_mb"] for r in rules.values() if r["max_rss_mb"]), default=None)
    return {"rules": rules, "all_rules": total | {"max_rss_mb": most}}


def to_json(document: Mapping[str, Any]) -> str:
    """Write a manifest as text: keys in a fixed order, so that two can be compared line by line."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def _read_section(path: Path) -> dict[str, Any]:
    """Read what a final AnnData says of itself, without its matrices."""
    with h5py.File(path) as file:
        spade = read_elem(file["uns"][Keys.SPADE])
        encoders = [str(name) for name in spade["encoders"]]
        spots, genes = (len(file[axis][file[axis].attrs["_index"]]) for axis in ("obs", "var"))
        tested = {e: _tested(file["varm"][Keys.association(e, "p")][:]) for e in encoders}
        spatial = {e: _tested(file["varm"][Keys.association(e, "p_spatial")][:]) for e in encoders}
        dim = {e: file["obsm"][Keys.features(e)].shape[1] for e in encoders}
        clusters = {
            kind: len(file["obs"][kind]["categories"])
            for kind in (Keys.CLUSTER, Keys.IMAGE_CLUSTER, Keys.SPADE_CLUSTER)
        }
    patch = spade["patch"]
    facts = {
        "platform": spade["platform"],
        "lattice": spade["lattice"]["kind"],
        "um_per_px": [_rounded(float(spade["lattice"][f"um_per_px_{axis}"])) for axis in "xy"],
        "spots": spots,
        "left_out": {reason: int(n) for reason, n in spade["left_out"].items() if n},
        "genes": genes,
        "genes_tested": tested,
        "genes_tested_spatially": spatial,
        "clusters": clusters,
        "patch": {key: _rounded(patch[key]) for key in ("image", "width_px", "height_px", "width_um", "height_um")},
        "preflight": spade["preflight"],
        "latents_fitted_on": {e: [str(name) for name in spade[e]["fitted_on"]] for e in encoders},
        "variance_ratio": {e: [round(float(v), 4) for v in spade[e]["variance_ratio"]] for e in encoders},
    }
    if "nuclei" in spade:
        facts["nuclei"] = json.loads(str(spade["nuclei"]))
    if "prototypes" in spade:
        facts["prototypes"] = json.loads(str(spade["prototypes"]["made"]))
    # A rule of another workflow that takes the encoder's place may say less of itself.
    described = {e: {"name": e, "dim": dim[e]} | dict(spade[e]["encoder"]) for e in encoders}
    return {
        "digests": dict(spade["digests"]),
        "facts": facts,
        "devices": {e: d.pop("device") for e, d in described.items() if "device" in d},
        "encoders": described,
        "versions": dict(spade["versions"]),
        "r": [*filter(None, [spade.get("seurat")]), *(spade[e]["association_engine"] for e in encoders)],
    }


def _tested(p: np.ndarray) -> int:
    return int(np.isfinite(p).any(axis=1).sum())


def _rounded(value: float | str) -> float | str | None:
    """Round numbers; what is no number has no place in JSON."""
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value


def _encoders(sections: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """List what each encoder was; more than one entry where sections were encoded differently."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for section in sections:
        for name, encoder in section["encoders"].items():
            if encoder not in found[name]:
                found[name].append(encoder)
    return found


def _software(sections: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name versions: those kept with the results, the others as they are installed where this runs."""
    found: dict[str, list[str]] = {}
    for name, version in _recorded(sections):
        if version not in found.setdefault(name, []):
            found[name].append(version)
    versions = {name: ", ".join(several) for name, several in found.items()}
    for name in (*_SOFTWARE, "snakemake"):
        try:
            versions.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def _recorded(sections: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for section in sections:
        yield from section["versions"].items()
        for encoder in section["encoders"].values():
            if "keras" in encoder:
                yield "keras", encoder["keras"]
                yield encoder["backend"], encoder["backend_version"]
        for line in section["r"]:  # "R 4.2.2; limma 3.54.1"
            yield from re.findall(r"(\S+) ([\d.]+)(?:;|$)", line)

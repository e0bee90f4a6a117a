"""Run the workflow as a user does: a sample sheet, an overlay, one command, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# No network, small patches, small figures: what is tested is the workflow.
OVERLAY: dict[str, Any] = {
    "samples": "samples.tsv",
    "patch": {"output_px": 32},
    "encoder": {"names": ["dummy"]},
    "latents": {"n_latents": 3, "n_embed": 10},
    "calibration": {"n_fields": 4},
    "figures": {"dpi": 50, "top_genes": 1, "n_extreme": 2},
    "report": {"image_px": 800, "n_genes": 20},
}
Rows = Iterable[Mapping[str, object]]


@dataclass(frozen=True)
class Run:
    """What a run of the workflow left: exit code, all it printed, and every file below results."""

    folder: Path
    code: int
    output: str
    results: list[str]

    def log(self, name: str) -> str:
        """Return a log file's text, or nothing if it was not written."""
        path = self.folder / "logs" / name
        return path.read_text() if path.is_file() else ""

    def jobs(self) -> dict[str, int]:
        """Read the job table: how often each rule runs."""
        return jobs(self.output)


def jobs(output: str) -> dict[str, int]:
    """Read the job table out of what Snakemake printed."""
    lines = output.partition("Job stats:\n")[2].partition("\n\n")[0].splitlines()[2:]
    return {rule: int(n) for rule, n in (line.split() for line in lines)}


def sheet_text(rows: list[Mapping[str, object]]) -> str:
    """Lay rows out as a sample sheet with every column that any row has."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([str(row.get(c, "")) for c in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def write_overlay(folder: Path, overlay: Mapping[str, Any]) -> None:
    """Write the configuration: ``overlay`` merged into :data:`OVERLAY`, section by section."""
    merged = dict(OVERLAY)
    for key, value in overlay.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    (folder / "overlay.yaml").write_text(yaml.safe_dump(merged))


def command(folder: Path, *arguments: object, cores: int = 2, workflow: Path = ROOT) -> list[str]:
    """Return the command line that runs the workflow in ``folder``."""
    configs = [workflow / "config/config.yaml", folder / "overlay.yaml"]
    fixed = ["--directory", folder, "--snakefile", workflow / "Snakefile", "--configfile", *configs, "--cores", cores]
    # Snakemake's own setting: with that of the profile it lingers at the end of each of these short runs.
    fixed += ["--max-jobs-per-timespan", "100/1s"]
    return [str(a) for a in (sys.executable, "-m", "snakemake", *arguments, *fixed)]


def environment() -> dict[str, str]:
    """Return the environment of a user: bytecode is written, so that the second job starts fast."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def results_of(folder: Path) -> list[str]:
    """List every file below results, hidden ones included."""
    return sorted(str(p.relative_to(folder)) for p in (folder / "results").rglob("*") if p.is_file())


def run_workflow(
    folder: Path,
    rows: Rows | str | None = None,
    overlay: Mapping[str, Any] | None = None,
    *arguments: object,
    workflow: Path = ROOT,
) -> Run:
    """Run the workflow in ``folder``.

    Parameters
    ----------
    rows
        Rows of the sample sheet, or its text; ``None`` keeps the sheet that is there.
    overlay
        Configuration on top of :data:`OVERLAY`; ``None`` keeps the one that is there.
    arguments
        Further arguments of Snakemake, targets first.
    workflow
        Folder of the workflow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if rows is not None:
        (folder / "samples.tsv").write_text(rows if isinstance(rows, str) else sheet_text(list(rows)))
    if overlay is not None:
        write_overlay(folder, overlay)
    done = subprocess.run(
        command(folder, *arguments, workflow=workflow),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        cwd=folder,
    )
    return Run(folder, done.returncode, done.stdout + done.stderr, results_of(folder))


def kill_when(folder: Path, ready: Callable[[], bool], *arguments: object) -> Run:
    """Start the workflow and kill it with all its jobs, as a power cut would, once ``ready`` says so."""
    with (folder / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            command(folder, *arguments),
            env=environment(),
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not ready():
                try:
                    process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Run(folder, process.returncode, (folder / "killed.txt").read_text(), results_of(folder))

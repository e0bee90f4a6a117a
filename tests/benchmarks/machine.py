"""What a benchmark says about where and when it ran."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


def describe() -> str:
    """Return date, command, processors, Python."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"{datetime.datetime.now(datetime.UTC).date()} · {len(os.sched_getaffinity(0))} x {model} · "
        f"Python {platform.python_version()} · load {os.getloadavg()[0]:.1f} · python {' '.join(sys.argv)}"
    )


def cpu() -> float:
    """CPU seconds of this process so far, user and system, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_folder(run: Callable[[Path], None]) -> None:
    """Run a benchmark in the folder that the command line names, or in one for the time being."""
    if sys.argv[1:]:
        run(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            run(Path(temporary))


class Stages:
    """Wall and CPU seconds, stage by stage; the first stage includes starting Python."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self._cpu, self._wall = 0.0, time.perf_counter()

    def done(self, name: str) -> None:
        """Close a stage."""
        now_cpu, now_wall = cpu(), time.perf_counter()
        self.rows.append((name, now_cpu - self._cpu, now_wall - self._wall))
        self._cpu, self._wall = now_cpu, now_wall

    def table(self) -> str:
        """Return a Markdown table with a total."""
        rows = [*self.rows, ("total", sum(r[1] for r in self.rows), sum(r[2] for r in self.rows))]
        lines = [f"| {name} | {c:.1f} | {w:.1f} |" for name, c, w in rows]
        return "\n".join(["| stage | CPU s | wall s |", "|---|---|---|", *lines])

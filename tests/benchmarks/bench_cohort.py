"""What a section costs in a cohort of small ones, and how much of it is start-up and imports.

python tests/benchmarks/bench_cohort.py [FOLDER]     20 sections of some 200 spots, 2 cores; 10 minutes

The encoder is the dummy one, so that what is measured is the workflow and not a network.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import machine
import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
SECTIONS = 20
OVERLAY = {
    "samples": "samples.tsv",
    "patch": {"output_px": 64},
    "encoder": {"names": ["dummy"]},
}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def prepare(folder: Path, number: int) -> dict[str, str]:
    """Simulate a section and return its row of the sample sheet."""
    from spadework.simulation import simulate

    home = folder / f"data/s{number}"
    if not (home / "outs").is_dir():
        simulate(home, seed=number, spot_rows=16, spot_columns=16, um_per_px=4.0)
    return {"sample": f"s{number}", "path": str(home / "outs"), "species": "human"}


def cpu_seconds() -> float:
    """CPU seconds of all finished children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def import_seconds(script: Path) -> float:
    """CPU seconds that a script's interpreter and imports take, the least of two tries."""
    lines = [line.strip() for line in script.read_text().splitlines() if re.match(r"\s*(from|import) ", line)]
    # As in a job, which hides what nobody needs.
    job = ["from spadework.job import logged", "with logged('/dev/null'):", *(f"    {line}" for line in lines)]
    program = "\n".join(job)
    tries = []
    for _ in range(2):
        before = cpu_seconds()
        subprocess.run([sys.executable, "-c", program], cwd=ROOT / "scripts", env=ENVIRONMENT, check=True)
        tries.append(cpu_seconds() - before)
    return min(tries)


def main(folder: Path) -> None:
    """Run the cohort and print what it cost."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(prepare, [folder] * SECTIONS, range(1, SECTIONS + 1)))
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
    before, start = cpu_seconds(), time.perf_counter()
    command = f"{sys.executable} -m snakemake --directory {folder} --snakefile {ROOT}/Snakefile --cores 2 --quiet all"
    configs = [ROOT / "config/config.yaml", folder / "overlay.yaml"]
    subprocess.run([*command.split(), "--configfile", *configs], env=ENVIRONMENT, check=True)
    wall, cpu = time.perf_counter() - start, cpu_seconds() - before

    scripts = dict(
        re.findall(r'^rule (\w+):.*?"\.\./scripts/(\w+\.\w+)"', rules_text(), flags=re.MULTILINE | re.DOTALL)
    )
    files = pd.Series([path.stem for path in (folder / "benchmarks").rglob("*.tsv")])
    table = files.value_counts().rename("jobs").to_frame()
    table["start and imports, CPU s"] = [import_seconds(ROOT / "scripts" / scripts[rule]) for rule in table.index]
    starting = float((table["jobs"] * table.iloc[:, 1]).sum())
    sys.stdout.write(f"{machine.describe()}\n\n{table.round(2).to_string()}\n\n")
    sys.stdout.write(
        f"{SECTIONS} sections, {len(files)} jobs: {wall:.0f} s, {wall / SECTIONS:.1f} s per section;"
        f" {cpu / SECTIONS:.1f} CPU s per section, {starting / cpu:.0%} of it start-up and imports\n"
    )


def rules_text() -> str:
    """Return the text of all rules."""
    return "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))


if __name__ == "__main__":
    machine.in_folder(main)

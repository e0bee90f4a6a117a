"""The demo under ``--use-conda``: only Snakemake and conda are installed, the channel is that of ``tests/conda``.

python tests/benchmarks/bench_conda.py [FOLDER]     3 minutes; the channel, made once, 3 more
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import machine
import yaml

ROOT = Path(__file__).parents[2]


def main(folder: Path) -> None:
    """Simulate the demo's section, make the environments, run, and print what each took."""
    sys.path[:0] = [str(ROOT / folder) for folder in ("tests/conda", "tests")]
    from lean import lean_machine

    from spadework.simulation import simulate

    outs = simulate(folder / "data", seed=1)
    (folder / "samples.tsv").write_text(f"sample\tpath\tspecies\ndemo\t{outs}\thuman\n")
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    (folder / "overlay.yaml").write_text(yaml.safe_dump(demo | {"samples": "samples.tsv"}))
    with lean_machine(folder) as conda:
        sys.stdout.write(f"{machine.describe()}\n")
        for what, arguments in (("environments", ["--conda-create-envs-only"]), ("workflow", ["--quiet", "rules"])):
            start = time.perf_counter()
            done = conda.snakemake(folder, *arguments)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            sys.stdout.write(f"{what}: {time.perf_counter() - start:.0f} s\n")
    results = sorted(path.relative_to(folder) for path in (folder / "results").rglob("*") if path.is_file())
    sys.stdout.write(f"{len(results)} results\n")


if __name__ == "__main__":
    machine.in_folder(main)

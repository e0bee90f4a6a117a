"""Association of 18,000 genes x 6 latents x 4,000 spots, 26 % non-zero, beside R limma on the same input.

python tests/benchmarks/bench_association.py [--without-r]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
from scipy import sparse

SPOTS, GENES, LATENTS, DENSITY = 4000, 18_000, 6, 0.26
LIMMA = """
library(limma); library(Matrix)
args <- commandArgs(TRUE)
x <- as.matrix(t(readMM(args[1])))
latents <- as.matrix(read.csv(args[2], header = FALSE))
started <- proc.time()
for (k in seq_len(ncol(latents))) {
  fit <- eBayes(lmFit(x, cbind(1, latents[, k])))
  top <- topTable(fit, coef = 2, number = Inf)
}
spent <- proc.time() - started
cat(sprintf("%.1f %.1f", spent["elapsed"], spent["user.self"] + spent["sys.self"]))
"""


def main() -> None:
    """Time both and print a table."""
    rng = np.random.default_rng(0)
    expression = sparse.random(SPOTS, GENES, DENSITY, format="csr", random_state=0, dtype=np.float32)
    expression.data = np.log1p(rng.poisson(3, expression.nnz) + 1).astype(np.float32) * rng.uniform(
        0.9, 1.1, expression.nnz
    ).astype(np.float32)
    latents = rng.normal(size=(SPOTS, LATENTS))
    before = machine.peak_mb()
    from spadework.association import associate

    walls, cpus = [], []
    for _ in range(3):
        started, cpu = time.perf_counter(), machine.cpu()
        associate(expression, latents)
        walls.append(time.perf_counter() - started)
        cpus.append(machine.cpu() - cpu)
    print(machine.describe())
    print("| engine | what | wall s | CPU s | peak MB |")
    print("|---|---|---|---|---|")
    print(
        f"| spadework | moderated t, Pearson, Spearman, BH | {np.median(walls):.1f} | {np.median(cpus):.1f} | "
        f"{machine.peak_mb():.0f} ({before:.0f} before, input included) |"
    )
    if "--without-r" not in sys.argv and shutil.which("Rscript"):
        print(_limma(expression, latents))


def _limma(expression: sparse.csr_matrix, latents: np.ndarray) -> str:
    from scipy.io import mmwrite

    with tempfile.TemporaryDirectory() as folder:
        mmwrite(Path(folder) / "x.mtx", expression)
        np.savetxt(Path(folder) / "latents.csv", latents, delimiter=",")
        (Path(folder) / "limma.R").write_text(LIMMA)
        command = ["Rscript", f"{folder}/limma.R", f"{folder}/x.mtx", f"{folder}/latents.csv"]
        timed = ["/usr/bin/time", "-f", "%M"] if shutil.which("/usr/bin/time") else []
        done = subprocess.run([*timed, *command], capture_output=True, text=True, check=True)
    wall, cpu = done.stdout.split()[-2:]
    peak = f"{int(done.stderr.split()[-1]) / 1024:.0f}" if timed else "not measured"
    return f"| R limma | moderated t, BH (dense, reading excluded) | {wall} | {cpu} | {peak} |"


if __name__ == "__main__":
    main()

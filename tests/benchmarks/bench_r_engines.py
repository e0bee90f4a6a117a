"""The R engines: Seurat on 3,000 spots x 15,000 genes, and limma beside the Python engine on the same matrix.

python tests/benchmarks/bench_r_engines.py [RSCRIPT]

RSCRIPT is the Rscript to use (default: the one on the PATH). With the published section beside the project, its
clusters are compared with those of Seurat 4.3.0, resolution by resolution.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from spadework.association import fit_model, gene_moments
from spadework.readers.matrix import write_10x_h5

ROOT = Path(__file__).parents[2]
CODE = ROOT / "scripts" / "spadework" / "r"
REFERENCE = ROOT.parent / "shared" / "data" / "spade_reference" / "C2"
COUNTS = ROOT.parent / "shared" / "data" / "her2st" / "C2" / "counts.tsv.gz"
SPOTS, GENES, LATENTS, DOMAINS = 3000, 15_000, 6, 5
RESOLUTIONS = (0.4, 0.8, 1.2, 1.6)

SEURAT = """
arguments <- commandArgs(TRUE)
source(file.path(arguments[1], "job.R")); need("benchmark", "hdf5r", "Seurat")
source(file.path(arguments[1], "seurat.R"))
counts <- Read10X_h5(arguments[2])
object <- seurat_object(counts, as.integer(arguments[4]), 30, 20, "benchmark")
for (r in as.numeric(strsplit(arguments[5], ",")[[1]])) object <- find_clusters(object, r)
object <- embed(object, 30)
cluster_table(object, 30)
corrected <- sct_counts(object)
write_10x_h5(file.path(arguments[3], "sct.h5"), corrected, rownames(corrected), versions("Seurat"))
write.csv(object@meta.data, file.path(arguments[3], "metadata.csv"))
cat(sprintf("R %s, Seurat %s, SeuratObject %s, sctransform %s", getRversion(), packageVersion("Seurat"),
  packageVersion("SeuratObject"), packageVersion("sctransform")))
"""
LIMMA = """
arguments <- commandArgs(TRUE)
suppressPackageStartupMessages(library(limma))
file <- hdf5r::H5File$new(arguments[1], mode = "r")
values <- file[["values"]][, ]
latents <- t(file[["latents"]][, , drop = FALSE])
invisible(eBayes(lmFit(values, cbind(1, latents[, 1]))))
one <- sapply(1:3, function(i) system.time(eBayes(lmFit(values, cbind(1, latents[, 1]))))[["elapsed"]])
all <- system.time(for (k in seq_len(ncol(latents))) eBayes(lmFit(values, cbind(1, latents[, k]))))[["elapsed"]]
cat(median(one), all, as.character(packageVersion("limma")))
"""


def run(rscript: str, code: str, *arguments: object) -> tuple[str, float, float]:
    """Return what R printed last, wall seconds and peak MB of the process."""
    started = time.perf_counter()
    done = subprocess.run([rscript, "--vanilla", "-e", code, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return done.stdout.splitlines()[-1], time.perf_counter() - started, peak


def simulate() -> sparse.csr_matrix:
    """Counts of five domains, about a quarter of them not zero."""
    rng = np.random.default_rng(0)
    domain = rng.integers(0, DOMAINS, SPOTS)
    rate = np.exp(
        rng.normal(-1.8, 1.6, GENES) + rng.normal(0, 0.5, (DOMAINS, GENES)) * (rng.uniform(size=GENES) < 0.1)
    )
    depth = rng.lognormal(0, 0.4, SPOTS)
    return sparse.csr_matrix(rng.poisson(rng.gamma(10, rate[domain] * depth[:, None] / 10)).astype(np.int32))


def engine_size(rscript: str, folder: Path) -> None:
    """Seurat on the large section."""
    counts = simulate()
    names = [pd.Index([f"{k}{i}" for i in range(n)]) for k, n in (("spot", SPOTS), ("gene", GENES))]
    write_10x_h5(folder / "counts.h5", counts, *names)
    said, wall, peak = run(rscript, SEURAT, CODE, folder / "counts.h5", folder, 1000, "0.8")
    share = counts.nnz / SPOTS / GENES
    print(f"{said}: {SPOTS} spots x {GENES} genes ({share:.0%} non-zero): {wall:.0f} s, peak {peak:.0f} MB\n")


def engines(rscript: str, folder: Path) -> None:
    """Time limma (warm) and the Python engine on the same matrix."""
    import h5py

    rng = np.random.default_rng(1)
    counts = simulate()
    # Each engine gets the matrix as the workflow hands it over: by gene, sparse for Python and dense for limma.
    expression = sparse.csc_matrix(counts, dtype=np.float32)
    expression.data = np.log1p(expression.data)
    latents = rng.normal(size=(SPOTS, LATENTS))
    with h5py.File(folder / "values.h5", "w") as handle:
        handle["values"], handle["latents"] = expression.toarray().astype(float), latents
    one, all_, version = run(rscript, LIMMA, folder / "values.h5")[0].split()
    times = {}
    for k in (1, LATENTS):
        walls = []
        for _ in range(4):  # the first warms up
            started = time.perf_counter()
            moments = gene_moments(expression, latents[:, :k], np.empty((SPOTS, 0)))
            for j in range(k):
                fit_model(moments, [j])
            walls.append(time.perf_counter() - started)
        times[k] = float(np.median(walls[1:]))
    print("| models | limma " + version + ", s | python, s | ratio |\n|---|---|---|---|")
    for k, theirs in ((1, float(one)), (LATENTS, float(all_))):
        print(f"| {k} | {theirs:.2f} | {times[k]:.3f} | {theirs / times[k]:.0f} |")
    print()


def clusters(rscript: str, folder: Path) -> None:
    """Compare clusters of the published method's section with those of Seurat 4.3.0."""
    reference = pd.read_csv(REFERENCE / "seurat_metadata.csv", index_col=0, dtype=str)
    counts = pd.read_csv(COUNTS, sep="\t", index_col=0).loc[reference.index]
    write_10x_h5(folder / "C2.h5", sparse.csr_matrix(counts.to_numpy(np.int32)), counts.index, counts.columns)
    said = run(rscript, SEURAT, CODE, folder / "C2.h5", folder, 1000, ",".join(map(str, RESOLUTIONS)))[0]
    ours = pd.read_csv(folder / "metadata.csv", index_col=0, dtype=str).loc[reference.index]
    print(f"{said}: adjusted Rand index with Seurat 4.3.0 on C2\n")
    print("| resolution | clusters | ARI |\n|---|---|---|")
    for r in RESOLUTIONS:
        column = f"SCT_snn_res.{r}"
        ari = adjusted_rand_score(ours[column], reference[column])
        print(f"| {r} | {ours[column].nunique()} (reference {reference[column].nunique()}) | {ari:.3f} |")


def main() -> None:
    """Run all three."""
    rscript = sys.argv[1] if len(sys.argv) > 1 else "Rscript"
    print(machine.describe() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        engine_size(rscript, Path(folder))
        engines(rscript, Path(folder))
        if REFERENCE.is_dir():
            clusters(rscript, Path(folder))


if __name__ == "__main__":
    main()

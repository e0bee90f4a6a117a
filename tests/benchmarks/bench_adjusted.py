"""What the adjusted tests cost: 18,000 genes x 6 latents x 4,000 spots, and how that grows with spots.

OMP_NUM_THREADS=1 python tests/benchmarks/bench_adjusted.py [PLOT.png]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import machine
import numpy as np
from scipy import sparse

from spadework.adjusted import Depth, SpatialTests, associate_adjusted
from spadework.mixed_model import SpatialMixedModel
from spadework.null_fields import FieldModel, simulate_fields
from spadework.spatial_null import STEPS, SpatialNull

LATENTS, DENSITY = 6, 0.26
HEXAGONAL = ((78, 128), STEPS["hexagonal"])
SQUARES = (32, 50, 71, 100, 150, 232)  # edges, bins
GENES_BY_SIZE = 300


def section(shape: tuple[int, int], step: tuple[float, float], genes: int) -> tuple:
    """Draw a round piece of tissue: counts, latents, log10 UMI, cells."""
    rng = np.random.default_rng(0)
    row, column = (index.ravel() for index in np.indices(shape))
    hexagonal = step[1] != step[0]
    centre = np.hypot((row - shape[0] / 2) / shape[0], (column - shape[1] / 2) / shape[1])
    keep = (centre < 0.6) & ((row + column) % 2 == 0 if hexagonal else True)
    cells = np.column_stack([row, column])[keep]
    cells = cells[:4000] if hexagonal else cells
    latents = simulate_fields(cells, step, FieldModel("exponential", 5, 0.2), LATENTS, rng)
    depth = np.exp(rng.normal(0, 0.4, len(cells)))
    blocks = []
    for _ in range(0, genes, 500):
        rate = -np.log(1 - DENSITY) * np.exp(rng.normal(0, 0.5, 500))
        blocks.append(sparse.csc_matrix(rng.poisson(depth[:, None] * rate).astype(np.int32)))
    counts = sparse.hstack(blocks, format="csc")[:, :genes]
    return counts, latents, np.log10(1000 * depth), cells


def timed(work: Callable[[], object]) -> float:
    """Return CPU seconds."""
    started = machine.cpu()
    work()
    return machine.cpu() - started


def cost(counts: sparse.csc_matrix, latents: np.ndarray, depth: Depth, cells: np.ndarray, step: tuple) -> list[float]:
    """Return CPU seconds of residuals, spatial test (with its preparation), mixed model (likewise)."""
    covariates = depth.log10_umi[:, None]
    blocks: list[np.ndarray] = []
    seconds = [0.0, 0.0, 0.0]
    made: dict[str, object] = {}
    seconds[1] += timed(lambda: made.update(test=SpatialNull(cells, step, covariates).against(latents)))
    seconds[2] += timed(lambda: made.update(mixed=SpatialMixedModel(cells, step, covariates)))
    residuals = depth.blocks(counts)
    while True:
        blocks.clear()
        seconds[0] += timed(lambda: blocks.extend(block for block in [next(residuals, None)] if block is not None))
        if not blocks:
            return seconds
        seconds[1] += timed(lambda: made["test"].test(blocks[0]))
        seconds[2] += timed(lambda: made["mixed"].test(blocks[0], latents))


def main() -> None:
    """Print both tables."""
    print(machine.describe())
    shape, step = HEXAGONAL
    counts, latents, log10_umi, cells = section(shape, step, 18_000)
    depth = Depth(log10_umi)
    before = machine.peak_mb()
    seconds = cost(counts, latents, depth, cells, step)
    n, genes = counts.shape
    print(f"\n{n:,} spots x {genes:,} genes, {counts.nnz / (n * genes):.0%} non-zero\n")
    print("| residuals, CPU s | spatial test, CPU s | mixed model, CPU s |\n|---|---|---|")
    print("| " + " | ".join(f"{s:.1f}" for s in seconds) + " |")
    covariates = log10_umi[:, None]
    tests = SpatialTests(SpatialNull(cells, step, covariates), SpatialMixedModel(cells, step, covariates))
    all_in = timed(lambda: associate_adjusted(counts, latents, depth, covariates, tests))
    print(
        f"\nall together {all_in:.1f} CPU s, peak {machine.peak_mb():.0f} MB ({before:.0f} MB with the input alone)\n"
    )
    print(f"| spots ({GENES_BY_SIZE} genes, square lattice) | residuals, CPU s | spatial test | mixed model |")
    print("|---|---|---|---|")
    rows = []
    for side in SQUARES:
        counts, latents, log10_umi, cells = section((side, side), STEPS["square"], GENES_BY_SIZE)
        rows.append((len(cells), *cost(counts, latents, Depth(log10_umi), cells, STEPS["square"])))
        print(f"| {rows[-1][0]:,} | " + " | ".join(f"{s:.2f}" for s in rows[-1][1:]) + " |", flush=True)
    table = np.array(rows)
    large = table[:, 0] >= 4000
    slopes = [np.polyfit(np.log(table[large, 0]), np.log(table[large, j]), 1)[0] for j in (1, 2, 3)]
    print("\nexponent from 4,000 spots on: " + ", ".join(f"{s:.2f}" for s in slopes))
    if sys.argv[1:]:
        draw(table, slopes, sys.argv[1])


def draw(table: np.ndarray, slopes: list[float], path: str) -> None:
    """Plot CPU seconds against spots."""
    import matplotlib.pyplot as plt

    from spadework.figures.style import finish

    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained", dpi=100)
    for j, name in enumerate(("residuals", "spatial test", "mixed model")):
        ax.loglog(table[:, 0], table[:, j + 1], "o-", label=f"{name}: exponent {slopes[j]:.2f}")
    ax.set(xlabel="spots", ylabel=f"CPU seconds, {GENES_BY_SIZE} genes x {LATENTS} latents")
    ax.legend()
    finish(figure, path)


if __name__ == "__main__":
    main()

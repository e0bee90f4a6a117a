"""One look for all figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from spadework.job import whole_file

DIVERGING = "RdBu_r"
SEQUENTIAL = "magma_r"
# Okabe & Ito's palette first (safe for colour-blind readers), then further distinct colours.
CATEGORICAL = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F", "#6A3D9A", "#B15928",
    "#B2DF8A", "#FB9A99", "#1B4F72", "#7E5109", "#145A32", "#78281F", "#A569BD", "#48C9B0", "#F5B041", "#2C3E50",
)  # fmt: skip
UNLABELLED = "#D9D9D9"

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.titlesize": 12,
        "savefig.facecolor": "white",
        "legend.frameon": False,
    }
)


def category_colours(categories: list[str]) -> dict[str, str]:
    """Give every category a colour; ``unlabelled`` is grey. Beyond the palette, colours repeat in order."""
    named = [c for c in categories if c != "unlabelled"]
    colours = {c: CATEGORICAL[i % len(CATEGORICAL)] for i, c in enumerate(named)}
    return colours | ({"unlabelled": UNLABELLED} if "unlabelled" in categories else {})


def finish(figure: Figure, path: str | Path, dpi: int, note: str = "") -> None:
    """Write a figure as PNG, with a note of what the reader must know at its foot, and close it."""
    if note:
        figure.text(0.01, -0.01, note, ha="left", va="top", fontsize=8, color="#7A1F1F")
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=dpi, bbox_inches="tight", pil_kwargs={"compress_level": 3})
    plt.close(figure)


def two_sd_limits(values: np.ndarray) -> tuple[float, float]:
    """Colour limits mean ± 2 SD, as the published figures have; never of zero width."""
    mean, sd = float(np.mean(values)), float(np.std(values))
    sd = sd if sd > 0 else 1.0
    return mean - 2 * sd, mean + 2 * sd

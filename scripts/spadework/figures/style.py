"""One look for all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

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
UNLABELLED = "#A6A6A6"
# zlib's Z_RLE: on photographs a third of the time of the default, and no larger.
PNG_RUN_LENGTH = 3

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.titlesize": 12,
        "legend.frameon": False,
        # Names of genes and clusters come from files of others: a dollar sign is a dollar sign.
        "text.parse_math": False,
    }
)


def category_colours(categories: list[str]) -> dict[str, str]:
    """Give every category a colour; ``unlabelled`` is grey. Beyond the palette, colours repeat in order."""
    named = [c for c in categories if c != "unlabelled"]
    colours = {c: CATEGORICAL[i % len(CATEGORICAL)] for i, c in enumerate(named)}
    return colours | ({"unlabelled": UNLABELLED} if "unlabelled" in categories else {})


@contextmanager
def resolution(dpi: int) -> Iterator[None]:
    """Make figures in the block at ``dpi`` dots per inch."""
    with mpl.rc_context({"figure.dpi": dpi}):
        yield


def finish(figure: Figure, path: str | Path, note: str = "") -> None:
    """Write a figure as PNG, with a note of what the reader must know at its foot, and close it."""
    if note:
        width = int(figure.get_size_inches()[0] * 13)
        text = "\n".join(textwrap.fill(part, width) for part in note.split("\n"))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color="#7A1F1F")
    # savefig would draw everything twice, once only to lay it out; images make that expensive.
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, dpi=(figure.dpi, figure.dpi), compress_type=PNG_RUN_LENGTH)
    plt.close(figure)


def two_sd_limits(values: np.ndarray) -> tuple[float, float]:
    """Colour limits mean ± 2 SD, as the published figures have; never of zero width."""
    mean, sd = float(np.mean(values)), float(np.std(values))
    sd = sd if sd > 0 else 1.0
    return mean - 2 * sd, mean + 2 * sd


def shortened(name: str, longest: int) -> str:
    """Cut a name of a class, a section or a spot."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"

"""One look for all figures."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
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
# What would name a date and a version: equal figures are equal files.
_NAMELESS: dict[str, dict[str, None]] = {
    ".pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    ".svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
}
# Names a file on the web, which nobody needs.
_SVG_TYPE = re.compile(r"<!DOCTYPE[^>]*>\s*")

# Figures are as large as they are printed: a journal's double column, 180 mm, and text of 5 to 8 points.
WIDTH = 180 / 25.4
TINY, SMALL, TEXT, TITLE = 5, 5.5, 6, 6.5
# Points of a chart, beyond which they are pixels in vector files, too.
DENSE = 1000

mpl.rcParams.update(
    {
        "font.size": TEXT,
        "axes.titlesize": TITLE,
        "axes.titlepad": 4,
        "axes.labelpad": 3,
        "axes.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.size": 2.3,
        "ytick.major.size": 2.3,
        "xtick.major.width": 0.5,
        "ytick.major.width": 0.5,
        "xtick.major.pad": 2.3,
        "ytick.major.pad": 2.3,
        "lines.linewidth": 1,
        "lines.markersize": 4,
        "patch.linewidth": 0.7,
        "figure.titlesize": 8,
        "legend.frameon": False,
        "legend.fontsize": SMALL,
        "legend.title_fontsize": SMALL,
        # Names of genes and clusters come from files of others: a dollar sign is a dollar sign.
        "text.parse_math": False,
        # Text is TrueType in PDF, which can be edited, and outlines in SVG, which needs no font anywhere.
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        # Equal figures are equal files.
        "svg.hashsalt": "spadework",
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


def finish(figure: Figure, paths: str | Path | Iterable[str | Path], note: str = "") -> None:
    """Write a figure, with a note of what the reader must know at its foot, and close it.

    Parameters
    ----------
    paths
        One or several; by their suffixes ``.png``, ``.pdf`` and ``.svg``. In the vector formats, images and dense
        layers have the resolution of the figure.
    """
    if note:
        width = int(figure.get_size_inches()[0] * 24)
        text = "\n".join(textwrap.fill(part, width) for part in note.split("\n"))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color="#7A1F1F")
    # savefig would draw everything twice, once only to lay it out; images make that expensive.
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    figure.set_layout_engine("none")
    for path in [paths] if isinstance(paths, str | Path) else paths:
        with whole_file(path) as partial:
            if partial.suffix == ".png":
                Image.fromarray(pixels).save(partial, dpi=(figure.dpi, figure.dpi), compress_type=PNG_RUN_LENGTH)
            else:
                figure.savefig(partial, dpi=figure.dpi, metadata=_NAMELESS[partial.suffix])
            if partial.suffix == ".svg":
                partial.write_text(_SVG_TYPE.sub("", partial.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    plt.close(figure)


def two_sd_limits(values: np.ndarray) -> tuple[float, float]:
    """Colour limits mean ± 2 SD, as the published figures have; never of zero width."""
    mean, sd = float(np.mean(values)), float(np.std(values))
    sd = sd if sd > 0 else 1.0
    return mean - 2 * sd, mean + 2 * sd


def shortened(name: str, longest: int) -> str:
    """Cut a name of a class, a section or a spot."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def gene_label(name: str) -> str:
    """Cut the middle out of a long name of a gene: identifiers begin alike."""
    return name if len(name) <= 12 else f"{name[:4]}…{name[-7:]}"

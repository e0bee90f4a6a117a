"""Simulated sections of a full Visium slide with their latents, prepared once and kept.

python tests/benchmarks/simulated.py FOLDER [seed ...]     (three minutes per section, mostly the network)
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import machine  # noqa: F401  (puts the package on the path)
import numpy as np
import pandas as pd

SEEDS = tuple(range(101, 121))
ENCODERS = ("vgg16", "colour_texture")
N_LATENTS = 6
ROWS, COLUMNS = 78, 64  # of a 6.5 mm capture area


@dataclass(frozen=True)
class Simulated:
    """A section after the expression stage, its latents by encoder, and the truth about genes and spots."""

    expression: ad.AnnData
    latents: dict[str, ad.AnnData]
    genes: pd.DataFrame
    spots: pd.DataFrame


def load(folder: Path, seed: int) -> Simulated:
    """Read a section, preparing it first if it is not there."""
    home = folder / str(seed)
    if not (home / "genes.csv").is_file():
        home.mkdir(parents=True, exist_ok=True)
        _prepare(home, seed)
    return Simulated(
        expression=ad.read_h5ad(home / "expression.h5ad"),
        latents={name: ad.read_h5ad(home / f"{name}.h5ad") for name in ENCODERS},
        genes=pd.read_csv(home / "genes.csv", keep_default_na=False).set_index("gene"),
        spots=pd.read_csv(home / "spots.csv", index_col="barcode"),
    )


def _prepare(home: Path, seed: int) -> None:
    from spadework.encoders.registry import create
    from spadework.expression import add_qc, filter_spots, normalize
    from spadework.ingest import ingest
    from spadework.latents import fit_latents
    from spadework.patches import cut_patches, patch_boxes, patch_size_px, section_image
    from spadework.samples import Sample
    from spadework.simulation import simulate

    with tempfile.TemporaryDirectory() as folder:
        outs = simulate(Path(folder), seed=seed, spot_rows=ROWS, spot_columns=COLUMNS)
        section = ingest(Sample("s", outs), 8)
        scaled = section_image(section, "s", "best", outs / "tissue_image.tif")
        boxes = patch_boxes(scaled.to_px(section.obsm["spatial"]), patch_size_px(120.0, None, scaled.um_per_px))
        patches = np.empty((len(boxes), 64, 64, 3), np.uint8)
        for i, patch in cut_patches(scaled.image, boxes, 64):
            patches[i] = patch
        shutil.copy(Path(folder) / "truth" / "genes.csv", home / "genes.partial")
        shutil.copy(Path(folder) / "truth" / "spots.csv", home / "spots.csv")
    add_qc(section, "human")
    kept = filter_spots(section, "s", min_counts=100, min_genes=50, max_pct_mt=100)
    normalize(kept, "s", min_spots=10).write_h5ad(home / "expression.h5ad")
    for name in ENCODERS:
        encoder = create(name, 64)
        features = encoder.encode(patches)
        scores = fit_latents(features, N_LATENTS, standardize=not encoder.same_units).project(features)
        ad.AnnData(obs=section.obs[[]], obsm={"pca": scores}).write_h5ad(home / f"{name}.h5ad")
    (home / "genes.partial").rename(home / "genes.csv")  # last: it says that all is there


if __name__ == "__main__":
    for number in map(int, sys.argv[2:]) if sys.argv[2:] else SEEDS:
        print(number, load(Path(sys.argv[1]), number).expression.shape, flush=True)

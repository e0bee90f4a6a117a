"""Planted genes found again, and tissue types told apart, on simulated sections.

python tests/benchmarks/bench_truth.py [seed ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import machine
import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from spadework.headline import Headline, headline

SEEDS = (101, 102, 103)
ENCODERS = ("vgg16", "colour_texture")
TYPES = 5
FDR = 0.05
PURE = 0.8  # share of one tissue type under a spot, for a spot to have a type


def main() -> None:
    """Print what each test finds of the truth, per section and encoder."""
    import anndata as ad

    from spadework.encoders.registry import create
    from spadework.expression import add_qc, filter_spots, normalize
    from spadework.ingest import ingest
    from spadework.latents import fit_latents
    from spadework.patches import cut_patches, patch_boxes, patch_size_px, section_image
    from spadework.samples import Sample
    from spadework.section_association import associate_section, select
    from spadework.simulation import simulate

    seeds = [int(s) for s in sys.argv[1:]] or SEEDS
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder), seed=seed)
            section = ingest(Sample("s", Path(folder) / "outs"), 8)
            genes = pd.read_csv(Path(folder) / "truth" / "genes.csv", keep_default_na=False).set_index("gene")
            spots = pd.read_csv(Path(folder) / "truth" / "spots.csv", index_col="barcode")
            scaled = section_image(section, "s", "best", Path(folder) / "outs" / "tissue_image.tif")
            boxes = patch_boxes(scaled.to_px(section.obsm["spatial"]), patch_size_px(120.0, None, scaled.um_per_px))
            patches = np.empty((len(boxes), 64, 64, 3), np.uint8)
            for i, patch in cut_patches(scaled.image, boxes, 64):
                patches[i] = patch
        add_qc(section, "human")
        expression = normalize(
            filter_spots(section, "s", min_counts=100, min_genes=50, max_pct_mt=100), "s", min_spots=10
        )
        for name in ENCODERS:
            encoder = create(name, 64)
            features = encoder.encode(patches)
            scores = fit_latents(features, 6, standardize=not encoder.same_units).project(features)
            latents = ad.AnnData(obs=section.obs[[]], obsm={"pca": scores})
            tested = select(
                expression, latents, "s", values="lognorm", zscore=False, min_spots_fraction=0.1, n_latents=None
            )
            table = associate_section(expression, tested, "s", design="marginal")
            labels = KMeans(TYPES, n_init=10, random_state=0).fit_predict(scores)
            types = spots.loc[section.obs_names].filter(like="fraction_")
            pure = (types.max(axis=1) >= PURE).to_numpy()
            ari = adjusted_rand_score(types[pure].idxmax(axis=1), labels[pure])
            for which in ("published", "depth", "spatial"):
                rows.append((seed, name, which, *score(table, headline(table, which), genes["class"]), ari))
    print(machine.describe())
    print("| seed | encoder | test | AUROC | found | false | of the planted | ARI of tissue types |")
    print("|---|---|---|---|---|---|---|---|")
    for seed, name, which, auroc, found, *values in rows:
        print(
            f"| {seed} | {name} | {which} | {auroc:.2f} | {found} | " + " | ".join(f"{v:.2f}" for v in values) + " |"
        )


def score(table: pd.DataFrame, by: Headline, classes: pd.Series) -> tuple[float, int, float, float]:
    """Return AUROC of planted against spatial and null genes, genes found, share of these that is not planted, share
    of the planted that is found: the best p of a gene over its latents, times their number, at FDR 5 %.
    """
    best = table.groupby("gene")[by.log10_p].min()
    best = best[classes[best.index].isin(["morphology", "spatial", "null"]).to_numpy()]
    planted = (classes[best.index] == "morphology").to_numpy()
    p = np.minimum(10.0 ** best.to_numpy() * table["latent"].nunique(), 1)
    found = false_discovery_control(p) < FDR
    false = (found & ~planted).sum() / max(found.sum(), 1)
    return roc_auc_score(planted, -best), int(found.sum()), float(false), float(found[planted].mean())


if __name__ == "__main__":
    main()

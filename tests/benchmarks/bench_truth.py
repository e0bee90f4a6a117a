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
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

SEEDS = (101, 102, 103)
ENCODERS = ("vgg16", "colour_texture")
TYPES = 5
PURE = 0.8  # share of one tissue type under a spot, for a spot to have a type


def main() -> None:
    """Print AUROC and ARI per section and encoder."""
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
            table = associate_section(tested, "s", design="marginal")
            strongest = table.groupby("gene")["log10_p"].min()
            scored = genes.loc[
                genes["class"].isin(["morphology", "spatial", "null"]) & genes.index.isin(strongest.index)
            ]
            auroc = {
                against: roc_auc_score(chosen["class"] == "morphology", -strongest[chosen.index])
                for against in ("spatial", "null", "spatial and null")
                if len(chosen := scored[scored["class"].isin(["morphology", *against.split(" and ")])])
            }
            labels = KMeans(TYPES, n_init=10, random_state=0).fit_predict(scores)
            types = spots.loc[section.obs_names].filter(like="fraction_")
            pure = (types.max(axis=1) >= PURE).to_numpy()
            ari = adjusted_rand_score(types[pure].idxmax(axis=1), labels[pure])
            rows.append((seed, name, f"{len(boxes)} ({pure.sum()} pure)", *auroc.values(), ari))
    print(machine.describe())
    print("| seed | encoder | spots | AUROC against spatial | null | both | ARI of tissue types, pure spots |")
    print("|---|---|---|---|---|---|---|")
    for seed, name, n, *values in rows:
        print(f"| {seed} | {name} | {n} | " + " | ".join(f"{v:.2f}" for v in values) + " |")


if __name__ == "__main__":
    main()

"""Planted genes found again, and tissue types told apart, on simulated sections.

python tests/benchmarks/bench_truth.py FOLDER [seed ...]     (FOLDER holds the sections: simulated.py)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import pandas as pd
import simulated
from scipy.stats import false_discovery_control
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from spadework.headline import Headline, headline
from spadework.section_association import Adjustment, associate_section, select

TYPES = 5
FDR = 0.05
PURE = 0.8  # share of one tissue type under a spot, for a spot to have a type
DEFAULT = Adjustment(mixed_model=True)
CONFIGURATIONS = {
    "default": DEFAULT,
    "covariates: []": replace(DEFAULT, covariates=()),
    "residuals: pearson": replace(DEFAULT, residuals="pearson"),
    "residuals: pearson, covariates: []": replace(DEFAULT, residuals="pearson", covariates=()),
}
MIXED = Headline("r_depth", "", "log10_p_mixed", "fdr_mixed", "")
COLUMNS = ["AUROC", "found", "false", "of the planted"]


def main() -> None:
    """Print what each test finds of the truth: a row per section in the default configuration, and means of all."""
    folder, seeds = Path(sys.argv[1]), [int(s) for s in sys.argv[2:]] or simulated.SEEDS
    rows, aris = [], []
    for seed in seeds:
        section = simulated.load(folder, seed)
        for encoder, latents in section.latents.items():
            tested = select(
                section.expression,
                latents,
                "s",
                values="lognorm",
                zscore=False,
                min_spots_fraction=0.1,
                n_latents=None,
            )
            aris.append((encoder, tissue_types(section, latents.obsm["pca"])))
            for name, adjustment in CONFIGURATIONS.items():
                table = associate_section(section.expression, tested, "s", design="marginal", adjustment=adjustment)
                table["log10_p_mixed"] = np.log10(table["p_mixed"])
                tests = {which: headline(table, which) for which in ("depth", "spatial")} | {"mixed": MIXED}
                if name == "default":
                    tests = {"published": headline(table, "published")} | tests
                for test, by in tests.items():
                    rows.append((seed, encoder, name, test, *score(table, by, section.genes["class"])))
        print(f"{seed} done", file=sys.stderr, flush=True)
    scores = pd.DataFrame(rows, columns=["seed", "encoder", "configuration", "test", *COLUMNS])
    print(machine.describe())
    print("| encoder | ARI of tissue types, mean (min to max) |\n|---|---|")
    for encoder, values in pd.DataFrame(aris, columns=["encoder", "ari"]).groupby("encoder")["ari"]:
        print(f"| {encoder} | {values.mean():.2f} ({values.min():.2f} to {values.max():.2f}) |")
    print(f"\nmean of {len(seeds)} sections (largest share of false ones)\n")
    print("| encoder | configuration | test | AUROC | found | of these false | of the planted |")
    print("|---|---|---|---|---|---|---|")
    for (encoder, name, test), group in scores.groupby(["encoder", "configuration", "test"], sort=False):
        mean = group[COLUMNS].mean()
        print(
            f"| {encoder} | {name} | {test} | {mean['AUROC']:.3f} | {mean['found']:.0f} | "
            f"{mean['false']:.3f} ({group['false'].max():.2f}) | {mean['of the planted']:.3f} |"
        )
    print("\n| seed | encoder | AUROC | found | of these false | of the planted |\n|---|---|---|---|---|---|")
    ours = scores[(scores["configuration"] == "default") & (scores["test"] == "spatial")]
    for row in ours.itertuples(index=False):
        print(f"| {row[0]} | {row[1]} | {row[4]:.3f} | {row[5]} | {row[6]:.3f} | {row[7]:.3f} |")


def tissue_types(section: simulated.Simulated, latents: np.ndarray) -> float:
    """Return the agreement (ARI) of clusters of the latents with the tissue types of pure spots."""
    labels = KMeans(TYPES, n_init=10, random_state=0).fit_predict(latents)
    types = section.spots.loc[section.latents["vgg16"].obs_names].filter(like="fraction_")
    pure = (types.max(axis=1) >= PURE).to_numpy()
    return adjusted_rand_score(types[pure].idxmax(axis=1), labels[pure])


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

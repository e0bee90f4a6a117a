"""Type I error of all tests on null latents: real sections and simulated ones, in every configuration offered.

python tests/benchmarks/bench_calibration.py RESULTS FOLDER [fields per real section [fields per simulated section]]

RESULTS holds the results of the real sections (tests/real/run), FOLDER the simulated ones (simulated.py).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import anndata as ad
import machine
import pandas as pd
import simulated

from spadework.calibration import calibrate
from spadework.section_association import Adjustment, read_section, select

FDR = 0.05
REAL = ("C2", "B4", "C3", "C4", "MOB1", "MOB2", "MOB3")
DEFAULT = Adjustment(mixed_model=True)
COMPOSITION = ("log10_umi", "patch_tissue_fraction", "cluster")


@dataclass(frozen=True)
class Configuration:
    """One way of testing.

    ``first``: imitate the first latent only, the smoothest as a rule. ``slow``: real sections only, and a quarter of
    the null latents.
    """

    name: str
    adjustment: Adjustment
    first: bool = False
    slow: bool = False


CONFIGURATIONS = (
    Configuration("default", DEFAULT),
    Configuration("default, first latent only", DEFAULT, first=True),
    Configuration("covariates: []", replace(DEFAULT, covariates=())),
    Configuration("residuals: pearson", replace(DEFAULT, residuals="pearson")),
    Configuration("residuals: pearson, covariates: []", replace(DEFAULT, residuals="pearson", covariates=())),
    Configuration(
        "covariates: [log10_umi, patch_tissue_fraction, cluster]", replace(DEFAULT, covariates=COMPOSITION)
    ),
    Configuration("permutations: 200", Adjustment(permutations=200), slow=True),
)


def main() -> None:
    """Print a row per section (or kind of section), configuration and test."""
    results, folder = Path(sys.argv[1]), Path(sys.argv[2])
    n_real, n_simulated = (int(a) for a in (*sys.argv[3:], *("200", "12")[len(sys.argv) - 3 :]))
    print(machine.describe())
    print("| sections | encoder | configuration | test | null latents | p < 0.05 | most in one | any found | found |")
    print("|---|---|---|---|---|---|---|---|---|")
    for sample in REAL:
        home = results / sample
        section = read_section(home / "expression/expression.h5ad", home / "patches/manifest.parquet")
        report(sample, "vgg16", [(section, ad.read_h5ad(home / "vgg16/latents.h5ad"))], n_real)
    sections = [simulated.load(folder, seed) for seed in simulated.SEEDS]
    for encoder in simulated.ENCODERS:
        pairs = [(s.expression, s.latents[encoder]) for s in sections]
        report(f"{len(pairs)} simulated", encoder, pairs, n_simulated)


def report(name: str, encoder: str, sections: list[tuple[ad.AnnData, ad.AnnData]], n_fields: int) -> None:
    """Print the rows of some sections."""
    for configuration in CONFIGURATIONS:
        real = len(sections) == 1
        if not real and (configuration.slow or len(configuration.adjustment.covariates) > 1):
            continue
        n = n_fields // 4 if configuration.slow else n_fields
        tables = []
        for i, (section, latents) in enumerate(sections):
            tested = select(
                section, latents, name, values="lognorm", zscore=False, min_spots_fraction=0.1,
                n_latents=1 if configuration.first else None,
            )  # fmt: skip
            adjustment = replace(configuration.adjustment, seed=i)
            tables.append(calibrate(section, tested, name, adjustment, n_fields=n, fdr=FDR))
        table = pd.concat(tables)
        if configuration.slow:
            table = table[table["test"] == "permuted"]
        if configuration.name.partition(",")[0] != "default":  # the published test knows none of these settings
            table = table[table["test"] != "published"]
        for test, rows in table.groupby("test", sort=False):
            print(
                f"| {name} | {encoder} | {configuration.name} | {test} | {len(rows)} | "
                f"{rows['share_below_05'].mean():.4f} | {rows['share_below_05'].max():.3f} | "
                f"{(rows['found'] > 0).mean():.3f} | {rows['found'].mean():.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

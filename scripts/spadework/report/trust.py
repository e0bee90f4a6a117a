"""How far a latent and its genes can be trusted, in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import binom

from spadework.columns import LEVEL
from spadework.headline import Headline

GOOD, CARE, POOR = "good", "care", "poor"
_LEVELS = (POOR, CARE, GOOD)
# Correlations from which on a latent follows something partly, or for the most part.
PARTLY, MOSTLY = 0.4, 0.7
# Moran's I below which neighbouring spots have hardly anything in common: two standard errors or more, from some 200
# spots on.
NO_PATTERN = 0.1
# Shares of small p-values on random patterns, where 0.05 is right: from these on, p-values are not to be believed.
INFLATED, WRONG = 0.08, 0.15
# Numbers of random patterns with genes that chance makes less likely than this are no chance.
_UNLIKELY = 0.05
# Rank correlations of effects with those in other sections.
REPLICATES, FAILS = 0.3, 0.1
SEEDED = (
    "The network's weights are random: this latent shows that the workflow runs, not what a trained network sees."
)


@dataclass(frozen=True)
class Finding:
    """Something that speaks for or against a latent."""

    level: str
    sentence: str


def trust(
    row: Mapping[str, Any],
    by: Headline,
    *,
    calibration: pd.DataFrame | None = None,
    replication: pd.DataFrame | None = None,
    shared: tuple[int, float] | None = None,
    seeded: bool = False,
) -> dict[str, str]:
    """Judge a latent.

    Parameters
    ----------
    row
        Of ``latents.csv``.
    by
        The test that genes are found by.
    calibration
        ``calibration.csv``, if the tests were tried on random patterns.
    replication
        Rows of ``replication.csv`` with this section as discovery.
    shared
        The latent of the group that is this one, and their correlation over the spots; 1 if the section's latents are
        those of its group. None if the group has no such latent: then ``replication`` says nothing of this one.
    seeded
        The encoder's weights are random.

    Returns
    -------
    dict
        ``level`` (``good``, ``care`` or ``poor``, as the gravest finding has it) and ``sentence``: the findings, one
        for each thing that was looked at, gravest first.
    """
    latent = int(row["latent"])
    findings = [
        *([Finding(POOR, SEEDED)] if seeded else []),
        *_confounders(row, by),
        *_pattern(row),
        *_genes(row, by),
        *_replication(replication, shared),
        *(_calibration(calibration, latent, by) if _n_genes(row) else []),
    ]
    # Sorting keeps the order of findings that are as grave.
    findings.sort(key=lambda finding: _LEVELS.index(finding.level))
    return {"level": findings[0].level, "sentence": " ".join(finding.sentence for finding in findings)}


def test_name(by: Headline) -> str:
    """Name a test as the calibration does."""
    return by.log10_p.removeprefix("log10_p").removeprefix("_") or "published"


def _confounders(row: Mapping[str, Any], by: Headline) -> list[Finding]:
    left = "depth is held constant in the test, which leaves it little to decide with"
    if by.log10_p == "log10_p":
        left = "the test does not hold depth constant, so genes may go along with depth alone"
    mostly, partly, consequences = [], [], []
    for column, what, consequence in (
        ("r_log10_umi", "sequencing depth", left),
        (
            "r_tissue_fraction",
            "how much of a patch is tissue",
            "genes may follow how much tissue there is, not what it is like",
        ),
    ):
        r = float(row[column])
        if abs(r) >= MOSTLY:
            mostly.append(f"{what} (r = {_two(r)})")
            consequences.append(consequence)
        elif abs(r) >= PARTLY:
            partly.append(f"{what} (r = {_two(r)})")
    found = []
    if mostly:
        why = "; ".join(consequences)
        found.append(Finding(POOR, f"It follows for the most part {' and '.join(mostly)}: {why}."))
    if partly:
        found.append(Finding(CARE, f"It follows in part {' and '.join(partly)}."))
    return found


def _pattern(row: Mapping[str, Any]) -> list[Finding]:
    moran = float(row["moran_i"])
    if pd.isna(moran):
        return [Finding(POOR, "It is the same in all spots.")]
    if moran >= NO_PATTERN:
        return []
    said = f"It has hardly any pattern in the tissue (Moran's I {_two(moran)}): neighbours differ as any two spots."
    return [Finding(CARE if _n_genes(row) else POOR, said)]


def _genes(row: Mapping[str, Any], by: Headline) -> list[Finding]:
    n = _n_genes(row)
    if n is None:
        return [Finding(CARE, "It was not tested for genes.")]
    said = Finding(CARE, "No gene goes along with it surely enough to be called.")
    if n:
        said = Finding(GOOD, f"{n:,} gene{' goes' if n == 1 else 's go'} along with it.")
    return [said, *([Finding(CARE, by.note)] if by.note else [])]


def _calibration(table: pd.DataFrame | None, latent: int, by: Headline) -> list[Finding]:
    rows = None if table is None else table[table["test"] == test_name(by)]
    if rows is None or rows.empty:
        return [Finding(CARE, "The test was not tried on random patterns, so false discoveries may go unnoticed.")]
    own = rows[rows["imitates"] == latent]
    share, n, with_genes = float(own["share_below_05"].mean()), len(own), int((own["found"] > 0).sum())
    # Fields that imitate one latent are few: all of them together tell more about the test, less about this latent.
    called = f"genes were called on {with_genes}" if with_genes else "no gene was called on any"
    lines = (
        f"On {n} random patterns as smooth as this latent, {share:.1%} of the genes had p < {LEVEL:g} "
        f"({LEVEL:.0%} expected) and {called} of them"
    ).replace("%", " %")
    if n and (share >= WRONG or (with_genes > 1 and with_genes > n / 2)):
        return [Finding(POOR, f"{lines}: many genes called here are likely to be false.")]
    if n and (share >= INFLATED or _too_many(with_genes, n)):
        return [Finding(CARE, f"{lines}: some of the genes called here may be false.")]
    total = int((rows["found"] > 0).sum())
    if _too_many(total, len(rows)):
        return [
            Finding(
                CARE,
                f"On random patterns as smooth as the latents of this section, genes were called for {total} of "
                f"{len(rows)}: some of the genes called may be false.",
            )
        ]
    return [Finding(GOOD, f"{lines}: as it should be.")] if n else []


def _too_many(with_genes: int, n: int) -> bool:
    """Tell whether genes were found for more patterns than the level of the test explains."""
    return bool(binom.sf(with_genes - 1, n, LEVEL) < _UNLIKELY)


def _replication(table: pd.DataFrame | None, shared: tuple[int, float] | None) -> list[Finding]:
    if table is None or shared is None:
        return []
    latent, r = shared
    known = table.loc[table["latent"] == latent, "spearman"].dropna()
    if known.empty:  # no section has enough genes in common
        return []
    median = float(known.median())
    own = abs(r) > 1 - 1e-6
    it = "it" if own else "that one"
    who = "The" if own else f"Latent {latent} of the group is much the same (r = {_two(abs(r))}), and the"
    said = f"(rank correlation of all genes' effects {_two(median)})"
    if median < FAILS:
        return [Finding(POOR, f"{who} other sections do not confirm {it} {said}.")]
    if median < REPLICATES:
        return [Finding(CARE, f"{who} other sections confirm {it} only weakly {said}.")]
    return [Finding(GOOD, f"{who} other sections confirm {it} {said}.")]


def _two(value: float) -> str:
    """Write two digits, and no minus before nothing."""
    return f"{round(value, 2) + 0.0:.2f}"


def _n_genes(row: Mapping[str, Any]) -> int | None:
    """Count the genes called; None where none was tested."""
    up, down = row["genes_up"], row["genes_down"]
    return None if pd.isna(up) or pd.isna(down) else int(up) + int(down)

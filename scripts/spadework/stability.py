"""How much of what goes with a latent depends on arbitrary choices of the image side.

The image side is repeated with patches cut, oriented or stained a little differently
(:mod:`spadework.perturbations`), or seen by another encoder. Its latents are matched to those of the reference, as
their order and sign mean nothing, and a gene counts by the share of repeats that find it again: the selection
frequency of stability selection (Meinshausen & Bühlmann 2010, Journal of the Royal Statistical Society B
72:417-473), over these choices in place of random subsamples. It is a description, without that paper's bound on
false selections; and a repeat the encoder cannot see, as a rotation for features without direction, finds everything
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spadework.association import Design
from spadework.headline import Headline
from spadework.latents import fit_sections
from spadework.section_association import Adjustment, associate_section, select


@dataclass(frozen=True)
class Match:
    """Which latent of a repeat is which of the reference.

    Attributes
    ----------
    index
        (k,) int64, from 0; -1 where no latent is left.
    correlation
        (k,) float64 Pearson correlations with sign; NaN where no latent is left.
    """

    index: NDArray[np.int64]
    correlation: NDArray[np.float64]


def match_latents(reference: NDArray[np.floating], other: NDArray[np.floating]) -> Match:
    """Match latents one to one, so that the sum of their absolute correlations is largest.

    Parameters
    ----------
    reference
        (n, k).
    other
        (n, m), same spots in the same order. With m < k some latents of the reference stay without a match.

    Raises
    ------
    ValueError
        If the numbers of spots differ, or a latent is constant or not finite.
    """
    if len(reference) != len(other):
        raise ValueError(f"latents of {len(reference)} and of {len(other)} spots cannot be matched")
    k = reference.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.corrcoef(reference, other, rowvar=False)[:k, k:]
    if not np.isfinite(r).all():
        raise ValueError("a latent is constant or not finite and matches none")
    rows, columns = linear_sum_assignment(np.abs(r), maximize=True)
    index, correlation = np.full(k, -1, np.int64), np.full(k, np.nan)
    index[rows], correlation[rows] = columns, r[rows, columns]
    return Match(index, correlation)


def repeat(
    section: ad.AnnData,
    reference: ad.AnnData,
    features: ad.AnnData,
    sample: str,
    *,
    standardize: str | bool,
    tested: dict[str, Any],
    design: Design,
    adjustment: Adjustment,
) -> tuple[pd.DataFrame, Match]:
    """Go from the features of a repeat to its association table and its latents' match.

    Parameters
    ----------
    section
        AnnData of the expression stage.
    reference
        AnnData of the embedding stage, with as many latents as the repeat will have.
    features
        AnnData of the encoding stage.
    standardize
        As in :func:`spadework.latents.fit_sections`.
    tested
        Arguments of :func:`spadework.section_association.select`. All latents of the repeat are tested, as any of
        them may be the match of one that the reference tests.

    Raises
    ------
    InputError
        As these functions.
    """
    k = reference.obsm["pca"].shape[1]
    scores = fit_sections({sample: features}, k, k, standardize).project(features.X)
    latents = ad.AnnData(obs=features.obs[[]], obsm={"pca": scores})
    match = match_latents(*(a[section.obs_names].obsm["pca"] for a in (reference, latents)))
    chosen = select(section, latents, sample, **tested | {"n_latents": None})
    return associate_section(section, chosen, sample, design=design, adjustment=adjustment), match


def stability(
    reference: pd.DataFrame,
    runs: dict[str, tuple[pd.DataFrame, Match]],
    by: Headline,
    fdr: float,
    threshold: float = 0.8,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count how often the genes of each latent are found again.

    A gene is found with a latent if its false discovery rate is below ``fdr``, and found again in a repeat if that
    holds for the latent matched and, once the signs of the two are aligned, the effect has the same sign. A latent
    without a match, or whose match was not tested, counts as one without genes.

    Parameters
    ----------
    reference
        Association table.
    runs
        Name of the repeat -> its association table, and its latents matched to those of the reference.
    by
        The columns to go by.
    threshold
        Share of the repeats from which on a gene of the reference is consensus.

    Returns
    -------
    genes
        Each ``latent`` and ``gene`` of the reference, or that some repeat finds with the sign it has there:
        ``effect`` and ``fdr`` in the reference, ``selection_frequency``, ``in_reference`` and ``consensus``. By
        latent; genes of the reference first, the most frequent first among them.
    latents
        For each ``latent`` and ``run`` the ``matched_latent``, ``abs_r``, the genes ``found_reference``,
        ``found_run`` and found in ``common`` with the same sign, and their ``jaccard`` index (NaN if neither finds
        any).

    Raises
    ------
    ValueError
        If there are no repeats, or the reference tests a latent that was not matched.
    """
    if not runs:
        raise ValueError("no repeat of the image side to compare with")
    labels = np.sort(reference["latent"].unique())
    names = pd.Index(reference["gene"].unique())
    effect, rate = (_matrix(reference, column, names, labels) for column in (by.effect, by.fdr))
    found = rate < fdr
    times = np.zeros(found.shape, int)
    latents = []
    for run, (table, match) in runs.items():
        if labels.max() > len(match.index):
            raise ValueError(f"{run}: latents up to {labels.max()} are tested, {len(match.index)} are matched")
        at, r = match.index[labels - 1] + 1, match.correlation[labels - 1]
        there = _matrix(table, by.fdr, names, at) < fdr
        # NaN, where there is no match or no effect, equals no sign.
        again = there & (np.sign(_matrix(table, by.effect, names, at) * r) == np.sign(effect))
        times += again
        overlap = _overlap(found.sum(axis=0), there.sum(axis=0), (found & again).sum(axis=0))
        partner = pd.Series(at, dtype="Int64").mask(at == 0)
        latents.append(
            pd.DataFrame({"latent": labels, "run": run, "matched_latent": partner, "abs_r": np.abs(r)} | overlap)
        )
    gene, latent = np.nonzero(found | (times > 0))
    frequency, in_reference = times[gene, latent] / len(runs), found[gene, latent]
    genes = pd.DataFrame(
        {
            "latent": labels[latent],
            "gene": names[gene],
            "effect": effect[gene, latent],
            "fdr": rate[gene, latent],
            "selection_frequency": frequency,
            "in_reference": in_reference,
            "consensus": in_reference & (frequency >= threshold),
        }
    )
    order, ascending = ["latent", "in_reference", "selection_frequency", "fdr"], [True, False, False, True]
    genes = genes.sort_values(order, ascending=ascending, kind="stable", ignore_index=True)
    return genes, pd.concat(latents, ignore_index=True)


def summarise(genes: pd.DataFrame, latents: pd.DataFrame) -> pd.DataFrame:
    """Sum :func:`stability` up, a row per ``latent``.

    Returns
    -------
    pandas.DataFrame
        ``min_abs_r`` and ``mean_abs_r`` over the repeats with a match, number ``unmatched``, ``mean_jaccard``, and
        the number of genes ``in_reference`` and of ``consensus`` genes.
    """
    grouped = latents.groupby("latent")
    summary = pd.DataFrame(
        {
            "min_abs_r": grouped["abs_r"].min(),
            "mean_abs_r": grouped["abs_r"].mean(),
            "unmatched": grouped["matched_latent"].agg(lambda match: int(match.isna().sum())),
            "mean_jaccard": grouped["jaccard"].mean(),
        }
    )
    for column in ("in_reference", "consensus"):
        summary[column] = genes[genes[column]].groupby("latent").size().reindex(summary.index, fill_value=0)
    return summary.reset_index()


def _matrix(table: pd.DataFrame, column: str, genes: pd.Index, latents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lay a column of the association table out as (genes, latents); NaN where the table has no such row."""
    wide = table.pivot(index="gene", columns="latent", values=column)
    return wide.reindex(index=genes, columns=latents).to_numpy(float)


def _overlap(
    reference: NDArray[np.int64], run: NDArray[np.int64], common: NDArray[np.int64]
) -> dict[str, NDArray[np.generic]]:
    """Name numbers of genes, (latents,) each, and add the Jaccard index."""
    either = reference + run - common
    jaccard = np.divide(common, either, out=np.full(len(common), np.nan), where=either > 0)
    return {"found_reference": reference, "found_run": run, "common": common, "jaccard": jaccard}

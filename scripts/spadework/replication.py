"""Does what one section shows hold in another? Agreement of pairs of sections, and all of them pooled.

The sections share the axes of their latents (one PCA of all their image features), so that latent k is the same in
each; their genes are tested section by section. What is compared are the association tables, never spots.

Pooled effects are a random effects meta-analysis of Fisher's z, on two to a handful of sections. So few cannot tell
how much a single gene's effect varies between sections (DerSimonian & Laird 1986, Controlled Clinical Trials
7:177-188, take the estimate for the truth), and a test that admits it (Hartung & Knapp 2001, Statistics in Medicine
20:3875-3889, one degree of freedom less than sections) can find no gene among thousands. Thousands of genes can tell,
though: variance between sections is estimated from all genes for the weights, and the scatter of each gene about its
mean is moderated by empirical Bayes (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3:3), as
limma does for a linear model with weights.

Null tests (simulated): with effects that vary between three sections (SD 0.2 of z, 100 to 300 effective spots each),
4.8 % have p < 0.05 and 0.07 % p < 0.001; by DerSimonian & Laird 17 and 6 %. Genes count as independent: 6 to 8 % have
p < 0.05 if all genes follow one of five patterns (two to five sections), 10 to 19 % if there is but one. Real genes,
of three sections of mouse olfactory bulb, with another latent in each section: 4.6 and 0.17 % (8.6 and 0.9 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import polygamma
from scipy.stats import false_discovery_control, spearmanr
from scipy.stats import t as student

from spadework.association import benjamini_hochberg, fit_prior, posterior_variance, two_sided_log10_p
from spadework.headline import Headline
from spadework.section import unversioned

# What random_effects pools: the only effect whose effective number of spots is known.
EFFECT, ESS = "r_depth", "ess"
# Genes whose signs are compared whether or not they are found.
TOP = 100
# A gene that is the latent itself keeps a finite z.
_LARGEST_R = 1 - 1e-12


@dataclass(frozen=True)
class Aligned:
    """Association tables side by side, a row per latent and gene of any section.

    Attributes
    ----------
    sections
        Names of the sections.
    genes
        (rows,) table of ``latent``, ``gene`` and ``gene_id``, as the first section with the gene has them.
    columns
        Name of a column of the association tables -> (rows, sections) float64, NaN where a section has not tested the
        gene.
    """

    sections: list[str]
    genes: pd.DataFrame
    columns: dict[str, NDArray[np.float64]]

    def of_latent(self, latent: int, column: str) -> NDArray[np.float64]:
        """Return (genes, sections) values of one latent."""
        return self.columns[column][self.genes["latent"].to_numpy() == latent]


def align(tables: dict[str, pd.DataFrame], columns: list[str]) -> Aligned:
    """Lay the columns of several association tables side by side.

    Genes are joined by name. If more are shared by ``gene_id`` (Ensembl ids without their version), as between
    tables that are named by symbol and by id, they are joined by that.

    Parameters
    ----------
    tables
        Section -> association table.

    Raises
    ------
    ValueError
        If there are fewer than two sections, they have no gene in common, or a gene is twice in one of them.
    """
    if len(tables) < 2:
        raise ValueError(f"{len(tables)} section(s) {list(tables)}; replication needs at least 2")
    keys = _keys(tables)
    parts = [table[["latent", "gene", "gene_id", *columns]] for table in tables.values()]
    long = pd.concat(
        [p.assign(section=name, key=key) for p, name, key in zip(parts, tables, keys, strict=True)], ignore_index=True
    )
    twice = long[long.duplicated(["section", "latent", "key"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"gene {first['key']} is more than once in latent {first['latent']} of {first['section']}")
    wide = long.pivot(index=["latent", "key"], columns="section", values=columns)
    genes = long.drop_duplicates(["latent", "key"]).set_index(["latent", "key"]).loc[wide.index, ["gene", "gene_id"]]
    return Aligned(
        sections=list(tables),
        genes=genes.reset_index()[["latent", "gene", "gene_id"]],
        columns={column: wide[column][list(tables)].to_numpy(float) for column in columns},
    )


def _keys(tables: dict[str, pd.DataFrame]) -> list[pd.Series]:
    """Return what the genes of each table are joined by."""
    names = [table["gene"].astype(str) for table in tables.values()]
    ids = [unversioned(table["gene_id"]) for table in tables.values()]
    shared_names, shared_ids = _n_shared(names), _n_shared(ids)
    if shared_names == shared_ids == 0:
        examples = ", ".join(f"{section} has {list(name[:2])}" for section, name in zip(tables, names, strict=True))
        raise ValueError(f"no gene is in two sections, by name or id: {examples}")
    return ids if shared_ids > shared_names else names


def _n_shared(keys: list[pd.Series]) -> int:
    """Count genes in more than one section, each as often as it comes again."""
    return int(pd.concat([pd.Series(key.unique()) for key in keys]).duplicated().sum())


def pairwise(tables: dict[str, pd.DataFrame], by: Headline, fdr: float) -> pd.DataFrame:
    """Ask of every two sections, both ways around, whether the second confirms the first.

    Genes are joined as in :func:`align`. Shares of signs come without a p-value, because the genes of a section are
    not independent; what they compare with is the share that would agree if the signs of the second section were
    dealt out to its genes at random.

    Parameters
    ----------
    tables
        Section -> association table, of latents with the same axes.
    by
        The columns to go by.
    fdr
        Genes below this false discovery rate are found.

    Returns
    -------
    pandas.DataFrame
        A row per discovery section, validation section and latent:

        ``n_common``, ``spearman``
            Genes with an effect in both; rank correlation of the effects over all of them.
        ``n_found``, ``n_same_sign``, ``same_sign``, ``same_sign_chance``
            Genes found in discovery and tested in validation; the number and share of them with the same sign in
            validation, and the share expected by chance.
        ``n_replicated``
            Those of them whose one-sided p in validation, in the direction of discovery, has a false discovery rate
            below ``fdr`` (Benjamini-Hochberg over the genes found).
        ``n_top``, ``top_same_sign``, ``top_same_sign_chance``
            The same signs for the 100 genes of smallest p in discovery, found or not.

        Shares of no genes are NaN, as is the correlation of fewer than three or of equal effects.

    Raises
    ------
    ValueError
        As :func:`align`.
    """
    aligned = align(tables, [by.effect, by.log10_p, by.fdr])
    rows = []
    for first, second in permutations(range(len(aligned.sections)), 2):
        for latent in aligned.genes["latent"].unique():
            effect, log10_p, rates = (aligned.of_latent(latent, c) for c in (by.effect, by.log10_p, by.fdr))
            of = {"discovery": aligned.sections[first], "validation": aligned.sections[second], "latent": int(latent)}
            pair = [first, second]
            rows.append(of | _agreement(effect[:, pair], log10_p[:, pair], rates[:, first], fdr))
    return pd.DataFrame(rows)


def _agreement(
    effect: NDArray[np.float64], log10_p: NDArray[np.float64], rates: NDArray[np.float64], fdr: float
) -> dict[str, Any]:
    """Compare discovery and validation, the two columns of (genes, 2) effects and p, of one latent."""
    common = np.isfinite(effect).all(axis=1)
    varies = common.sum() > 2 and (np.ptp(effect[common], axis=0) > 0).all()
    tested = common & ~np.isnan(log10_p).any(axis=1)
    signs, log10_p, rates = np.sign(effect[tested]), log10_p[tested], rates[tested]
    found, top = np.flatnonzero(rates < fdr), np.argsort(log10_p[:, 0], kind="stable")[:TOP]
    same = signs[:, 0] * signs[:, 1] > 0
    half = 10.0 ** log10_p[found, 1] / 2
    one_sided = np.where(same[found], half, 1 - half)
    return {
        "n_common": int(common.sum()),
        "spearman": float(spearmanr(*effect[common].T).statistic) if varies else np.nan,
        "n_found": len(found),
        "n_same_sign": int(same[found].sum()),
        "same_sign": _mean(same[found]),
        "same_sign_chance": _chance(signs, found),
        "n_replicated": int((false_discovery_control(one_sided) < fdr).sum()) if len(found) else 0,
        "n_top": len(top),
        "top_same_sign": _mean(same[top]),
        "top_same_sign_chance": _chance(signs, top),
    }


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _chance(signs: NDArray[np.float64], chosen: NDArray[np.intp]) -> float:
    """Share of equal signs if the chosen genes had any genes' signs in validation, the second column."""
    if not len(chosen):
        return np.nan
    return float(sum((signs[chosen, 0] == sign).mean() * (signs[:, 1] == sign).mean() for sign in (-1, 1)))


def fisher(r: NDArray[np.float64], ess: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fisher's z of correlations at their effective numbers of spots, and its variance, of the same shape.

    The variance is that of no correlation, exact where 1 - r² has the beta distribution that the t test assumes:
    trigamma(M / 2 - 1) / 2. It is close to the usual 1 / (M - 3), but finite down to the smallest M of 3.
    """
    return np.arctanh(np.clip(r, -_LARGEST_R, _LARGEST_R)), polygamma(1, ess / 2 - 1) / 2


def random_effects(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Pool the effects of every gene with every latent over sections.

    What is pooled are the correlations given sequencing depth at their effective numbers of spots; sections without
    a spatial test have none and are left out. Genes are joined as in :func:`align`.

    Parameters
    ----------
    tables
        Section -> association table, of latents with the same axes.

    Returns
    -------
    pandas.DataFrame
        A row per latent and gene of two or more sections, surest first within each latent (no row, if there is no
        such gene):

        ``n_sections``, ``n_same_sign``
            Sections with the gene, and those where its effect has the sign of the pooled one.
        ``r``, ``r_low``, ``r_high``
            Pooled correlation and its 95 % interval.
        ``t``, ``df``, ``p``, ``log10_p``, ``fdr``
            Moderated t, its degrees of freedom, two-sided p, and Benjamini-Hochberg over genes within each latent.
        ``i2``, ``tau2``
            The gene's own heterogeneity, without moderation: share of the scatter between sections that is more than
            chance (Higgins & Thompson 2002, Statistics in Medicine 21:1539-1558), and DerSimonian & Laird's variance
            of z between sections. Of two or three sections, both say little.
        ``tau2_shared``
            Variance of z between sections over all genes of the latent, which the weights go by.

    Raises
    ------
    ValueError
        As :func:`align`.
    """
    aligned = align(tables, [EFFECT, ESS])
    frames = []
    for latent, genes in aligned.genes.groupby("latent"):
        r = aligned.of_latent(latent, EFFECT)
        z, variance = fisher(r, aligned.of_latent(latent, ESS))
        known = np.isfinite(z) & np.isfinite(variance)
        several = known.sum(axis=1) > 1
        z, variance = (np.where(known, x, np.nan)[several] for x in (z, variance))
        pooled = _pool(z, variance)
        pooled.insert(0, "n_sections", known[several].sum(axis=1))
        same = np.sign(z) == np.sign(pooled["r"].to_numpy())[:, None]
        pooled.insert(1, "n_same_sign", same.sum(axis=1))
        pooled["fdr"] = benjamini_hochberg(pooled[["p"]].to_numpy())
        frame = pd.concat([genes[several].reset_index(drop=True), pooled], axis=1)
        frames.append(frame.sort_values("log10_p", kind="stable"))
    return pd.concat(frames, ignore_index=True)


def _pool(z: NDArray[np.float64], variance: NDArray[np.float64]) -> pd.DataFrame:
    """Pool (genes, sections), NaN where a section has not the gene; two sections at least have it."""
    precision = np.where(np.isnan(z), 0.0, 1 / variance)
    effect = np.nan_to_num(z)
    df = (precision > 0).sum(axis=1) - 1
    _, scatter = _weighted_mean(effect, precision)
    excess = scatter - df
    # Scatter that variance between sections would add, per unit of it.
    gain = precision.sum(axis=1) - (precision**2).sum(axis=1) / precision.sum(axis=1)
    shared = max(0.0, float(excess.sum() / gain.sum())) if len(z) else 0.0
    weights = np.where(precision > 0, 1 / (np.where(precision > 0, variance, 1.0) + shared), 0.0)
    mean, residual = _weighted_mean(effect, weights)
    posterior, df_total = _moderate(residual / df, df)
    # The mean is known no better than chance within sections allows.
    error = np.sqrt(np.maximum(posterior / weights.sum(axis=1), 1 / precision.sum(axis=1)))
    t = mean / error
    log10_p = np.empty(len(z))
    for total in np.unique(df_total):
        log10_p[df_total == total] = two_sided_log10_p(t[df_total == total], float(total))
    reach = student.ppf(0.975, df_total) * error
    return pd.DataFrame(
        {
            "r": np.tanh(mean),
            "r_low": np.tanh(mean - reach),
            "r_high": np.tanh(mean + reach),
            "t": t,
            "df": df_total,
            # A table of doubles ends at 2e-308; log10_p goes on.
            "p": np.maximum(10.0**log10_p, np.finfo(float).tiny),
            "log10_p": log10_p,
            "i2": np.maximum(0.0, excess) / np.maximum(scatter, np.finfo(float).tiny),
            "tau2": np.maximum(0.0, excess / gain),
            "tau2_shared": shared,
        }
    )


def _weighted_mean(
    effect: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over sections, and weighted sum of squares about it, (genes,) each."""
    mean = (weights * effect).sum(axis=1) / weights.sum(axis=1)
    return mean, (weights * (effect - mean[:, None]) ** 2).sum(axis=1)


def _moderate(
    variance: NDArray[np.float64], df: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shrink the variances of genes on ``df`` degrees of freedom; returns them and their degrees of freedom.

    The prior is that of the genes on the commonest number of degrees of freedom.
    """
    posterior, total = np.empty(len(variance)), np.empty(len(variance))
    if not len(variance):
        return posterior, total
    commonest = int(np.bincount(df).argmax())
    df_prior, var_prior = fit_prior(variance[df == commonest], commonest)
    for own in np.unique(df):
        rows = df == own
        posterior[rows] = posterior_variance(variance[rows], float(own), df_prior, var_prior)
        # As in limma, no gene is credited with more than all degrees of freedom there are.
        total[rows] = min(own + df_prior, float(df.sum()))
    return posterior, total

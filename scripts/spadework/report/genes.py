"""Genes of a page: what was tested, which have maps, and every statistic of every latent."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spadework.headline import Headline
from spadework.keys import Keys
from spadework.report.bundle import Bundle
from spadework.section import unversioned

# Maps are unpacked all at once in the browser: with more spots than this allows, fewer genes have one.
_MOST_COUNTS = 60_000_000
# The smallest p-value that a number of 64 bits can be.
_SMALLEST_LOG10 = float(np.log10(np.nextafter(0.0, 1.0)))

# Group -> column of the association table, label, kind.
_STATISTICS = {
    "as published": [
        ("coef_std", "standardised coefficient", "effect"),
        ("r", "Pearson r", "effect"),
        ("p", "p", "p"),
        ("fdr", "FDR", "fdr"),
    ],
    "depth": [("r_depth", "r given depth", "effect"), ("p_depth", "p", "p"), ("fdr_depth", "FDR", "fdr")],
    "depth and space": [
        ("p_spatial", "p", "p"),
        ("fdr_spatial", "FDR", "fdr"),
        ("ess", "effective number of spots", "number"),
    ],
    "mixed model": [("p_mixed", "p", "p"), ("fdr_mixed", "FDR", "fdr")],
    "permutations": [
        ("p_permuted", "p", "p"),
        ("fdr_permuted", "FDR", "fdr"),
        ("ess_permuted", "effective number of spots", "number"),
    ],
}


@dataclass(frozen=True)
class Genes:
    """Genes of a page.

    Attributes
    ----------
    names, ids
        Of all genes tested, and of those asked for.
    mean, n_spots
        Mean log expression, and number of spots with the gene.
    kept
        Indices of the genes with maps, the strongest first.
    left_out
        Says which genes have no map.
    missing
        A sentence for each gene that was asked for and is not there.
    """

    names: list[str]
    ids: list[str]
    mean: NDArray[np.float32]
    n_spots: NDArray[np.int32]
    kept: NDArray[np.int64]
    left_out: str
    missing: list[str]

    @property
    def kept_names(self) -> list[str]:
        """Names of the genes with maps."""
        return [self.names[i] for i in self.kept]

    @property
    def kept_ids(self) -> list[str]:
        """Ids of the genes with maps."""
        return [self.ids[i] for i in self.kept]

    def described(self, bundle: Bundle, limits: Sequence[float]) -> dict[str, Any]:
        """Describe the genes for the page; ``limits`` are the largest values shown, of each kept gene."""
        return {
            "names": self.names,
            "ids": self.ids if self.ids != self.names else None,
            "mean": bundle.add(self.mean),
            "n_spots": bundle.add(self.n_spots),
            "kept": self.kept.tolist(),
            "limits": list(limits),
            "left_out": self.left_out,
        }


def choose_genes(
    section: ad.AnnData,
    sample: str,
    tables: Mapping[str, tuple[pd.DataFrame, Headline]],
    *,
    fdr: float,
    n_genes: int,
    asked: Sequence[str],
) -> Genes:
    """Gather the genes that were tested, and choose those that get a map.

    Parameters
    ----------
    section
        Final AnnData.
    tables
        Encoder -> association table, and what its genes are ranked by.
    fdr
        Genes found, by this false discovery rate, come first.
    n_genes
        How many of the strongest get a map.
    asked
        Genes that get one besides, by name or id. They are the same for all sections of a run, of which some may not
        have them.
    """
    there = {gene: find_gene(section.var, gene) for gene in asked}
    wanted = [name for name in there.values() if name is not None]
    in_tests = pd.Index(pd.unique(np.concatenate([table["gene"].to_numpy(str) for table, _ in tables.values()])))
    shown = np.asarray(section.var_names.isin(in_tests))
    shown[section.var_names.get_indexer(pd.Index(wanted))] = True
    var, names = section.var[shown], section.var_names[shown]
    expression = section[:, shown].X
    order = strongest(tables, names, fdr)
    most = _MOST_COUNTS // section.n_obs
    n = min(n_genes, most, int(names.isin(in_tests).sum()))
    kept = list(dict.fromkeys([*order[:n], *names.get_indexer(pd.Index(wanted))]))
    return Genes(
        names=[str(name) for name in names],
        ids=var[Keys.GENE_IDS].astype(str).tolist(),
        mean=np.asarray(expression.mean(axis=0), np.float32).ravel(),
        n_spots=np.asarray(sparse.csr_matrix(expression).getnnz(axis=0), np.int32),
        kept=np.array(kept, np.int64),
        left_out=_left_out(len(names), n, len(kept) - n, capped=most < n_genes),
        missing=[_missing(gene, [sample], section.var_names) for gene, name in there.items() if name is None],
    )


def find_gene(var: pd.DataFrame, gene: str) -> str | None:
    """Return the unique name of a gene asked for by name, symbol or id; None if there is none."""
    for known in (var.index, var[Keys.GENE_NAME].astype(str), var[Keys.GENE_IDS].astype(str)):
        found = var.index[np.asarray(known == gene)]
        if len(found):
            return str(found[0])
    return None


def _missing(gene: str, where: Sequence[str], names: pd.Index) -> str:
    """Say which sections have no gene that was asked for, and what is called much the same."""
    by_lower = {str(name).lower(): str(name) for name in names}
    close = difflib.get_close_matches(gene.lower(), list(by_lower), n=3, cutoff=0.5)
    said = f"No map of {gene} (report.genes): {', '.join(where)} has no gene of this name or id that is found in "
    said += "enough spots (expression.min_spots)."
    return said + (f" Similar names are {', '.join(by_lower[name] for name in close)}." if close else "")


def strongest(tables: Mapping[str, tuple[pd.DataFrame, Headline]], names: pd.Index, fdr: float) -> NDArray[np.int64]:
    """Order genes by their surest association with any latent of any encoder, those found before all others."""
    found, best = np.zeros(len(names), bool), np.full(len(names), np.inf)
    for table, by in tables.values():
        rows = table[["gene", by.log10_p, by.fdr]].groupby("gene", sort=False).min()
        at = names.get_indexer(rows.index)
        best[at] = np.fmin(best[at], rows[by.log10_p].to_numpy(float))
        found[at] |= rows[by.fdr].to_numpy(float) < fdr
    return np.lexsort((np.arange(len(names)), best, ~found))


def choose_pooled(
    sections: Mapping[str, ad.AnnData],
    tables: Mapping[str, tuple[pd.DataFrame, Headline]],
    *,
    fdr: float,
    n_genes: int,
    asked: Sequence[str],
) -> Genes:
    """Gather the genes of a group, and choose those that get maps: the strongest of those that all sections have.

    Parameters
    ----------
    tables
        Encoder -> table with a row per latent and gene, and what its genes are ranked by.
    asked
        Genes that get maps besides, where all sections have them.
    """
    several = pd.concat([table[["gene", "gene_id"]] for table, _ in tables.values()]).drop_duplicates("gene")
    names, ids = pd.Index(several["gene"].astype(str)), several["gene_id"].astype(str).tolist()
    at: NDArray[np.int64] = np.stack([places(section.var, names, ids) for section in sections.values()])
    total, n_spots, n_obs = (np.zeros(len(names)) for _ in range(3))
    for section, where in zip(sections.values(), at, strict=True):
        there = where >= 0
        total[there] += np.asarray(section.X.sum(axis=0)).ravel()[where[there]]
        n_spots[there] += section.X.getnnz(axis=0)[where[there]]
        n_obs[there] += section.n_obs
    everywhere = np.min(at, axis=0) >= 0
    order = strongest(tables, names, fdr)
    most = _MOST_COUNTS // sum(section.n_obs for section in sections.values())
    best = order[everywhere[order]][: min(n_genes, most)]
    wanted, missing = [], []
    for gene in asked:
        called = {sample: find_gene(section.var, gene) for sample, section in sections.items()}
        [where] = names.get_indexer(pd.Index([next(filter(None, called.values()), None)], dtype=object))
        if where >= 0 and everywhere[where]:
            wanted.append(where)
        elif None in called.values():
            missing.append(_missing(gene, [sample for sample, name in called.items() if name is None], names))
        else:
            missing.append(f"No map of {gene} (report.genes): it was not tested in these sections.")
    kept = list(dict.fromkeys([*best, *wanted]))
    return Genes(
        names=list(names),
        ids=ids,
        mean=np.asarray(total / np.maximum(n_obs, 1), np.float32),
        n_spots=n_spots.astype(np.int32),
        kept=np.array(kept, np.int64),
        left_out=_left_out(
            len(names), len(best), len(kept) - len(best), " of those that all sections have", capped=most < n_genes
        ),
        missing=missing,
    )


def places(var: pd.DataFrame, names: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Return where genes are in a section, by name or else by id; -1 where they are not."""
    at = np.asarray(var.index.get_indexer(pd.Index(names)), np.int64)
    known = pd.Index(unversioned(var[Keys.GENE_IDS]))
    if known.is_unique:
        at = np.where(at < 0, known.get_indexer(pd.Index(unversioned(pd.Series(ids, dtype=object)))), at)
    return at


def add_counts(bundle: Bundle, section: ad.AnnData, at: NDArray[np.int64]) -> dict[str, Any]:
    """Add the counts of genes, a row each, and the total of every spot.

    What the section shows is log(1 + count / total x 10,000).

    Parameters
    ----------
    at
        Where the genes are in the section.
    """
    counts = section.layers[Keys.COUNTS][:, at].T.toarray()
    small = counts.max(initial=0) <= np.iinfo(np.uint16).max
    return {
        "counts": bundle.add(counts.astype(np.uint16 if small else np.uint32)),
        "totals": bundle.add(totals(section)),
    }


def totals(section: ad.AnnData) -> NDArray[np.float32]:
    """Return what counts of a spot are divided by: its counts of all genes kept, 1 where there are none."""
    return np.maximum(np.asarray(section.layers[Keys.COUNTS].sum(axis=1)).ravel(), 1).astype(np.float32)


def shown_limits(shown: Sequence[tuple[ad.AnnData, NDArray[np.int64]]]) -> list[float]:
    """Return the 99th percentile of each gene's log expression over sections; the largest value if that is 0.

    Parameters
    ----------
    shown
        Sections, and where the genes are in each.
    """
    values = np.hstack([section.X[:, at].T.toarray() for section, at in shown])
    high, most = np.percentile(values, 99, axis=1), values.max(axis=1)
    return [float(h) if h > 0 else float(m) or 1.0 for h, m in zip(high, most, strict=True)]


def statistics(bundle: Bundle, table: pd.DataFrame, names: Sequence[str], n_latents: int) -> list[dict[str, Any]]:
    """Describe the columns of an association table, each (latents, genes) with NaN where a gene was not tested.

    Of p-values and false discovery rates the logarithms (to base 10) are kept.
    """
    columns = [
        (column, label, group, kind)
        for group, several in _STATISTICS.items()
        for column, label, kind in several
        if column in table
    ]
    return lay_out(bundle, table, names, n_latents, columns)


def lay_out(
    bundle: Bundle,
    table: pd.DataFrame,
    names: Sequence[str],
    n_latents: int,
    columns: list[tuple[str, str, str, str]],
) -> list[dict[str, Any]]:
    """Describe columns (name, label, group, kind) of a table with a row per latent and gene."""
    gene = pd.Index(names).get_indexer(pd.Index(table["gene"]))
    latent = table["latent"].to_numpy(int) - 1
    known = gene >= 0
    described = []
    for column, label, group, kind in columns:
        values = _logarithm(table, column) if kind in ("p", "fdr") else table[column].to_numpy(float)
        matrix = np.full((n_latents, len(names)), np.nan, np.float32)
        matrix[latent[known], gene[known]] = values[known]
        described.append({"key": column, "label": label, "group": group, "kind": kind, "values": bundle.add(matrix)})
    return described


def _logarithm(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Take the logarithm of p-values or false discovery rates, those too small for a number of 64 bits included."""
    p = column.replace("fdr", "p", 1)
    known = table[f"log10_{p}"].to_numpy(float) if f"log10_{p}" in table else _log10(table[p])
    if p == column:
        return known
    rate = _log10(table[column])
    lost = rate <= _SMALLEST_LOG10
    if lost.any():
        again = table.assign(_p=known).groupby("latent")["_p"].transform(lambda values: _false_discovery(values))
        rate[lost] = again.to_numpy(float)[lost]
    return rate


def _false_discovery(log10_p: pd.Series) -> pd.Series:
    """Correct logarithms of p-values by Benjamini and Hochberg."""
    tested = log10_p.dropna().sort_values(ascending=False)
    rank = np.arange(len(tested), 0, -1)
    rate = np.minimum.accumulate(tested + np.log10(len(tested) / rank))
    return pd.Series(np.minimum(rate, 0), index=tested.index).reindex(log10_p.index)


def _log10(p: pd.Series) -> NDArray[np.float64]:
    return np.log10(np.maximum(p.to_numpy(float), np.nextafter(0.0, 1.0)))


def _left_out(n_shown: int, n_strongest: int, n_asked: int, which: str = "", *, capped: bool) -> str:
    if n_strongest + n_asked >= n_shown:
        return "All genes that were tested have a map."
    asked = f" and {n_asked:,} asked for (report.genes)" if n_asked else ""
    more = "; with so many spots, raising report.n_genes changes nothing." if capped else ", or raise report.n_genes."
    return (
        f"The {n_strongest:,} genes{which} that go along with a latent most surely{asked} have a map, "
        f"of {n_shown:,}. The others have their statistics only: to see one on the slide, name it in report.genes of "
        f"the configuration{more}"
    )

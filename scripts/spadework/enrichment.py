"""Functional terms of the genes that go with a latent, from gene sets in a local GMT file.

Two questions, both against the genes that were tested and no others. Over-representation: are a set's genes more
often among those found than draws without replacement would be (hypergeometric, one-sided)? Rank: do a set's genes
rank higher, or lower, than the rest (Wilcoxon)? Genes of one set are correlated, which inflates the variance of a
rank sum; the rank test allows for that as CAMERA does (Wu & Smyth 2012, Nucleic Acids Research 40:e133), with one
correlation preset for all sets. With m genes in a set, m' others and correlation rho, the variance of the number of
pairs in which the set's gene ranks higher is::

    m m' / (2 pi) (asin 1 + (m' - 1) asin 1/2 + (m - 1)(m' - 1) asin rho/2 + (m - 1) asin (1 + rho)/2)

times 1 - sum (u^3 - u) / (G^3 - G) for ties of u genes each among all G, and p is two-sided, with a continuity
correction.

Neither test makes up for what genes of one cell type have in common. Their correlations in a section are ten times
the preset and more (0.16 to 0.35 among markers of stroma and immune cells in a breast tumour), so that they go up or
down together with any latent. With latents simulated there without regard to genes, 28 to 37 % of the rank tests of
marker sets had p < 0.05 (3 to 4 % of random sets), and 72 to 80 % of the latents had a set with FDR < 0.05. Sets say
what the genes of a latent are about; whether it has any is for the association table to say.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom, norm, rankdata

from spadework.errors import InputError
from spadework.headline import Headline
from spadework.readers.matrix import open_by_content

OVER_REPRESENTATION, RANK = "over-representation", "rank"
UP, DOWN = "up", "down"
# The correlation that CAMERA presets: a compromise between control of error and power.
INTER_GENE_CORRELATION = 0.01
MIN_OVERLAP, MIN_SHARE = 10, 0.01
COLUMNS = (
    *("collection", "latent", "test", "direction", "set", "n_tested", "n", "n_found", "n_overlap"),
    *("expected", "ratio", "auc", "p", "fdr", "genes"),
)
_GMT = "lines of tab-separated cells: name of the set, description, genes"
_VERSION = r"^(ENS[A-Z]*\d{11})\.\d+$"


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Read gene sets, one per line: name, description, genes, separated by tabs.

    Plain or gzipped, with Unix or Windows line ends; blank lines and genes that repeat within a set do not matter.

    Returns
    -------
    dict
        Name -> genes, in the order of the file.

    Raises
    ------
    InputError
        If there is no such file, it is not GMT, it is empty, or two sets share a name.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            "config", file, found="no such file", expected="gene sets as a GMT file", remedy="correct the path"
        )
    try:
        with open_by_content(file) as handle, io.TextIOWrapper(handle, encoding="utf-8-sig") as text:
            lines = list(text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _not_gmt(file, f"a file that cannot be read ({error})") from error
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        name, genes = cells[0], frozenset(cells[2:]) - {""}
        if not name or not genes:
            raise _not_gmt(file, f"no name or no genes in line {number} ({len(cells)} cells): {line.strip()[:60]!r}")
        if name in sets:
            raise InputError(
                "config",
                file,
                found=f"the set {name!r} twice, again in line {number}",
                expected="every set once",
                remedy="rename or remove one of the two",
            )
        sets[name] = genes
    if not sets:
        raise _not_gmt(file, "an empty file")
    return sets


def _not_gmt(file: Path, found: str) -> InputError:
    return InputError(
        "config", file, found=found, expected=_GMT, remedy="give gene sets as a GMT file, plain or gzipped"
    )


def match_genes(sets: dict[str, frozenset[str]], genes: pd.DataFrame, collection: str) -> sparse.csr_matrix:
    """Tell which genes are in which set, by symbol or by Ensembl id, whichever finds more of them.

    Versions of Ensembl ids are ignored. Upper and lower case are not: ``Acta2`` of the mouse is not ``ACTA2``.

    Parameters
    ----------
    genes
        (genes,) table by unique name (the symbol, or ``symbol_id`` where two genes share it), with ``gene_id``.
    collection
        Name of the sets, for messages.

    Returns
    -------
    scipy.sparse.csr_matrix
        (sets, genes) int64, 1 for members. Genes that share a symbol are all members.

    Raises
    ------
    InputError
        If fewer than 10 genes are in any set, or less than 1 % of the genes, or of those in the sets, if these are
        fewer.
    """
    names, ids = genes.index.astype(str), genes["gene_id"].astype(str)
    symbols = pd.Series([name.removesuffix(f"_{ident}") for name, ident in zip(names, ids, strict=True)], dtype=str)
    pairs = pd.DataFrame({"gene": list(sets.values())}).explode("gene").rename_axis("set").reset_index()
    by_symbol, by_id = (
        _members(len(sets), pairs.assign(gene=wanted), there)
        for wanted, there in ((pairs["gene"], symbols), (_unversioned(pairs["gene"]), _unversioned(ids)))
    )
    members = max(by_symbol, by_id, key=_n_matched)
    n_in_sets = pairs["gene"].nunique()
    needed = max(MIN_OVERLAP, int(np.ceil(MIN_SHARE * min(len(genes), n_in_sets))))
    if _n_matched(members) < needed:
        raise InputError(
            "config",
            collection,
            found=f"{_n_matched(members)} of {len(genes):,} tested genes among the {n_in_sets:,} of the gene sets; "
            f"the section has {_examples(names, ids)}, the sets have {_examples(pairs['gene'], pairs['gene'])}",
            expected=f"at least {needed} genes in common: gene symbols or Ensembl ids of the section's species",
            remedy="use gene sets of the same species and kind of identifier (upper and lower case count)",
        )
    return members


def _unversioned(identifiers: pd.Series) -> pd.Series:
    return identifiers.str.replace(_VERSION, r"\1", regex=True)


def _members(n_sets: int, pairs: pd.DataFrame, identifiers: pd.Series) -> sparse.csr_matrix:
    columns = pd.DataFrame({"gene": identifiers.to_numpy(), "column": np.arange(len(identifiers))})
    # Two versions of an id are one gene.
    found = pairs.drop_duplicates().merge(columns, on="gene")
    ones = np.ones(len(found), np.int64)
    return sparse.csr_matrix((ones, (found["set"], found["column"])), shape=(n_sets, len(identifiers)))


def _n_matched(members: sparse.csr_matrix) -> int:
    return int((members.getnnz(axis=0) > 0).sum())


def _examples(names: Iterable[str], ids: Iterable[str]) -> str:
    shown = sorted({name if name == ident else f"{name} ({ident})" for name, ident in zip(names, ids, strict=True)})
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def over_representation(members: sparse.csr_matrix, found: NDArray[np.bool_]) -> pd.DataFrame:
    """Test each set for more of the genes found than chance would put there (hypergeometric, one-sided).

    Parameters
    ----------
    members
        (sets, genes) 0/1; the genes are the background.
    found
        (genes,)

    Returns
    -------
    pandas.DataFrame
        A row per set: ``n_found`` of all genes, ``n_overlap`` of them in the set, ``expected`` there by chance,
        ``ratio`` of the two (NaN where none is expected) and ``p``.
    """
    n_tested, n_found = len(found), int(found.sum())
    n = members.getnnz(axis=1)
    overlap = members @ found.astype(np.int64)
    p = np.ones(len(n))
    # Most sets of a large collection hold none: their p is 1, and need not be computed.
    some = overlap > 0
    p[some] = hypergeom.sf(overlap[some] - 1, n_tested, n[some], n_found)
    expected = n * (n_found / n_tested)
    ratio = np.divide(overlap, expected, out=np.full(len(n), np.nan), where=expected > 0)
    return pd.DataFrame(
        {
            "n_found": n_found,
            "n_overlap": overlap,
            "expected": expected,
            "ratio": ratio,
            "p": np.clip(p, np.finfo(float).tiny, 1),
        }
    )


def rank_test(
    members: sparse.csr_matrix, statistic: NDArray[np.float64], correlation: float = INTER_GENE_CORRELATION
) -> pd.DataFrame:
    """Compare the ranks of each set's genes with those of all others, given that genes of a set are correlated.

    limma's ``cameraPR(use.ranks=TRUE)``; see the module for the formula.

    Parameters
    ----------
    members
        (sets, genes) 0/1; no set empty, none of all genes.
    statistic
        (genes,) signed; only its ranks count.
    correlation
        Between genes of a set, -1 to 1.

    Returns
    -------
    pandas.DataFrame
        A row per set: ``direction`` (``up`` where the set ranks higher), ``auc`` (probability that a gene of the set
        ranks higher than another gene, ties counted half) and the two-sided ``p``.

    Raises
    ------
    ValueError
        If a statistic is NaN, or a set is empty or holds all genes.
    """
    if np.isnan(statistic).any():
        raise ValueError(f"{int(np.isnan(statistic).sum())} of {len(statistic)} statistics are NaN")
    ranks = rankdata(statistic)
    m = members.getnnz(axis=1).astype(float)
    rest = len(ranks) - m
    if (m == 0).any() or (rest == 0).any():
        raise ValueError(f"sets of {int(m.min())} to {int(m.max())} of {len(ranks)} genes: nothing to compare")
    higher = members @ ranks - m * (m + 1) / 2
    pairs = m * rest
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    untied = 1 - (ties**3 - ties).sum() / (float(len(ranks)) ** 3 - len(ranks))
    variance = (untied * pairs / (2 * np.pi)) * (
        np.arcsin(1)
        + (rest - 1) * np.arcsin(0.5)
        + (m - 1) * (rest - 1) * np.arcsin(correlation / 2)
        + (m - 1) * np.arcsin((1 + correlation) / 2)
    )
    distance = higher - pairs / 2
    # Statistics that are all alike have no variance, and no distance either.
    z = (np.abs(distance) - 0.5) / np.sqrt(np.where(variance > 0, variance, np.inf))
    return pd.DataFrame(
        {
            "direction": np.where(distance < 0, DOWN, UP),
            "auc": higher / pairs,
            "p": np.clip(2 * norm.sf(z), np.finfo(float).tiny, 1),
        }
    )


def enrich(
    table: pd.DataFrame,
    by: Headline,
    sets: dict[str, frozenset[str]],
    *,
    collection: str,
    fdr: float,
    min_size: int = 10,
    max_size: int = 500,
) -> pd.DataFrame:
    """Test all sets of a collection for every latent, for over-representation and by rank.

    Over-representation is tested among the genes found, up and down apart; the rank test is one, in either
    direction, of all genes by signed -log10 p.

    Parameters
    ----------
    table
        Association table, one row per gene and latent. Genes without a result are no background.
    by
        The columns to go by.
    sets
        From :func:`read_gmt`.
    collection
        Name of the sets.
    fdr
        Genes below this false discovery rate count as found.
    min_size, max_size
        Sets of fewer or more tested genes are left out.

    Returns
    -------
    pandas.DataFrame
        A row per latent, test, direction and set, surest first: ``n_tested`` genes, ``n`` of them in the set,
        ``n_found`` in the direction, ``n_overlap`` of them in the set, and these by name in ``genes`` (surest first,
        separated by semicolons); ``expected`` and ``ratio`` of :func:`over_representation`, ``auc`` of
        :func:`rank_test`. ``fdr`` is Benjamini-Hochberg over the sets of the collection, within latent, test and, for
        over-representation, direction. Latents that were not tested have no rows.

    Raises
    ------
    InputError
        If hardly any gene is in any set, or no set is of the size asked for.
    ValueError
        If no gene was tested.
    """
    tested = table[table[[by.effect, by.log10_p, by.fdr]].notna().all(axis=1)]
    if tested.empty:
        raise ValueError(f"no gene with {by.effect}, {by.log10_p} and {by.fdr}")
    genes = tested[["gene", "gene_id"]].drop_duplicates("gene").set_index("gene")
    members = match_genes(sets, genes, collection)
    names = np.array(list(sets), object)
    frames = []
    for latent, rows in tested.groupby("latent"):
        ordered = rows.sort_values([by.log10_p, "gene"])
        of_latent = members[:, genes.index.get_indexer(ordered["gene"])]
        n = of_latent.getnnz(axis=1)
        used = (n >= max(min_size, 1)) & (n <= min(max_size, len(ordered) - 1))
        if used.any():
            frame = _both_tests(of_latent[used], names[used], ordered, by, fdr)
            frames.append(frame.assign(collection=collection, latent=latent, n_tested=len(ordered)))
    if not frames:
        largest = int(members.getnnz(axis=1).max())
        raise InputError(
            "config",
            collection,
            found=f"no set of {min_size} to {max_size} tested genes (the largest has {largest} of {len(genes):,})",
            expected="sets of a size that can be tested",
            remedy="use other gene sets, or change the sizes allowed",
        )
    out = pd.concat(frames)[list(COLUMNS)]
    return out.sort_values(["latent", "test", "p", "set", "direction"], ignore_index=True)


def _both_tests(
    members: sparse.csr_matrix, names: NDArray[np.object_], rows: pd.DataFrame, by: Headline, fdr: float
) -> pd.DataFrame:
    """Test the sets for one latent; ``members`` has the genes of ``rows``, in their order."""
    effect = rows[by.effect].to_numpy(float)
    ranked = rank_test(members, np.sign(effect) * -rows[by.log10_p].to_numpy(float))
    ranked = ranked.assign(test=RANK, set=names, n=members.getnnz(axis=1), fdr=false_discovery_control(ranked["p"]))
    frames, below = [], (rows[by.fdr] < fdr).to_numpy()
    for direction, side in ((UP, effect > 0), (DOWN, effect < 0)):
        found = side & below
        over = over_representation(members, found)
        over = over.assign(
            test=OVER_REPRESENTATION,
            direction=direction,
            set=names,
            n=ranked["n"],
            fdr=false_discovery_control(over["p"]),
            genes=_overlaps(members, found, rows["gene"].to_numpy(str)),
        )
        same = ranked[ranked["direction"] == direction]
        frames += [over, same.join(over[["n_found", "n_overlap", "expected", "ratio", "genes"]])]
    return pd.concat(frames)


def _overlaps(members: sparse.csr_matrix, found: NDArray[np.bool_], genes: NDArray[np.str_]) -> list[str]:
    """Name the genes found in each set, in the order of the columns."""
    names, inside = genes[found], members[:, np.flatnonzero(found)].sorted_indices()
    return [";".join(names[columns]) for columns in np.split(inside.indices, inside.indptr[1:-1])]

"""Functional terms of the genes that go with a latent, from gene sets in a local GMT file.

Two questions, both against the genes that were tested and no others. Over-representation: are a set's genes more
often among those found than draws without replacement would be (hypergeometric, one-sided)? Rank: do a set's genes
rank higher, or lower, than the rest?

Genes of one cell type correlate (0.16 to 0.35 among markers of stroma and immune cells in a breast tumour), and genes
and latents both vary smoothly over a section, so that such a set goes up or down as a whole with any latent.
Wilcoxon's variance, that of independent genes, is far too small then. The rank test takes the variance from latents
permuted over the section instead (:mod:`spadework.surrogates`), which meet the same correlations between genes and
between spots. In that section, with random fields in place of latents (independent spots, ranges of 2 and 5 pitches),
4 to 6 % of the tests of marker sets had p < 0.05 (24 to 36 % by Wilcoxon's), and 3 to 5 % of the fields had a set
with FDR < 0.05. Over-representation has no such remedy: it takes genes as independent.

Ranked are the genes' t with a latent, adjusted for depth and at the effective number of spots M of gene and latent::

    t = r sqrt((M - 2) / (1 - r^2))

r being the partial correlation with the latent or with its permutation. Of t come the AUC of a set, the probability
that a gene of it ranks above another gene, and z = Phi^-1(AUC), by its own value and by that of every permutation.
AUC is bounded: in a set whose AUC scatters with SD 0.2, even an AUC of 1 is 2.5 SD from 1/2 and never significant
among many sets. z is not bounded, and nearly normal whether the genes of a set share what moves them or not. Under
the null, z of the latent and of its n permutations have mean 0 and the same variance; z over the root mean square of
those of the permutations is then Student's t on n degrees of freedom. So p can be less than 1 / n, and allows for a
variance known from n permutations only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom, norm, rankdata
from scipy.stats import t as student

from spadework.columns import DOWN, OVER_REPRESENTATION, RANK, UP
from spadework.errors import InputError
from spadework.headline import Headline
from spadework.section import unversioned

R, ESS = "r_depth", "ess"
# They give the null SD of a set to 1 / sqrt(2 * 200) = 5 %, for which the t distribution makes up.
N_PERMUTATIONS = 200
MIN_OVERLAP, MIN_SHARE = 10, 0.01
COLUMNS = (
    *("collection", "latent", "test", "direction", "set", "n_tested", "n", "n_found", "n_overlap"),
    *("expected", "ratio", "auc", "p", "fdr", "genes"),
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
        for wanted, there in ((pairs["gene"], symbols), (unversioned(pairs["gene"]), unversioned(ids)))
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
    members: sparse.csr_matrix, statistic: NDArray[np.floating], permuted: NDArray[np.floating]
) -> pd.DataFrame:
    """Compare the ranks of each set's genes with those of all others, and this with permuted latents.

    See the module for the formula.

    Parameters
    ----------
    members
        (sets, genes) 0/1; no set empty, none of all genes.
    statistic
        (genes,) signed; only its ranks count.
    permuted
        (genes, n) the same statistic of each permuted latent.

    Returns
    -------
    pandas.DataFrame
        A row per set: ``direction`` (``up`` where the set ranks higher), ``auc`` (probability that a gene of the set
        ranks higher than another gene, ties counted half) and the two-sided ``p``; 1 if all genes always tie.

    Raises
    ------
    ValueError
        If a statistic is NaN, or a set is empty or holds all genes.
    """
    statistics = np.column_stack([statistic, permuted])
    missing = int(np.isnan(statistics).any(axis=1).sum())
    if missing:
        raise ValueError(f"{missing} of {len(statistics)} genes have statistics that are NaN")
    m = members.getnnz(axis=1).astype(float)[:, None]
    rest = len(statistics) - m
    if (m == 0).any() or (rest == 0).any():
        raise ValueError(f"sets of {int(m.min())} to {int(m.max())} of {len(statistics)} genes: nothing to compare")
    auc = (members @ rankdata(statistics, axis=0) - m * (m + 1) / 2) / (m * rest)
    # Half a pair from the end, or a set that is on top altogether would be infinitely far up.
    half = 0.5 / (m * rest)
    z = norm.ppf(np.clip(auc, half, 1 - half))
    sd = np.sqrt((z[:, 1:] ** 2).mean(axis=1))
    t = np.divide(z[:, 0], sd, out=np.zeros(len(z)), where=sd > 0)
    return pd.DataFrame(
        {
            "direction": np.where(auc[:, 0] < 0.5, DOWN, UP),
            "auc": auc[:, 0],
            "p": np.maximum(2 * student.sf(np.abs(t), z.shape[1] - 1), np.finfo(float).tiny),
        }
    )


def enrich(
    table: pd.DataFrame,
    by: Headline,
    sets: dict[str, frozenset[str]],
    permuted: Mapping[int, pd.DataFrame],
    *,
    collection: str,
    fdr: float,
    min_size: int = 10,
    max_size: int = 500,
) -> pd.DataFrame:
    """Test all sets of a collection for every latent, for over-representation and by rank.

    Over-representation is tested among the genes found, up and down apart. The rank test is one, in either
    direction, of all genes, and goes by the effects adjusted for depth whatever ``by`` says: permuted latents are
    a null of these only.

    Parameters
    ----------
    table
        Association table, one row per gene and latent, with ``r_depth`` and ``ess``; ``ess`` is NaN throughout
        where spots are taken as independent. Genes without a result are no background.
    by
        The columns that say which genes were found.
    sets
        From :func:`spadework.gene_sets.read_gmt`.
    permuted
        Latent -> (genes, permutations) correlations of all tested genes with permuted latents, by name of the gene.
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
        If no gene was tested, or one was not correlated with the permuted latents.
    """
    needed = list(dict.fromkeys([by.effect, by.log10_p, by.fdr, R] + [ESS] * bool(table[ESS].notna().any())))
    tested = table[table[needed].notna().all(axis=1)]
    if tested.empty:
        raise ValueError(f"no gene with {', '.join(needed)}")
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
            statistics = _statistics(ordered, permuted[int(latent)])
            frame = _both_tests(of_latent[used], names[used], ordered, statistics, by, fdr)
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


def _statistics(rows: pd.DataFrame, permuted: pd.DataFrame) -> NDArray[np.float64]:
    """Return t of each gene with the latent, first column, and with its permutations."""
    r = np.column_stack([rows[R], permuted.reindex(rows["gene"])])
    # Without an effective number, all genes have the same spots, and t ranks them as r does.
    df = (rows[ESS] - 2).fillna(1.0).to_numpy()[:, None]
    return r * np.sqrt(df / np.maximum(1 - r**2, np.finfo(float).eps))


def _both_tests(
    members: sparse.csr_matrix,
    names: NDArray[np.object_],
    rows: pd.DataFrame,
    statistics: NDArray[np.float64],
    by: Headline,
    fdr: float,
) -> pd.DataFrame:
    """Test the sets for one latent; ``members`` and ``statistics`` have the genes of ``rows``, in their order."""
    effect = rows[by.effect].to_numpy(float)
    ranked = rank_test(members, statistics[:, 0], statistics[:, 1:])
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

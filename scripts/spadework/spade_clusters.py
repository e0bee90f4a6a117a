"""Clusters of expression that keep the morphology, beside those of all expression and of the image alone.

Bae, Choi & Lee 2021 (Nucleic Acids Research 49:e55) cluster spots on the genes associated with their image latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from spadework.clustering import cluster
from spadework.headline import Headline
from spadework.keys import Keys
from spadework.labels import UNLABELLED
from spadework.latents import fit_latents
from spadework.lattice import NEIGHBOURS, positions_um

# Silhouettes need all pairs of spots.
_MAX_SILHOUETTE_SPOTS = 5000
# Next but nearest spots of a square lattice are 1.4 times as far as the nearest; recorded centres scatter a little.
_REACH = 1.3


def cluster_section(
    section: ad.AnnData,
    latents: ad.AnnData,
    table: pd.DataFrame,
    by: Headline,
    *,
    n_genes: int,
    fdr: float,
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[pd.Series, pd.DataFrame]:
    """Cluster a section's spots by its SPADE genes and compare with all other clusters.

    Parameters
    ----------
    section
        AnnData of the expression stage.
    latents
        AnnData of the latents, of the same spots.
    table
        Association table.
    by
        The columns of it to go by.
    settings
        ``n_pcs``, ``n_neighbors`` and ``resolution`` of the expression clusters.

    Returns
    -------
    clusters
        By barcode.
    comparison
        Of :func:`compare_clusters`, with the control of :func:`random_genes`; ``genes`` and ``genes_found`` say how
        many genes there are and how many of them are significant.
    """
    genes, significant = spade_genes(table, by, n_genes=n_genes, fdr=fdr)
    control = random_genes(table, genes, seed)
    clusters = pd.Series(cluster_spade(section, genes, **settings, seed=seed), section.obs_names)
    comparison = compare_clusters(
        {
            "expression": section.obs[Keys.CLUSTER],
            "SPADE genes": clusters,
            **({"random genes": cluster_spade(section, control, **settings, seed=seed)} if control else {}),
            "image": latents.obs[Keys.IMAGE_CLUSTER],
        },
        section.obsm[Keys.PCA],
        latents.obsm["pca"],
        positions_um(section),
        lattice_kind=section.uns[Keys.SPADE]["lattice"]["kind"],
        seed=seed,
    )
    comparison["genes"], comparison["genes_found"] = len(genes), significant
    return clusters.rename(Keys.SPADE_CLUSTER), comparison


def spade_genes(table: pd.DataFrame, by: Headline, *, n_genes: int, fdr: float) -> tuple[list[str], int]:
    """Choose the genes most surely associated with the image: the first of every latent, then the second, and so on.

    A section where few genes pass ``fdr`` still needs enough of them to cluster on, so genes are chosen by rank, as
    the lists of top genes are. Latents take turns because the one with most genes would otherwise be all the
    morphology there is. A gene counts where it ranks highest.

    Parameters
    ----------
    table
        Association table, a row per gene and latent.
    by
        The columns to go by.
    n_genes
        Genes to choose; fewer where fewer were tested.
    fdr
        A gene is significant if its false discovery rate for any latent is smaller.

    Returns
    -------
    genes
        Names, best rank first.
    n_significant
        How many of them are significant.
    """
    tested = table[table[by.log10_p].notna()]
    rank = tested.groupby("latent")[by.log10_p].rank(method="first")
    in_turn = tested.assign(rank=rank).sort_values(["rank", "latent"])
    genes = in_turn["gene"].drop_duplicates().head(n_genes)
    significant = table.loc[table[by.fdr] < fdr, "gene"]
    return genes.tolist(), int(genes.isin(significant).sum())


def random_genes(table: pd.DataFrame, chosen: list[str], seed: int) -> list[str]:
    """Draw as many other tested genes of like expression: what any genes as well measured would have given.

    Genes are drawn within tenths by ``mean_expression``; fewer, where a tenth has no others left.
    """
    genes = table.drop_duplicates("gene").set_index("gene")["mean_expression"].rank(method="first", pct=True)
    tenth = np.ceil(10 * genes)
    wanted = tenth.loc[chosen].value_counts()
    others = tenth.drop(chosen).sample(frac=1, random_state=seed)
    drawn = others[others.groupby(others).cumcount() < others.map(wanted).fillna(0)]
    return drawn.index.tolist()


def cluster_spade(
    expression: ad.AnnData, genes: list[str], *, n_pcs: int, n_neighbors: int, resolution: float, seed: int
) -> NDArray[np.str_]:
    """Cluster spots on some genes, with the steps of the expression clusters: centred, not scaled, PCA, Leiden.

    Parameters
    ----------
    expression
        Log-normalised ``X`` (spots, genes).
    genes
        Those to use.
    n_pcs
        Principal components; fewer where the genes or the spots allow no more.

    Returns
    -------
    numpy.ndarray
        (spots,) str, ``"0"`` the largest.

    Raises
    ------
    KeyError
        If a gene is missing.
    ValueError
        If no gene varies, or there are fewer than four spots.
    """
    values = expression[:, genes].X
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    if not (values != values[:1]).any():
        raise ValueError(f"none of {len(genes)} genes varies over {len(values)} spots")
    model = fit_latents(values, min(n_pcs, len(values) - 1, len(genes)), standardize=False)
    return cluster(model.project(values), n_neighbors=n_neighbors, resolution=resolution, seed=seed)


def compare_clusters(
    labelings: Mapping[str, ArrayLike],
    expression_pca: NDArray[np.floating],
    latents: NDArray[np.floating],
    positions: NDArray[np.floating],
    *,
    lattice_kind: str,
    seed: int,
) -> pd.DataFrame:
    """Say of each labelling how well it separates expression and image, how it lies in space and whom it is like.

    Parameters
    ----------
    labelings
        Name -> (n,) labels. Spots that are NaN or ``unlabelled`` do not count where a labelling has them.
    expression_pca
        (n, p) principal components of expression. Labels made from them have the advantage there.
    latents
        (n, k) image latents; likewise.
    positions
        (n, 2), in µm.
    lattice_kind
        Says how many neighbours a spot has. Gaps and edges leave fewer on a lattice; cells (``none``) have the
        nearest ones, however far.
    seed
        Silhouettes of more than 5,000 spots are taken on 5,000 drawn at random, the same for all labellings.

    Returns
    -------
    pandas.DataFrame
        A row per labelling: ``labelling``, ``n_clusters``; ``silhouette_expression`` and ``silhouette_image``, mean
        silhouettes (Rousseeuw 1987), NaN unless some but not all spots share a cluster; ``coherence``, the mean share
        of a spot's neighbours that are in its cluster, and ``coherence_by_chance``, what it would be if the same
        labels were dealt out at random; ``ari_<name>``, adjusted Rand index (Hubert & Arabie 1985) with each
        labelling, NaN where no spot is labelled in both.

    Raises
    ------
    ValueError
        If arrays differ in length.
    """
    n = len(positions)
    sizes = {name: len(np.asarray(labels)) for name, labels in labelings.items()}
    sizes |= {"expression": len(expression_pca), "latents": len(latents)}
    for name, size in sizes.items():
        if size != n:
            raise ValueError(f"{name} has {size} rows for {n} positions")
    codes = {name: _codes(labels) for name, labels in labelings.items()}
    drawn = np.random.default_rng(seed).permutation(n)[:_MAX_SILHOUETTE_SPOTS]
    pairs = _neighbour_pairs(positions, lattice_kind)
    rows = []
    for name, own in codes.items():
        rows.append(
            {
                "labelling": name,
                "n_clusters": int(own.max(initial=-1)) + 1,
                "silhouette_expression": _silhouette(expression_pca[drawn], own[drawn]),
                "silhouette_image": _silhouette(latents[drawn], own[drawn]),
                "coherence": _coherence(own, pairs),
                "coherence_by_chance": _coherence_by_chance(own),
                **{f"ari_{other}": _adjusted_rand(own, codes[other]) for other in codes},
            }
        )
    return pd.DataFrame(rows)


def _codes(labels: ArrayLike) -> NDArray[np.intp]:
    """Number the clusters from 0; spots without a label are -1."""
    values = pd.Series(np.asarray(labels, object))
    return pd.factorize(values.mask(values == UNLABELLED))[0]


def _silhouette(values: NDArray[np.floating], codes: NDArray[np.intp]) -> float:
    labelled = codes >= 0
    n_clusters = len(np.unique(codes[labelled]))
    if not 2 <= n_clusters < labelled.sum():
        return float("nan")
    return float(silhouette_score(values[labelled], codes[labelled]))


def _neighbour_pairs(positions: NDArray[np.floating], lattice_kind: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """List (spot, neighbour) both ways."""
    k = min(NEIGHBOURS[lattice_kind], len(positions) - 1)
    distance, index = NearestNeighbors(n_neighbors=k).fit(positions).kneighbors()
    reach = np.inf if lattice_kind == "none" else _REACH * np.median(distance[:, 0])
    spot, rank = np.nonzero(distance <= reach)
    return spot, index[spot, rank]


def _coherence(codes: NDArray[np.intp], pairs: tuple[NDArray[np.intp], NDArray[np.intp]]) -> float:
    spot, neighbour = pairs
    both = (codes[spot] >= 0) & (codes[neighbour] >= 0)
    spot, neighbour = spot[both], neighbour[both]
    n_neighbours = np.bincount(spot)
    same = np.bincount(spot, weights=codes[spot] == codes[neighbour])
    shares = same[n_neighbours > 0] / n_neighbours[n_neighbours > 0]
    return float(shares.mean()) if len(shares) else float("nan")


def _coherence_by_chance(codes: NDArray[np.intp]) -> float:
    """Return the chance that two spots drawn without replacement share a cluster."""
    size = np.bincount(codes[codes >= 0])
    n = size.sum()
    return float((size * (size - 1)).sum() / (n * (n - 1))) if n > 1 else float("nan")


def _adjusted_rand(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    both = (a >= 0) & (b >= 0)
    return float(adjusted_rand_score(a[both], b[both])) if both.any() else float("nan")

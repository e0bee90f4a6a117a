"""Neighbour graph, Leiden clusters and UMAP: the same steps for genes and for image latents."""

from __future__ import annotations

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from spadework.job import without_tensorflow


def cluster(
    representation: NDArray[np.floating], *, n_neighbors: int, resolution: float, seed: int
) -> NDArray[np.str_]:
    """Cluster spots by Leiden on their nearest-neighbour graph.

    Parameters
    ----------
    representation
        (n, k): principal components of expression or of image features.
    n_neighbors
        Neighbours per spot; lowered to n - 1 where there are fewer spots.

    Returns
    -------
    numpy.ndarray
        (n,) str, ``"0"`` the largest.

    Raises
    ------
    ValueError
        If there are fewer than four spots.
    """
    return _clustered(representation, n_neighbors, resolution, seed).obs["leiden"].to_numpy(str)


def cluster_and_embed(
    representation: NDArray[np.floating], *, n_neighbors: int, resolution: float, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Cluster spots as :func:`cluster` does, and embed the same graph by UMAP, (n, 2) float32."""
    adata = _clustered(representation, n_neighbors, resolution, seed)
    with without_tensorflow():
        import scanpy as sc
    sc.tl.umap(adata, random_state=seed, init_pos="spectral" if adata.n_obs > 12 else "random")
    return adata.obs["leiden"].to_numpy(str), adata.obsm["X_umap"].astype(np.float32)


def _clustered(representation: NDArray[np.floating], n_neighbors: int, resolution: float, seed: int) -> ad.AnnData:
    if len(representation) < 4:
        raise ValueError(f"clusters of {len(representation)} spots; at least 4 are needed")
    with without_tensorflow():
        import scanpy as sc

    adata = ad.AnnData(np.asarray(representation, np.float32))
    # Exact neighbours: the approximate search scanpy takes from 8,192 spots on depends on the number of cores.
    sc.pp.neighbors(
        adata,
        n_neighbors=min(n_neighbors, adata.n_obs - 1),
        use_rep="X",
        transformer="sklearn",
        random_state=seed,
    )
    sc.tl.leiden(adata, resolution=resolution, flavor="igraph", n_iterations=-1, directed=False, random_state=seed)
    return adata

"""What each latent goes along with: depth, tissue content, space."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.headline import Headline
from spadework.job import allow_unused, without_tensorflow
from spadework.keys import Keys
from spadework.lattice import NEIGHBOURS, positions_um


def morans_i(values: NDArray[np.floating], positions: NDArray[np.floating], n_neighbors: int) -> NDArray[np.float64]:
    """Moran's I of each column on the graph of nearest neighbours, by squidpy.

    Parameters
    ----------
    values
        (n, k).
    positions
        (n, 2), in µm.

    Returns
    -------
    numpy.ndarray
        (k,) float64: 0 without spatial structure, towards 1 where neighbours are alike.
    """
    allow_unused()
    with without_tensorflow():
        import squidpy as sq

    columns = [f"latent_{j + 1}" for j in range(values.shape[1])]
    adata = ad.AnnData(
        np.zeros((len(values), 1), np.float32),
        obs=pd.DataFrame(np.asarray(values, float), columns=columns, index=np.arange(len(values)).astype(str)),
        obsm={"spatial": np.asarray(positions, float)},
    )
    sq.gr.spatial_neighbors(adata, coord_type="generic", n_neighs=min(n_neighbors, adata.n_obs - 1))
    sq.gr.spatial_autocorr(adata, mode="moran", attr="obs", genes=columns, n_perms=None)
    return adata.uns["moranI"].loc[columns, "I"].to_numpy(float)


def summarise_latents(
    section: ad.AnnData,
    latents: ad.AnnData,
    table: pd.DataFrame,
    by: Headline,
    fdr: float,
) -> pd.DataFrame:
    """Make a row per latent.

    Parameters
    ----------
    section
        AnnData of the expression stage, with the share of tissue in every patch.
    latents
        AnnData of the latents, of the same spots.
    table
        Association table. Genes with a false discovery rate below ``fdr`` are counted, but not for latents that were
        not tested.
    by
        The test that counts.
    """
    values, kind = latents.obsm["pca"], section.uns[Keys.SPADE]["lattice"]["kind"]
    depth = np.log10(np.maximum(section.obs[Keys.TOTAL_COUNTS].to_numpy(float), 1))
    tissue_fraction = section.obs[Keys.TISSUE_FRACTION].to_numpy(float)
    hits = table[table[by.fdr] < fdr]
    rows = []
    for j, moran in enumerate(morans_i(values, positions_um(section), NEIGHBOURS[kind])):
        of_latent = hits[hits["latent"] == j + 1]
        tested = bool((table["latent"] == j + 1).any())
        rows.append(
            {
                "latent": j + 1,
                "variance_ratio": float(latents.uns["variance_ratio"][j]),
                "moran_i": float(moran),
                "r_log10_umi": _correlation(values[:, j], depth),
                "r_tissue_fraction": _correlation(values[:, j], tissue_fraction),
                "genes_up": int((of_latent[by.effect] > 0).sum()) if tested else None,
                "genes_down": int((of_latent[by.effect] < 0).sum()) if tested else None,
            }
        )
    return pd.DataFrame(rows).astype({"genes_up": "Int64", "genes_down": "Int64"})


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson correlation; 0 where one side does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if np.std(a) > 0 and np.std(b) > 0 else 0.0

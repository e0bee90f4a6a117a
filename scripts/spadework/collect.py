"""Merge the results of all stages of a section into its final AnnData."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from spadework.columns import ADJUSTED, PUBLISHED
from spadework.keys import NUCLEI, Keys
from spadework.labels import categorical


@dataclass(frozen=True)
class PrototypeResults:
    """What prototypes say of a section.

    Attributes
    ----------
    scores
        Of :func:`spadework.prototypes.scoring.scores_table`, by barcode; ``attrs`` say how prototypes were made.
    table
        The prototypes, a row each.
    """

    scores: pd.DataFrame
    table: pd.DataFrame


@dataclass(frozen=True)
class EncoderResults:
    """What one encoder gave.

    Attributes
    ----------
    features
        AnnData (patches, d) with the encoder's description in ``uns["encoder"]``.
    latents
        AnnData of the same patches with ``obsm`` pca, tsne, umap, ``obs["image_cluster"]`` and the model in ``uns``.
    spade_clusters
        By barcode, ``spade_cluster``.
    association
        Table of :func:`spadework.association.to_table`; ``attrs["engine"]`` says what fitted the models.
    """

    name: str
    features: ad.AnnData
    latents: ad.AnnData
    association: pd.DataFrame
    spade_clusters: pd.DataFrame


def collect(
    expression: ad.AnnData,
    manifest: pd.DataFrame,
    encoders: list[EncoderResults],
    *,
    preflight: dict[str, Any],
    parameters: dict[str, Any],
    annotations: dict[str, str],
    nuclei: pd.DataFrame | None = None,
    prototypes: PrototypeResults | None = None,
    placed: pd.DataFrame | None = None,
) -> ad.AnnData:
    """Join everything by barcode; the spots are those of the expression stage.

    Parameters
    ----------
    manifest
        Patch manifest by barcode.
    encoders
        The headline encoder first.
    annotations
        What the sample sheet says of the section, kept in ``obs``.
    nuclei
        Nuclei per spot, by barcode: into ``obs``, and all of them into ``obsm``; ``attrs``, which say how they were
        found, into ``uns["spade"]["nuclei"]`` as JSON text.
    prototypes
        Prediction and confidence into ``obs``, scores into ``obsm``; the table, and as JSON text how they were made,
        into ``uns["spade"]["prototypes"]``.
    placed
        Of a serial section, x, y and depth of its spots in the block by barcode (columns ``x_um``, ``y_um``,
        ``z_um``), into ``obsm``.

    Raises
    ------
    KeyError
        If a spot has no patch, or no place in the block.
    """
    adata = expression
    for column, value in annotations.items():
        adata.obs[column] = pd.Categorical([value] * adata.n_obs)
    rows = manifest.loc[adata.obs_names]
    adata.obs[Keys.TISSUE_FRACTION] = rows["tissue_fraction"].to_numpy()
    adata.obs[Keys.PADDED_FRACTION] = rows["padded_fraction"].to_numpy()
    if nuclei is not None:
        found = nuclei.loc[adata.obs_names, list(NUCLEI)]
        adata.obs[list(NUCLEI)] = found
        adata.obsm[Keys.NUCLEI] = found.to_numpy(np.float32)
    if placed is not None:
        adata.obsm[Keys.SPATIAL_3D] = placed.loc[adata.obs_names, ["x_um", "y_um", "z_um"]].to_numpy(np.float64)
    spade = dict(adata.uns[Keys.SPADE])
    if prototypes is not None:
        said = prototypes.scores.loc[adata.obs_names]
        adata.obs[Keys.PROTOTYPE_CLASS] = categorical(said["prediction"])
        adata.obs[Keys.PROTOTYPE_CONFIDENCE] = said["confidence"].to_numpy()
        adata.obsm[Keys.PROTOTYPES] = said.drop(columns=["prediction", "confidence"]).to_numpy(np.float32)
        spade["prototypes"] = {
            "table": prototypes.table,
            "made": json.dumps(prototypes.scores.attrs, sort_keys=True),
        }
    for result in encoders:
        features, latents = result.features[adata.obs_names], result.latents[adata.obs_names]
        adata.obsm[Keys.features(result.name)] = np.asarray(features.X, np.float32)
        for kind in ("pca", "tsne", "umap"):
            adata.obsm[Keys.latents(result.name, kind)] = np.asarray(latents.obsm[kind], np.float32)
        for kind, labels in ((Keys.IMAGE_CLUSTER, latents.obs), (Keys.SPADE_CLUSTER, result.spade_clusters)):
            key = Keys.clusters(kind, result.name, encoders[0].name)
            adata.obs[key] = categorical(labels[kind].loc[adata.obs_names])
        for statistic, values in association_matrices(result.association, adata.var_names).items():
            adata.varm[Keys.association(result.name, statistic)] = values
        spade[result.name] = {"encoder": dict(result.features.uns["encoder"])} | {
            key: result.latents.uns[key]
            for key in ("variance_ratio", "variance", "components", "mean", "scale", "fitted_on")
        }
        spade[result.name]["association_engine"] = result.association.attrs["engine"]
    source = str(rows["source"].iloc[0])
    spade["patch"] = {
        "image": source,
        "image_file": preflight["image"]["file"] if source == preflight["image"]["source"] else f"the {source} image",
        "um_per_px": rows[["um_per_px_x", "um_per_px_y"]].iloc[0].to_numpy(float),
        "width_px": int(rows["width_px"].iloc[0]),
        "height_px": int(rows["height_px"].iloc[0]),
        "width_um": float(rows["width_um"].iloc[0]),
        "height_um": float(rows["height_um"].iloc[0]),
    }
    spade["encoders"] = np.array([r.name for r in encoders])
    spade["preflight"] = preflight["status"]
    if nuclei is not None:
        spade["nuclei"] = json.dumps(nuclei.attrs, sort_keys=True)
    # JSON text: AnnData files hold no missing values in nested dictionaries, a configuration does.
    spade["parameters"] = json.dumps(parameters, sort_keys=True)
    adata.uns[Keys.SPADE] = spade
    return adata


def association_matrices(table: pd.DataFrame, genes: pd.Index) -> dict[str, np.ndarray]:
    """Turn the long table into (genes, latents) float64 matrices, NaN where a gene was not tested."""
    latents = np.sort(table["latent"].unique())
    return {
        statistic: table.pivot(index="gene", columns="latent", values=statistic)
        .reindex(index=genes, columns=latents)
        .to_numpy(float)
        for statistic in (*PUBLISHED, *ADJUSTED)
        if statistic in table
    }

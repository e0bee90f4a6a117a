"""What there is per spot: columns to colour a slide by, and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.figures.style import category_colours, two_sd_limits
from spadework.keys import NUCLEI, Keys
from spadework.report.bundle import Bundle

# obs column -> label, unit, digits.
_QUALITY = {
    Keys.TOTAL_COUNTS: ("total counts", "counts", 4),
    Keys.N_GENES: ("genes detected", "genes", 4),
    Keys.PCT_MT: ("mitochondrial counts", "%", 3),
    Keys.TISSUE_FRACTION: ("tissue in the patch", "share", 3),
    Keys.PADDED_FRACTION: ("patch outside the image", "share", 3),
}
_NUCLEI = {
    Keys.NUCLEI_COUNT: ("nuclei in the spot", "nuclei", 3),
    Keys.NUCLEI_DENSITY: ("nuclei, density", "per mm²", 4),
    Keys.NUCLEI_AREA: ("nuclei, mean area", "µm²", 3),
    Keys.NUCLEI_ECCENTRICITY: ("nuclei, eccentricity", "0 round, 1 a line", 3),
    Keys.NUCLEI_HAEMATOXYLIN: ("nuclei, haematoxylin", "optical density", 3),
    Keys.NUCLEI_NEAREST: ("nuclei, distance to the next", "µm", 3),
    Keys.NUCLEI_LEFT_OUT: ("clumps left out of the nuclei", "µm²", 3),
}
# Known by where a spot is, or the same for all of them, or shown otherwise.
_NOT_SHOWN = {
    *(Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL, "total_counts_mt", "sample", "group", "block", "z_um"),
    *(*_QUALITY, *NUCLEI, Keys.PROTOTYPE_CLASS, Keys.PROTOTYPE_CONFIDENCE),
}
GIVEN_CLUSTERS = "clusters of the sample sheet"
# More categories than this are names of spots, not classes; no palette tells so many apart.
_MOST_CATEGORIES = 100
# Between which percentiles colours spread, unless they are those of a latent.
_PERCENTILES = (1, 99)

_MISSING = np.iinfo(np.uint8).max  # code of a spot without a category


@dataclass(frozen=True)
class Column:
    """What spots can be coloured by.

    Attributes
    ----------
    data
        Numbers (NaN where missing), or categories.
    diverging
        Colours spread around the mean, as those of latents do.
    """

    key: str
    label: str
    group: str
    data: NDArray[np.float64] | pd.Categorical
    diverging: bool = False
    unit: str = ""
    digits: int = 3


def latent_columns(
    encoder: str, latents: NDArray[np.floating], ratio: NDArray[np.floating] | None = None, name: str = "latent"
) -> list[Column]:
    """Name the latents of an encoder, (n, k), with their share of the variance if it is known."""
    group = f"{name.capitalize()}s ({encoder})"
    columns = []
    for j, values in enumerate(np.asarray(latents, float).T):
        label = f"{name} {j + 1}" + ("" if ratio is None else f" ({ratio[j]:.1%} of variance)".replace("%", " %"))
        columns.append(Column(f"{encoder}/{name} {j + 1}", label, group, values, diverging=True))
    return columns


def own_latents(section: ad.AnnData) -> list[Column]:
    """Name the latents of all encoders of a section."""
    spade = section.uns[Keys.SPADE]
    return [
        column
        for encoder in map(str, spade["encoders"])
        for column in latent_columns(
            encoder,
            section.obsm[Keys.latents(encoder, "pca")],
            np.asarray(spade[encoder]["variance_ratio"]),
        )
    ]


def spot_columns(section: ad.AnnData) -> list[Column]:
    """Name the columns of ``obs`` that a slide can be coloured by."""
    obs, encoders = section.obs, [str(name) for name in section.uns[Keys.SPADE]["encoders"]]
    labels = cluster_labels(obs, encoders)
    columns = [Column(key, label, "Clusters", _categories(obs[key])) for key, label in labels.items()]
    for group, known in (("Quality", _QUALITY), ("Nuclei", _NUCLEI)):
        columns += [
            Column(key, label, group, _numbers(obs[key]), unit=unit, digits=digits)
            for key, (label, unit, digits) in known.items()
            if key in obs
        ]
    if Keys.PROTOTYPE_CLASS in obs:
        classes, sure = _categories(obs[Keys.PROTOTYPE_CLASS]), _numbers(obs[Keys.PROTOTYPE_CONFIDENCE])
        columns.append(Column(Keys.PROTOTYPE_CLASS, "class predicted by prototypes", "Prototypes", classes))
        columns.append(Column(Keys.PROTOTYPE_CONFIDENCE, "confidence of the prediction", "Prototypes", sure))
    for key in (str(key) for key in obs if key not in _NOT_SHOWN and key not in labels):
        number = pd.api.types.is_numeric_dtype(obs[key]) and not pd.api.types.is_bool_dtype(obs[key])
        columns.append(Column(key, key, "Other", _numbers(obs[key]) if number else _categories(obs[key])))
    return columns


def cluster_labels(obs: pd.DataFrame, encoders: list[str]) -> dict[str, str]:
    """Name the columns of ``obs`` that hold clusters made here."""
    given = any(f"cluster_{engine}" in obs for engine in ("scanpy", "seurat"))
    labels = {
        Keys.CLUSTER: GIVEN_CLUSTERS if given else "expression clusters",
        "cluster_scanpy": "expression clusters by Scanpy",
        "cluster_seurat": "expression clusters by Seurat",
    }
    for encoder in encoders:
        for kind, label in ((Keys.SPADE_CLUSTER, "clusters of SPADE genes"), (Keys.IMAGE_CLUSTER, "image clusters")):
            labels[Keys.clusters(kind, encoder, encoders[0])] = f"{label} ({encoder})"
    return {key: label for key, label in labels.items() if key in obs}


def embeddings(bundle: Bundle, section: ad.AnnData) -> list[dict[str, Any]]:
    """Describe the embeddings of image and expression."""
    named = {
        Keys.latents(str(encoder), kind): f"image {label} ({encoder})"
        for encoder in section.uns[Keys.SPADE]["encoders"]
        for kind, label in (("tsne", "t-SNE"), ("umap", "UMAP"))
    }
    named |= {Keys.UMAP: "expression UMAP", Keys.TSNE: "expression t-SNE"}
    described = []
    for key, label in named.items():
        if key in section.obsm:
            x, y = np.asarray(section.obsm[key], np.float32)[:, :2].T
            described.append({"key": key, "label": label, "x": bundle.add(x), "y": bundle.add(y)})
    return described


def describe(bundle: Bundle, sections: Sequence[Sequence[Column]]) -> list[list[dict[str, Any]]]:
    """Add columns of one or more sections, on one scale per key.

    Columns that some section has not, or that are the same in all spots, are left out.
    """
    by_key = [{column.key: column for column in columns} for columns in sections]
    described: list[list[dict[str, Any]]] = [[] for _ in sections]
    for key in by_key[0]:
        if not all(key in columns for columns in by_key):
            continue
        several = [columns[key] for columns in by_key]
        scale = _scale(several)
        if scale:
            for column, found in zip(several, described, strict=True):
                found.append(_described(bundle, column, scale))
    return described


def percentile_limits(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the limits of colours for numbers that are not all the same."""
    low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def _scale(several: Sequence[Column]) -> dict[str, Any]:
    """Return what the same column of several sections has in common, or nothing if there is nothing to show."""
    categories = [c.data.categories for c in several if isinstance(c.data, pd.Categorical)]
    if categories:
        # Numbers in one section, names in another
        if len(categories) < len(several):
            return {}
        names = list(dict.fromkeys(str(name) for of_section in categories for name in of_section))
        if not 1 < len(names) <= _MOST_CATEGORIES:
            return {}
        colours = category_colours(names)
        return {"kind": "category", "categories": [{"name": name, "colour": colours[name]} for name in names]}
    values = np.concatenate([np.asarray(column.data) for column in several])
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) == 0:
        return {}
    diverging = several[0].diverging
    limits = two_sd_limits(values) if diverging else percentile_limits(values)
    return {"kind": "number", "scale": "diverging" if diverging else "sequential", "limits": list(limits)}


def _described(bundle: Bundle, column: Column, scale: dict[str, Any]) -> dict[str, Any]:
    described = {"key": column.key, "label": column.label, "group": column.group, **scale}
    if scale["kind"] == "number":
        values = np.asarray(column.data, np.float32)
        return described | {"values": bundle.add(values), "digits": column.digits, "unit": column.unit}
    codes = pd.Index([category["name"] for category in scale["categories"]]).get_indexer(pd.Index(column.data))
    return described | {"values": bundle.add(np.where(codes < 0, _MISSING, codes).astype(np.uint8))}


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    return values.to_numpy(float, na_value=np.nan)


def _categories(values: pd.Series) -> pd.Categorical:
    """Take values as text, in the order of their categories, and only those that are there."""
    found = values.astype("category").cat.remove_unused_categories()
    return pd.Categorical(found.cat.rename_categories(found.cat.categories.astype(str)))

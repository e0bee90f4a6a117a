"""The page of a section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.headline import Headline
from spadework.keys import Keys
from spadework.methods import PLATFORMS
from spadework.patches import ScaledImage
from spadework.report.bundle import Bundle
from spadework.report.columns import describe, embeddings, own_latents, spot_columns
from spadework.report.genes import Genes, add_counts, choose_genes, shown_limits, statistics
from spadework.report.latents import encoder_of, extreme_patches, terms_of, warnings_of
from spadework.report.tables import (
    calibration_table,
    left_out_table,
    preflight_table,
    prototypes_table,
    provenance_tables,
    replication_table,
)
from spadework.report.tiles import add_slide
from spadework.report.trust import trust

# Correlation over the spots from which on two latents show the same.
_SAME = 0.8


@dataclass(frozen=True)
class EncoderTables:
    """Tables of an encoder's latents.

    Attributes
    ----------
    association
        ``association.parquet``.
    by
        The test that genes are ranked and counted by.
    summary
        ``latents.csv``.
    calibration, terms
        Where there are any.
    replication
        ``replication.csv`` of its group, if it is in one.
    shared
        AnnData with the latents of its group in ``obsm["pca"]``, where these are not the section's own.
    """

    association: pd.DataFrame
    by: Headline
    summary: pd.DataFrame
    calibration: pd.DataFrame | None = None
    terms: pd.DataFrame | None = None
    replication: pd.DataFrame | None = None
    shared: ad.AnnData | None = None


def add_section(
    bundle: Bundle, section: ad.AnnData, scaled: ScaledImage, sample: str, longest: int, genes: NDArray[np.int64]
) -> dict[str, Any]:
    """Add slide, spots and counts of a section.

    Parameters
    ----------
    longest
        Longer side of the slide, px.
    genes
        Where the genes are whose counts are added.
    """
    spade = section.uns[Keys.SPADE]
    lattice, patch = spade["lattice"], spade["patch"]
    slide = add_slide(bundle, scaled.image, scaled.um_per_px, longest)
    shrunk = np.array([slide["width"] / scaled.image.width, slide["height"] / scaled.image.height])
    x, y = (scaled.to_px(section.obsm[Keys.SPATIAL]) * shrunk).astype(np.float32).T
    bins = lattice["kind"] == "square" and float(lattice["pitch_um"]) == float(lattice["spot_um"])
    return {
        "name": sample,
        "slide": slide,
        "n_spots": section.n_obs,
        "spot": {
            "shape": "square" if bins else "circle",
            "size_px": [float(lattice["spot_um"]) / um for um in slide["um_per_px"]],
        },
        "patch_px": [patch["width_px"] * shrunk[0], patch["height_px"] * shrunk[1]],
        "barcodes": list(section.obs_names),
        "x": bundle.add(x),
        "y": bundle.add(y),
        **add_counts(bundle, section, genes),
    }


def encoder_page(
    bundle: Bundle,
    section: ad.AnnData,
    scaled: ScaledImage,
    manifest: pd.DataFrame,
    sample: str,
    encoder: str,
    tables: EncoderTables,
    genes: Genes,
    fdr: float,
) -> dict[str, Any]:
    """Add what an encoder's latents are and which genes go along with them."""
    by, summary = tables.by, tables.summary
    ends = extreme_patches(section, scaled, manifest, encoder)
    same = _of_group(section, sample, encoder, tables.shared)
    weights = str(encoder_of(section, encoder).get("weights", ""))
    cards = []
    for row in summary.to_dict("records"):
        k = int(row["latent"])
        judged = trust(
            *(row, by),
            calibration=tables.calibration,
            replication=_own_pairs(tables.replication, sample),
            shared=same.get(k),
            seeded=weights == "seeded",
        )
        terms = [] if tables.terms is None else terms_of(tables.terms, k)
        numbers = {key: value for key, value in row.items() if key != "latent"}
        cards.append({"k": k, **numbers, "trust": judged, **ends[k - 1], "terms": terms})
    return {
        "name": encoder,
        "weights": weights,
        "headline": described_headline(by),
        "fdr": fdr,
        "n_latents": len(summary),
        "statistics": statistics(bundle, tables.association, genes.names, len(summary)),
        "latents": cards,
    }


def same_latents(own: NDArray[np.float64], shared: NDArray[np.float64]) -> dict[int, tuple[int, float]]:
    """Find the latents of a group that are much the same as those of a section.

    Parameters
    ----------
    own, shared
        (spots, latents), for the same spots.

    Returns
    -------
    dict
        By latent, counted from 1, the one most correlated with it and the correlation, where that is 0.8 or more.
    """
    n = own.shape[1]
    r = np.nan_to_num(np.corrcoef(own.T, shared.T)[:n, n:])
    best = np.abs(r).argmax(axis=1)
    return {k + 1: (int(j) + 1, float(r[k, j])) for k, j in enumerate(best) if abs(r[k, j]) >= _SAME}


def shares_latents(section: ad.AnnData, sample: str, encoder: str) -> bool:
    """Tell whether the latents of a section are those of its group."""
    return [str(name) for name in section.uns[Keys.SPADE][encoder]["fitted_on"]] != [sample]


def described_headline(by: Headline) -> dict[str, str]:
    """Describe the test that genes are ranked and counted by."""
    p = by.log10_p.removeprefix("log10_")
    return {"effect": by.effect, "label": by.label, "p": p, "fdr": by.fdr, "note": by.note}


def section_page(
    bundle: Bundle,
    section: ad.AnnData,
    scaled: ScaledImage,
    manifest: pd.DataFrame,
    sample: str,
    encoders: Mapping[str, EncoderTables],
    *,
    preflight: Mapping[str, Any],
    settings: Mapping[str, Any],
    fdr: float,
    species: str = "",
    group: str = "",
    warning: str = "",
    software: str = "",
) -> dict[str, Any]:
    """Make the data of a section's page, without panels and texts.

    Parameters
    ----------
    section
        Final AnnData.
    scaled
        The image that patches were cut from.
    manifest
        Of the patches.
    preflight
        Checks of the input.
    settings
        ``image_px`` (longer side of the slide), ``n_genes`` and ``genes`` (see
        :func:`spadework.report.genes.choose_genes`).
    fdr
        Genes below this false discovery rate are called.
    species, group
        Of the sample sheet.
    warning
        What else everyone who looks at the page must know first.
    software
        What made the results.
    """
    ranked = {name: (tables.association, tables.by) for name, tables in encoders.items()}
    genes = choose_genes(section, sample, ranked, fdr=fdr, n_genes=settings["n_genes"], asked=settings["genes"])
    kept = section.var_names.get_indexer(pd.Index(genes.kept_names))
    data = add_section(bundle, section, scaled, sample, settings["image_px"], kept)
    data["columns"] = describe(bundle, [own_latents(section) + spot_columns(section)])[0]
    data["embeddings"] = embeddings(bundle, section)
    platform = str(section.uns[Keys.SPADE]["platform"])
    parts = [PLATFORMS.get(platform, platform), species, f"{section.n_obs:,} spots", f"{section.n_vars:,} genes"]
    return {
        "kind": "section",
        "title": sample,
        "subtitle": ", ".join(filter(None, parts)),
        "software": software,
        "warnings": [*filter(None, [warning]), *warnings_of(section, list(encoders)), *genes.missing],
        "sections": [data],
        "genes": genes.described(bundle, shown_limits([(section, kept)])),
        "encoders": [
            encoder_page(bundle, section, scaled, manifest, sample, name, tables, genes, fdr)
            for name, tables in encoders.items()
        ],
        "tables": _tables(section, sample, encoders, preflight, group, fdr),
        "panels": [],
        "texts": [],
    }


def _tables(
    section: ad.AnnData,
    sample: str,
    encoders: Mapping[str, EncoderTables],
    preflight: Mapping[str, Any],
    group: str,
    fdr: float,
) -> list[dict[str, Any]]:
    tables = [preflight_table(preflight), left_out_table(section)]
    for name, of_encoder in encoders.items():
        if of_encoder.calibration is not None:
            tables.append(calibration_table(of_encoder.calibration, name, fdr))
    for name, of_encoder in encoders.items():
        pairs = _own_pairs(of_encoder.replication, sample)
        if pairs is not None and len(pairs):
            own = shares_latents(section, sample, name)
            tables.append(replication_table("quality", pairs, name, group, own=own))
    return tables + prototypes_table(section) + provenance_tables(section, sample)


def _of_group(
    section: ad.AnnData, sample: str, encoder: str, shared: ad.AnnData | None
) -> dict[int, tuple[int, float]]:
    own = np.asarray(section.obsm[Keys.latents(encoder, "pca")], float)
    if shares_latents(section, sample, encoder):
        return same_latents(own, own)
    return {} if shared is None else same_latents(own, np.asarray(shared[section.obs_names].obsm["pca"], float))


def _own_pairs(replication: pd.DataFrame | None, sample: str) -> pd.DataFrame | None:
    return None if replication is None else replication[replication["discovery"] == sample]

"""The page of a group: its sections side by side on the latents they share, and what holds in all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.columns import LEVEL
from spadework.headline import Headline
from spadework.keys import Keys
from spadework.patches import ScaledImage
from spadework.report.bundle import Bundle
from spadework.report.columns import GIVEN_CLUSTERS, Column, describe, latent_columns, spot_columns
from spadework.report.genes import Genes, choose_pooled, lay_out, places, shown_limits
from spadework.report.latents import encoder_of, warnings_of
from spadework.report.section import add_section, described_headline
from spadework.report.tables import replication_table, table
from spadework.report.trust import test_name

# Statistics of the pooled table: column, label, kind.
_POOLED = (
    ("r", "pooled r given depth", "effect"),
    ("r_low", "r, 95 % from", "number"),
    ("r_high", "r, 95 % to", "number"),
    ("p", "p", "p"),
    ("fdr", "FDR", "fdr"),
    ("i2", "I² (differences between sections)", "number"),
    ("n_sections", "sections", "number"),
    ("n_same_sign", "sections of the same sign", "number"),
)
POOLED = Headline("r", "correlation given sequencing depth, pooled over sections", "log10_p", "fdr", "")
_SUMMED_UP = (Keys.TOTAL_COUNTS, Keys.N_GENES, Keys.PCT_MT, Keys.TISSUE_FRACTION)
# Slides stand side by side: each gets this part of the pixels of a section's own page.
_SHRUNK = 4


@dataclass(frozen=True)
class Member:
    """A section of a group."""

    section: ad.AnnData
    scaled: ScaledImage


@dataclass(frozen=True)
class GroupTables:
    """What an encoder gave for a group.

    Attributes
    ----------
    latents
        Section -> (spots, k) values of the latents that the sections share.
    association
        Section -> association table of these latents.
    calibration
        Section -> ``calibration.csv`` of the section's own latents, where there is one.
    pooled, pairs
        ``pooled.csv.gz`` and ``replication.csv``.
    by
        The test that genes of a section are counted by.
    """

    latents: Mapping[str, NDArray[np.floating]]
    association: Mapping[str, pd.DataFrame]
    calibration: Mapping[str, pd.DataFrame]
    pooled: pd.DataFrame
    pairs: pd.DataFrame
    by: Headline


def cohort_page(
    bundle: Bundle,
    group: str,
    members: Mapping[str, Member],
    encoders: Mapping[str, GroupTables],
    *,
    settings: Mapping[str, Any],
    fdr: float,
    warning: str = "",
    software: str = "",
) -> dict[str, Any]:
    """Make the data of a group's page, without panels and texts."""
    sections = {name: member.section for name, member in members.items()}
    ranked = {
        name: (tables.pooled, POOLED) if len(tables.pooled) else (pd.concat(tables.association.values()), tables.by)
        for name, tables in encoders.items()
    }
    genes = choose_pooled(sections, ranked, fdr=fdr, n_genes=settings["n_genes"], asked=settings["genes"])
    at = {name: places(section.var, genes.kept_names, genes.kept_ids) for name, section in sections.items()}
    longest = settings["image_px"] // _SHRUNK
    data = [add_section(bundle, m.section, m.scaled, name, longest, at[name]) for name, m in members.items()]
    columns = [_columns(name, section, encoders) for name, section in sections.items()]
    for of_section, described in zip(data, describe(bundle, columns), strict=True):
        of_section |= {"columns": described, "embeddings": []}
    spots = sum(section.n_obs for section in sections.values())
    warnings = [w for section in sections.values() for w in warnings_of(section, list(encoders))] + genes.missing
    tables = [sections_table(sections, encoders)]
    for name, of_encoder in encoders.items():
        tables.append(latents_table(name, sections, of_encoder, fdr))
        tables.append(replication_table("replication", of_encoder.pairs, name, group))
    return {
        "kind": "cohort",
        "title": group,
        "subtitle": f"{len(sections)} sections ({', '.join(sections)}), {spots:,} spots",
        "software": software,
        "warnings": list(dict.fromkeys(filter(None, [warning, *warnings]))),
        "sections": data,
        "genes": genes.described(bundle, shown_limits([(section, at[name]) for name, section in sections.items()])),
        "encoders": [
            _encoder_page(bundle, name, of_encoder, next(iter(sections.values())), genes, fdr)
            for name, of_encoder in encoders.items()
        ],
        "tables": tables,
        "panels": [],
        "texts": [],
    }


def sections_table(sections: Mapping[str, ad.AnnData], encoders: Mapping[str, GroupTables]) -> dict[str, Any]:
    """Compare the quality of sections, and how their tests are calibrated."""
    columns = ["section", "spots", "genes", "median counts", "median genes", "median % mitochondrial"]
    columns += ["median tissue in patch", "checks of the input"]
    for name in encoders:
        columns += [f"{name}: null p < {LEVEL:g}, %", f"{name}: null patterns with genes"]
    rows = []
    for sample, section in sections.items():
        measured = [section.obs[key].dropna() for key in _SUMMED_UP]
        medians = [float(values.median()) if len(values) else None for values in measured]
        row = [sample, section.n_obs, section.n_vars, *medians, str(section.uns[Keys.SPADE]["preflight"])]
        for of_encoder in encoders.values():
            row += _calibration(of_encoder.calibration.get(sample), test_name(of_encoder.by))
        rows.append(row)
    note = "Null: random patterns as smooth as the latents of each section, which have nothing to do with any gene: "
    note += f"{100 * LEVEL:g} % of the genes should have p < {LEVEL:g}, and hardly a pattern should have genes."
    return table("cohort", "Sections", "sections.csv", columns, rows, note)


def _calibration(calibration: pd.DataFrame | None, test: str) -> list[object]:
    rows = None if calibration is None else calibration[calibration["test"] == test]
    if rows is None or rows.empty:
        return [None, None]
    return [100 * float(rows["share_below_05"].mean()), f"{int((rows['found'] > 0).sum())} of {len(rows)}"]


def latents_table(
    encoder: str, sections: Mapping[str, ad.AnnData], tables: GroupTables, fdr: float
) -> dict[str, Any]:
    """Say what each shared latent is in each section: how many genes, and how much it follows depth."""
    rows: list[tuple[int, str, int | None, int | None, float]] = []
    for sample, section in sections.items():
        depth = np.log10(np.maximum(section.obs[Keys.TOTAL_COUNTS].to_numpy(float), 1))
        association, by = tables.association[sample], tables.by
        called = association[association[by.fdr] < fdr]
        for j, values in enumerate(np.asarray(tables.latents[sample], float).T):
            effects = called.loc[called["latent"] == j + 1, by.effect]
            tested = bool((association["latent"] == j + 1).any())
            up, down = (int((side * effects > 0).sum()) if tested else None for side in (1, -1))
            r = float(np.corrcoef(values, depth)[0, 1]) if np.std(values) > 0 and np.std(depth) > 0 else 0.0
            rows.append((j + 1, sample, up, down, r))
    rows.sort(key=lambda row: row[0])
    columns = ["shared latent", "section", "genes up", "genes down", "r with depth"]
    note = f"Genes called in each section by itself (FDR {fdr:.0%}).".replace("%", " %")
    if tables.by.note:
        note += f" {tables.by.note}"
    return table("cohort", f"Shared latents ({encoder})", f"{encoder}_shared_latents.csv", columns, rows, note)


def _columns(sample: str, section: ad.AnnData, encoders: Mapping[str, GroupTables]) -> list[Column]:
    """Name what means the same in all sections of a group."""
    columns = [
        column
        for name, tables in encoders.items()
        for column in latent_columns(name, tables.latents[sample], name="shared latent")
    ]
    settings = json.loads(str(section.uns[Keys.SPADE]["parameters"])).get("prototypes", {})
    for column in spot_columns(section):
        # Clusters made section by section share no more than their numbers.
        given = column.key == Keys.CLUSTER and column.label == GIVEN_CLUSTERS
        if (column.group == "Clusters" and not given) or (
            column.group == "Prototypes" and settings.get("scope") != "group"
        ):
            continue
        columns.append(column)
    return columns


def _encoder_page(
    bundle: Bundle, encoder: str, tables: GroupTables, section: ad.AnnData, genes: Genes, fdr: float
) -> dict[str, Any]:
    n_latents = next(iter(tables.latents.values())).shape[1]
    columns = [(column, label, "pooled over sections", kind) for column, label, kind in _POOLED]
    return {
        "name": encoder,
        "weights": str(encoder_of(section, encoder).get("weights", "")),
        "headline": described_headline(POOLED),
        "fdr": fdr,
        "n_latents": n_latents,
        "statistics": lay_out(bundle, tables.pooled, genes.names, n_latents, columns),
        "latents": [{"k": k + 1} for k in range(n_latents)],
    }

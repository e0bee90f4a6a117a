"""All figures of one section, from its final AnnData and tables."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.figures import charts, maps
from spadework.figures.style import finish
from spadework.headline import Headline, Which, headline
from spadework.keys import Keys
from spadework.patches import ScaledImage, cut_patches

_SHOWN_PX = 224  # edge of a patch on a contact sheet


def draw_maps(
    section: ad.AnnData,
    table: pd.DataFrame,
    sample: str,
    encoder: str,
    *,
    outputs: dict[str, str],
    latent_files: list[str],
    which: Which,
    n_genes: int,
) -> None:
    """Draw latents, each latent with its top genes, and clusters.

    Parameters
    ----------
    outputs
        Paths of ``latents`` and ``clusters``.
    latent_files
        One path per latent.
    which
        Test that says which genes are strongest.
    """
    by = headline(table, which)
    spade = section.uns[Keys.SPADE]
    canvas = maps.section_canvas(section.uns[Keys.SPATIAL][sample], spade["lattice"], section.obsm[Keys.SPATIAL])
    latents = np.asarray(section.obsm[Keys.latents(encoder, "pca")])
    ratio = np.asarray(spade[encoder]["variance_ratio"])
    note = weights_note(spade[encoder]["encoder"])
    heading = f"{sample}: {encoder} latents"
    finish(maps.all_latents(canvas, latents, ratio, heading), outputs["latents"], note)
    finish(
        maps.clusters_over_tissue(canvas, _clusters(section, encoder), f"{sample}: clusters"),
        outputs["clusters"],
        note,
    )
    for j, path in enumerate(latent_files):
        genes = [
            (f"{gene}  r = {effect:+.2f}, FDR {rate:.1g}", _expression(section, gene))
            for gene, effect, rate in top_genes(table, by, j + 1, n_genes)
        ]
        title = f"latent {j + 1} ({ratio[j]:.1%} of variance)"
        heading = f"{sample}: {encoder} latent {j + 1}" + (" and its strongest genes" if genes else ", not tested")
        page = maps.latent_with_genes(canvas, latents[:, j], genes, title, heading)
        finish(page, path, "\n".join([by.note, note]).strip())


def top_genes(table: pd.DataFrame, by: Headline, latent: int, n: int) -> list[tuple[str, float, float]]:
    """Return the n genes most surely associated with a latent, their effects and false discovery rates."""
    rows = table[(table["latent"] == latent) & table[by.effect].notna() & table[by.log10_p].notna()]
    rows = rows.sort_values(by.log10_p, kind="stable").head(n)
    return list(zip(rows["gene"], rows[by.effect], rows[by.fdr], strict=True))


def draw_charts(
    section: ad.AnnData,
    table: pd.DataFrame,
    summary: pd.DataFrame,
    sample: str,
    encoder: str,
    *,
    outputs: dict[str, str],
    which: Which,
    fdr: float,
    n_genes: int,
) -> None:
    """Draw embeddings, volcano plots and the summary of the latents."""
    spade = section.uns[Keys.SPADE]
    note = weights_note(spade[encoder]["encoder"])
    coordinates = {
        name: np.asarray(section.obsm[Keys.latents(encoder, kind)])
        for name, kind in (("t-SNE", "tsne"), ("UMAP", "umap"))
    }
    page = charts.embeddings(coordinates, _clusters(section, encoder), f"{sample}: {encoder} latents")
    finish(page, outputs["embeddings"], note)
    tested = sorted(table["latent"].unique())
    by = headline(table, which)
    page = charts.volcano(table, by, tested, fdr, n_genes, f"{sample}: genes by {encoder} latent")
    finish(page, outputs["volcano"], "\n".join([by.note, note]).strip())
    page = charts.latent_summary(summary, f"{sample}: {encoder} latents")
    finish(page, outputs["variance"], note)


def draw_contact_sheets(
    latents: ad.AnnData,
    description: dict[str, Any],
    scaled: ScaledImage,
    manifest: pd.DataFrame,
    sample: str,
    encoder: str,
    *,
    outputs: list[str],
    n_extreme: int,
) -> None:
    """Draw the extreme patches of each latent, cut again at the resolution of the image."""
    values = np.asarray(latents[manifest.index].obsm["pca"])
    corner, size = manifest[["x0", "y0"]].to_numpy(), manifest[["width_px", "height_px"]].to_numpy()
    boxes = np.hstack([corner, corner + size])
    n = min(n_extreme, len(boxes) // 2)
    ends = [(order[:n], order[::-1][:n]) for order in np.argsort(values, axis=0, kind="stable").T[: len(outputs)]]
    rows = np.unique(np.concatenate([np.concatenate(pair) for pair in ends]))
    shown = {int(rows[i]): patch for i, patch in cut_patches(scaled.image, boxes[rows], _SHOWN_PX)}
    for j, (path, (low, high)) in enumerate(zip(outputs, ends, strict=True)):
        page = charts.contact_sheet(
            np.stack([shown[i] for i in low]),
            np.stack([shown[i] for i in high]),
            values[low, j],
            values[high, j],
            f"{sample}: {encoder} latent {j + 1}",
        )
        finish(page, path, weights_note(description))


def _clusters(section: ad.AnnData, encoder: str) -> dict[str, pd.Series]:
    headline_encoder = str(section.uns[Keys.SPADE]["encoders"][0])
    spade, image = (
        section.obs[Keys.clusters(kind, encoder, headline_encoder)]
        for kind in (Keys.SPADE_CLUSTER, Keys.IMAGE_CLUSTER)
    )
    return {
        "expression clusters": section.obs[Keys.CLUSTER],
        "clusters of SPADE genes": spade,
        "image clusters": image,
    }


def _expression(section: ad.AnnData, gene: str) -> NDArray[np.float32]:
    return np.asarray(section[:, gene].X.todense(), np.float32).ravel()


def weights_note(encoder: dict[str, Any]) -> str:
    """Return the warning that every picture of random-weight features carries, or nothing."""
    if encoder.get("weights") != "seeded":
        return ""
    return (
        "Random network weights (encoder.weights: seeded): these latents show that the workflow runs, not what a "
        "trained network sees."
    )

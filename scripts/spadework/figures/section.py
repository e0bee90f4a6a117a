"""All figures of one section, from its final AnnData and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spadework.figures import charts, maps
from spadework.figures.calibration import calibration_page
from spadework.figures.clusters import cluster_comparison
from spadework.figures.composition import composition_page
from spadework.figures.style import finish, shortened
from spadework.figures.terms import terms_page
from spadework.headline import Headline
from spadework.keys import Keys
from spadework.patches import ScaledImage, cut_patches

# Paths by the name of what is drawn; a list where there is a page per latent.
Outputs = Mapping[str, Any]

_SHOWN_PX = 224  # edge of a patch on a contact sheet


def draw_maps(
    section: ad.AnnData,
    table: pd.DataFrame,
    by: Headline,
    sample: str,
    encoder: str,
    *,
    outputs: Outputs,
    n_genes: int,
) -> None:
    """Draw ``latents``, each ``latent`` with its top genes (a path each), and ``clusters``.

    Parameters
    ----------
    section
        Final AnnData.
    table
        Association table.
    by
        Test that says which genes are strongest.
    """
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
    for j, path in enumerate(outputs["latent"]):
        genes = [
            (f"{shortened(gene, 24)}\nr = {effect:+.2f}, FDR {rate:.1g}", _expression(section, gene))
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
    by: Headline,
    sample: str,
    encoder: str,
    *,
    outputs: Outputs,
    fdr: float,
    n_genes: int,
) -> None:
    """Draw ``embeddings``, ``volcano`` plots and the summary of the latents, ``variance``."""
    spade = section.uns[Keys.SPADE]
    note = weights_note(spade[encoder]["encoder"])
    coordinates = {
        name: np.asarray(section.obsm[Keys.latents(encoder, kind)])
        for name, kind in (("t-SNE", "tsne"), ("UMAP", "umap"))
    }
    page = charts.embeddings(coordinates, _clusters(section, encoder), f"{sample}: {encoder} latents")
    finish(page, outputs["embeddings"], note)
    tested = sorted(table["latent"].unique())
    page = charts.volcano(table, by, tested, fdr, n_genes, f"{sample}: genes by {encoder} latent")
    finish(page, outputs["volcano"], "\n".join([by.note, note]).strip())
    page = charts.latent_summary(summary, f"{sample}: {encoder} latents")
    finish(page, outputs["variance"], note)


def draw_contact_sheets(
    section: ad.AnnData,
    scaled: ScaledImage,
    manifest: pd.DataFrame,
    sample: str,
    encoder: str,
    *,
    outputs: list[str],
    n_extreme: int,
) -> None:
    """Draw the extreme patches of each latent, cut again at the resolution of the image."""
    latents = np.asarray(section.obsm[Keys.latents(encoder, "pca")])
    rows = manifest.loc[section.obs_names]
    corner, size = rows[["x0", "y0"]].to_numpy(), rows[["width_px", "height_px"]].to_numpy()
    boxes = np.hstack([corner, corner + size])
    ends = extreme_spots(latents[:, : len(outputs)], n_extreme)
    used = np.unique(np.concatenate([np.concatenate(pair) for pair in ends]))
    shown = {int(used[i]): patch for i, patch in cut_patches(scaled.image, boxes[used], _SHOWN_PX)}
    note = weights_note(section.uns[Keys.SPADE][encoder]["encoder"])
    for j, (path, (low, high)) in enumerate(zip(outputs, ends, strict=True)):
        page = charts.contact_sheet(
            np.stack([shown[i] for i in low]),
            np.stack([shown[i] for i in high]),
            latents[low, j],
            latents[high, j],
            f"{sample}: {encoder} latent {j + 1}, patches at both ends",
        )
        finish(page, path, note)


def extreme_spots(latents: NDArray[np.floating], n_extreme: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the spots at the low and at the high end of each latent, the most extreme first; never one at both."""
    n = min(n_extreme, len(latents) // 2)
    return [(order[:n], order[::-1][:n]) for order in np.argsort(latents, axis=0, kind="stable").T]


def draw_evidence(
    section: ad.AnnData,
    tables: Mapping[str, pd.DataFrame],
    sample: str,
    encoder: str,
    *,
    outputs: Outputs,
    fdr: float,
) -> None:
    """Draw what speaks for and against the genes found: a page per table, by its name."""
    pages: dict[str, tuple[Callable[[pd.DataFrame, str], Figure], str]] = {
        "calibration": (lambda table, title: calibration_page(table, fdr, title), "calibration of the tests"),
        "beyond_composition": (lambda table, title: composition_page(table, fdr, title), "beyond composition"),
        "cluster_comparison": (cluster_comparison, "clusters compared"),
        "terms": (lambda table, title: terms_page(table, fdr, title), "terms"),
    }
    note = weights_note(section.uns[Keys.SPADE][encoder]["encoder"])
    for name, table in tables.items():
        draw, title = pages[name]
        finish(draw(table, f"{sample}: {encoder}, {title}"), outputs[name], note)


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

"""What changes between the published method and the corrected one, and because of which correction.

The corrections are made one after the other, each on top of those before it, on the same spots of one section.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from spadework.association import Design, associate, benjamini_hochberg, varying
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.latents import fit_latents
from spadework.section_association import Values, zscored
from spadework.seurat import read_sct
from spadework.spatial_null import STEPS, SpatialNull

Test = Literal["moderated t", "spatial"]


@dataclass(frozen=True)
class Step:
    """One way of going from an image to genes.

    Attributes
    ----------
    name
        Of the correction that is new in this step.
    change
        What it changes, in words.
    face
        Key of the features.
    """

    name: str
    change: str
    face: str
    n_latents: int
    normalisation: Values
    design: Design
    depth: bool
    test: Test


def steps(n_latents: int, patch: str, min_spots_fraction: float) -> list[Step]:
    """List the published method and the corrections of it, in the order in which the workflow applies them.

    Parameters
    ----------
    n_latents
        Latents the corrected method tests.
    patch
        The corrected patch, in words.
    min_spots_fraction
        Genes in a smaller share of the spots are not tested by the corrected method.
    """
    published = Step("published", "as in 2021", "published", 2, "sct", "joint", False, "moderated t")
    marginal = replace(
        published,
        name="one at a time",
        change=f"a model for each of the first {n_latents} latents instead of one for two",
        n_latents=n_latents,
        design="marginal",
    )
    pixels = replace(marginal, name="input range", change="pixels as 0..255 instead of 0..1", face="input_range")
    patches = replace(pixels, name="patch", change=f"{patch} instead of 32 px of the hires image", face="patch")
    normal = replace(
        patches,
        name="normalisation",
        change=f"log counts instead of z-scored SCTransform, genes in at least {min_spots_fraction:.0%} of spots",
        normalisation="lognorm",
    )
    depth = replace(normal, name="depth", change="log10 UMI in the model", depth=True)
    spatial = replace(
        depth, name="spatial test", change="effective number of spots instead of their number", test="spatial"
    )
    return [published, marginal, pixels, patches, normal, depth, spatial]


@dataclass(frozen=True)
class Material:
    """What the steps work on; rows are the same spots everywhere.

    Attributes
    ----------
    features
        Face -> (spots, d).
    standardize
        Scale features to unit variance before the PCA (features that differ in unit).
    expression
        ``sct`` and ``lognorm`` -> (spots, genes) CSC, before z-scoring.
    genes
        ``sct`` and ``lognorm`` -> gene names.
    log10_umi
        (spots,).
    cells, step
        Lattice indices (spots, 2) and the size of one row and one column in pitches, for the spatial test.
    """

    features: dict[str, NDArray[np.floating]]
    standardize: bool
    expression: dict[str, sparse.csc_matrix]
    genes: dict[str, pd.Index]
    log10_umi: NDArray[np.float64]
    cells: NDArray[np.integer]
    step: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """What the steps find.

    Attributes
    ----------
    steps
        A row per step: genes tested, genes found (false discovery rate below the limit with any latent), and how
        many of them the step before had found (``kept``), had not (``entered``) and lost (``left``).
    latents
        A row per step and published latent: the latent of the step that corresponds to it, how well (``r``), what
        it has to do with depth, and its genes.
    genes
        A row per gene found in any step: the smallest false discovery rate over latents in each step, NaN where it
        was not tested, and the step that decided over it (``decided_by``): from there on it is in or out for good.
    correspondence
        (published latents, corrected latents) absolute correlation.
    """

    steps: pd.DataFrame
    latents: pd.DataFrame
    genes: pd.DataFrame
    correspondence: NDArray[np.float64]


def compare(material: Material, ladder: list[Step], fdr: float) -> Comparison:
    """Go up the ladder and keep account of genes and latents.

    Parameters
    ----------
    fdr
        Genes below this false discovery rate with any latent count as found.

    Raises
    ------
    ValueError
        If a step cannot be done: too few spots, constant latents.
    """
    k = max(step.n_latents for step in ladder)
    latents = {}
    for face, features in material.features.items():
        latents[face] = fit_latents(features, k, standardize=material.standardize).project(features)
        if latents[face].shape[1] < k:
            raise ValueError(
                f"features of {face} vary in {latents[face].shape[1]} directions, fewer than {k} latents"
            )
    reference = latents[ladder[0].face]
    rows, latent_rows, smallest = [], [], {}
    before: set[str] = set()
    for step in ladder:
        table = _false_discovery_rates(material, step, latents[step.face][:, : step.n_latents])
        found = set(table.index[(table < fdr).any(axis=1)])
        rows.append(
            {"step": step.name, "change": step.change, "tested": len(table), "found": len(found)}
            | {"kept": len(found & before), "entered": len(found - before), "left": len(before - found)}
        )
        latent_rows += _latent_rows(step, table, reference, latents[step.face], material.log10_umi, fdr)
        smallest[step.name] = table.min(axis=1)
        before = found
    genes = pd.DataFrame(smallest)
    return Comparison(
        steps=pd.DataFrame(rows),
        latents=pd.DataFrame(latent_rows),
        genes=_decisions(genes[(genes < fdr).any(axis=1)], fdr),
        correspondence=correlations(reference, latents[ladder[-1].face]),
    )


def correlations(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Absolute Pearson correlations of the columns of a (n, i) with those of b (n, j), (i, j) float64."""
    return np.abs(np.corrcoef(a, b, rowvar=False)[: a.shape[1], a.shape[1] :])


def matched(correlation: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find for every row the column that corresponds to it, each used once: those with the largest sum."""
    return linear_sum_assignment(correlation, maximize=True)[1]


def _false_discovery_rates(material: Material, step: Step, latents: NDArray[np.float64]) -> pd.DataFrame:
    """Return a row per gene tested, a column per latent."""
    expression, unit = material.expression[step.normalisation], None
    if step.normalisation == "sct":
        expression, _, unit = zscored(expression)
    covariates = material.log10_umi[:, None] if step.depth else None
    if step.test == "spatial":
        null = SpatialNull(material.cells, material.step, covariates)
        values = benjamini_hochberg(null.test(expression, latents).p)
    else:
        values = associate(expression, latents, design=step.design, covariates=covariates, unit=unit).fdr
    return pd.DataFrame(values, index=material.genes[step.normalisation], columns=range(1, latents.shape[1] + 1))


def _latent_rows(
    step: Step,
    table: pd.DataFrame,
    reference: NDArray[np.float64],
    latents: NDArray[np.float64],
    log10_umi: NDArray[np.float64],
    fdr: float,
) -> list[dict[str, object]]:
    size = correlations(reference, latents)
    rows = []
    for i, j in enumerate(matched(size)):
        tested = j + 1 in table.columns
        rows.append(
            {
                "step": step.name,
                "published_latent": i + 1,
                "latent": j + 1,
                "r": size[i, j],
                "r_log10_umi": np.corrcoef(latents[:, j], log10_umi)[0, 1],
                "found": int((table[j + 1] < fdr).sum()) if tested else None,
            }
        )
    return rows


def _decisions(genes: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """Name the step after which a gene is in, or out, for good."""
    found = (genes < fdr).to_numpy()
    changes = np.hstack([np.ones((len(found), 1), bool), found[:, 1:] != found[:, :-1]])
    last = changes.shape[1] - 1 - changes[:, ::-1].argmax(axis=1)
    out = genes.rename(columns=lambda name: f"fdr {name}")
    out.insert(0, "in_published", found[:, 0])
    out.insert(1, "in_corrected", found[:, -1])
    out.insert(2, "decided_by", genes.columns.to_numpy()[last])
    return out.rename_axis("gene").sort_values(["in_corrected", f"fdr {genes.columns[0]}"], ascending=[False, True])


def tested_genes(
    expression: sparse.csc_matrix, genes: pd.Index, min_spots_fraction: float
) -> tuple[sparse.csc_matrix, pd.Index]:
    """Leave out genes in too few spots, and constant ones."""
    keep = (expression.getnnz(axis=0) / expression.shape[0] >= min_spots_fraction) & varying(expression)
    return expression[:, np.flatnonzero(keep)], genes[keep]


def compare_section(
    features: ad.AnnData,
    section: ad.AnnData,
    sct: str | Path,
    sample: str,
    *,
    patch: dict[str, Any],
    n_latents: int,
    min_spots_fraction: float,
    fdr: float,
) -> Comparison:
    """Compare the two faces of the method on one section.

    Parameters
    ----------
    features
        AnnData with a face's features in each ``obsm``, and the encoder's description in ``uns["encoder"]``.
    section
        AnnData of the expression stage.
    sct
        SCTransform's counts of the same spots.
    patch
        The corrected patch, as in the configuration.

    Raises
    ------
    InputError
        If the section has too few spots, or no lattice that the spatial test could use.
    """
    kind = section.uns[Keys.SPADE]["lattice"]["kind"]
    if kind not in STEPS:
        raise InputError(
            sample,
            None,
            found="spots on no lattice",
            expected="the array coordinates of a Visium or legacy ST section",
            remedy="the comparison with the published method is for spots, not for cells",
        )
    counts, genes, _ = read_sct(sct, section.obs_names, sample)
    lognorm, lognorm_genes = tested_genes(sparse.csc_matrix(section.X), section.var_names, min_spots_fraction)
    material = Material(
        features={face: np.asarray(values) for face, values in features[section.obs_names].obsm.items()},
        standardize=not features.uns["encoder"]["same_units"],
        expression={"sct": sparse.csc_matrix(counts).astype(np.float64).log1p(), "lognorm": lognorm},
        genes={"sct": genes, "lognorm": lognorm_genes},
        log10_umi=np.log10(section.obs[Keys.TOTAL_COUNTS].to_numpy(float)),
        cells=section.obs[[Keys.ARRAY_ROW, Keys.ARRAY_COL]].to_numpy(),
        step=STEPS[kind],
    )
    size = f"{patch['um']:g} µm" if patch["um"] else f"{patch['px']} px"
    words = f"{size} of the {'best' if patch['image'] == 'best' else patch['image']} image at {patch['output_px']} px"
    try:
        return compare(material, steps(n_latents, words, min_spots_fraction), fdr)
    except ValueError as error:
        raise InputError(
            sample,
            None,
            found=str(error),
            expected="a section with enough spots, and an image in which they differ",
            remedy="look at the preflight overlay; lower latents.n_latents for very small sections",
        ) from error

"""What changes between the published method and the corrected one, and because of which correction.

The corrections are made one after the other, each on top of those before it, on the same spots of one section.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spadework.adjusted import Depth, SpatialTests, associate_adjusted
from spadework.association import Design, associate, benjamini_hochberg, varying
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.latents import fit_latents
from spadework.section_association import Values, zscored
from spadework.seurat import genes_by_name, read_sct
from spadework.spatial_null import STEPS, SpatialNull


@dataclass(frozen=True)
class Step:
    """One way of going from an image to genes.

    Attributes
    ----------
    name
        Of the correction that is new in this step.
    change
        What it changes, in words.
    variant
        Key of the features: how patches are cut and fed to the network.
    common_genes
        Test only the genes in enough spots, not all that SCTransform models.
    """

    name: str
    change: str
    variant: str
    n_latents: int
    design: Design
    normalisation: Values = "sct"
    common_genes: bool = False
    depth: bool = False
    spatial: bool = False


def steps(n_latents: int, patch: str, min_spots_fraction: float) -> list[Step]:
    """List the published method and its corrections; each step changes one thing and keeps those before it.

    The last two are the tests of the association table (:mod:`spadework.adjusted`).

    Parameters
    ----------
    n_latents
        Latents the corrected method tests.
    patch
        The corrected patch, in words.
    min_spots_fraction
        Genes in a smaller share of the spots are not tested by the corrected method.
    """
    ladder = [Step("published", "as in 2021", "published", 2, "joint")]
    for name, change, what in (
        ("one model each", "a model for each of the two latents, not one for both", {"design": "marginal"}),
        ("more latents", f"the first {n_latents} latents, not 2", {"n_latents": n_latents}),
        ("input range", "pixels as 0..255, not 0..1", {"variant": "input_range"}),
        ("patch", f"{patch}, not 32 px of the hires image", {"variant": "patch"}),
        ("common genes", f"genes in at least {min_spots_fraction:.0%} of the spots only", {"common_genes": True}),
        ("normalisation", "log counts, not z-scored SCTransform", {"normalisation": "lognorm"}),
        ("depth", "what counts are beyond sequencing depth (log10 UMI)", {"depth": True}),
        ("spatial test", "the effective number of spots, not all of them", {"spatial": True}),
    ):
        ladder.append(replace(ladder[-1], name=name, change=change, **what))
    return ladder


@dataclass(frozen=True)
class Material:
    """What the steps work on; rows are the same spots everywhere.

    Attributes
    ----------
    features
        Variant -> (spots, d).
    expression
        ``sct`` and ``lognorm`` -> (spots, genes) CSC, before z-scoring; the same genes.
    counts
        (spots, genes) CSC raw counts of the same genes.
    genes
        Their names.
    kept, common
        (genes,) which of them the section has kept, and which the corrected method would test.
    log10_umi
        (spots,).
    cells, step
        Lattice indices (spots, 2) and the size of one row and one column in pitches, for the spatial test.
    """

    features: dict[str, NDArray[np.floating]]
    expression: dict[str, sparse.csc_matrix]
    counts: sparse.csc_matrix
    genes: pd.Index
    kept: NDArray[np.bool_]
    common: NDArray[np.bool_]
    log10_umi: NDArray[np.float64]
    cells: NDArray[np.integer]
    step: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """What the steps find.

    Attributes
    ----------
    steps
        A row per step: genes tested, genes found (false discovery rate below the limit with any latent), how many
        of them the step before had found (``kept``), had not (``entered``) and lost (``left``), and how many would be
        found if this were the only correction of the published method (``found_alone``).
    latents
        A row per step and published latent: the latent of the step that is most like it, how much
        (``abs_r``), what that one has to do with depth, and its genes (empty where it is not tested).
    genes
        A row per gene found in any step: whether the first and the last step find it, the step that decided over it
        (``decided_by``: from there on it is in or out for good; ``published`` if it was found throughout), and its
        smallest false discovery rate over latents in each step, empty where it was not tested.
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
        If a step cannot be done: too few spots, features that do not vary.
    """
    k = max(step.n_latents for step in ladder)
    latents = {}
    for variant, features in material.features.items():
        latents[variant] = fit_latents(features, k, standardize=False).project(features)
        if latents[variant].shape[1] < k:
            raise ValueError(
                f"features of {variant} vary in {latents[variant].shape[1]} directions, fewer than {k} latents"
            )
    reference = latents[ladder[0].variant]
    rows, latent_rows, smallest = [], [], {}
    before: set[str] = set()
    for step in ladder:
        table = _false_discovery_rates(material, step, latents[step.variant][:, : step.n_latents])
        found = set(table.index[(table < fdr).any(axis=1)])
        rows.append(
            {"step": step.name, "change": step.change, "tested": len(table), "found": len(found)}
            | {"kept": len(found & before), "entered": len(found - before), "left": len(before - found)}
            | {"found_alone": _found_alone(material, step, ladder, latents, fdr)}
        )
        latent_rows += _latent_rows(step, table, reference, latents[step.variant], material.log10_umi, fdr)
        smallest[step.name] = table.min(axis=1)
        before = found
    genes = pd.DataFrame(smallest)
    return Comparison(
        steps=pd.DataFrame(rows),
        latents=pd.DataFrame(latent_rows),
        genes=_decisions(genes[(genes < fdr).any(axis=1)], fdr),
        correspondence=correlations(reference, latents[ladder[-1].variant]),
    )


def _found_alone(
    material: Material, step: Step, ladder: list[Step], latents: dict[str, NDArray[np.float64]], fdr: float
) -> int:
    at = ladder.index(step)
    changed = asdict(step).items() - asdict(ladder[max(at - 1, 0)]).items()
    alone = replace(ladder[0], **dict(changed))
    table = _false_discovery_rates(material, alone, latents[alone.variant][:, : alone.n_latents])
    return int((table < fdr).any(axis=1).sum())


def correlations(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Absolute Pearson correlations of the columns of a (n, i) with those of b (n, j), (i, j) float64."""
    return np.abs(np.corrcoef(a, b, rowvar=False)[: a.shape[1], a.shape[1] :])


def _false_discovery_rates(material: Material, step: Step, latents: NDArray[np.float64]) -> pd.DataFrame:
    """Return a row per gene tested, a column per latent."""
    tested = np.ones(len(material.genes), bool)
    if step.common_genes:
        tested &= material.common
    if step.normalisation == "lognorm" or step.depth:
        tested &= material.kept
    expression, unit = material.expression[step.normalisation][:, np.flatnonzero(tested)], None
    if step.normalisation == "sct":
        expression, _, unit = zscored(expression)
    if step.depth:
        counts = material.counts[:, np.flatnonzero(tested)]
        covariates = material.log10_umi[:, None]
        spatial = SpatialTests(SpatialNull(material.cells, material.step, covariates)) if step.spatial else None
        adjusted = associate_adjusted(counts, latents, Depth(material.log10_umi), covariates, spatial)
        fdr = adjusted["fdr_spatial" if step.spatial else "fdr_depth"]
    elif step.spatial:
        fdr = benjamini_hochberg(SpatialNull(material.cells, material.step).against(latents).test(expression).p)
    else:
        fdr = associate(expression, latents, design=step.design, unit=unit).fdr
    return pd.DataFrame(fdr, index=material.genes[tested], columns=range(1, latents.shape[1] + 1))


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
    for i, j in enumerate(size.argmax(axis=1)):
        tested = j + 1 in table.columns
        rows.append(
            {
                "step": step.name,
                "published_latent": i + 1,
                "latent": j + 1,
                "abs_r": size[i, j],
                "r_log10_umi": np.corrcoef(latents[:, j], log10_umi)[0, 1],
                "found": int((table[j + 1] < fdr).sum()) if tested else None,
            }
        )
    return rows


def _column(step: str) -> str:
    return f"fdr_{step.replace(' ', '_')}"


def _decisions(genes: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """Name the step after which a gene is in, or out, for good."""
    found = (genes < fdr).to_numpy()
    changes = np.hstack([np.ones((len(found), 1), bool), found[:, 1:] != found[:, :-1]])
    last = changes.shape[1] - 1 - changes[:, ::-1].argmax(axis=1)
    out = genes.rename(columns=_column)
    out.insert(0, "in_published", found[:, 0])
    out.insert(1, "in_corrected", found[:, -1])
    out.insert(2, "decided_by", genes.columns.to_numpy()[last])
    return out.rename_axis("gene").sort_values(["in_corrected", _column(genes.columns[0])], ascending=[False, True])


def compare_section(
    features: dict[str, ad.AnnData],
    section: ad.AnnData,
    sct: str | Path,
    sample: str,
    *,
    patch: dict[str, Any],
    n_latents: int,
    min_spots_fraction: float,
    fdr: float,
) -> Comparison:
    """Compare the published and the corrected method on one section.

    Parameters
    ----------
    features
        AnnData of the encoding stage for each variant: ``published``, ``input_range`` and ``patch``.
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
    # Zero for genes the section has left out as too rare: the steps that use these values do not test them.
    lognorm = sparse.csc_matrix(genes_by_name(section.X, section.var_names, genes))
    material = Material(
        features={variant: np.asarray(a[section.obs_names].X) for variant, a in features.items()},
        expression={"sct": sparse.csc_matrix(counts).astype(np.float64).log1p(), "lognorm": lognorm},
        counts=sparse.csc_matrix(genes_by_name(section.layers[Keys.COUNTS], section.var_names, genes)),
        genes=genes,
        kept=genes.isin(section.var_names),
        common=(lognorm.getnnz(axis=0) / section.n_obs >= min_spots_fraction) & varying(lognorm),
        log10_umi=np.log10(section.obs[Keys.TOTAL_COUNTS].to_numpy(float)),
        cells=section.obs[[Keys.ARRAY_ROW, Keys.ARRAY_COL]].to_numpy(),
        step=STEPS[kind],
    )
    size = f"{patch['um']:g} µm" if patch["um"] else f"{patch['px']} px"
    words = f"{size} of the {patch['image']} image at {patch['output_px']} px"
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

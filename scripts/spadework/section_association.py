"""From a section and its latents to the association table: which genes, which values, which engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from spadework.adjusted import Columns, Depth, Residuals, SpatialTests, associate_adjusted
from spadework.association import Design, Fit, ModelFit, Moments, associate, models, to_table, varying
from spadework.covariates import covariate_matrix, tissue_pieces
from spadework.errors import InputError
from spadework.keys import LOG10_UMI, NUCLEI, TISSUE_PIECE, Keys
from spadework.lattice import array_to_um
from spadework.mixed_model import SpatialMixedModel
from spadework.spatial_null import STEPS, SpatialNull, orthonormal_basis
from spadework.surrogates import PermutedLatents
from spadework.tables import read_spots

log = logging.getLogger("spadework")

Values = Literal["lognorm", "sct"]
# Seurat's ScaleData cuts z-scores off here, on the upper side only.
Z_MAX = 10.0
# Fewer spots hold too few pairs at any distance to tell how alike neighbours are.
MIN_SPATIAL_SPOTS = 30


@dataclass(frozen=True)
class ModelInput:
    """What the models of a section are fitted to.

    Attributes
    ----------
    expression
        (spots, genes) CSC, in the units of the values chosen; where they are z-scored, cut off but not yet scaled.
    mean, unit
        (genes,) what is subtracted and what is divided by: 0 and 1 unless z-scored. Both leave t as it is, so the
        matrix stays sparse and the slopes are divided by ``unit``.
    latents
        (spots, k) float64.
    genes
        (genes,) rows of ``var``.
    n_spots
        (genes,) number of spots with the gene.
    """

    expression: sparse.csc_matrix
    mean: NDArray[np.float64]
    unit: NDArray[np.float64]
    latents: NDArray[np.float64]
    genes: pd.DataFrame
    n_spots: NDArray[np.integer]

    def dense(self) -> NDArray[np.float64]:
        """Return (spots, genes) values as the models see them."""
        return (self.expression.toarray().astype(np.float64) - self.mean) / self.unit


@dataclass(frozen=True)
class Adjustment:
    """What the adjusted tests hold constant, and which of them there are.

    Attributes
    ----------
    residuals
        How depth is taken out of the counts.
    covariates
        Names of columns of ``obs``, ``log10_umi`` or ``tissue_piece`` that stay in the model.
    mixed_model
        Give a second opinion.
    permutations
        Permuted latents of the third; 0 for none.
    """

    residuals: Residuals = "nb"
    covariates: tuple[str, ...] = (LOG10_UMI,)
    mixed_model: bool = False
    permutations: int = 0
    seed: int = 0


def read_section(expression: str | Path, manifest: str | Path, nuclei: Sequence[str | Path] = ()) -> ad.AnnData:
    """Read the AnnData of the expression stage, and into its ``obs`` what covariates may be taken from.

    Parameters
    ----------
    manifest
        Patch manifest: the share of tissue in every patch.
    nuclei
        The table of nuclei per spot, or nothing.
    """
    section = ad.read_h5ad(expression)
    fraction = pd.read_parquet(manifest, columns=["tissue_fraction"])["tissue_fraction"]
    section.obs[Keys.TISSUE_FRACTION] = fraction.loc[section.obs_names].to_numpy()
    per_spot = read_spots(nuclei)
    if per_spot is not None:
        section.obs[list(NUCLEI)] = per_spot.loc[section.obs_names]
    return section


def select(
    section: ad.AnnData,
    latents: ad.AnnData,
    sample: str,
    *,
    values: Values,
    zscore: bool,
    min_spots_fraction: float,
    n_latents: int | None,
) -> ModelInput:
    """Choose genes, values and latents, joined by barcode.

    Parameters
    ----------
    section
        AnnData of the expression stage: log-normalised ``X``; for ``sct`` also the layer of SCTransform's counts.
    latents
        AnnData of the embedding stage with ``obsm["pca"]``.
    values
        ``lognorm`` (log1p of counts per 10,000) or ``sct`` (log1p of the counts SCTransform corrected).
    zscore
        Scale every gene to mean 0 and SD 1 and cut off at 10, as Seurat's ScaleData does.
    min_spots_fraction
        Genes found in a smaller share of the spots are not tested, nor are constant genes. 0 tests all genes there
        are, constant ones included, as the published script does.
    n_latents
        Test the first few latents only; None for all.

    Raises
    ------
    InputError
        If no gene is left to test.
    """
    n_spots = section.X.getnnz(axis=0)
    tested = n_spots / section.n_obs >= min_spots_fraction
    if values == "sct":
        tested &= section.var[Keys.IN_SCT].to_numpy()
    expression = sparse.csc_matrix(section.X if values == "lognorm" else section.layers[Keys.SCT_COUNTS])
    if min_spots_fraction > 0:
        tested &= varying(expression)
    if not tested.any():
        raise InputError(
            sample,
            None,
            found=f"no gene in at least {min_spots_fraction:.0%} of {section.n_obs} spots",
            expected="genes to test",
            remedy="lower association.min_spots_fraction",
        )
    log.info("%s: testing %d of %d genes in %d spots", sample, tested.sum(), section.n_vars, section.n_obs)
    expression = expression[:, np.flatnonzero(tested)]
    if values == "sct":
        expression = expression.astype(np.float64).log1p()
    mean, unit = np.zeros(expression.shape[1]), np.ones(expression.shape[1])
    if zscore:
        expression, mean, unit = zscored(expression)
    return ModelInput(
        expression=expression,
        mean=mean,
        unit=unit,
        latents=np.asarray(latents[section.obs_names].obsm["pca"], np.float64)[:, :n_latents],
        genes=section.var[tested],
        n_spots=n_spots[tested],
    )


def zscored(
    expression: sparse.csc_matrix,
) -> tuple[sparse.csc_matrix, NDArray[np.float64], NDArray[np.float64]]:
    """Prepare Seurat's ScaleData: z = min((x - mean) / sd, 10), without making the matrix dense.

    Returns
    -------
    cut
        (spots, genes) CSC float64: x, no larger than mean + 10 sd.
    mean, sd
        (genes,) of the values before the cut (ddof 1); sd is 1 where a gene does not vary.
    """
    cut = expression.astype(np.float64)
    mean, variance = mean_variance_axis(cut, axis=0)
    sd = np.sqrt(variance * cut.shape[0] / (cut.shape[0] - 1))
    sd[~varying(expression)] = 1.0
    cut.data = np.minimum(cut.data, np.repeat(mean + Z_MAX * sd, np.diff(cut.indptr)))
    return cut, mean, sd


def associate_section(
    section: ad.AnnData,
    tested: ModelInput,
    sample: str,
    *,
    design: Design,
    adjustment: Adjustment,
    fit: Fit | None = None,
) -> pd.DataFrame:
    """Associate the genes of a section with its latents: as published, and adjusted for depth and for space.

    Parameters
    ----------
    section
        AnnData of the expression stage: raw counts, depth and lattice.
    fit
        Another engine's fit (:func:`read_limma`).

    Raises
    ------
    InputError
        If the latents cannot be modelled.
    """
    try:
        result = associate(tested.expression, tested.latents, design=design, unit=tested.unit, fit=fit)
        adjusted = adjust(section, tested, sample, adjustment)
    except ValueError as error:
        raise InputError(
            sample,
            None,
            found=str(error),
            expected="latents that vary, and more spots than coefficients",
            remedy="look at the image and the preflight overlay; lower latents.n_latents for very small sections",
        ) from error
    for j in np.flatnonzero(np.isnan(result.t).all(axis=0)):
        log.warning("%s: latent %d is a combination of the others and has no results", sample, j + 1)
    mean = np.asarray(tested.expression.mean(axis=0)).ravel()
    return to_table(result, tested.genes, mean, tested.n_spots, adjusted)


def adjust(section: ad.AnnData, tested: ModelInput, sample: str, adjustment: Adjustment) -> Columns:
    """Test the same genes again, adjusted for sequencing depth, and for depth and space.

    Without a lattice, or with fewer than 30 spots, there is no spatial test and its columns are NaN.

    Raises
    ------
    InputError
        If a covariate is not there.
    ValueError
        If depth does not vary, or a latent is a combination of the covariates.
    """
    counts, depth = counts_and_depth(section, tested, adjustment.residuals)
    covariates = covariate_matrix(with_pieces(section, sample), adjustment.covariates, sample)
    spatial = _spatial_tests(section, tested.latents, covariates, adjustment, sample)
    return associate_adjusted(counts, tested.latents, depth, covariates, spatial)


def counts_and_depth(
    section: ad.AnnData, tested: ModelInput, residuals: Residuals
) -> tuple[sparse.csc_matrix, Depth]:
    """Return the raw counts (spots, genes) of the genes tested, and how depth is to be taken out of them."""
    columns = section.var_names.get_indexer(tested.genes.index)
    log10_umi = np.log10(section.obs[Keys.TOTAL_COUNTS].to_numpy(float))
    return sparse.csc_matrix(section.layers[Keys.COUNTS])[:, columns], Depth(log10_umi, residuals)


def with_pieces(section: ad.AnnData, sample: str) -> pd.DataFrame:
    """Return ``obs`` with the piece of tissue each spot belongs to, where there is a lattice to tell."""
    lattice = section.uns[Keys.SPADE]["lattice"]
    if lattice["kind"] not in STEPS:
        return section.obs
    cells = section.obs[[Keys.ARRAY_ROW, Keys.ARRAY_COL]].to_numpy()
    pieces = tissue_pieces(array_to_um(lattice["kind"], 1.0, *cells.T), 1.0)
    size = pieces[pieces != "other"].value_counts()
    if len(size) > 1:
        log.warning(
            "%s: tissue in %d pieces (%s spots); to compare within pieces only, add %s to association.covariates",
            sample,
            len(size),
            ", ".join(map(str, size)),
            TISSUE_PIECE,
        )
    return section.obs.assign(**{TISSUE_PIECE: pieces.to_numpy()})


def on_lattice(section: ad.AnnData, sample: str) -> tuple[NDArray[np.integer], tuple[float, float]] | None:
    """Return array positions (spots, 2) and the size of a row and a column, or None where space cannot be tested."""
    kind = section.uns[Keys.SPADE]["lattice"]["kind"]
    if kind not in STEPS:
        log.warning("%s: no spatial test: spots without array positions on a lattice", sample)
        return None
    if section.n_obs < MIN_SPATIAL_SPOTS:
        log.warning("%s: no spatial test: %d spots, fewer than %d", sample, section.n_obs, MIN_SPATIAL_SPOTS)
        return None
    return section.obs[[Keys.ARRAY_ROW, Keys.ARRAY_COL]].to_numpy(), STEPS[kind]


def _spatial_tests(
    section: ad.AnnData,
    latents: NDArray[np.float64],
    covariates: NDArray[np.float64],
    adjustment: Adjustment,
    sample: str,
) -> SpatialTests | None:
    lattice = on_lattice(section, sample)
    if lattice is None:
        return None
    null = SpatialNull(*lattice, covariates)
    permuted = None
    if adjustment.permutations:
        permuted = PermutedLatents.draw(latents, *lattice, null.basis, adjustment.permutations, adjustment.seed)
    mixed = SpatialMixedModel(*lattice, covariates) if adjustment.mixed_model else None
    return SpatialTests(null, mixed, permuted)


def permuted_correlations(
    section: ad.AnnData, tested: ModelInput, sample: str, adjustment: Adjustment, n_permutations: int
) -> dict[int, pd.DataFrame]:
    """Correlate the genes with permuted latents, adjusted as in :func:`adjust` (``r_depth``).

    The permutations are as smooth as the latent; random where there is no spatial test.

    Returns
    -------
    dict
        Latent, counted from 1 -> (genes, permutations) float32 by name of the gene.

    Raises
    ------
    InputError
        If a covariate is not there.
    ValueError
        If depth or a latent does not vary.
    """
    counts, depth = counts_and_depth(section, tested, adjustment.residuals)
    covariates = covariate_matrix(with_pieces(section, sample), adjustment.covariates, sample)
    basis, lattice = orthonormal_basis(section.n_obs, covariates), on_lattice(section, sample)
    if lattice is None:
        permuted = PermutedLatents.shuffle(tested.latents, basis, n_permutations, adjustment.seed)
    else:
        permuted = PermutedLatents.draw(tested.latents, *lattice, basis, n_permutations, adjustment.seed)
    r = np.concatenate([permuted.correlations(block) for block in depth.blocks(counts)], axis=1)
    return {j: pd.DataFrame(of_latent, index=tested.genes.index) for j, of_latent in enumerate(r, 1)}


def write_values(tested: ModelInput, path: Path) -> None:
    """Write what the models are fitted to as HDF5, for R: ``values`` (spots, genes) and ``latents`` (spots, k)."""
    values = tested.dense()
    log.info("writing %d spots x %d genes (%.1f GB): limma needs them dense", *values.shape, values.nbytes / 1e9)
    with h5py.File(path, "w") as handle:
        handle["values"] = values
        handle["latents"] = tested.latents


def read_limma(path: str | Path, design: Design) -> tuple[Fit, str]:
    """Read what ``fit_limma.R`` wrote: a function that hands it over model by model, and the versions behind it.

    Parameters
    ----------
    path
        CSV with the columns ``latent`` (from 1), ``gene`` (from 1), ``coef``, ``t``, ``log10_p``, ``df_prior``,
        ``var_prior`` and, for provenance, ``engine``.
    """
    table = pd.read_csv(path)
    wide = table.pivot(index="gene", columns="latent")
    order = models(design, len(wide["t"].columns))

    def fit(_moments: Moments, columns: list[int]) -> ModelFit:
        if columns not in order:
            raise ValueError(f"limma fitted the models {order}, not {columns}")
        of = [j + 1 for j in columns]
        first = table[table["latent"] == of[0]].iloc[0]
        return ModelFit(
            coef=wide["coef"][of].to_numpy(float),
            t=wide["t"][of].to_numpy(float),
            log10_p=wide["log10_p"][of].to_numpy(float),
            df_prior=float(first["df_prior"]),
            var_prior=float(first["var_prior"]),
        )

    return fit, str(table["engine"].iloc[0])

"""An AnnData file with images in ``uns["spatial"]``, as scanpy and squidpy write it."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from spadework.errors import InputError
from spadework.images import to_rgb8
from spadework.keys import Keys
from spadework.lattice import NOMINAL_SPOT_UM, Lattice, fit_lattice, is_checkerboard
from spadework.readers.locate import SectionFiles
from spadework.readers.matrix import GENE_EXPRESSION, gene_expression_only
from spadework.readers.spaceranger import VISIUM_PITCH_UM, VISIUM_SPOT_UM
from spadework.samples import Sample
from spadework.section import POSITION_COLUMNS, Matrix, Section, check_unique, unique_gene_names

# Columns of obs that are results: of another run, if they are in a file.
_MADE_HERE = re.compile(r"cluster(_scanpy|_seurat)?$|(image_cluster|spade_cluster|prototype_class)(_|$)")


def read_h5ad(sample: Sample, files: SectionFiles) -> Section:
    """Read one section from an ``.h5ad``.

    Raises
    ------
    InputError
        If positions, raw counts or the image are missing, or the file holds several sections.
    """
    path = files.matrix
    try:
        adata = ad.read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            sample.name,
            path,
            found=f"an unreadable file ({error})",
            expected="an .h5ad",
            remedy="write it again",
        ) from error
    if Keys.SPATIAL not in adata.obsm:
        raise InputError(
            sample.name,
            path,
            found=f"obsm: {', '.join(adata.obsm) or 'nothing'}",
            expected="obsm['spatial'] with full-resolution pixel positions",
            remedy="write the section with its positions",
        )
    library = _library(sample, files, adata)
    counts, variables = _raw_counts(sample, files, adata)
    factors = {k: np.asarray(v) for k, v in dict(library.get("scalefactors", {})).items()}
    scale = {k: float(v) for k, v in factors.items() if v.ndim == 0 and v.dtype.kind in "iuf"}
    obs = pd.DataFrame(index=adata.obs_names.astype(str))
    check_unique(sample.name, path, obs.index)
    obs[Keys.IN_TISSUE] = _whole_column(sample, files, adata, Keys.IN_TISSUE) if Keys.IN_TISSUE in adata.obs else 1
    on_lattice = Keys.ARRAY_ROW in adata.obs and Keys.ARRAY_COL in adata.obs
    for key in (Keys.ARRAY_ROW, Keys.ARRAY_COL):
        obs[key] = _whole_column(sample, files, adata, key) if on_lattice else -1
    obs["x"], obs["y"] = np.asarray(adata.obsm[Keys.SPATIAL], float)[:, :2].T
    if not np.isfinite(obs[["x", "y"]].to_numpy()).all():
        raise InputError(
            sample.name,
            path,
            found=f"{int(obs[['x', 'y']].isna().any(axis=1).sum())} spots without a position in obsm['spatial']",
            expected="x and y in full-resolution pixels for every spot",
            remedy="drop these spots, or write their positions",
        )
    obs = obs.join(_categories(adata.obs))
    genes = pd.DataFrame(
        {
            Keys.GENE_IDS: variables.get(Keys.GENE_IDS, variables.index.to_series()).astype(str).to_numpy(),
            Keys.GENE_NAME: variables.index.astype(str),
            Keys.FEATURE_TYPES: variables.get(Keys.FEATURE_TYPES, GENE_EXPRESSION),
        }
    )
    matrix, n_other = gene_expression_only(Matrix(counts, obs.index.to_numpy(str), genes))
    images = {
        kind: _as_rgb(np.asarray(image))
        for kind, image in dict(library.get("images", {})).items()
        if kind in ("hires", "lowres")
    }
    if not images and files.fullres is None:
        raise InputError(
            sample.name,
            path,
            found="no image in uns['spatial']",
            expected="a hires image, or the full-resolution image in the column `image`",
            remedy="name the image in the sample sheet",
        )
    for kind in images:
        if not scale.get(f"tissue_{kind}_scalef", 0) > 0:
            raise InputError(
                sample.name,
                path,
                found=f"a {kind} image without tissue_{kind}_scalef in uns['spatial']",
                expected="a positive number",
                remedy="keep the scale factors of Space Ranger with the image",
            )
    return Section(
        sample=sample.name,
        platform="h5ad",
        counts=matrix.counts,
        positions=obs,
        genes=matrix.genes.set_axis(unique_gene_names(sample.name, path, matrix.genes)),
        lattice=_lattice(sample, files, adata, obs, scale),
        images=images,
        scalefactors=scale,
        image_source=dict.fromkeys(images, path.name),
        fullres=files.fullres,
        left_out={"features_other_than_genes": n_other} if n_other else {},
        notes=list(files.notes),
    )


def _categories(obs: pd.DataFrame) -> pd.DataFrame:
    """Return the categorical columns of a file's own, but for those that this workflow makes."""
    kept = {
        name: values
        for name, values in obs.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
        and not _MADE_HERE.match(str(name))
        and name not in POSITION_COLUMNS
    }
    return pd.DataFrame(kept, index=obs.index).set_axis(obs.index.astype(str))


def _whole_column(sample: Sample, files: SectionFiles, adata: ad.AnnData, key: str) -> np.ndarray:
    values = pd.to_numeric(adata.obs[key].astype(object), errors="coerce")
    if values.isna().any():
        raise InputError(
            sample.name,
            files.matrix,
            found=f"missing or non-numeric values in obs[{key!r}]",
            expected="whole numbers",
            remedy="correct the column",
        )
    return values.astype(int).to_numpy()


def _library(sample: Sample, files: SectionFiles, adata: ad.AnnData) -> dict:
    # CELLxGENE keeps a flag beside the sections.
    libraries = {k: v for k, v in dict(adata.uns.get(Keys.SPATIAL, {})).items() if isinstance(v, dict)}
    if len(libraries) > 1:
        raise InputError(
            sample.name,
            files.matrix,
            found=f"{len(libraries)} sections in uns['spatial']: {', '.join(libraries)}",
            expected="one section per file",
            remedy="write each section to its own .h5ad and give each a row of the sample sheet",
        )
    if not libraries and files.fullres is None:
        raise InputError(
            sample.name,
            files.matrix,
            found="no uns['spatial']",
            expected="images and scale factors as scanpy and squidpy store them",
            remedy="read the section with squidpy.read.visium before writing it",
        )
    return next(iter(libraries.values()), {})


def _raw_counts(sample: Sample, files: SectionFiles, adata: ad.AnnData) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    candidates = [(adata.layers.get(Keys.COUNTS), adata.var), (adata.X, adata.var)]
    if adata.raw is not None:
        candidates.append((adata.raw.X, adata.raw.var))
    for matrix, variables in candidates:
        if matrix is None:
            continue
        matrix = sparse.csr_matrix(matrix)
        if np.array_equal(matrix.data, np.rint(matrix.data)) and (matrix.data >= 0).all():
            matrix = sparse.csr_matrix(matrix, dtype=np.int32)
            matrix.eliminate_zeros()
            return matrix, variables
    raise InputError(
        sample.name,
        files.matrix,
        found="no raw counts in layers['counts'], X or raw",
        expected="whole numbers in one of them",
        remedy="store the counts with adata.layers['counts'] = adata.X.copy() before normalising",
    )


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Scanpy keeps PNG images as floats from 0 to 1, others keep them as larger integers from 0 to 255."""
    if image.dtype.kind == "f" and image.max(initial=0) <= 1:
        image = image * 255
    if image.dtype.kind != "u":
        image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return to_rgb8(image)


def _lattice(
    sample: Sample, files: SectionFiles, adata: ad.AnnData, obs: pd.DataFrame, scale: dict[str, float]
) -> Lattice:
    """Take the lattice this workflow stored, or fit the one the array coordinates lie on."""
    stored = adata.uns.get(Keys.SPADE, {}).get("lattice")
    if stored is not None:
        return Lattice(**{key: value.item() if hasattr(value, "item") else value for key, value in stored.items()})
    row, col = obs[Keys.ARRAY_ROW].to_numpy(), obs[Keys.ARRAY_COL].to_numpy()
    xy = obs[["x", "y"]].to_numpy(float)
    bin_um = scale.get("bin_size_um", 0.0)
    try:
        if bin_um and (row >= 0).all():
            return fit_lattice("square", bin_um, bin_um, row, col, xy)
        if is_checkerboard(row, col) and (row >= 0).all():
            return fit_lattice("hexagonal", VISIUM_PITCH_UM, VISIUM_SPOT_UM, row, col, xy)
    except ValueError as error:
        raise InputError(
            sample.name,
            files.matrix,
            found=str(error),
            expected="array_row and array_col of a Visium slide",
            remedy="correct or remove these two columns of obs",
        ) from error
    um_per_px = scale.get("microns_per_pixel") or NOMINAL_SPOT_UM / scale.get("spot_diameter_fullres", np.nan)
    if not np.isfinite(um_per_px):
        raise InputError(
            sample.name,
            files.matrix,
            found="neither array_row and array_col of a Visium slide nor a spot diameter",
            expected="one of them, to know the scale of the image",
            remedy="keep obs['array_row'], obs['array_col'] or the scale factors in the file",
        )
    return Lattice("none", 0.0, VISIUM_SPOT_UM, um_per_px, um_per_px)

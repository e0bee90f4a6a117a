"""A section in memory: what every reader returns, whatever was on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spadework.errors import InputError
from spadework.keys import Keys
from spadework.lattice import Lattice

POSITION_COLUMNS = [Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL, "x", "y"]


@dataclass
class Matrix:
    """Raw counts as a file holds them.

    Attributes
    ----------
    counts
        (barcodes, genes) CSR, int32.
    barcodes
        (barcodes,) str, in the file's order.
    genes
        (genes,) table with ``gene_ids``, ``gene_name`` and ``feature_types``.
    software
        What wrote the matrix, when it says so.
    """

    counts: sparse.csr_matrix
    barcodes: NDArray[np.str_]
    genes: pd.DataFrame
    software: str = ""


@dataclass
class Section:
    """One tissue section.

    Attributes
    ----------
    counts
        (spots, genes) CSR, int32; rows are the matrix's barcodes in the matrix's order.
    positions
        (spots,) table by barcode: ``in_tissue``, ``array_row``, ``array_col``, and ``x`` (column) and ``y``
        (row) in full-resolution pixels of the H&E image, float64. Further columns are categories of the file's own.
    genes
        (genes,) table by unique name, with ``gene_ids``, ``gene_name``, ``feature_types``.
    images
        ``hires`` and ``lowres``, (h, w, 3) uint8 RGB, where there are any.
    scalefactors
        Image pixels per full-resolution pixel and spot diameter, as Space Ranger names them.
    image_source
        Where each image came from, for the log and the preflight.
    fullres
        The full-resolution image, or None.
    left_out
        How many barcodes left, by reason.
    notes
        What a user should know about how the input was read.
    """

    sample: str
    platform: str
    counts: sparse.csr_matrix
    positions: pd.DataFrame
    genes: pd.DataFrame
    lattice: Lattice
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    scalefactors: dict[str, float] = field(default_factory=dict)
    image_source: dict[str, str] = field(default_factory=dict)
    fullres: Path | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def spatial(self) -> NDArray[np.float64]:
        """(spots, 2) float64: x and y in full-resolution pixels."""
        return self.positions[["x", "y"]].to_numpy(float)


def unversioned(identifiers: pd.Series) -> pd.Series:
    """Take the version off Ensembl ids (``ENSG00000141510.18``); everything else stays."""
    return identifiers.astype(str).str.replace(r"^(ENS[A-Z]*\d{11})\.\d+$", r"\1", regex=True)


def unique_gene_names(sample: str, file: Path, genes: pd.DataFrame) -> pd.Index:
    """Name genes so that none is lost: the symbol, or ``symbol_id`` where two genes share a symbol.

    Unlike numbered suffixes, these names do not depend on the order of the genes.

    Raises
    ------
    InputError
        If two genes share both symbol and id.
    """
    name, ident = genes[Keys.GENE_NAME].astype(str), genes[Keys.GENE_IDS].astype(str)
    name = name.where(name != "", ident)
    shared = name.duplicated(keep=False) & (name != ident)
    unique = name.where(~shared, name + "_" + ident)
    if unique.duplicated().any():
        raise InputError(
            sample,
            file,
            found=f"the gene {unique[unique.duplicated()].iloc[0]} more than once, with the same id",
            expected="every gene once, or genes of one symbol told apart by their ids",
            remedy="use the matrix as Space Ranger wrote it, or keep the Ensembl ids in var['gene_ids']",
        )
    return pd.Index(unique, name=None)


def check_unique(sample: str, file: Path, barcodes: pd.Index) -> None:
    """Refuse barcodes that repeat, with an InputError."""
    if barcodes.has_duplicates:
        raise InputError(
            sample,
            file,
            found=f"the barcode {barcodes[barcodes.duplicated()][0]} more than once",
            expected="every barcode once",
            remedy="use the file as Space Ranger wrote it; merged sections go into separate rows of the sample sheet",
        )


def join_positions(
    sample: str, matrix: Matrix, positions: pd.DataFrame, matrix_file: Path, positions_file: Path
) -> tuple[sparse.csr_matrix, pd.DataFrame, dict[str, int]]:
    """Join counts and positions by barcode and account for every barcode.

    A barcode is first looked up as it is, then, where none at all match, without the suffix that Seurat and
    aggregating tools add (``-1``, ``-1_2``).

    Parameters
    ----------
    positions
        Table by barcode with :data:`POSITION_COLUMNS`.

    Returns
    -------
    counts, positions, left_out
        Rows of the matrix that have a position, in the matrix's order.

    Raises
    ------
    InputError
        If barcodes repeat or fewer than half of the matrix's barcodes have a position.
    """
    barcodes = pd.Index(matrix.barcodes)
    check_unique(sample, matrix_file, barcodes)
    check_unique(sample, positions_file, positions.index)
    wanted = barcodes
    if not barcodes.isin(positions.index).any():
        bare_positions = positions.index.str.replace(r"-\d+(_\d+)?$", "", regex=True)
        if not bare_positions.has_duplicates:
            positions = positions.set_axis(bare_positions)
            wanted = barcodes.str.replace(r"-\d+(_\d+)?$", "", regex=True)
            check_unique(sample, matrix_file, wanted)
    has_position = wanted.isin(positions.index)
    if has_position.mean() < 0.5:
        raise InputError(
            sample,
            positions_file,
            found=f"{has_position.sum()} of {len(barcodes)} barcodes of the matrix have a position "
            f"(matrix: {', '.join(barcodes[:2])}; positions: {', '.join(map(str, positions.index[:2]))})",
            expected="matrix and positions of the same section",
            remedy=f"check that {matrix_file.name} and {positions_file.name} come from the same run",
        )
    joined = positions.loc[wanted[has_position], POSITION_COLUMNS].set_axis(barcodes[has_position])
    left_out = {
        "without_position": int((~has_position).sum()),
        "positions_without_counts": int((~positions.index.isin(wanted)).sum()),
    }
    return matrix.counts[np.flatnonzero(has_position)], joined, left_out


def keep_tissue(section: Section) -> Section:
    """Drop spots off the tissue and record how many left.

    Raises
    ------
    InputError
        If no spot lies on tissue.
    """
    on_tissue = section.positions[Keys.IN_TISSUE].to_numpy() == 1
    if not on_tissue.any():
        raise InputError(
            section.sample,
            None,
            found="no spot marked as in tissue",
            expected="at least one spot with in_tissue = 1",
            remedy="check the tissue detection of Space Ranger (detected_tissue_image.jpg)",
        )
    section.left_out["off_tissue"] = int((~on_tissue).sum())
    section.counts = section.counts[np.flatnonzero(on_tissue)]
    section.positions = section.positions[on_tissue]
    return section


def to_anndata(section: Section) -> ad.AnnData:
    """Lay a section out as the AnnData every later stage starts from.

    ``X`` holds raw counts. Images follow the squidpy convention, ``uns["spatial"][sample]``.
    """
    adata = ad.AnnData(
        X=section.counts,
        obs=section.positions.drop(columns=["x", "y"]).astype(
            {Keys.IN_TISSUE: int, Keys.ARRAY_ROW: int, Keys.ARRAY_COL: int}
        ),
        var=section.genes,
        obsm={Keys.SPATIAL: section.spatial},
    )
    adata.uns[Keys.SPATIAL] = {
        section.sample: {
            "images": section.images,
            "scalefactors": section.scalefactors,
            "metadata": {"image_source": section.image_source},
        }
    }
    adata.uns[Keys.SPADE] = {
        "sample": section.sample,
        "platform": section.platform,
        "lattice": section.lattice.as_dict(),
        "left_out": section.left_out,
        "notes": section.notes,
        "fullres_image": section.fullres.name if section.fullres else "",
    }
    return adata

"""Simulate one section and write it: the image, the counts and the truth behind both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from .cells import scatter_nuclei
from .expression import (
    DISPERSION_THETA,
    LIBRARY_SPREAD,
    RANGES_PITCHES,
    STRENGTHS,
    UMI_PER_CELL,
    GeneNumbers,
    draw_counts,
    plan_genes,
)
from .fields import stream
from .geometry import SPOT_DIAMETER_UM, Lattice, canvas_around, hexagonal_lattice, spot_fractions
from .render import photograph, stain_section
from .spaceranger import SOFTWARE_VERSION, random_barcodes, write_images, write_matrix, write_positions
from .tiles import EDGE_PX, Tile, cut_tiles
from .tissue import COMPARTMENTS, Tissue, lay_out_tissue

DEFAULT_ROWS = 54
DEFAULT_COLUMNS = 48
LEAST_TISSUE = 0.5
SPOT_AREA_MM2 = np.pi * (SPOT_DIAMETER_UM / 2000.0) ** 2


@dataclass(frozen=True)
class Section:
    """One simulated section in memory.

    Attributes
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.
    lattice : Lattice
        Every spot of the capture area.
    barcodes : ndarray of str, shape (len(lattice),)
        In the order of the lattice.
    matrix_order : ndarray of intp, shape (n_spots,)
        Lattice indices of the spots in tissue, sorted by barcode as in a filtered matrix.
    counts : ndarray of int32, shape (n_spots, n_genes)
        In the order of `matrix_order` and `genes`.
    genes, spots : DataFrame
        The truth, in the order of the counts.
    tiles : list of Tile
        Labelled nuclei, if asked for.
    """

    image: NDArray[np.uint8]
    lattice: Lattice
    barcodes: NDArray[np.str_]
    matrix_order: NDArray[np.intp]
    counts: NDArray[np.int32]
    genes: pd.DataFrame
    spots: pd.DataFrame
    tiles: list[Tile] = field(default_factory=list)


def simulate_section(
    seed: int, spot_rows: int, spot_columns: int, um_per_px: float, numbers: GeneNumbers, *, with_nuclei: bool = False
) -> Section:
    """Simulate a section in memory (deterministic in `seed`)."""
    lattice = hexagonal_lattice(spot_rows, spot_columns)
    canvas = canvas_around(lattice, um_per_px)
    tissue = lay_out_tissue(seed, canvas)
    nuclei = scatter_nuclei(seed, tissue)

    fractions = spot_fractions(tissue.kind, len(Tissue), canvas, lattice)
    barcodes = random_barcodes(stream(seed, "barcodes"), len(lattice))
    covered = np.flatnonzero(fractions[:, Tissue.GLASS] <= 1.0 - LEAST_TISSUE)
    matrix_order = covered[np.argsort(barcodes[covered])]
    spots = _spot_truth(barcodes[matrix_order], fractions[matrix_order], nuclei.counts_under(lattice)[matrix_order])

    drivers = spots[[f"fraction_{kind.name.lower()}" for kind in COMPARTMENTS] + ["nuclei_per_mm2"]]
    genes = plan_genes(seed, numbers, list(drivers.columns))
    counts = draw_counts(seed, genes, drivers, spots["nuclei"].to_numpy(), lattice, matrix_order)
    image = photograph(seed, stain_section(seed, tissue, nuclei), canvas)
    tiles = cut_tiles(image, tissue, nuclei) if with_nuclei else []
    return Section(image, lattice, barcodes, matrix_order, counts, genes, spots, tiles)


def _spot_truth(
    barcodes: NDArray[np.str_], fractions: NDArray[np.float64], nuclei: NDArray[np.int64]
) -> pd.DataFrame:
    """Tabulate what lies under each spot in tissue."""
    table = pd.DataFrame({"barcode": barcodes})
    for kind in Tissue:
        table[f"fraction_{kind.name.lower()}"] = fractions[:, kind]
    names = np.array([kind.name.lower() for kind in COMPARTMENTS])
    table["dominant_type"] = names[np.argmax(fractions[:, list(COMPARTMENTS)], axis=1)]
    table["nuclei"] = nuclei
    table["nuclei_per_mm2"] = nuclei / SPOT_AREA_MM2
    return table


def simulate(
    out: Path,
    *,
    seed: int,
    spot_rows: int = DEFAULT_ROWS,
    spot_columns: int = DEFAULT_COLUMNS,
    um_per_px: float = 2.0,
    n_morphology: int = 141,
    n_spatial: int = 143,
    n_null: int = 562,
    n_bulk: int = 2600,
    nuclei: bool = False,
) -> Path:
    """Simulate a section and write it as a Space Ranger 2 folder, with the truth beside it.

    Parameters
    ----------
    out : Path
        Receives ``outs`` and ``truth``; made if need be, and what it holds under those names is overwritten.
    seed : int
        Not negative. The same seed and arguments give the same bytes.
    spot_rows, spot_columns : int
        Rows of the lattice and spots per row (a 6.5 mm capture area has 78 and 64); at least 4.
    um_per_px : float
        Pixel size of the full-resolution image, 0.25 to 10 µm.
    n_morphology, n_spatial, n_null, n_bulk : int
        Genes that follow the image, that follow a field of their own, that follow nothing, and unscored
        genes that absorb the composition.
    nuclei : bool
        Also write tiles of the image with labelled nuclei, to train on: ``truth/nuclei/image`` and ``.../label``.

    Returns
    -------
    Path
        ``out/outs``.

    Raises
    ------
    ValueError
        If an argument lies outside its range, the bulk genes are too few to balance the others, or the section is
        too small for tiles.
    """
    if seed < 0:
        msg = f"seed is {seed}; it must not be negative"
        raise ValueError(msg)
    if min(spot_rows, spot_columns) < 4:
        msg = f"a lattice of {spot_rows} x {spot_columns} spots is too small; both sides need at least 4"
        raise ValueError(msg)
    if not 0.25 <= um_per_px <= 10.0:
        msg = f"um_per_px is {um_per_px}; it must lie between 0.25 and 10 µm"
        raise ValueError(msg)
    numbers = GeneNumbers(n_morphology, n_spatial, n_null, n_bulk)
    section = simulate_section(seed, spot_rows, spot_columns, um_per_px, numbers, with_nuclei=nuclei)

    outs, truth = Path(out) / "outs", Path(out) / "truth"
    (outs / "spatial").mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    _write_outs(outs, section, seed, um_per_px)
    _write_truth(truth, section, seed, um_per_px, numbers)
    return outs


def _write_outs(outs: Path, section: Section, seed: int, um_per_px: float) -> None:
    """Write what Space Ranger would have written."""
    in_tissue = np.zeros(len(section.lattice), bool)
    in_tissue[section.matrix_order] = True
    matrix = outs / "filtered_feature_bc_matrix.h5"
    write_matrix(matrix, section.counts, section.barcodes[section.matrix_order], section.genes, f"simulated_{seed}")
    positions = outs / "spatial" / "tissue_positions.csv"
    write_positions(positions, section.lattice, section.barcodes, in_tissue, um_per_px)
    write_images(outs, section.image, um_per_px)


def _write_truth(truth: Path, section: Section, seed: int, um_per_px: float, numbers: GeneNumbers) -> None:
    """Write what was planted."""
    section.genes.drop(columns="abundance").to_csv(truth / "genes.csv", index=False)
    section.spots.round(6).to_csv(truth / "spots.csv", index=False)
    # As a sample sheet takes clusters.
    types = section.spots[["barcode", "dominant_type"]].rename(columns={"dominant_type": "label"})
    types.to_csv(truth / "types.csv", index=False)
    parameters = {
        "what": "truth of a simulated Visium section; genes.csv and spots.csv are in the matrix's order",
        "software": SOFTWARE_VERSION,
        "seed": seed,
        "spot_rows": section.lattice.rows,
        "spot_columns": section.lattice.columns,
        "um_per_px": um_per_px,
        "spots_in_tissue": len(section.spots),
        "genes": asdict(numbers),
        "counts": {
            "law": "negative binomial, log mean linear in the standardised driver",
            "theta": DISPERSION_THETA,
            "betas": STRENGTHS,
            "field_ranges_pitches": RANGES_PITCHES,
            "library": f"{UMI_PER_CELL} * (nuclei + 2) * exp(N(0, {LIBRARY_SPREAD}))",
            "bulk": "scaled in each spot so that the shares of all genes sum to one; its beta is before that",
        },
    }
    if section.tiles:
        parameters["nuclei"] = _write_tiles(truth / "nuclei", section.tiles)
    (truth / "README.json").write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")


def _write_tiles(folder: Path, tiles: list[Tile]) -> dict[str, object]:
    """Write images and labels of the same names and a table of them, and return what there is to say of them."""
    for kind in ("image", "label"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for left in (folder / kind).glob("*.png"):
            left.unlink()
    rows = []
    for number, tile in enumerate(tiles, 1):
        name = f"{number:02d}.png"
        Image.fromarray(tile.image).save(folder / "image" / name)
        Image.fromarray(tile.labels).save(folder / "label" / name)
        rows.append({"tile": name, "row": tile.row, "column": tile.column, "nuclei": int(tile.labels.max())})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "tiles.csv", index=False)
    return {
        "what": "tiles of the image; labels number the nuclei of a tile from 1, 0 is background",
        "edge_px": EDGE_PX,
        "tiles": len(table),
        "nuclei": int(table["nuclei"].sum()),
    }

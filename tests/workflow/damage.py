"""Ways a section can be broken, each a function of a private copy of a good ``outs`` folder.

A function changes the folder and may return cells of the sample sheet. :func:`broken` says where the workflow should
stop and which phrases its message should hold; :func:`repaired` names the file that should come out all the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tifffile
from PIL import Image

MATRIX = "filtered_feature_bc_matrix.h5"
POSITIONS = "spatial/tissue_positions.csv"
SCALE = "spatial/scalefactors_json.json"
FULLRES = "tissue_image.tif"

Cells = dict[str, object] | None
Damage = Callable[[Path], Cells]


@dataclass(frozen=True)
class Case:
    """A broken section and what should come of it."""

    name: str
    damage: Damage
    stops_at: str
    phrases: tuple[str, ...] = ()
    target: str = "preflight/preflight.json"


CASES: list[Case] = []


def broken(stops_at: str, *phrases: str, target: str = "preflight/preflight.json") -> Callable[[Damage], Damage]:
    """Register a section that must stop at a rule (``sheet``: before any job) with these phrases in its message."""

    def register(damage: Damage) -> Damage:
        CASES.append(Case(damage.__name__, damage, stops_at, phrases, target))
        return damage

    return register


def repaired(*phrases: str, target: str = "preflight/preflight.json") -> Callable[[Damage], Damage]:
    """Register a section that must give ``target``, with these phrases in a log."""
    return broken("", *phrases, target=target)


def prepare(case: Case, outs: Path, folder: Path) -> dict[str, object]:
    """Copy a good section, break it, and return its row of the sample sheet."""
    copy = folder / case.name / "outs"
    shutil.copytree(outs, copy)
    row: dict[str, object] = {"sample": case.name, "path": copy, "species": "human"}
    return row | (case.damage(copy) or {})


def positions(outs: Path) -> pd.DataFrame:
    """Read the positions of a good section."""
    return pd.read_csv(outs / POSITIONS)


def scalefactors(outs: Path, **changed: object) -> None:
    """Change or, by ``None``, remove scale factors."""
    factors = json.loads((outs / SCALE).read_text()) | changed
    (outs / SCALE).write_text(json.dumps({k: v for k, v in factors.items() if v is not None}))


def fullres(outs: Path) -> np.ndarray:
    """Read the full-resolution image of a good section, (h, w, 3) uint8."""
    return tifffile.imread(outs / FULLRES)


def counts(outs: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the counts of the matrix."""
    with h5py.File(outs / MATRIX, "a") as handle:
        data = change(handle["matrix/data"][:])
        del handle["matrix/data"]
        handle["matrix/data"] = data


def keep_barcodes(outs: Path, n: int) -> None:
    """Reduce the matrix to its first ``n`` barcodes."""
    with h5py.File(outs / MATRIX, "a") as handle:
        group = handle["matrix"]
        indptr = group["indptr"][: n + 1]
        new = {
            "barcodes": group["barcodes"][:n],
            "indptr": indptr,
            "data": group["data"][: indptr[-1]],
            "indices": group["indices"][: indptr[-1]],
            "shape": np.array([group["shape"][0], n], np.int32),
        }
        for name, values in new.items():
            del group[name]
            group[name] = values


def truncate(path: Path) -> None:
    """Cut a file in half, as a full disk or a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def clusters(outs: Path, **columns: object) -> Path:
    """Write a table of clusters as R does: barcodes first, in a column without a name."""
    barcodes = list(columns.pop("barcodes", positions(outs)["barcode"]))
    pd.DataFrame(columns, index=barcodes).to_csv(outs / "clusters.csv")
    return outs / "clusters.csv"


# Paths of the sample sheet: every problem is reported before any job runs.


@broken("sheet", "no such file or folder", "nowhere", "correct `path` in the sample sheet")
def missing_path(outs: Path) -> Cells:
    return {"path": outs / "nowhere"}


@broken("sheet", "found:    nothing", "binned_outputs/ (Visium HD)", "point `path` at the `outs` folder")
def empty_folder(outs: Path) -> Cells:
    (outs / "empty").mkdir()
    return {"path": outs / "empty"}


@broken("sheet", "a file called notes.docx", "expected: an .h5ad", "give the folder Space Ranger wrote")
def path_to_some_file(outs: Path) -> Cells:
    (outs / "notes.docx").write_text("notes")
    return {"path": outs / "notes.docx"}


@broken("sheet", MATRIX, "a link that leads nowhere (to /gone/matrix.h5)", "cp -L")
def dangling_matrix(outs: Path) -> Cells:
    (outs / MATRIX).unlink()
    (outs / MATRIX).symlink_to("/gone/matrix.h5")


@broken("sheet", "scalefactors_json.json, tissue_hires_image.png", "one of tissue_positions.csv", "copy the whole")
def positions_missing(outs: Path) -> Cells:
    (outs / POSITIONS).unlink()


@broken("sheet", "scalefactors_json.json", "no such file", "copy the folder again")
def scalefactors_missing(outs: Path) -> Cells:
    (outs / SCALE).unlink()


@broken("sheet", "what looks like visium", "visium_hd, as the column `platform` says", "empty the column")
def wrong_platform(outs: Path) -> Cells:
    return {"platform": "visium_hd"}


@broken("sheet", "square_002um", "expected: square_008um", "set `ingest.bin_um`")
def bin_size_not_there(outs: Path) -> Cells:
    (outs / "binned_outputs/square_002um").mkdir(parents=True)


# Matrix and positions.


@broken("read_section", MATRIX, "cannot be read as a matrix", "copy the file again")
def truncated_matrix(outs: Path) -> Cells:
    truncate(outs / MATRIX)


@broken("read_section", MATRIX, "cannot be read as a matrix", "HDF5 with the group 'matrix'")
def text_as_matrix(outs: Path) -> Cells:
    (outs / MATRIX).write_text("version https://git-lfs.github.com/spec/v1\n")


@broken("read_section", MATRIX, "values such as 0.5", "whole numbers, none negative", "give the unnormalised matrix")
def fractions_in_matrix(outs: Path) -> Cells:
    counts(outs, lambda data: data / 2)


@broken("read_section", MATRIX, "values such as -", "whole numbers, none negative", "give the unnormalised matrix")
def negative_values_in_matrix(outs: Path) -> Cells:
    counts(outs, lambda data: -data)


@broken("read_section", MATRIX, "no barcode")
def empty_matrix(outs: Path) -> Cells:
    keep_barcodes(outs, 0)


@broken("read_section", "tissue_positions.csv", "5 columns", "six comma-separated columns", "unchanged")
def positions_with_five_columns(outs: Path) -> Cells:
    positions(outs).iloc[:, :5].to_csv(outs / POSITIONS, index=False)


@broken("read_section", "tissue_positions.csv", "1 of 324 rows", "data row 4", "expected: numbers in")
def text_in_pixel_column(outs: Path) -> Cells:
    table = positions(outs).astype({"pxl_col_in_fullres": object})
    table.loc[3, "pxl_col_in_fullres"] = "left"
    table.to_csv(outs / POSITIONS, index=False)


@broken("read_section", "tissue_positions.csv", "an unreadable file", "expected: a table of barcode, in_tissue")
def empty_positions(outs: Path) -> Cells:
    (outs / POSITIONS).write_text("")


@broken("read_section", "tissue_positions.csv", "0 of 257 barcodes of the matrix", "same section", "same run")
def positions_with_other_barcodes(outs: Path) -> Cells:
    table = positions(outs)
    table["barcode"] = table["barcode"].str.translate(str.maketrans("ACGT", "CATG"))
    table.to_csv(outs / POSITIONS, index=False)


@broken("read_section", "tissue_positions.csv", "more than once", "every barcode once", "as Space Ranger wrote it")
def repeated_barcode(outs: Path) -> Cells:
    table = positions(outs)
    table.loc[5, "barcode"] = table.loc[4, "barcode"]
    table.to_csv(outs / POSITIONS, index=False)


@broken("read_section", "no spot marked as in tissue", "in_tissue = 1", "tissue detection of Space Ranger")
def no_spot_in_tissue(outs: Path) -> Cells:
    positions(outs).assign(in_tissue=0).to_csv(outs / POSITIONS, index=False)


@repaired("257 barcodes with a position")
def header_in_positions_list(outs: Path) -> Cells:
    (outs / POSITIONS).rename(outs / "spatial/tissue_positions_list.csv")


@broken("read_section", "lattice", "residual", "spot centres within half a pitch", "of this very section")
def array_columns_shuffled(outs: Path) -> Cells:
    table = positions(outs)
    table["array_col"] = np.random.default_rng(0).permutation(table["array_col"])
    table.to_csv(outs / POSITIONS, index=False)


@repaired("warn barcodes: 257 of 257", "lie on tissue -> check that matrix and positions are of one section")
def positions_of_another_section(outs: Path) -> Cells:
    # Slides share their barcodes: only where the tissue lies tells sections apart.
    table = positions(outs)
    table["in_tissue"] = np.random.default_rng(0).permutation(table["in_tissue"])
    table.to_csv(outs / POSITIONS, index=False)


# Scale factors.


@broken("read_section", "scalefactors_json.json", "no JSON object", "as Space Ranger writes it", "copy it again")
def scalefactors_not_json(outs: Path) -> Cells:
    (outs / SCALE).write_text("tissue_hires_scalef = 0.5\n")


@broken("read_section", "scalefactors_json.json", "tissue_hires_scalef = 0", "a positive number")
def scalefactor_zero(outs: Path) -> Cells:
    scalefactors(outs, tissue_hires_scalef=0)


@broken("read_section", "scalefactors_json.json", "tissue_hires_scalef = absent", "a positive number")
def scalefactor_missing(outs: Path) -> Cells:
    scalefactors(outs, tissue_hires_scalef=None)


@broken("read_section", "scale", "(50.0% apart)", "scalefactors_json.json are not of the same section")
def scalefactors_of_another_slide(outs: Path) -> Cells:
    scalefactors(outs, spot_diameter_fullres=65 / 6.0)


@broken("read_section", "scale", "8 µm/px by lattice pitch, 4 by microns_per_pixel", "bin size: copy both again")
def wrong_bin_size(outs: Path) -> Cells:
    """Scale factors of the 16 µm bins beside positions of the 8 µm bins."""
    table, square = positions(outs), outs / "binned_outputs/square_008um"
    table["array_col"] //= 2
    table["pxl_row_in_fullres"] = 200.0 + 2 * table["array_row"]
    table["pxl_col_in_fullres"] = 200.0 + 2 * table["array_col"]
    square.mkdir(parents=True)
    scalefactors(outs, bin_size_um=16, microns_per_pixel=4.0, spot_diameter_fullres=4.0)
    (outs / POSITIONS).unlink()
    (outs / "spatial").rename(square / "spatial")
    (outs / MATRIX).rename(square / MATRIX)
    table.to_parquet(square / "spatial/tissue_positions.parquet")


# Images.


def _remove_images(outs: Path) -> None:
    for name in ("tissue_hires_image.png", "tissue_lowres_image.png"):
        (outs / "spatial" / name).unlink()


@broken("read_section", "spatial", "no image", "tissue_hires_image.png, or the full-resolution", "cp -L")
def no_image(outs: Path) -> Cells:
    _remove_images(outs)
    (outs / FULLRES).unlink()


@broken("read_section", "a link that leads nowhere", "tissue_hires_image.png", "name the full-resolution image")
def dangling_hires_and_nothing_else(outs: Path) -> Cells:
    no_image(outs)
    (outs / "spatial/tissue_hires_image.png").symlink_to("/gone/hires.png")


@repaired("tissue_hires_image.png in outs/spatial is a link that leads nowhere")
def dangling_hires(outs: Path) -> Cells:
    (outs / "spatial/tissue_hires_image.png").unlink()
    (outs / "spatial/tissue_hires_image.png").symlink_to("/gone/hires.png")


@broken("read_section", "tissue_hires_image.png", "an image that cannot be read", "copy the file again")
def truncated_hires(outs: Path) -> Cells:
    truncate(outs / "spatial/tissue_hires_image.png")


@broken("read_section", "tissue_image.tif", "an image that cannot be read", "copy")
def truncated_image(outs: Path) -> Cells:
    truncate(outs / FULLRES)


@broken("read_section", "he.tif", "an image that cannot be read", "export it as TIFF")
def empty_image(outs: Path) -> Cells:
    (outs / "he.tif").write_bytes(b"")
    return {"image": outs / "he.tif"}


def _image(outs: Path, pixels: np.ndarray, name: str = "he.tif", **options: object) -> Cells:
    tifffile.imwrite(outs / name, pixels, compression="deflate", **options)
    return {"image": outs / name}


@repaired("ok   image size: 639 x 570 px")
def grey_image(outs: Path) -> Cells:
    Image.fromarray(fullres(outs)).convert("L").save(outs / "he.png")
    return {"image": outs / "he.png"}


@broken("read_section", "he.tif", "570 x 639 px: transposed", "about 640 x 570 px", "rotate the image by 90°")
def image_transposed(outs: Path) -> Cells:
    return _image(outs, np.swapaxes(fullres(outs), 0, 1).copy(), photometric="rgb")


@broken("read_section", "he.tif", "orientation", "if rotated by 180°", "lies as Space Ranger's does")
def image_rotated(outs: Path) -> Cells:
    return _image(outs, fullres(outs)[::-1, ::-1].copy(), photometric="rgb")


@broken("read_section", "he.tif", "orientation", "if mirrored left to right", "the one Space Ranger was given")
def image_mirrored(outs: Path) -> Cells:
    return _image(outs, fullres(outs)[:, ::-1].copy(), photometric="rgb")


@broken("read_section", "he.tif", "image size", "600 x 500 px", "about 640 x 570 px", "not resized or cropped")
def image_cropped(outs: Path) -> Cells:
    return _image(outs, fullres(outs)[:500, :600].copy(), photometric="rgb")


@broken("read_section", "tissue_hires_image.png", "the hires image itself", "empty the column `image`")
def hires_given_as_image(outs: Path) -> Cells:
    return {"image": outs / "spatial/tissue_hires_image.png"}


@broken("read_section", "he.tif", "the CytAssist image (3000 x 3000 px, eosin only)", "name the microscope image")
def cytassist_image(outs: Path) -> Cells:
    tissue = fullres(outs).mean(axis=2, keepdims=True) < 200
    eosin = Image.fromarray(np.where(tissue, (245, 120, 170), 245).astype(np.uint8))
    return _image(outs, np.asarray(eosin.resize((3000, 3000))), photometric="rgb")


@broken("read_section", "he.tif", "an image of a single colour, RGB (255, 255, 255)", "give the H&E image")
def blank_image(outs: Path) -> Cells:
    return _image(outs, np.full_like(fullres(outs), 255), photometric="rgb")


@broken("read_section", "he.tif", "nearly black: it looks like fluorescence", "give the H&E image")
def dark_image(outs: Path) -> Cells:
    return _image(outs, 255 - fullres(outs), photometric="rgb")


@broken("read_section", "he.tif", "a fluorescence image (4 channels without names)", "column `channels`")
def fluorescence_channels(outs: Path) -> Cells:
    channels = np.stack([fullres(outs)[:, :, 0].astype(np.uint16)] * 4)
    return _image(outs, channels, photometric="minisblack", metadata={"axes": "CYX"})


@broken("read_section", "he.tif", "pixels of type float32", "8 or 16 bit", "export the image as 8 bit RGB TIFF")
def float_image(outs: Path) -> Cells:
    return _image(outs, fullres(outs).astype(np.float32) / 255, photometric="rgb")


@broken("read_section", "spots in image", "of 257 spots on tissue lie outside the image", "at most 10%")
def spots_outside_image(outs: Path) -> Cells:
    table = positions(outs)
    table["pxl_col_in_fullres"] += 300
    table.to_csv(outs / POSITIONS, index=False)


# Expression and clusters.

EXPRESSION = "expression/expression.h5ad"


@broken("cluster_expression", "0 of 257 spots pass", "at least 4", "lower expression.min_counts", target=EXPRESSION)
def hardly_any_counts(outs: Path) -> Cells:
    counts(outs, lambda data: (np.arange(len(data)) % 97 == 0).astype(np.int32))


@broken("cluster_expression", "columns Unnamed: 0, colour", "seurat_clusters", "rename the column", target=EXPRESSION)
def clusters_without_known_column(outs: Path) -> Cells:
    return {"clusters": clusters(outs, colour=1)}


@broken("cluster_expression", "clusters.csv", "0 of 257 spots have a row", "check the barcodes", target=EXPRESSION)
def clusters_of_another_section(outs: Path) -> Cells:
    return {"clusters": clusters(outs, seurat_clusters=1, barcodes=[f"SPOT{i}-1" for i in range(324)])}


@repaired("257 of 257 spots have a cluster in clusters.csv", target=EXPRESSION)
def text_clusters(outs: Path) -> Cells:
    return {"clusters": clusters(outs, label=["stroma", "tumour"] * 162)}


@repaired("25 on tissue", target="very_small_section.h5ad")
def very_small_section(outs: Path) -> Cells:
    keep_barcodes(outs, 25)

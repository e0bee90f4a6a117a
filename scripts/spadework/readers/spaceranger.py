"""Sections that Space Ranger wrote: Visium spots, Visium HD bins and Visium HD segmented cells."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from spadework.archives import unpack
from spadework.errors import InputError
from spadework.images import read_rgb
from spadework.keys import Keys
from spadework.lattice import Lattice, fit_lattice
from spadework.readers.locate import SectionFiles, locate
from spadework.readers.matrix import gene_expression_only, read_matrix
from spadework.readers.positions import read_positions
from spadework.samples import Sample
from spadework.section import Matrix, Section, join_positions, unique_gene_names

VISIUM_PITCH_UM = 100.0
VISIUM_SPOT_UM = 55.0
# Before this version the instrument's registration of HD slides was off by up to 16 µm.
HD_REGISTRATION_FIXED = (3, 1, 2)


def read_spaceranger(sample: Sample, files: SectionFiles, bin_um: int) -> Section:
    """Read a Visium or Visium HD section.

    Raises
    ------
    InputError
        If files are broken, do not belong together, or hold no spots.
    """
    if files.archives:
        with tempfile.TemporaryDirectory() as folder:
            try:
                return read_spaceranger(sample, _unpack(sample, files, Path(folder), bin_um), bin_um)
            except InputError as error:
                raise _inside_archive(error, files, folder) from error
    matrix, n_other = gene_expression_only(read_matrix(sample.name, files.matrix))
    scale = _read_scalefactors(sample.name, files.scalefactors or files.positions)
    images = {kind: path for kind in ("hires", "lowres") if (path := getattr(files, kind)) is not None}
    _need_image(sample.name, files, images)
    read = read_cell_positions if files.platform == "visium_hd_cells" else read_positions
    table = read(sample.name, files.positions)
    counts, positions, left_out = join_positions(sample.name, matrix, table, files.matrix, files.positions)
    if n_other:
        left_out["features_other_than_genes"] = n_other
    return Section(
        sample=sample.name,
        platform=files.platform,
        counts=counts,
        positions=positions,
        genes=matrix.genes.set_axis(unique_gene_names(sample.name, files.matrix, matrix.genes)),
        lattice=_lattice(sample.name, files, positions, scale),
        images={kind: read_rgb(path, sample.name) for kind, path in images.items()},
        scalefactors=scale,
        image_source={kind: path.name for kind, path in images.items()},
        fullres=files.fullres,
        left_out=left_out,
        notes=[*files.notes, *_version_notes(files.platform, matrix)],
    )


def _inside_archive(error: InputError, files: SectionFiles, folder: str) -> InputError:
    """Name the archive instead of the temporary folder it was unpacked to."""
    inside = (error.file or "").removeprefix(folder)
    if inside == error.file:
        return error
    place = f"{files.archives[0]} ({inside.strip('/') or 'unpacked'})"
    return InputError(error.sample, place, found=error.found, expected=error.expected, remedy=error.remedy)


def _unpack(sample: Sample, files: SectionFiles, folder: Path, bin_um: int) -> SectionFiles:
    """Unpack downloads into a temporary folder laid out like ``outs`` and look again.

    Bins of another size stay packed: they are by far the largest part.
    """
    other_bins = re.compile(rf"square_(?!{bin_um:03d}um)\d{{3}}um/.")

    for archive in files.archives:
        unpack(sample.name, archive, folder, lambda name: not other_bins.search(name))
    if files.matrix not in files.archives:
        suffix = re.sub(r"^.*?((filtered|raw)_feature_bc_matrix)", r"\1", files.matrix.name)
        (folder / suffix).symlink_to(files.matrix.resolve())
    found = locate(replace(sample, path=folder, image=None), bin_um)
    return replace(found, fullres=files.fullres)


def _read_scalefactors(sample: str, path: Path) -> dict[str, float]:
    """Read the numbers of ``scalefactors_json.json``; keys this workflow does not know are kept."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scale = {key: float(value) for key, value in content.items() if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            sample,
            path,
            found=f"a file that is no JSON object ({error})",
            expected="scalefactors_json.json as Space Ranger writes it",
            remedy="copy it again",
        ) from error
    for key in ("tissue_hires_scalef", "tissue_lowres_scalef"):
        if not scale.get(key, 0) > 0:
            raise InputError(
                sample,
                path,
                found=f"{key} = {content.get(key, 'absent')}",
                expected="a positive number",
                remedy="copy the scale factors of the same Space Ranger run again",
            )
    return scale


def _need_image(sample: str, files: SectionFiles, images: dict[str, Path]) -> None:
    if not images and files.fullres is None:
        raise InputError(
            sample,
            files.positions.parent,
            found="; ".join(files.notes) or "no image",
            expected="tissue_hires_image.png, or the full-resolution image in the column `image`",
            remedy="copy the images too (cp -L follows links), or name the full-resolution image",
        )


def _lattice(sample: str, files: SectionFiles, positions: pd.DataFrame, scale: dict[str, float]) -> Lattice:
    row, col = positions[Keys.ARRAY_ROW].to_numpy(), positions[Keys.ARRAY_COL].to_numpy()
    xy = positions[["x", "y"]].to_numpy(float)
    if files.platform == "visium_hd_cells":
        um_per_px = scale.get("microns_per_pixel", 0.0)
        if not um_per_px > 0:
            raise InputError(
                sample,
                files.scalefactors,
                found="no microns_per_pixel",
                expected="the scale of the image, which cells off the lattice cannot give",
                remedy="copy scalefactors_json.json of the 8 µm bins into segmented_outputs/spatial",
            )
        return Lattice("none", 0.0, 8.0, um_per_px, um_per_px)
    try:
        if files.platform == "visium_hd":
            bin_um = scale.get("bin_size_um") or _bin_size_from_name(files)
            return fit_lattice("square", bin_um, bin_um, row, col, xy)
        return fit_lattice("hexagonal", VISIUM_PITCH_UM, VISIUM_SPOT_UM, row, col, xy)
    except ValueError as error:
        raise InputError(
            sample,
            files.positions,
            found=str(error),
            expected="positions that span the capture area",
            remedy="check the positions file: array and pixel columns must both vary in two directions",
        ) from error


def _bin_size_from_name(files: SectionFiles) -> float:
    found = re.search(r"square_(\d{3})um", str(files.matrix))
    return float(found.group(1)) if found else 8.0


def read_cell_positions(sample: str, path: Path) -> pd.DataFrame:
    """Take the centre of every cell polygon as its position.

    Cells may consist of several polygons; the outer ring of the largest counts. A cell without any polygon has no
    position.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        rows = {
            f"cellid_{int(f['properties']['cell_id']):09d}-1": centre
            for f in features
            if (centre := _centroid(f["geometry"])) is not None
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            sample,
            path,
            found=f"a file that is no GeoJSON of cells ({error!r})",
            expected="features with properties.cell_id and a polygon",
            remedy="copy cell_segmentations.geojson again",
        ) from error
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["x", "y"])
    # Cells are off the lattice; -1 says so in the integer columns every section has.
    return table.assign(**{Keys.IN_TISSUE: 1, Keys.ARRAY_ROW: -1, Keys.ARRAY_COL: -1})


def _centroid(geometry: dict | None) -> tuple[float, float] | None:
    """Area centroid of the largest outer ring (shoelace formula), pixels; None where there is no ring.

    Of a ring without an area, or one that crosses itself so that the formula fails, the mean of the corners.
    """
    coordinates = geometry["coordinates"] if geometry else []
    polygons = coordinates if geometry and geometry["type"] == "MultiPolygon" else [coordinates]
    best, best_area = None, -1.0
    for polygon in polygons:
        if not polygon:
            continue
        ring = np.asarray(polygon[0], float)[:, :2]
        # Relative to the first corner: in an image of 30,000 px the products would lose digits.
        corners = ring - ring[0]
        following = np.roll(corners, -1, axis=0)
        cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
        area = cross.sum() / 2
        if abs(area) <= best_area:
            continue
        centre = ((corners + following) * cross[:, None]).sum(axis=0) / (6 * area) if area else np.inf
        inside = np.all((centre >= corners.min(axis=0)) & (centre <= corners.max(axis=0)))
        x, y = ring[0] + (centre if inside else corners.mean(axis=0))
        best, best_area = (float(x), float(y)), abs(area)
    return best


def _version_notes(platform: str, matrix: Matrix) -> list[str]:
    version = re.search(r"(\d+)\.(\d+)\.(\d+)", matrix.software)
    number = tuple(int(n) for n in version.groups()) if version else HD_REGISTRATION_FIXED
    if not platform.startswith("visium_hd") or number >= HD_REGISTRATION_FIXED:
        return []
    return [
        f"written by {matrix.software}; before 3.1.2 the registration of Visium HD slides could be off by 16 µm: "
        "consider running Space Ranger again"
    ]

"""Find out what lies under a path of the sample sheet, without reading any of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from spadework.errors import InputError
from spadework.files import IMAGE_SUFFIXES
from spadework.samples import Sample

MATRICES = (
    "filtered_feature_bc_matrix.h5",
    "filtered_feature_bc_matrix",
    "raw_feature_bc_matrix.h5",
    "raw_feature_bc_matrix",
)
CELL_MATRICES = ("filtered_feature_cell_matrix.h5", "filtered_feature_cell_matrix")
POSITIONS = ("tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.parquet")
# Anything smaller is an empty file, a broken copy or a pointer left by a version control system.
SMALLEST_IMAGE_BYTES = 200
_BIN_FOLDER = re.compile(r"square_\d{3}um")
_TABLE = re.compile(r".*\.(tsv|csv|txt)(\.gz)?$")


@dataclass(frozen=True)
class SectionFiles:
    """The files a section is read from.

    ``positions`` is whatever holds the positions: a table, the cell polygons, or the ``.h5ad`` itself.
    ``archives`` are downloads still packed; the reader unpacks them and looks again.
    """

    sample: str
    platform: str
    matrix: Path
    positions: Path
    scalefactors: Path | None = None
    hires: Path | None = None
    lowres: Path | None = None
    fullres: Path | None = None
    archives: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def counts_inputs(self) -> list[Path]:
        """Return every file the reader opens, apart from the full-resolution image."""
        matrix = sorted(p for p in self.matrix.iterdir() if p.is_file()) if self.matrix.is_dir() else [self.matrix]
        others = (self.positions, self.scalefactors, self.hires, self.lowres, *self.archives)
        return list(dict.fromkeys([*matrix, *(p for p in others if p)]))


def locate(sample: Sample, bin_um: int = 8) -> SectionFiles:
    """Recognise what ``sample.path`` is and list the files in it.

    Order: an ``.h5ad``; a legacy counts table; segmented cells if asked for; Visium HD bins; an ``outs`` folder
    with a matrix; a download whose files carry the sample's name.

    Parameters
    ----------
    bin_um
        Edge of the Visium HD bins to read, µm.

    Raises
    ------
    InputError
        If nothing known is there, or a file that is needed is missing or a link that leads nowhere.
    """
    path, name = sample.path, sample.name
    if path.is_symlink() and not path.exists():
        raise _missing(name, path)
    if path.is_file():
        files = _locate_file(sample)
    elif path.is_dir():
        files = _locate_folder(sample, path, bin_um)
    else:
        prefixed = _prefixed(sample, path.parent, path.name)
        if prefixed is None:
            raise InputError(
                name,
                path,
                found="no such file or folder, and no download with this prefix",
                expected="a Space Ranger folder, the prefix of a download, a legacy ST folder or table, or an .h5ad",
                remedy="correct `path` in the sample sheet (relative paths start at the working directory)",
            )
        files = prefixed
    if sample.platform not in ("auto", files.platform):
        raise InputError(
            name,
            path,
            found=f"what looks like {files.platform}",
            expected=f"{sample.platform}, as the column `platform` says",
            remedy="correct `path`, or empty the column to have the platform recognised",
        )
    return replace(files, fullres=sample.image or files.fullres)


def _locate_file(sample: Sample) -> SectionFiles:
    path = sample.path
    if path.suffix == ".h5ad":
        return SectionFiles(sample.name, "h5ad", path, path)
    if path.name.endswith(MATRICES[0]) or path.name.endswith(MATRICES[2]):
        prefix = re.sub(r"_?(filtered|raw)_feature_bc_matrix\.h5$", "", path.name)
        if prefix:
            found = _prefixed(sample, path.parent, prefix)
        elif _BIN_FOLDER.fullmatch(path.parent.name):
            found = _bin(sample, path.parent, path.parent.parent.parent)
        else:
            found = _visium(sample, path.parent)
        if found:
            return replace(found, matrix=path)
    if _TABLE.match(path.name):
        return _legacy(sample, path.parent, path)
    raise InputError(
        sample.name,
        path,
        found=f"a file called {path.name}",
        expected="an .h5ad, a 10x matrix (.h5) beside its spatial folder, or a legacy ST counts table (.tsv)",
        remedy="give the folder Space Ranger wrote (`outs`); if it was only stained, set platform: stained",
    )


def _locate_folder(sample: Sample, folder: Path, bin_um: int) -> SectionFiles:
    if (folder / "outs").is_dir():
        folder = folder / "outs"
    if sample.platform == "visium_hd_cells":
        return _segmented(sample, folder)
    if (folder / "binned_outputs").is_dir():
        return _binned(sample, folder, bin_um)
    if _BIN_FOLDER.fullmatch(folder.name):
        return _bin(sample, folder, folder.parent.parent)
    for finder in (_visium, _any_prefix, _legacy_folder):
        files = finder(sample, folder)
        if files is not None:
            return files
    content = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise InputError(
        sample.name,
        folder,
        found=f"{content}",
        expected="filtered_feature_bc_matrix.h5 and spatial/ (Visium), binned_outputs/ (Visium HD), or a counts and "
        "a spots table (legacy ST)",
        remedy="point `path` at the `outs` folder of Space Ranger",
    )


def _visium(sample: Sample, outs: Path) -> SectionFiles | None:
    matrix = _first(sample.name, outs, MATRICES)
    archive = outs / "spatial.tar.gz"
    if matrix is None:
        return None
    if not (outs / "spatial").is_dir():
        if archive.is_file():
            return _packed(sample, "visium", matrix, _fullres(sample.name, outs), archive)
        return None
    return _with_spatial(sample, "visium", matrix, outs / "spatial", _fullres(sample.name, outs))


def _packed(sample: Sample, platform: str, matrix: Path, fullres: Path | None, *archives: Path) -> SectionFiles:
    return SectionFiles(sample.name, platform, matrix, archives[0], archives=archives, fullres=fullres)


def _with_spatial(
    sample: Sample, platform: str, matrix: Path, spatial: Path, fullres: Path | None, *fallbacks: Path
) -> SectionFiles:
    """Fill in positions, scale factors and images, taking images from ``fallbacks`` where broken."""
    positions = _first(sample.name, spatial, POSITIONS)
    if positions is None:
        raise InputError(
            sample.name,
            spatial,
            found=f"{', '.join(sorted(p.name for p in spatial.iterdir())) or 'an empty folder'}",
            expected=f"one of {', '.join(POSITIONS)}",
            remedy="copy the whole `spatial` folder of Space Ranger",
        )
    scalefactors = _first(sample.name, spatial, ("scalefactors_json.json",))
    if scalefactors is None:
        raise _missing(sample.name, spatial / "scalefactors_json.json")
    if positions.suffix == ".parquet":  # bins, whatever their folder is called: spots are never stored so
        platform = "visium_hd"
    files = SectionFiles(sample.name, platform, matrix, positions, scalefactors, fullres=fullres)
    return _with_images(files, spatial, *fallbacks)


def _with_images(files: SectionFiles, *folders: Path) -> SectionFiles:
    notes = list(files.notes)
    images: dict[str, Path | None] = {}
    for kind in ("hires", "lowres"):
        images[kind] = None
        for folder in folders:
            candidate = folder / f"tissue_{kind}_image.png"
            if candidate.is_symlink() and not candidate.exists():
                notes.append(f"{candidate.name} in {folder.parent.name}/{folder.name} is a link that leads nowhere")
            elif candidate.is_file() and candidate.stat().st_size < SMALLEST_IMAGE_BYTES:
                notes.append(f"{candidate.name} in {folder.parent.name}/{folder.name} is no image (too small)")
            elif candidate.is_file():
                images[kind] = candidate
                break
    return replace(files, hires=images["hires"], lowres=images["lowres"], notes=tuple(notes))


def _binned(sample: Sample, outs: Path, bin_um: int) -> SectionFiles:
    wanted = outs / "binned_outputs" / f"square_{bin_um:03d}um"
    if not wanted.is_dir():
        there = ", ".join(sorted(p.name for p in wanted.parent.iterdir())) or "nothing"
        raise InputError(
            sample.name,
            wanted.parent,
            found=there,
            expected=wanted.name,
            remedy=f"copy {wanted.name} too, or set `ingest.bin_um` in config/config.yaml to a size that is there",
        )
    return _bin(sample, wanted, outs)


def _bin(sample: Sample, folder: Path, outs: Path) -> SectionFiles:
    matrix = _first(sample.name, folder, MATRICES)
    if matrix is None:
        raise _missing(sample.name, folder / MATRICES[0])
    if not (folder / "spatial").is_dir():
        raise _missing(sample.name, folder / "spatial")
    fullres = _fullres(sample.name, outs)
    return _with_spatial(sample, "visium_hd", matrix, folder / "spatial", fullres, outs / "spatial")


def _segmented(sample: Sample, outs: Path) -> SectionFiles:
    folder = outs if outs.name == "segmented_outputs" else outs / "segmented_outputs"
    matrix = _first(sample.name, folder, CELL_MATRICES + MATRICES) if folder.is_dir() else None
    if matrix is None:
        raise InputError(
            sample.name,
            folder,
            found="no segmented cells (Space Ranger 4 skips them without a brightfield image)",
            expected="segmented_outputs/filtered_feature_cell_matrix.h5",
            remedy="empty the column `platform` to use the 8 µm bins instead",
        )
    cells = _first(sample.name, folder, ("cell_segmentations.geojson",))
    if cells is None:
        raise _missing(sample.name, folder / "cell_segmentations.geojson")
    bins = sorted((folder.parent / "binned_outputs").glob("square_*/spatial"))
    spatials = (folder / "spatial", folder.parent / "spatial", *bins)
    scalefactors = next((p for s in spatials if (p := s / "scalefactors_json.json").is_file()), None)
    if scalefactors is None:
        raise _missing(sample.name, folder / "spatial" / "scalefactors_json.json")
    fullres = _fullres(sample.name, folder.parent)
    files = SectionFiles(sample.name, "visium_hd_cells", matrix, cells, scalefactors, fullres=fullres)
    return _with_images(files, *spatials)


def _any_prefix(sample: Sample, folder: Path) -> SectionFiles | None:
    prefixes = sorted(
        {p.name.removesuffix(m).rstrip("_") for m in MATRICES for p in folder.glob(f"*_{m}")}
        | {p.name.removesuffix("_binned_outputs.tar.gz") for p in folder.glob("*_binned_outputs.tar.gz")}
    )
    if len(prefixes) > 1:
        raise InputError(
            sample.name,
            folder,
            found=f"downloads of several samples: {', '.join(prefixes)}",
            expected="one sample",
            remedy=f"name the one you mean in `path`, for example {folder / prefixes[0]}",
        )
    return _prefixed(sample, folder, prefixes[0]) if prefixes else None


def _prefixed(sample: Sample, folder: Path, prefix: str) -> SectionFiles | None:
    """Find a download: files of one sample that all carry its name in front."""
    if not folder.is_dir():
        return None
    fullres = _fullres(sample.name, folder, f"{prefix}_")
    binned = folder / f"{prefix}_binned_outputs.tar.gz"
    if binned.is_file():
        # The images of the bins may be links into the spatial folder, which is an archive of its own.
        spatial = folder / f"{prefix}_spatial.tar.gz"
        return _packed(sample, "visium_hd", binned, fullres, binned, *([spatial] if spatial.is_file() else []))
    matrix = _first(sample.name, folder, tuple(f"{prefix}_{m}" for m in MATRICES))
    if matrix is None:
        return None
    for spatial in (folder / f"{prefix}_spatial", folder / "spatial"):
        if spatial.is_dir():
            inner = spatial / "spatial"
            return _with_spatial(sample, "visium", matrix, inner if inner.is_dir() else spatial, fullres)
    for archive in (folder / f"{prefix}_spatial.tar.gz", folder / "spatial.tar.gz"):
        if archive.is_file():
            return _packed(sample, "visium", matrix, fullres, archive)
    raise InputError(
        sample.name,
        folder,
        found=f"{matrix.name} without its spatial files",
        expected=f"{prefix}_spatial.tar.gz or a folder called spatial",
        remedy="download the spatial archive of the same sample too",
    )


def _legacy_folder(sample: Sample, folder: Path) -> SectionFiles | None:
    tables = [p for p in sorted(folder.iterdir()) if _TABLE.match(p.name)]
    counts = [p for p in tables if re.search(r"count|stdata|_cnts|matrix", p.name, re.IGNORECASE)]
    if len(counts) > 1:
        raise InputError(
            sample.name,
            folder,
            found=f"several counts tables: {', '.join(p.name for p in counts)}",
            expected="one section",
            remedy="name the counts table you mean in `path`",
        )
    return _legacy(sample, folder, counts[0]) if counts else None


def _legacy(sample: Sample, folder: Path, counts: Path) -> SectionFiles:
    """Find the spots table and the image that belong to a legacy ST counts table."""
    tables = [p for p in sorted(folder.iterdir()) if _TABLE.match(p.name) and p != counts]
    spots = [p for p in tables if re.search(r"spot|selection|alignment|position", p.name, re.IGNORECASE)]
    if not spots:
        raise InputError(
            sample.name,
            folder,
            found=f"the counts {counts.name} without a table of spot positions",
            expected="a spots table (columns x, y, pixel_x, pixel_y) such as spots.tsv or *_selection.tsv",
            remedy="put the spots table beside the counts",
        )
    spots = _of_section(counts, spots)
    images = _of_section(counts, [p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES])
    if len(spots) > 1:
        raise InputError(
            sample.name,
            folder,
            found=f"several tables of spots: {', '.join(p.name for p in spots)}",
            expected=f"one that belongs to {counts.name}",
            remedy="give every section its own folder, or let the names of its files start with the same word",
        )
    if len(images) > 1 and sample.image is None:
        raise InputError(
            sample.name,
            folder,
            found=f"several images: {', '.join(p.name for p in images)}",
            expected="one image",
            remedy="name the H&E image in the column `image`",
        )
    return SectionFiles(sample.name, "legacy_st", counts, spots[0], fullres=images[0] if images else None)


def _of_section(counts: Path, candidates: list[Path]) -> list[Path]:
    """Pick the files that name the same section as a counts table, or all where none does."""
    section = re.split(r"[._]", counts.name)[0]
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(section)}(?![A-Za-z0-9])")
    return [p for p in candidates if word.search(p.name)] or candidates


def _fullres(sample: str, folder: Path, prefix: str = "") -> Path | None:
    """Find the microscope image of a download or beside an ``outs``; never the CytAssist one."""
    for stem in ("tissue_image", "image"):
        for suffix in IMAGE_SUFFIXES:
            candidate = _first(sample, folder, (f"{prefix}{stem}{suffix}",))
            if candidate is not None:
                return candidate
    return None


def _first(sample: str, folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first name that exists; a link that leads nowhere is an error, not an absence."""
    for name in names:
        path = folder / name
        if path.exists():
            return path
        if path.is_symlink():
            raise _missing(sample, path)
    return None


def _missing(sample: str, path: Path) -> InputError:
    if path.is_symlink():
        return InputError(
            sample,
            path,
            found=f"a link that leads nowhere (to {path.readlink()})",
            expected="the file itself",
            remedy="copy the data with links followed (cp -L, rsync -L)",
        )
    return InputError(
        sample,
        path,
        found="no such file",
        expected=f"{path.name}, as Space Ranger writes it",
        remedy="copy the folder again, complete",
    )

"""NIfTI files: pairs of volumes to learn from, predictions on the grid they came from, and blocks for viewers."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from spadework.errors import InputError
from spadework.job import whole_file
from spadework.volume.architecture import MULTIPLE, SMALLEST
from spadework.volume.pair_table import SETS, PairRow, read_pair_table
from spadework.volume.pairs import NOT_MEASURED, VolumePair, Volumes
from spadework.volume.rasterise import plane_spacing
from spadework.volume.stack import Stack

log = logging.getLogger("spadework")

_CANONICAL = axcodes2ornt(("R", "A", "S"))
_PER_MM = {"mm": 1.0, "unknown": 1.0, "micron": 1e-3, "meter": 1e3}
# Of files that are none, and of those that end too early or were changed on their way.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, zlib.error),
    *(nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError),
)
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def read_pairs(table: str | Path) -> Volumes:
    """Read pairs of volumes and make them ready for a network.

    Volumes are brought to the closest canonical orientation (right, anterior, superior; axes z, y, x), cropped to
    what is not zero in any modality or in the target, scaled to mean 0 and standard deviation 1 over the non-zero
    voxels of each modality (Cirillo, Abramian & Eklund 2020, arXiv:2003.13653; zero, which is no tissue, stays zero),
    and padded with zeros to sides that every network takes. Padding is not measured.

    Parameters
    ----------
    table
        Of :func:`spadework.volume.pair_table.read_pair_table`.

    Returns
    -------
    Volumes
        In mm. ``origin`` of each pair says how to undo all this: ``shape``, ``affine`` and ``orientation`` of the
        target's grid, ``crop`` (first and last + 1 voxel in z, y, x) and ``pad`` (before and after).

    Raises
    ------
    InputError
        If the table is not right, or a file cannot be read, has no voxel size, is not on the grid of the others of
        its pair, or has no more than one value; if labels are no integers, or pairs have different numbers of
        modalities.
    """
    rows = read_pair_table(table)
    read = [_read_row(row) for row in rows]
    numbers = {images.shape[-1] for images, _, _, _ in read}
    if len(numbers) > 1:
        raise InputError(
            "volume.pairs",
            table,
            found=", ".join(f"{row.name}: {images.shape[-1]}" for row, (images, *_) in zip(rows, read, strict=True)),
            expected="one number of modalities for all pairs",
            remedy="give every pair the same modalities, in the same order",
        )
    labels = np.unique(np.concatenate([np.unique(target) for _, target, _, _ in read]))
    pairs = tuple(_ready(row, *one, labels) for row, one in zip(rows, read, strict=True))
    for name in SETS:
        log.info("%s: %d pairs", name, sum(pair.set == name for pair in pairs))
    modalities = tuple(f"modality {k + 1}" for k in range(numbers.pop()))
    return Volumes(pairs, modalities, classes=tuple(str(v) for v in labels), unit="mm")


def _read_row(row: PairRow) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[float, float, float], dict]:
    """Return modalities (z, y, x, c), labels (z, y, x), spacing in mm and the grid of a pair."""
    images = [_load(row.name, path) for path in row.files]
    target = images[-1]
    for path, image in zip(row.files, images, strict=True):
        if image.shape[:3] != target.shape[:3]:
            raise InputError(
                row.name,
                path,
                found=f"{' x '.join(map(str, image.shape[:3]))} voxels; {row.target.name} has "
                f"{' x '.join(map(str, target.shape[:3]))}",
                expected="all files of a pair on one grid",
                remedy="resample them to one grid, for example with ANTs or FSL",
            )
        if not np.allclose(image.affine, target.affine, atol=1e-2 * min(_zooms(target))):
            raise InputError(
                row.name,
                path,
                found=f"an affine other than that of {row.target.name}: the same voxel is another place",
                expected="all files of a pair on one grid",
                remedy="resample them to one grid, for example with ANTs or FSL",
            )
    modalities = []
    for path, image in zip(row.inputs, images[:-1], strict=True):
        with _reading(row.name, path):
            data = np.asarray(image.dataobj, np.float32)
        data = data[..., None] if data.ndim == 3 else data
        _check_values(row.name, path, data)
        modalities.append(_canonical(data, target.affine))
    with _reading(row.name, row.target):
        labels = np.asarray(target.dataobj)
    labels = labels[..., 0] if labels.ndim == 4 and labels.shape[3] == 1 else labels
    if labels.ndim != 3 or not np.array_equal(labels, np.round(labels)):
        raise InputError(
            row.name,
            row.target,
            found="values that are no integers" if labels.ndim == 3 else f"{labels.ndim} dimensions",
            expected="one integer label per voxel",
            remedy="give the segmentation, not an image or probabilities; threshold or round it if it was resampled",
        )
    if labels.min() == labels.max():
        raise InputError(
            row.name,
            row.target,
            found=f"empty labels: every voxel is {labels.flat[0]:g}",
            expected="at least two labels (0 is background)",
            remedy="check the file, or leave the pair out",
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int16).max:
        raise InputError(
            row.name,
            row.target,
            found=f"labels from {labels.min():g} to {labels.max():g}",
            expected="labels from 0 to 32767",
            remedy="number the labels anew",
        )
    grid = {
        "shape": list(target.shape[:3]),
        "affine": target.affine.tolist(),
        "orientation": io_orientation(target.affine).tolist(),
        "unit": target.header.get_xyzt_units()[0],
    }
    axes = [int(a) for a in np.argsort(io_orientation(target.affine)[:, 0])]
    scale = _PER_MM[grid["unit"]]
    x, y, z = (float(_zooms(target)[a]) * scale for a in axes)
    return np.concatenate(modalities, axis=-1), _canonical(labels, target.affine).astype(np.int64), (z, y, x), grid


def _load(name: str, path: Path) -> Any:  # noqa: ANN401  (nibabel is untyped)
    """Open an image of three or four dimensions whose voxels have a size."""
    with _reading(name, path):
        image: Any = nib.load(path)
        raw = _raw_zooms(path, image)
    if image.ndim not in (3, 4):
        raise InputError(
            name,
            path,
            found=f"{image.ndim} dimensions",
            expected="3, or 4 with the modalities last",
            remedy="split the file",
        )
    if not (np.isfinite(raw).all() and (np.abs(raw) > 0).all() and np.isfinite(image.affine).all()):
        raise InputError(
            name,
            path,
            found=f"no voxel size: pixdim {', '.join(f'{v:g}' for v in raw)}",
            expected="the size of a voxel in the header",
            remedy="set it, for example with nibabel or fslchpixdim; without it, planes have no distance",
        )
    return image


@contextmanager
def _reading(name: str, path: Path) -> Iterator[None]:
    """Name the file that cannot be read; voxels are only read when they are asked for."""
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(
            name,
            path,
            found=f"an unreadable file ({error})",
            expected="a NIfTI file, whole",
            remedy="copy or download it again, or convert it, for example with dcm2niix",
        ) from error


def _raw_zooms(path: Path, image: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """Return voxel sizes as they are in the file: nibabel makes 1 of 0 as it reads."""
    with nib.openers.Opener(str(path), "rb") as handle:
        header = type(image.header).from_fileobj(handle, check=False)
    return np.asarray(header["pixdim"][1:4], float)


def _zooms(image: Any) -> tuple[float, ...]:  # noqa: ANN401
    return tuple(float(v) for v in nib.affines.voxel_sizes(image.affine))


def _check_values(name: str, path: Path, data: NDArray[np.float32]) -> None:
    if not np.isfinite(data).all():
        raise InputError(
            name,
            path,
            found=f"{int((~np.isfinite(data)).sum())} voxels that are NaN or infinite",
            expected="numbers",
            remedy="write 0 where there is no tissue",
        )
    for k in range(data.shape[-1]):
        inside = data[..., k][data[..., k] != 0]
        if inside.size < 2 or inside.min() == inside.max():
            raise InputError(
                name,
                path,
                found=f"a volume{'' if data.shape[-1] == 1 else f' ({k + 1} of {data.shape[-1]})'} without content: "
                "its voxels that are not zero are all alike, or there are none",
                expected="an image",
                remedy="check the file, or leave the pair out",
            )


def _canonical(data: NDArray, affine: NDArray[np.float64]) -> NDArray:
    """Bring the first three axes of an array to right, anterior, superior, and turn them to z, y, x."""
    turned = apply_orientation(data, ornt_transform(io_orientation(affine), _CANONICAL))
    return np.swapaxes(turned, 0, 2)


def _ready(
    row: PairRow,
    images: NDArray[np.float32],
    target: NDArray[np.int64],
    spacing: tuple[float, float, float],
    grid: dict,
    labels: NDArray[np.int64],
) -> VolumePair:
    """Scale, crop and pad a pair."""
    content = (images != 0).any(axis=-1) | (target != 0)
    crop = []
    for axis in range(3):
        kept = np.flatnonzero(content.any(axis=tuple(a for a in range(3) if a != axis)))
        crop.append((int(kept[0]), int(kept[-1]) + 1))
    part = tuple(slice(*limits) for limits in crop)
    sides = [stop - start for start, stop in crop]
    wanted = [max(-(-side // MULTIPLE) * MULTIPLE, SMALLEST) for side in sides]
    pad = [((w - s) // 2, w - s - (w - s) // 2) for w, s in zip(wanted, sides, strict=True)]
    scaled = np.zeros_like(images[part])
    for k in range(images.shape[-1]):
        values = images[..., k][part].astype(np.float64)
        inside = values != 0
        scaled[..., k] = np.where(inside, (values - values[inside].mean()) / values[inside].std(), 0)
    index = np.searchsorted(labels, target[part]).astype(np.int16)
    return VolumePair(
        row.name,
        np.pad(scaled, [*pad, (0, 0)]),
        np.pad(index, pad, constant_values=NOT_MEASURED),
        spacing,
        row.set,
        {**grid, "crop": crop, "pad": pad},
    )


def write_prediction(
    probabilities: NDArray[np.floating], pair: VolumePair, classes: Sequence[str], path: str | Path
) -> None:
    """Write the most probable label of every voxel as NIfTI, on the grid of the pair's own files.

    What was cropped away gets the first label (background).

    Parameters
    ----------
    probabilities
        (z, y, x, k), of the padded volume.
    classes
        Labels, as text.
    """
    origin = pair.origin
    labels = np.array([int(c) for c in classes], np.int16)[probabilities.argmax(axis=-1)]
    inner = tuple(
        slice(before, side - after) for (before, after), side in zip(origin["pad"], labels.shape, strict=True)
    )
    orientation = np.array(origin["orientation"])
    shape = [origin["shape"][int(a)] for a in np.argsort(orientation[:, 0])]
    whole = np.full(shape[::-1], int(classes[0]), np.int16)
    whole[tuple(slice(*limits) for limits in origin["crop"])] = labels[inner]
    turned = apply_orientation(np.swapaxes(whole, 0, 2), ornt_transform(_CANONICAL, orientation))
    image = nib.Nifti1Image(turned, np.array(origin["affine"]))
    image.header.set_xyzt_units(origin["unit"])
    _save(image, path)


def block_affine(stack: Stack) -> NDArray[np.float64]:
    """Return the affine, in mm, of a block's volume with axes x, y, z; the first plane is as deep as its section.

    Pixel coordinates are taken as left, posterior, superior, as DICOM and ITK do, so that viewers show x to the right
    and y downwards. A tissue block has no such directions.
    """
    voxel = stack.voxel_um
    affine = np.diag([-voxel, -voxel, plane_spacing(stack), 1e3]) / 1e3
    affine[:3, 3] = np.array([-voxel / 2, -voxel / 2, stack.z_um[0]]) / 1e3
    return affine


def write_block(folder: Path, stack: Stack, volumes: Mapping[str, NDArray], names: pd.DataFrame | None) -> None:
    """Write a block as NIfTI files: ``stain.nii.gz`` (RGB) and one file per further volume.

    NIfTI knows one distance between planes, here the median; the depth of every plane is in ``planes.json``.

    Parameters
    ----------
    volumes
        Name -> (z, y, x) integer labels, 0 for none, or (z, y, x, k) float32.
    names
        ``value``, ``name``, ``colour`` of the labels, for ``labels.csv``; None where there are none.
    """
    affine = block_affine(stack)
    rgb = np.ascontiguousarray(np.swapaxes(stack.stain, 0, 2)).view(_RGB)[..., 0]
    _save_mm(rgb, affine, folder / "stain.nii.gz")
    for name, volume in volumes.items():
        labels = volume.ndim == 3
        data = np.swapaxes(volume, 0, 2).astype(np.int16 if labels else np.float32)
        _save_mm(data, affine, folder / f"{name}.nii.gz", intent="label" if labels else "none")
    z_um = [float(z) for z in stack.z_um]
    planes = {"z_um": z_um, "spacing_um": plane_spacing(stack), "voxel_um": stack.voxel_um}
    with whole_file(folder / "planes.json") as path:
        path.write_text(json.dumps(planes, indent=1) + "\n", encoding="utf-8")
    if names is not None:
        with whole_file(folder / "labels.csv") as path:
            names.to_csv(path, index=False)


def _save_mm(data: NDArray, affine: NDArray[np.float64], path: Path, intent: str = "none") -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    _save(image, path)


def _save(image: Any, path: str | Path) -> None:  # noqa: ANN401
    with whole_file(path) as partial:
        # by content alone: nibabel would write name and time of the file into the gzip header
        partial.write_bytes(_gzipped(image.to_bytes()))


def _gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, compresslevel=6, mtime=0)

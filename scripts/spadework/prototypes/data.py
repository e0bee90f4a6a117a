"""Spots and their classes, which of them a model learns from, and their patches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree

from spadework.encoders.run import PatchFile
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.labels import UNLABELLED, categorical
from spadework.tables import read_csv, write_csv

log = logging.getLogger("spadework")

# The class of spots whose own class is too small, or that have none.
OTHER = "other"
TRAIN, MARGIN, TEST, UNUSED = "train", "margin", "test", "unused"
_COLUMNS = ["sample", "barcode", "class", "set", "region"]
# Numbers with more values than this are measurements.
_MOST_NUMBERS = 50
# Regions a section is cut into, where it is large enough; those without tissue do not count. A section that is held
# out has fewer and larger ones: there they only say how sure the scores are, and neighbouring regions that are small
# are too much alike for that.
_REGIONS = 30
_REGIONS_HELD_OUT = 17
# Edge of a region in patches, at least: in smaller ones most training spots would be too near to a test spot.
_PATCHES_WIDE = 3
_DRAWS = 2000
# Spots of a class that are to be on either side of the split, if the class lies in more than one region.
_SOME = 10
_BLOCK = 1024  # patches read at a time


def spot_table(sections: Mapping[str, ad.AnnData], column: str, min_spots: int) -> pd.DataFrame:
    """List the spots of sections with their classes.

    Labels are taken as text. Spots without a label, and those of classes with fewer than ``min_spots`` spots (over
    all sections), become the class ``other``; if they are fewer than ``min_spots`` together, they have no class.

    Parameters
    ----------
    sections
        Sample -> AnnData of the expression stage.
    column
        Of ``obs``: categories, text, truth values, or at most 50 whole numbers.

    Returns
    -------
    pandas.DataFrame
        One row per spot: ``sample``, ``barcode``, ``class`` (text, empty for none), ``x_um``, ``y_um`` (float64).

    Raises
    ------
    InputError
        If a section lacks the column, it holds measurements, or fewer than two classes have enough spots.
    """
    parts = []
    for sample, section in sections.items():
        lattice = section.uns[Keys.SPADE]["lattice"]
        um = section.obsm[Keys.SPATIAL] * [float(lattice["um_per_px_x"]), float(lattice["um_per_px_y"])]
        parts.append(
            pd.DataFrame(
                {
                    "sample": sample,
                    "barcode": section.obs_names.to_numpy(str),
                    "class": _labels(section.obs, column, sample),
                    "x_um": um[:, 0],
                    "y_um": um[:, 1],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    found = table["class"].value_counts()
    small = [name for name, n in found.items() if n < min_spots or name == ""]
    table.loc[table["class"].isin(small), "class"] = OTHER
    n_other = int((table["class"] == OTHER).sum())
    place = ", ".join(sections)
    if small and n_other:
        what = "; ".join(f"{name or 'no class'}: {found[name]} spots" for name in small)
        log.info("%s: %d spots make the class %s (%s)", place, n_other, OTHER, what)
    if 0 < n_other < min_spots:
        table.loc[table["class"] == OTHER, "class"] = ""
        log.info("%s: %d spots are too few for the class %s and are left out", place, n_other, OTHER)
    counts = table.loc[table["class"] != "", "class"].value_counts()
    if len(counts) < 2:
        labelled = ", ".join(f"{name} ({n} spots)" for name, n in found.items() if name)
        raise InputError(
            place,
            None,
            found=f"{len(counts)} {'class' if len(counts) == 1 else 'classes'} with at least {min_spots} spots in "
            f"obs[{column!r}]; it holds {labelled or 'no labels'}",
            expected=f"two classes of at least {min_spots} spots",
            remedy="choose another column (prototypes.classes), or lower prototypes.min_spots",
        )
    log.info("%s: classes %s", place, ", ".join(f"{name} ({n} spots)" for name, n in counts.items()))
    return table


def _labels(obs: pd.DataFrame, column: str, sample: str) -> NDArray[np.object_]:
    """Return labels as text, (n,), empty where there is none."""
    usable = [str(name) for name in obs if not _is_number(obs[name])]
    if column not in obs:
        close = get_close_matches(column, map(str, obs.columns), n=1)
        raise InputError(
            sample,
            None,
            found=f"no column {column!r} in obs",
            expected=f"one with classes: {', '.join(usable) or 'there is none'}",
            remedy=(f"did you mean {close[0]!r}? " if close else "") + "Correct prototypes.classes",
        )
    values = obs[column]
    if not _is_categorical(values):
        raise InputError(
            sample,
            None,
            found=f"{values.nunique()} different numbers in obs[{column!r}]",
            expected=f"classes: {', '.join(usable) or 'there is no column with any'}",
            remedy="choose another column (prototypes.classes), or cut the numbers into classes",
        )
    if _is_number(values):
        values = values.astype("Int64")  # 1, not 1.0, where some spots have no number
    text = values.astype(object).where(values.notna(), "").map(str)
    return text.mask((text == UNLABELLED) | (text.str.strip() == ""), "").to_numpy(object)


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _is_categorical(values: pd.Series) -> bool:
    if not _is_number(values):
        return True
    known = values.dropna()
    return bool(known.nunique() <= _MOST_NUMBERS and np.isfinite(known).all() and (known % 1 == 0).all())


def split(
    table: pd.DataFrame, *, patch_um: float, test_share: float, held_out: Sequence[str], seed: int
) -> pd.DataFrame:
    """Say which spots a model learns from, and which it is tested on.

    Neighbouring patches share pixels, and tissue is alike over a distance: single spots held out would be known by
    their neighbours. So whole regions are. A region is one of the equal, nearly square blocks of a section's bounding
    box: up to 30 of them (17 where sections are held out), but at least three patches wide. Where sections are held
    out, those are the test. Otherwise every section gives about ``test_share`` of its spots: of 2,000 random choices
    of regions the one in which every class is nearest to that share, and no class is short of spots on either side.
    The choice knows classes and places, not images.

    Parameters
    ----------
    table
        From :func:`spot_table`.
    patch_um
        Edge of a patch, µm.
    held_out
        Sections that are the test; empty for regions of every section.

    Returns
    -------
    pandas.DataFrame
        The table with ``set`` (``train``; ``test``; ``margin``: patches that overlap one of the test; ``unused``:
        spots without a class) and ``region`` (int, no two sections share one). Test spots of a class without
        training spots stay: no model can get them right, and leaving them out would flatter it.

    Raises
    ------
    InputError
        If nothing can be held out, or fewer than two classes are left to train on.
    ValueError
        If ``held_out`` names a section that is not in the table.
    """
    unknown = set(held_out) - set(table["sample"])
    if unknown:
        raise ValueError(f"no spots of the held-out section {', '.join(sorted(unknown))}")
    spots = table.assign(set=UNUSED, region=0)
    rng = np.random.default_rng(seed)
    next_region = 0
    for sample, section in spots.groupby("sample"):  # sorted: nothing depends on the order of the rows
        xy = section[["x_um", "y_um"]].to_numpy(float)
        region = _regions(xy, patch_um, _REGIONS_HELD_OUT if held_out else _REGIONS)
        spots.loc[section.index, "region"] = region + next_region
        next_region += int(region.max()) + 1
        used = section["class"].to_numpy() != ""
        if held_out:
            sets = np.full(len(section), TEST if sample in held_out else TRAIN)
            spots.loc[section.index[used], "set"] = sets[used]
        elif used.any():
            drawn = _draw(xy[used], region[used], section["class"].to_numpy()[used], patch_um, test_share, rng)
            spots.loc[section.index[used], "set"] = drawn
    _check_split(spots, patch_um)
    return spots


def _regions(xy: NDArray[np.float64], patch_um: float, at_most: int) -> NDArray[np.int64]:
    """Number the region each place lies in, from 0 without gaps, (n,)."""
    low, size = xy.min(axis=0), np.ptp(xy, axis=0)
    edge = max(_PATCHES_WIDE * patch_um, float(np.sqrt(size.prod() / at_most)))
    n = np.maximum(size // edge, 1).astype(int)
    column, row = np.minimum((xy - low) / np.where(size > 0, size, 1.0) * n, n - 1).astype(int).T
    return np.unique(row * n[0] + column, return_inverse=True)[1]


def _draw(
    xy: NDArray[np.float64],
    region: NDArray[np.int64],
    classes: NDArray[np.object_],
    patch_um: float,
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.str_]:
    """Choose the regions of a section to test on, and return the set of every spot."""
    regions, own = np.unique(region, return_inverse=True)
    names, label = np.unique(classes.astype(str), return_inverse=True)
    if len(regions) < 2:
        return np.full(len(xy), TRAIN)
    # Which regions hold a spot whose patch overlaps that of a spot; of one's own region, all of them.
    near = np.stack(
        [
            KDTree(xy[own == r]).query(xy, p=np.inf, distance_upper_bound=patch_um)[0] < patch_um
            for r in range(len(regions))
        ],
        axis=1,
    )
    # Spots of the same region, neighbours and class are counted together: there are few kinds.
    kinds, n_spots = np.unique(np.column_stack([label, own, near]), axis=0, return_counts=True)
    per_class = (kinds[:, [0]] == np.arange(len(names))) * n_spots[:, None]
    tested = _random_regions(np.bincount(own), share, rng)
    in_test = tested[:, kinds[:, 1]]
    in_train = tested.astype(int) @ kinds[:, 2:].T == 0
    n_test, n_train = in_test @ per_class, in_train @ per_class
    short = sum(np.clip(1 - n / _SOME, 0, None).sum(axis=1) for n in (n_test, n_train))
    unequal = np.abs(n_test / per_class.sum(axis=0) - share).mean(axis=1)
    best = tested[np.argmin(short + unequal)]
    return np.where(best[own], TEST, np.where((near & best).any(axis=1), MARGIN, TRAIN))


def _random_regions(sizes: NDArray[np.integer], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose regions with about a share of the spots, but not none and not all, (draws, regions)."""
    order = np.argsort(rng.random((_DRAWS, len(sizes))), axis=1)
    reached = sizes[order].cumsum(axis=1)[:, :-1]
    chosen = np.abs(reached - share * sizes.sum()).argmin(axis=1)
    return np.argsort(order, axis=1) <= chosen[:, None]


def _check_split(spots: pd.DataFrame, patch_um: float) -> None:
    """Log what is in which set, and refuse a split that leaves nothing to learn or to test."""
    place = ", ".join(spots["sample"].unique())
    counts = spots["set"].value_counts()
    log.info(
        "%s: %s; the test lies in %d regions",
        place,
        ", ".join(f"{counts.get(name, 0)} spots {name}" for name in (TRAIN, MARGIN, TEST, UNUSED)),
        spots.loc[spots["set"] == TEST, "region"].nunique(),
    )
    known = class_names(spots)
    if len(known) < 2 or TEST not in counts:
        raise InputError(
            place,
            None,
            found=f"training spots of {len(known)} classes ({', '.join(known) or 'none'}) and "
            f"{counts.get(TEST, 0)} test spots, once those are left out whose patches overlap",
            expected="training spots of at least two classes, and test spots",
            remedy=f"lower prototypes.um (now {patch_um:g} µm), change prototypes.test_share or which sections "
            "are held out, or choose classes that lie in more than one place (prototypes.classes)",
        )
    untested, untrained = one_sided(spots)
    if untested:
        log.warning("%s: no test spots of %s: how well they are told stays unknown", place, ", ".join(untested))
    if untrained:
        log.warning("%s: no training spots of %s: their test spots count as wrong", place, ", ".join(untrained))


def class_names(spots: pd.DataFrame) -> tuple[str, ...]:
    """Name the classes with training spots, numbers in numeric order, ``other`` last."""
    classes = spots.loc[spots["set"] == TRAIN, "class"]
    other = classes == OTHER
    return (*categorical(classes[~other]).categories, *([OTHER] if other.any() else []))


def one_sided(spots: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Name the classes without test spots, and those with test spots but no training spots."""
    classes = {name: set(rows["class"]) for name, rows in spots[spots["set"] != UNUSED].groupby("set")}
    test = classes.get(TEST, set())
    untested = set().union(*classes.values()) - test
    return sorted(untested), sorted(test - classes.get(TRAIN, set()))


def read_patches(paths: Mapping[str, str | Path], spots: pd.DataFrame) -> NDArray[np.uint8]:
    """Read the patches of spots, in the order of their rows.

    All are held in memory: 12 kB for a patch of 64 px.

    Parameters
    ----------
    paths
        Sample -> patch file (:func:`spadework.patch_file.write_patches`).
    spots
        With ``sample`` and ``barcode``.

    Returns
    -------
    numpy.ndarray
        (n, px, px, 3) uint8.

    Raises
    ------
    KeyError
        If there is no file for a sample, or no patch for a barcode.
    """
    files = {sample: PatchFile(paths[sample]) for sample in spots["sample"].unique()}
    px = next(iter(files.values())).px if files else 0
    patches = np.empty((len(spots), px, px, 3), np.uint8)
    for sample, file in files.items():
        rows = np.flatnonzero(spots["sample"] == sample)
        barcodes = spots["barcode"].to_numpy()[rows]
        at = file.barcodes.get_indexer(barcodes)
        if (at < 0).any():
            raise KeyError(f"{sample}: no patch of {barcodes[at < 0][0]} in {paths[sample]}")
        # Whole blocks, in the order of the file: HDF5 takes its time to pick single rows.
        for start, block in enumerate(file.blocks(_BLOCK)):
            here = at // _BLOCK == start
            patches[rows[here]] = block[at[here] % _BLOCK]
    return patches


def write_spots(spots: pd.DataFrame, path: str | Path) -> None:
    """Write what :func:`split` returns, without places."""
    write_csv(spots[_COLUMNS], path)


def read_spots(path: str | Path) -> pd.DataFrame:
    """Read what :func:`write_spots` wrote: ``sample``, ``barcode``, ``class``, ``set`` (text), ``region`` (int)."""
    # Classes called NA or None are classes.
    return read_csv(path, dict.fromkeys(_COLUMNS[:-1], str), keep_default_na=False)

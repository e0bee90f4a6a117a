"""Serial sections brought into one frame: rigid registration of each to its neighbour.

A section is registered to its neighbour towards the middle of the block, and the placements are composed. Between
two sections, all rotations are searched at low resolution, mirrored and not, with the shift by the cross-correlation
theorem; the best of them, and those that the principal axes of the tissue suggest, are refined by Powell's method on
the correlation of stain density. A search of all angles needs no long axis: round sections have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from spadework.errors import InputError
from spadework.volume.placement import Placement, grid_points, warp

_COARSE = 4  # how much coarser the search is than the refinement
_STEP_DEG = 5.0  # of the search; Powell bridges more
_APART_DEG = 30.0  # orientations closer than this are one
_CANDIDATES = 6  # refined per side of the section: with pieces torn off, the right one need not be among the first
_BLUR_PX = 1.0  # cells do not repeat from section to section, tissue does
# Neighbours of a block correlate where both have tissue (real ones by 0.31 to 0.70; sections of different tissues by
# up to 0.29), and clearly less in any other orientation (by 0.18 or more; different tissues by up to 0.08).
_WEAK_TEXTURE, _CLEAR = 0.3, 0.1


@dataclass(frozen=True)
class Picture:
    """A section as registration sees it.

    Attributes
    ----------
    name, z_um
        Which section, and its depth.
    density
        (h, w) float32 mean optical density of the stain.
    tissue
        (h, w) bool.
    um_per_px
        In x and y.
    flip
        ``yes``, ``no``, or empty where nobody knows.
    """

    name: str
    z_um: float
    density: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    um_per_px: tuple[float, float]
    flip: str = ""


@dataclass(frozen=True)
class Match:
    """How one section lies on another.

    Attributes
    ----------
    placement
        Own µm of the moving section to own µm of the fixed one.
    overlap
        Dice coefficient of the two tissues.
    correlation
        Of the stain densities, over all that is tissue in either: outline and texture.
    texture
        Of the stain densities where both have tissue.
    runner_up
        ``correlation`` of the best other orientation; NaN if there is none.
    """

    placement: Placement
    overlap: float
    correlation: float
    texture: float
    runner_up: float


@dataclass(frozen=True)
class Registered:
    """A section in the frame of the block; ``match`` and ``to`` are empty for the section all others go to."""

    picture: Picture
    placement: Placement
    to: str = ""
    match: Match | None = None
    note: str = ""


@dataclass(frozen=True)
class _Plane:
    """A section on a square grid of its own."""

    density: NDArray[np.float32]  # blurred, 0 off the tissue
    share: NDArray[np.float32]  # of tissue, 0 or 1
    um: float
    centre: NDArray[np.float64]  # of the tissue, own µm
    axis_deg: float  # of its longest extent

    @classmethod
    def of(cls, picture: Picture, um: float) -> _Plane:
        height, width = picture.density.shape
        shape = (
            max(1, int(np.ceil(height * picture.um_per_px[1] / um))),
            max(1, int(np.ceil(width * picture.um_per_px[0] / um))),
        )
        stay = Placement.rigid(0.0)
        density = warp(picture.density * picture.tissue, picture.um_per_px, stay, shape, um)
        share = warp(picture.tissue.astype(np.float32), picture.um_per_px, stay, shape, um)
        rows, columns = np.nonzero(share > 0.5)
        if not rows.size:  # a crumb is less than half of every pixel it is in
            raise _no_tissue(picture.name)
        _, vectors = np.linalg.eigh(np.cov(np.stack([rows, columns])) if len(rows) > 1 else np.eye(2))
        longest = vectors[:, -1]  # (y, x)
        return cls(
            ndimage.gaussian_filter(density, _BLUR_PX),
            (share > 0.5).astype(np.float32),
            um,
            np.array([columns.mean() + 0.5, rows.mean() + 0.5]) * um,
            float(np.rad2deg(np.arctan2(longest[0], longest[1]))),
        )


class _Frame:
    """A square around the fixed tissue, in which the moving section is turned and shifted."""

    def __init__(self, fixed: _Plane, moving: _Plane) -> None:
        reach = max(_extent(fixed), _extent(moving))
        n = int(np.ceil(reach * 1.2 / fixed.um))
        self.shape, self.um = (n, n), fixed.um
        self.fixed, self.moving = fixed, moving
        self.corner = (float(fixed.centre[0] - n * fixed.um / 2), float(fixed.centre[1] - n * fixed.um / 2))
        self.target = self.show(fixed.density, Placement.rigid(0.0))
        self.target_tissue = self.show(fixed.share, Placement.rigid(0.0)) > 0.5

    def show(self, image: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
        # The steps of ndimage.affine_transform: rows and columns of the image for those of the frame.
        inverse = placement.linear.T
        swapped = inverse[::-1, ::-1]
        corner = (np.asarray(self.corner) + self.um / 2 - placement.shift) @ placement.linear
        offset = corner[::-1] / self.um - 0.5
        return ndimage.affine_transform(image, swapped, offset, self.shape, np.float32, order=1)

    def placement(self, rotation_deg: float, shift: Sequence[float] | NDArray, mirrored: bool) -> Placement:
        """Turn about the centre of the tissue, and shift (µm) from the centre of the fixed one."""
        to = self.fixed.centre + np.asarray(shift, float)
        return Placement.rigid(rotation_deg, mirrored=mirrored, centre=self.moving.centre, to=to)

    def fit(self, placement: Placement) -> float:
        """Correlate the densities in the whole frame, which sees outlines, even from afar, and texture.

        With texture alone added to it, a section of which a piece is torn off lies better (4 instead of 16 µm), but
        whole real ones agree less with each other (around three sections, 35 instead of 24 µm).
        """
        return _correlation(self.show(self.moving.density, placement), self.target)

    def compare(self, placement: Placement) -> tuple[float, float, float]:
        """Return overlap, correlation over either tissue, and correlation where both are."""
        density = self.show(self.moving.density, placement)
        tissue = self.show(self.moving.share, placement) > 0.5
        return _agreement(density, tissue, self.target, self.target_tissue)


def _search(frame: _Frame, mirrored: bool) -> list[tuple[float, float, tuple[float, float]]]:
    """Try every rotation, with the best shift of each by the cross-correlation theorem.

    Returns
    -------
    list
        The best of the orientations that are apart: correlation, rotation in degrees, shift (x, y) in µm.
    """
    target = frame.target - frame.target.mean()
    shape = [fft.next_fast_len(2 * n, real=True) for n in frame.shape]
    spectrum = fft.rfft2(target, shape)
    norm = float(np.linalg.norm(target))
    found = []
    axes = frame.fixed.axis_deg - frame.moving.axis_deg * (-1 if mirrored else 1)
    for angle in (*np.arange(0.0, 360.0, _STEP_DEG), axes, axes + 180):
        turned = frame.show(frame.moving.density, frame.placement(angle, (0, 0), mirrored))
        turned = turned - turned.mean()
        crossed = fft.irfft2(spectrum * np.conj(fft.rfft2(turned, shape)), shape)
        row, column = np.unravel_index(np.argmax(crossed), crossed.shape)
        score = float(crossed[row, column]) / max(norm * float(np.linalg.norm(turned)), 1e-12)
        dy, dx = ((k if k < n / 2 else k - n) * frame.um for k, n in zip((row, column), shape, strict=True))
        found.append((score, float(angle % 360), (float(dx), float(dy))))
    kept: list[tuple[float, float, tuple[float, float]]] = []
    for entry in sorted(found, reverse=True):
        if all(_apart(entry[1], other[1]) >= _APART_DEG for other in kept):
            kept.append(entry)
    return kept[:_CANDIDATES]


def _refine(frame: _Frame, rotation_deg: float, shift: Sequence[float], mirrored: bool) -> tuple[float, NDArray]:
    """Refine by Powell's method; return rotation in degrees and shift in µm."""
    degree = np.rad2deg(frame.um / (_extent(frame.moving) / 2))  # moves the rim of the tissue by one pixel
    scale = np.array([degree, frame.um, frame.um])

    def cost(x: NDArray[np.float64]) -> float:
        angle, *xy = start + x * scale
        return -frame.fit(frame.placement(angle, xy, mirrored))

    start = np.array([rotation_deg, *shift])
    found = optimize.minimize(cost, np.zeros(3), method="Powell", options={"xtol": 0.05, "ftol": 1e-5})
    best = start + found.x * scale
    return float(best[0]), best[1:]


def match(moving: Picture, fixed: Picture, um_per_px: float, mirrorings: Sequence[bool] = (False, True)) -> Match:
    """Find the rigid placement of one section on another.

    Parameters
    ----------
    um_per_px
        Resolution of the last step.
    mirrorings
        Which sides of the moving section are tried.
    """
    coarse = _Frame(_Plane.of(fixed, um_per_px * _COARSE), _Plane.of(moving, um_per_px * _COARSE))
    fine = _Frame(_Plane.of(fixed, um_per_px), _Plane.of(moving, um_per_px))
    tried = []
    for mirrored in mirrorings:
        for _, start, start_shift in _search(coarse, mirrored):
            angle, shift = _refine(coarse, start, start_shift, mirrored)
            # Centres of the tissue differ a little between resolutions; the placement does not.
            placement = coarse.placement(angle, shift, mirrored)
            shift = placement.to_block(fine.moving.centre[None])[0] - fine.fixed.centre
            tried.append((fine.compare(fine.placement(angle, shift, mirrored))[1], mirrored, angle, shift))
    tried.sort(key=lambda t: -t[0])
    _, mirrored, angle, _ = tried[0]
    others = [t for t in tried[1:] if t[1] != mirrored or _apart(t[2], angle) >= _APART_DEG]
    finished = []
    for _, side, start, start_shift in (tried[0], *others[:1]):
        turned, shift = _refine(fine, start, start_shift, side)
        placement = fine.placement(turned, shift, side)
        finished.append((placement, *fine.compare(placement)))
    finished.sort(key=lambda f: -f[2])
    return Match(*finished[0], finished[1][2] if len(finished) > 1 else float("nan"))


def register(
    pictures: Sequence[Picture], um_per_px: float = 20.0, min_overlap: float = 0.5
) -> tuple[list[Registered], int]:
    """Bring the sections of a block into one frame, rigidly.

    The frame is that of the section in the middle, or of the one nearest to it whose ``flip`` is known. Where no
    ``flip`` is known, a section that lies on its other side is one that differs from most.

    Parameters
    ----------
    pictures
        In the order of depth.
    um_per_px
        Resolution at which densities are compared.
    min_overlap
        Smallest Dice coefficient of the tissues of neighbours; 0 refuses no section, whatever it looks like.

    Returns
    -------
    registered, reference
        In the order of ``pictures``, and which of them the others were brought to.

    Raises
    ------
    InputError
        If there are fewer than two sections, two at the same depth, one without tissue, or neighbours that do not
        match.
    """
    _check_block(pictures)
    known = [k for k, picture in enumerate(pictures) if picture.flip] or range(len(pictures))
    reference = min(known, key=lambda k: abs(k - (len(pictures) - 1) / 2))
    placed = {
        reference: Registered(
            pictures[reference], Placement.rigid(0.0, mirrored=pictures[reference].flip == "yes"), note="reference"
        )
    }
    outwards = [(k, k - 1) for k in range(reference + 1, len(pictures))]
    outwards += [(k, k + 1) for k in range(reference - 1, -1, -1)]
    for k, neighbour in outwards:
        moving, fixed = pictures[k], placed[neighbour]
        sides = [(moving.flip == "yes") != fixed.placement.mirrored] if moving.flip else [False, True]
        found = match(moving, fixed.picture, um_per_px, sides)
        _check_match(found, moving, fixed.picture, min_overlap)
        placed[k] = Registered(
            moving,
            found.placement.then(fixed.placement),
            fixed.picture.name,
            found,
            _remark(found, bool(moving.flip)),
        )
    registered = [placed[k] for k in range(len(pictures))]
    if not any(p.flip for p in pictures) and sum(r.placement.mirrored for r in registered) > len(pictures) / 2:
        turn = Placement.rigid(0.0, mirrored=True)
        registered = [replace(r, placement=r.placement.then(turn)) for r in registered]
    return registered, reference


def compare_in_block(moving: Registered, fixed: Registered, um_per_px: float) -> tuple[float, float, float]:
    """Compare two placed sections, bent or not; return overlap, correlation and texture as of :class:`Match`."""
    shown = []
    # The grid of the fixed section's own image would not hold what lies beyond its border: a frame around its tissue.
    mask, um = fixed.picture.tissue, fixed.picture.um_per_px
    points = fixed.placement.to_block(grid_points(mask.shape, um)[mask.ravel()])
    reach = 1.2 * float(np.ptp(points, axis=0).max())
    corner = points.min(axis=0) / 2 + points.max(axis=0) / 2 - reach / 2
    shape = (int(np.ceil(reach / um_per_px)),) * 2
    for section in (moving, fixed):
        picture = section.picture
        density, share = (
            warp(
                image.astype(np.float32), picture.um_per_px, section.placement, shape, um_per_px,
                origin=(float(corner[0]), float(corner[1])),
            )
            for image in (picture.density * picture.tissue, picture.tissue)
        )  # fmt: skip
        shown.append((ndimage.gaussian_filter(density, _BLUR_PX), share > 0.5))
    return _agreement(*shown[0], *shown[1])


def _agreement(
    a: NDArray[np.float32], tissue_a: NDArray[np.bool_], b: NDArray[np.float32], tissue_b: NDArray[np.bool_]
) -> tuple[float, float, float]:
    either, both = tissue_a | tissue_b, tissue_a & tissue_b
    overlap = 2 * both.sum() / max(1, tissue_a.sum() + tissue_b.sum())
    return float(overlap), _correlation(a[either], b[either]), _correlation(a[both], b[both])


def _check_block(pictures: Sequence[Picture]) -> None:
    if len(pictures) < 2:
        raise InputError(
            ", ".join(p.name for p in pictures) or "block",
            None,
            found=f"{len(pictures)} section in its block",
            expected="two sections or more",
            remedy="give the other sections the same `block` in the sample sheet, or empty the column",
        )
    for upper, lower in itertools.pairwise(pictures):
        if not upper.z_um < lower.z_um:
            raise InputError(
                lower.name,
                None,
                found=f"{upper.name} and {lower.name} both at a depth of {lower.z_um:g} µm",
                expected="every section of a block at a depth of its own",
                remedy="correct `z_um` in the sample sheet",
            )
    for picture in pictures:
        if not picture.tissue.any():
            raise _no_tissue(picture.name)


def _no_tissue(name: str) -> InputError:
    return InputError(
        name,
        None,
        found="no tissue in its image, or next to none",
        expected="stained tissue, darker than the glass",
        remedy="look at the image of this section, and take it out of its block if it is empty",
    )


def _check_match(found: Match, moving: Picture, fixed: Picture, min_overlap: float) -> None:
    unclear = not found.correlation - found.runner_up >= _CLEAR  # NaN, too, tells nothing
    if found.overlap >= min_overlap and not (found.texture < _WEAK_TEXTURE and unclear and min_overlap > 0):
        return
    side = f", or on `flip`, which says {moving.flip!r}" if moving.flip else ""
    raise InputError(
        moving.name,
        None,
        found=f"it does not match its neighbour {fixed.name}: in the best position their tissues overlap by "
        f"{found.overlap:.2f} (Dice) and their stain correlates by {found.texture:.2f} where both have tissue, by "
        f"{found.correlation:.2f} in all, {found.runner_up:.2f} in another orientation",
        expected=f"an overlap of {min_overlap:g} or more (volume.registration.min_overlap), and a stain that "
        f"correlates by {_WEAK_TEXTURE:g}, or in one orientation clearly better than in others",
        remedy=f"check that {moving.name} and {fixed.name} are of one `block` and in the right order (`z_um`){side}; "
        f"a damaged section is better taken out of the block; min_overlap: 0 takes all as they are",
    )


def _remark(found: Match, given: bool) -> str:
    notes = []
    if found.placement.mirrored and not given:
        notes.append("mirrored against its neighbour")
    if found.correlation - found.runner_up < _CLEAR:
        notes.append("another orientation fits nearly as well: look at the figure")
    return "; ".join(notes)


def _extent(plane: _Plane) -> float:
    """Twice the largest distance of tissue from its centre, µm."""
    rows, columns = np.nonzero(plane.share)
    points = np.column_stack([columns + 0.5, rows + 0.5]) * plane.um
    return 2 * float(np.linalg.norm(points - plane.centre, axis=1).max()) + plane.um


def _apart(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def _correlation(a: NDArray, b: NDArray) -> float:
    if not a.size:
        return -1.0
    a, b = a - a.mean(dtype=float), b - b.mean(dtype=float)
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum(dtype=float) / norm) if norm > 0 else 0.0

"""Checks of a section and its image before anything expensive runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from spadework.errors import SpadeworkError
from spadework.keys import Keys
from spadework.lattice import NOMINAL_SPOT_UM
from spadework.patches import ScaledImage
from spadework.tissue import TissueModel, fit_tissue

Status = Literal["ok", "warn", "stop"]

SCALE_WARN, SCALE_STOP = 0.02, 0.15
OUTSIDE_STOP = 0.10
COARSE_UM_PER_PX = 2.5
CYTASSIST_SIZES = ({3000}, {3000, 3200})
OVERVIEW_PX = 1600
_THUMB = 96

# The eight ways a picture can lie: name of what was done to it -> how to undo it.
DIHEDRAL: dict[str, Callable[[NDArray], NDArray]] = {
    "as it is": lambda a: a,
    "mirrored left to right": lambda a: a[:, ::-1],
    "mirrored top to bottom": lambda a: a[::-1],
    "rotated by 180°": lambda a: a[::-1, ::-1],
    "rotated by 90° clockwise": lambda a: np.rot90(a, 1),
    "rotated by 90° counter-clockwise": lambda a: np.rot90(a, 3),
    "transposed": lambda a: np.swapaxes(a, 0, 1),
    "transposed along the other diagonal": lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
}


@dataclass(frozen=True)
class Check:
    """One finding: ``ok``, ``warn`` (goes on, is reported) or ``stop``."""

    name: str
    status: Status
    found: str
    expected: str = ""
    remedy: str = ""


class PreflightError(SpadeworkError):
    """A section failed its preflight."""

    def __init__(self, sample: str, image: str, checks: list[Check], overlay: str | Path) -> None:
        stops = "\n".join(
            f"  {c.name}\n    found:    {c.found}\n    expected: {c.expected}\n    fix:      {c.remedy}"
            for c in checks
            if c.status == "stop"
        )
        super().__init__(f"{sample}: {image} did not pass the preflight\n{stops}\n  picture:  {overlay}")


@dataclass(frozen=True)
class Preflight:
    """What the preflight found out about a section."""

    sample: str
    checks: list[Check]
    image: dict[str, Any]
    tissue: TissueModel
    overview: NDArray[np.uint8]

    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        order: tuple[Status, ...] = ("ok", "warn", "stop")
        return max((c.status for c in self.checks), key=order.index)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return {
            "sample": self.sample,
            "status": self.status,
            "checks": [asdict(c) for c in self.checks],
            "image": self.image,
            "tissue": asdict(self.tissue),
        }


def preflight(
    section: ad.AnnData,
    sample: str,
    scaled: ScaledImage,
    image_name: str,
    *,
    fluorescence: bool = False,
) -> Preflight:
    """Run every check on a section and its best image.

    Parameters
    ----------
    section
        AnnData of the ingest stage, spots on tissue only.
    image_name
        File name of the image, as the messages show it.
    fluorescence
        The user named channels, so a dark image is no surprise.
    """
    library = section.uns[Keys.SPATIAL][sample]
    overview = scaled.image.overview(OVERVIEW_PX)
    tissue = fit_tissue(overview)
    shrink = overview.shape[1] / scaled.image.width, overview.shape[0] / scaled.image.height
    points = scaled.to_px(section.obsm[Keys.SPATIAL])
    checks = [
        check_barcodes(section.uns[Keys.SPADE]["left_out"], section.n_obs),
        check_lattice(section.uns[Keys.SPADE]["lattice"]),
        check_scale(section.uns[Keys.SPADE]["lattice"], library["scalefactors"]),
        check_blank(overview),
        check_cytassist(scaled, image_name, overview, tissue),
        check_size(scaled, library),
        check_outside(points, scaled.image.width, scaled.image.height),
        check_resolution(scaled),
    ]
    if not fluorescence:
        checks.append(check_brightness(overview))
    if all(c.status != "stop" for c in checks):
        # Only a picture of the right size and place can be asked how it lies.
        given = _is_given(library, "hires") and scaled.source == "fullres"
        checks.append(check_orientation(overview, library["images"]["hires"] if given else None))
        spot_px = section.uns[Keys.SPADE]["lattice"]["spot_um"] / scaled.um_per_px[0] * shrink[0]
        checks.append(check_on_tissue(points * shrink, overview, tissue, spot_px))
    return Preflight(
        sample,
        checks,
        {
            "file": image_name,
            "source": scaled.source,
            "width": scaled.image.width,
            "height": scaled.image.height,
            "scale": list(scaled.scale),
            "um_per_px": list(scaled.um_per_px),
        },
        tissue,
        overview,
    )


def check_barcodes(left_out: dict[str, int], n_kept: int) -> Check:
    """Every barcode of the matrix should have a position; those of a filtered matrix lie on tissue.

    Slides share their barcodes, so positions of another section match too. They call other spots tissue than those
    that were counted: then the matrix holds neither all positions (raw) nor just those on tissue (filtered).
    """
    missing, off = int(left_out.get("without_position", 0)), int(left_out.get("off_tissue", 0))
    uncounted = int(left_out.get("positions_without_counts", 0))
    total = n_kept + missing + off
    found = f"{total - missing} of {total} barcodes of the matrix have a position; {n_kept} lie on tissue"
    if missing > 0.05 * total or (off > 0.05 * total and uncounted > 0.05 * total):
        return Check("barcodes", "warn", found, "all of them", "check that matrix and positions are of one section")
    return Check("barcodes", "ok", found)


def check_lattice(lattice: dict[str, Any]) -> Check:
    """Spots should sit on their lattice, at one scale in x and y."""
    name = "lattice"
    if lattice["kind"] == "none":
        return Check(name, "ok", "cells, off any lattice")
    x, y = float(lattice["um_per_px_x"]), float(lattice["um_per_px_y"])
    apart = abs(x - y) / np.sqrt(x * y)
    residual = float(lattice["residual_um"])
    found = f"{lattice['kind']}, {x:.4g} µm/px in x and {y:.4g} in y ({apart:.1%} apart), residual {residual:.1f} µm"
    if residual > 0.5 * float(lattice["pitch_um"]):
        return Check(
            name,
            "stop",
            found,
            "spot centres within half a pitch of their place on the array",
            "the positions do not follow the array coordinates: give the positions file of this very section",
        )
    if apart > SCALE_STOP:
        return Check(
            name,
            "stop",
            found,
            f"the same scale in x and y, within {SCALE_STOP:.0%}",
            "the image was resized without keeping its proportions, or rows and columns are mixed up",
        )
    if apart > SCALE_WARN:
        return Check(
            name,
            "warn",
            found,
            f"the same scale in x and y, within {SCALE_WARN:.0%}",
            "patches are cut square in µm, so nothing is distorted; check how the image was exported",
        )
    return Check(name, "ok", found)


def check_scale(lattice: dict[str, Any], scalefactors: dict[str, Any]) -> Check:
    """The scale by lattice pitch should agree with the scale factors."""
    name = "scale"
    by_pitch = float(np.sqrt(float(lattice["um_per_px_x"]) * float(lattice["um_per_px_y"])))
    diameter = float(scalefactors.get("spot_diameter_fullres", 0))
    if "microns_per_pixel" in scalefactors:
        by_file, key = float(scalefactors["microns_per_pixel"]), "microns_per_pixel"
    elif lattice["kind"] == "hexagonal" and diameter > 0:
        by_file, key = NOMINAL_SPOT_UM / diameter, "spot_diameter_fullres as 65 µm"
    else:
        return Check(name, "ok", f"{by_pitch:.4g} µm/px by lattice pitch; no scale factor to compare")
    apart = abs(by_pitch - by_file) / by_pitch
    found = f"{by_pitch:.4g} µm/px by lattice pitch, {by_file:.4g} by {key} ({apart:.1%} apart)"
    if lattice["kind"] == "none" or apart <= SCALE_WARN:
        return Check(name, "ok", found)
    expected = f"both within {SCALE_WARN:.0%}"
    if apart > SCALE_STOP:
        return Check(
            name,
            "stop",
            found,
            expected,
            "positions and scalefactors_json.json are not of the same section or bin size: copy both again",
        )
    return Check(name, "warn", found, expected, "the lattice pitch is used; early slides (70 µm spots) differ by 7 %")


def check_blank(overview: NDArray[np.uint8]) -> Check:
    """An image of one colour shows no tissue."""
    if np.ptp(overview.reshape(-1, 3), axis=0).max() <= 2:
        return Check(
            "content",
            "stop",
            f"an image of a single colour, RGB {tuple(int(v) for v in overview[0, 0])}",
            "a picture of tissue",
            "give the H&E image; this one is empty or fully transparent",
        )
    return Check("content", "ok", "the image varies")


def check_cytassist(scaled: ScaledImage, image_name: str, overview: NDArray[np.uint8], tissue: TissueModel) -> Check:
    """The CytAssist instrument's own picture is eosin only and too coarse for features."""
    size = f"{scaled.image.width} x {scaled.image.height} px"
    named = "cytassist" in image_name.lower()
    if named or (
        {scaled.image.width, scaled.image.height} in CYTASSIST_SIZES and not _haematoxylin(overview, tissue)
    ):
        return Check(
            "stain",
            "stop",
            f"the CytAssist image ({size}, eosin only)",
            "the H&E image from the microscope",
            "name the microscope image in the column `image`; the CytAssist image only serves to register it",
        )
    return Check("stain", "ok", "no CytAssist image")


def _haematoxylin(overview: NDArray[np.uint8], tissue: TissueModel) -> bool:
    """Tell whether some tissue absorbs red, which haematoxylin does and eosin does not."""
    pixels = overview[tissue.density(overview) > tissue.threshold]
    if not len(pixels):
        return False
    red = np.log10((tissue.background[0] + 1) / (pixels[:, 0].astype(float) + 1))
    return bool(np.percentile(red, 95) > 0.15)


def _is_given(library: dict[str, Any], kind: str) -> bool:
    """Tell an image that came with the section from one derived from the full-resolution image."""
    return kind in library["images"] and "derived" not in library["metadata"]["image_source"][kind]


def check_size(scaled: ScaledImage, library: dict[str, Any]) -> Check:
    """The full-resolution image should be hires size / hires scale factor."""
    name = "image size"
    width, height = scaled.image.width, scaled.image.height
    found = f"{width} x {height} px"
    if scaled.source != "fullres":
        return Check(name, "ok", f"{found} ({scaled.source})")
    for kind in ("hires", "lowres"):
        scale = library["scalefactors"].get(f"tissue_{kind}_scalef")
        if scale and _is_given(library, kind):
            small_h, small_w = library["images"][kind].shape[:2]
            break
    else:
        return Check(name, "ok", f"{found}; no scale factor to compare")
    expected = f"about {small_w / scale:.0f} x {small_h / scale:.0f} px ({kind} size / scale factor)"
    near = lambda a, b: abs(a * scale - b) <= 2  # noqa: E731
    if near(width, small_w) and near(height, small_h):
        return Check(name, "ok", found)
    if near(width, small_h) and near(height, small_w):
        return Check(
            name,
            "stop",
            f"{found}: transposed",
            expected,
            "rotate the image by 90°, or give the one Space Ranger was given",
        )
    if (width, height) == (small_w, small_h):
        return Check(
            name,
            "stop",
            f"{found}: the {kind} image itself",
            expected,
            "empty the column `image` to use the images of Space Ranger, or name the full-resolution image",
        )
    return Check(name, "stop", found, expected, "give the very image Space Ranger was given, not resized or cropped")


def check_outside(points: NDArray[np.float64], width: int, height: int) -> Check:
    """Spot centres should lie inside the image."""
    outside = ~((points >= 0) & (points < (width, height))).all(axis=1)
    found = f"{outside.sum()} of {len(points)} spots on tissue lie outside the image"
    if outside.mean() > OUTSIDE_STOP:
        return Check(
            "spots in image",
            "stop",
            found,
            f"at most {OUTSIDE_STOP:.0%}",
            "the image is cropped, resized or of another section: give the one the positions refer to",
        )
    if outside.any():
        return Check("spots in image", "warn", found, "none", "their patches are padded; see patch_padded_fraction")
    return Check("spots in image", "ok", found)


def check_resolution(scaled: ScaledImage) -> Check:
    """Patches should show cells."""
    um_per_px = max(scaled.um_per_px)
    found = f"{um_per_px:.2g} µm/px in the {scaled.source} image"
    if um_per_px > COARSE_UM_PER_PX:
        return Check(
            "resolution",
            "warn",
            found,
            f"{COARSE_UM_PER_PX:g} µm/px or finer",
            "cell shapes are lost at this resolution: name the microscope image in the column `image`",
        )
    return Check("resolution", "ok", found)


def check_brightness(overview: NDArray[np.uint8]) -> Check:
    """H&E is dark tissue on bright glass; fluorescence the reverse."""
    dark = float((overview.max(axis=2) < 50).mean())
    if dark > 0.3:
        return Check(
            "brightness",
            "stop",
            f"{dark:.0%} of the image is nearly black: it looks like fluorescence, or 12 bit stored as 16",
            "an H&E image, tissue on bright background",
            "give the H&E image; or, to use fluorescence on purpose, a multichannel TIFF with the column `channels`",
        )
    return Check("brightness", "ok", "bright background")


def check_orientation(overview: NDArray[np.uint8], hires: NDArray[np.uint8] | None) -> Check:
    """The full-resolution image should lie as the hires image does."""
    name = "orientation"
    if hires is None:
        return Check(name, "ok", "one image, nothing to compare")
    reference = _thumb(np.asarray(hires))
    match = {how: _correlation(_thumb(np.ascontiguousarray(f(overview))), reference) for how, f in DIHEDRAL.items()}
    best = max(match, key=match.__getitem__)
    as_is = match["as it is"]
    found = f"correlation with the hires image {as_is:.2f}"
    if match[best] > 0.6 and match[best] - as_is > 0.15:
        return Check(
            name,
            "stop",
            f"{found}; {match[best]:.2f} if {best}",
            "an image that lies as Space Ranger's does",
            f"give the image {best}, or the one Space Ranger was given",
        )
    if as_is < 0.5:
        return Check(name, "warn", found, "above 0.5", "look at the overlay: is it the same section?")
    return Check(name, "ok", found)


def check_on_tissue(
    points: NDArray[np.float64], overview: NDArray[np.uint8], tissue: TissueModel, spot_px: float
) -> Check:
    """Spots called tissue should lie on tissue, and more so than after flipping the picture.

    A spot lies on tissue if a quarter of the pixels under it are stained.
    """
    stained = (tissue.density(overview) > tissue.threshold).astype(np.float32)
    mask = uniform_filter(stained, max(1, round(spot_px))) > 0.25
    height, width = mask.shape
    x, y = (points / (width, height)).T  # 0..1

    def share(mask: NDArray[np.bool_]) -> float:
        rows = np.clip((y * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
        columns = np.clip((x * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
        return float(mask[rows, columns].mean())

    shares = {how: share(f(mask)) for how, f in DIHEDRAL.items()}
    best = max(shares, key=shares.__getitem__)
    found = f"{shares['as it is']:.0%} of the spots called tissue lie on stained tissue"
    if shares[best] - shares["as it is"] > 0.2:
        return Check(
            "spots on tissue",
            "warn",
            f"{found}; {shares[best]:.0%} if the image were {best}",
            "spots where the tissue is",
            "look at the overlay: the image may be mirrored or rotated",
        )
    if shares["as it is"] < 0.5:
        return Check(
            "spots on tissue",
            "warn",
            found,
            "most of them",
            "look at the overlay (fat and pale tissue count as glass)",
        )
    return Check("spots on tissue", "ok", found)


def _thumb(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = Image.fromarray(rgb).convert("L").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    return np.asarray(grey, float)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

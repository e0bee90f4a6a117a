"""Serial sections with a known truth: a drawn tissue, cut as often as wanted, and real ones (her2st, patient C)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from spadework.images import ArrayImage
from spadework.volume.block import Block
from spadework.volume.placement import Placement, grid_points
from spadework.volume.registration import Picture
from spadework.volume.sections import View, make_view

# Pixels of the full-resolution images; both are 32 x 34 steps of 200 µm.
SIZES = {"B4": (9272, 9923), "C2": (9274, 9911), "C3": (9270, 9936), "C4": (9278, 9916)}
SPAN_UM = np.array([6400.0, 6800.0])
TURNS = {
    "as it is": lambda rgb, xy: (rgb, xy),
    "turned by 180°": lambda rgb, xy: (rgb[::-1, ::-1], SPAN_UM - xy),
    "mirrored": lambda rgb, xy: (rgb[:, ::-1], xy * [-1, 1] + [SPAN_UM[0], 0]),
    "turned and mirrored": lambda rgb, xy: (rgb[::-1], xy * [1, -1] + [0, SPAN_UM[1]]),
}


@dataclass(frozen=True)
class Tissue:
    """A tissue as a function of position (µm, centred on 0): how dense its stain is, and where it ends."""

    seed: int
    round: bool = False
    even: bool = False  # no texture
    radius_um: float = 1200.0
    missing: tuple[float, float, float] | None = None  # x, y, radius of what is torn off

    def density(self, xy: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        waves = rng.uniform(0.05, 0.14, 3) * (not self.round)
        phases = rng.uniform(0, 2 * np.pi, 3)
        angle, distance = np.arctan2(xy[:, 1], xy[:, 0]), np.hypot(xy[:, 0], xy[:, 1])
        edge = self.radius_um * (
            1 + sum(w * np.cos(k * angle + p) for k, w, p in zip((2, 3, 4), waves, phases, strict=True))
        )
        inside = distance < edge
        if self.missing:
            x, y, r = self.missing
            inside &= np.hypot(xy[:, 0] - x, xy[:, 1] - y) > r
        x, y = xy[inside].T
        value = np.full(len(x), 0.35)
        if not self.even:
            for _ in range(160):
                (cx, cy), width = rng.uniform(-self.radius_um, self.radius_um, 2), rng.uniform(40, 140)
                height = rng.uniform(-0.25, 0.3)
                value += height * np.exp(((x - cx) ** 2 + (y - cy) ** 2) / (-2 * width**2))
        density = np.zeros(len(xy))
        density[inside] = np.clip(value, 0.12, 1.0)
        return density


def section(
    name: str,
    z_um: float,
    tissue: Tissue,
    to_tissue: Placement,
    um_per_px: tuple[float, float] = (17.0, 14.0),
    size_um: tuple[float, float] = (4000.0, 3600.0),
    noise: float = 0.05,
    flip: str = "",
) -> Picture:
    """Cut a section whose own µm come to lie in the tissue as ``to_tissue`` says."""
    shape = (round(size_um[1] / um_per_px[1]), round(size_um[0] / um_per_px[0]))
    density = tissue.density(to_tissue.to_block(grid_points(shape, um_per_px))).reshape(shape)
    mask = density > 0
    # Every section has noise of its own.
    rng = np.random.default_rng([ord(c) for c in name])
    density = np.where(mask, np.clip(density + rng.normal(0, noise, shape), 0, None), 0)
    return Picture(name, z_um, density.astype(np.float32), mask, um_per_px, flip)


def lying(rotation_deg: float, *, mirrored: bool = False, at: tuple[float, float] = (2000.0, 1800.0)) -> Placement:
    """Own µm of a section to µm of the tissue, the middle of which lies ``at``."""
    return Placement.rigid(rotation_deg, mirrored=mirrored, centre=at, to=(0.0, 0.0))


def landmarks(n: int = 60, radius_um: float = 900.0) -> np.ndarray:
    """Points of the tissue, (n, 2) µm."""
    rng = np.random.default_rng(5)
    angle, distance = rng.uniform(0, 2 * np.pi, n), radius_um * np.sqrt(rng.uniform(0, 1, n))
    return np.column_stack([distance * np.cos(angle), distance * np.sin(angle)])


def stained(picture: Picture, glass: tuple[int, int, int] = (250, 245, 248)) -> np.ndarray:
    """Show a picture as stain on glass, (h, w, 3) uint8."""
    # What the channels absorb, with a mean of 1: the density stays as it is.
    colour = picture.density[..., None] * np.array([1.1, 1.2, 0.7])
    return np.rint((np.array(glass) + 1) * 10.0**-colour - 1).clip(0, 255).astype(np.uint8)


def her2st_views(
    data: Path, names: list[str], turns: dict[str, str] | None = None, um_per_px: float = 20.0
) -> list[View]:
    """Read real sections, at an eighth of their resolution, as if they lay otherwise on their slides."""
    views = []
    for k, name in enumerate(names):
        rgb = _eighth(data / "her2st" / name / "image.jpg")
        spots = labelled(data, name)
        xy = spots[["pixel_x", "pixel_y"]].to_numpy() * (SPAN_UM / SIZES[name])
        rgb, xy = TURNS[(turns or {}).get(name, "as it is")](rgb, xy)
        table = pd.DataFrame({"barcode": spots.index, "x_um": xy[:, 0], "y_um": xy[:, 1], "spot_um": 100.0})
        um = SPAN_UM[0] / rgb.shape[1], SPAN_UM[1] / rgb.shape[0]
        sample = {"name": name, "z_um": 16.0 * k, "flip": ""}
        views.append(make_view(ArrayImage(np.ascontiguousarray(rgb)), um, um_per_px, sample, spots=table))
    return views


@cache
def _eighth(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        return np.asarray(image)


def labelled(data: Path, name: str) -> pd.DataFrame:
    """Spots of a section that the authors aligned."""
    table = pd.read_csv(data / "her2st" / name / "clusters.tsv", sep="\t", index_col=0)
    return table.dropna(subset=["pixel_x", "pixel_y", "warped_x", "warped_y"])


def warped_by(data: Path, name: str) -> tuple[np.ndarray, float]:
    """Fit the authors' placement of a section, (3, 2) from [x, y, 1] in px; and how exactly it is affine, px."""
    spots = labelled(data, name)
    design = np.column_stack([spots[["pixel_x", "pixel_y"]], np.ones(len(spots))])
    warped = spots[["warped_x", "warped_y"]].to_numpy()
    matrix = np.linalg.lstsq(design, warped, rcond=None)[0]
    return matrix, float(np.abs(design @ matrix - warped).max())


def errors_px(data: Path, block: Block, turns: dict[str, str] | None = None) -> dict[str, np.ndarray]:
    """Distance of every spot from where the authors have it, in px of the reference, for all sections but that."""
    names = [section.picture.name for section in block.registered]
    reference = names[block.reference]
    matrix, _ = warped_by(data, reference)
    undo = TURNS[(turns or {}).get(reference, "as it is")]  # each is its own inverse
    found = {}
    for name in names:
        if name != reference:
            spots = block.spots[block.spots["sample"] == name]
            own = block.registered[block.reference].placement.to_own(spots[["x_um", "y_um"]].to_numpy())
            px = undo(np.zeros((1, 1, 3)), own)[1] / (SPAN_UM / SIZES[reference])
            authors = np.column_stack([px, np.ones(len(px))]) @ matrix
            warped = labelled(data, name).loc[spots["barcode"], ["warped_x", "warped_y"]].to_numpy()
            found[name] = np.linalg.norm(authors - warped, axis=1)
    return found


def authors_placement(data: Path, moving: str, fixed: str) -> Placement:
    """Return the authors' placement of a section on another, own µm to own µm, made rigid."""
    a, b = warped_by(data, moving)[0], warped_by(data, fixed)[0]
    scale_a, scale_b = SPAN_UM / SIZES[moving], SPAN_UM / SIZES[fixed]
    back = np.linalg.inv(b[:2].T)
    u, _, v = np.linalg.svd(np.diag(scale_b) @ back @ a[:2].T @ np.diag(1 / scale_a))
    spots = labelled(data, moving)[["pixel_x", "pixel_y"]].to_numpy()
    there = ((spots @ a[:2] + a[2] - b[2]) @ back.T) * scale_b
    linear = u @ v
    return Placement(linear, there.mean(axis=0) - linear @ (spots * scale_a).mean(axis=0))

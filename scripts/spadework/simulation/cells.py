"""Nuclei of a section: hard-core Poisson processes whose density, size and direction depend on the tissue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .fields import smooth_field, stream
from .geometry import SPOT_DIAMETER_UM, Canvas, Float, Lattice
from .tissue import PLAN_UM_PER_PX, Tissue, TissueMap, lymphocyte_share

Points = NDArray[np.float64]
RatePerMm2 = Callable[[Points, Points], NDArray]


@dataclass(frozen=True)
class Appearance:
    """How the nuclei of one process look.

    Attributes
    ----------
    radius_um : float
        Geometric mean of the two half axes.
    radius_spread, stretch_spread, darkness_spread : float
        Standard deviations of the logarithms.
    stretch : float
        Ratio of the half axes.
    darkness : float
        Optical density of haematoxylin at the rim.
    paleness : float
        Share of that density missing in the middle (vesicular nuclei).
    """

    radius_um: float
    radius_spread: float
    stretch: float
    stretch_spread: float
    darkness: float
    darkness_spread: float
    paleness: float


SPINDLE = Appearance(2.9, 0.16, 3.4, 0.25, 0.75, 0.20, 0.0)
MALIGNANT = Appearance(4.5, 0.22, 1.30, 0.16, 0.62, 0.24, 0.45)
COLUMNAR = Appearance(3.5, 0.12, 1.65, 0.12, 0.78, 0.13, 0.20)
ADIPOSE = Appearance(2.2, 0.15, 2.6, 0.20, 0.75, 0.15, 0.0)
LYMPHOCYTE = Appearance(3.1, 0.10, 1.08, 0.05, 1.02, 0.12, 0.0)


@dataclass(frozen=True)
class Nuclei:
    """Ellipses, one entry per nucleus; every array has shape (n_nuclei,) and dtype float64.

    Attributes
    ----------
    y_um, x_um : ndarray
        Centres.
    long_um, short_um : ndarray
        Half axes.
    angle : ndarray
        Direction of the long axis, radians from the x axis towards y.
    darkness, paleness : ndarray
        See `Appearance`.
    """

    y_um: Points
    x_um: Points
    long_um: Points
    short_um: Points
    angle: Points
    darkness: Points
    paleness: Points

    def __len__(self) -> int:
        """Return the number of nuclei."""
        return len(self.y_um)

    def counts_under(self, lattice: Lattice) -> NDArray[np.int64]:
        """Nuclei whose centre lies under each 55 µm spot, shape (n_spots,)."""
        tree = cKDTree(np.column_stack([self.y_um, self.x_um]))
        centres = np.column_stack([lattice.y_um, lattice.x_um])
        return tree.query_ball_point(centres, SPOT_DIAMETER_UM / 2.0, return_length=True).astype(np.int64)


def hard_core_process(
    rng: np.random.Generator, canvas: Canvas, peak_per_mm2: float, core_um: float, rate: RatePerMm2
) -> tuple[Points, Points]:
    """Draw a Matérn type II process: Poisson points, of which the younger of two within `core_um` is dropped.

    Parameters
    ----------
    peak_per_mm2 : float
        Upper bound of `rate`.
    core_um : float
        Least distance between two points.
    rate : callable
        Intensity at the points given (y, x in µm), per mm², *after* the dropping where it equals the peak.

    Returns
    -------
    y_um, x_um : ndarray of float64, shape (n_points,)
    """
    disc_mm2 = np.pi * (core_um * 1e-3) ** 2
    parents_per_mm2 = -np.log1p(-peak_per_mm2 * disc_mm2) / disc_mm2
    height_um, width_um = (side * canvas.um_per_px for side in canvas.shape)
    n_parents = rng.poisson(parents_per_mm2 * height_um * width_um * 1e-6)
    y, x = rng.uniform(0.0, height_um, n_parents), rng.uniform(0.0, width_um, n_parents)
    kept = rng.random(n_parents) * peak_per_mm2 < rate(y, x)
    y, x = y[kept], x[kept]
    # points are exchangeable, so their order serves as their age
    pairs = cKDTree(np.column_stack([y, x])).query_pairs(core_um, output_type="ndarray")
    survives = np.ones(len(y), bool)
    survives[pairs.max(axis=1)] = False
    return y[survives], x[survives]


def _shape(
    rng: np.random.Generator, y_um: Points, x_um: Points, look: Appearance, direction: Points, spread: float
) -> Nuclei:
    """Give nuclei at the given points a size and a direction (normal about `direction`, sd `spread`)."""
    n = len(y_um)
    radius = look.radius_um * np.exp(rng.normal(0.0, look.radius_spread, n))
    root = np.sqrt(np.maximum(look.stretch * np.exp(rng.normal(0.0, look.stretch_spread, n)), 1.0))
    return Nuclei(
        y_um=y_um,
        x_um=x_um,
        long_um=radius * root,
        short_um=radius / root,
        angle=direction + rng.normal(0.0, spread, n),
        darkness=look.darkness * np.exp(rng.normal(0.0, look.darkness_spread, n)),
        paleness=np.full(n, look.paleness),
    )


def _slope_angle(depth_um: Float, canvas: Canvas, y_um: Points, x_um: Points) -> Points:
    """Direction in which `depth_um` grows fastest at each point, radians."""
    step = 1.5 * canvas.um_per_px
    down = canvas.sample(depth_um, y_um + step, x_um) - canvas.sample(depth_um, y_um - step, x_um)
    right = canvas.sample(depth_um, y_um, x_um + step) - canvas.sample(depth_um, y_um, x_um - step)
    return np.arctan2(down, right).astype(np.float64)


def scatter_nuclei(seed: int, tissue: TissueMap) -> Nuclei:
    """Place every nucleus of the section (deterministic in `seed`)."""
    canvas = tissue.canvas
    plan = canvas.coarser(PLAN_UM_PER_PX)
    rng = stream(seed, "cellularity")
    cellularity = np.clip(1.0 + 0.28 * smooth_field(rng, plan, 160.0), 0.4, 1.6) / 1.6
    spill = lymphocyte_share(tissue, plan)

    def kind_at(y: Points, x: Points) -> NDArray[np.uint8]:
        return canvas.sample(tissue.kind, y, x)

    def spindle_rate(y: Points, x: Points) -> NDArray:
        between_glands = (kind_at(y, x) == Tissue.GLAND) & (canvas.sample(tissue.gland_depth_um, y, x) < -1.0)
        rate = 1500.0 * (kind_at(y, x) == Tissue.STROMA) + 2600.0 * between_glands
        return rate * plan.sample(cellularity, y, x)

    def malignant_rate(y: Points, x: Points) -> NDArray:
        return 7200.0 * (kind_at(y, x) == Tissue.TUMOUR) * plan.sample(cellularity, y, x)

    def columnar_rate(y: Points, x: Points) -> NDArray:
        """Nuclei stand in a row near the base of the epithelium."""
        above_base = canvas.sample(tissue.gland_depth_um, y, x) - 5.5
        return 17000.0 * np.exp(-np.square(above_base / 2.6)) * (kind_at(y, x) == Tissue.GLAND)

    def adipose_rate(y: Points, x: Points) -> NDArray:
        at_membrane = np.abs(canvas.sample(tissue.fat_depth_um, y, x)) < 2.5
        return 2600.0 * at_membrane * (kind_at(y, x) == Tissue.FAT)

    def lymphocyte_rate(y: Points, x: Points) -> NDArray:
        kind = kind_at(y, x)
        solid = (kind == Tissue.FAT) | (canvas.sample(tissue.gland_depth_um, y, x) > 0.0)
        infiltrate = 0.025 * (kind == Tissue.STROMA) + 0.07 * (kind == Tissue.GLAND) + 0.012 * (kind == Tissue.TUMOUR)
        share = np.maximum(plan.sample(spill, y, x), infiltrate)
        return 12000.0 * share * ~solid * (kind != Tissue.GLASS)

    parts = []
    rng = stream(seed, "spindle nuclei")
    y, x = hard_core_process(rng, canvas, 2600.0, 7.0, spindle_rate)
    parts.append(_shape(rng, y, x, SPINDLE, canvas.sample(tissue.fibre_angle, y, x), 0.18))
    rng = stream(seed, "malignant nuclei")
    y, x = hard_core_process(rng, canvas, 7200.0, 6.2, malignant_rate)
    parts.append(_shape(rng, y, x, MALIGNANT, np.zeros(len(y)), np.pi))
    rng = stream(seed, "columnar nuclei")
    y, x = hard_core_process(rng, canvas, 17000.0, 4.1, columnar_rate)
    parts.append(_shape(rng, y, x, COLUMNAR, _slope_angle(tissue.gland_depth_um, canvas, y, x), 0.15))
    rng = stream(seed, "adipose nuclei")
    y, x = hard_core_process(rng, canvas, 2600.0, 9.0, adipose_rate)
    along_membrane = _slope_angle(tissue.fat_depth_um, canvas, y, x) + np.pi / 2.0
    parts.append(_shape(rng, y, x, ADIPOSE, along_membrane, 0.1))
    rng = stream(seed, "lymphocytes")
    y, x = hard_core_process(rng, canvas, 12000.0, 4.2, lymphocyte_rate)
    parts.append(_shape(rng, y, x, LYMPHOCYTE, np.zeros(len(y)), np.pi))
    return Nuclei(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Nuclei)})

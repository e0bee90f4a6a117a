"""Stain taken up between the nuclei: collagen, cytoplasm, membranes, secretions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fields import enlarge, smear_along, smooth_field, stream, white_noise
from .geometry import Float
from .tissue import PLAN_UM_PER_PX, Tissue, TissueMap, lymphocyte_share


@dataclass(frozen=True)
class Stain:
    """Optical density (base 10) of the two dyes, each of shape (height, width), float32."""

    haematoxylin: Float
    eosin: Float


def _ramp(values: Float, low: float, high: float) -> Float:
    """Clip a linear ramp to 0 at `low` and 1 at `high`."""
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)


def _collagen(seed: int, tissue: TissueMap) -> Float:
    """Eosin of wavy fibres with pale clefts between the bundles."""
    canvas = tissue.canvas
    rng = stream(seed, "collagen")
    coarse = canvas.coarser(2.0 * max(canvas.um_per_px, 2.0))
    angle = [
        enlarge(part, canvas, coarse) for part in (np.sin(2 * tissue.fibre_angle), np.cos(2 * tissue.fibre_angle))
    ]
    bundles = smear_along(
        white_noise(rng, coarse, 4.5),
        np.float32(0.5) * np.arctan2(*angle),
        tuple(step / coarse.um_per_px for step in (6.0, 16.0, 42.0)),
    )
    fibrils = smear_along(
        white_noise(rng, canvas, 1.4),
        tissue.fibre_angle,
        tuple(step / canvas.um_per_px for step in (2.5, 6.0, 16.0)),
    )
    bundles = enlarge(bundles, coarse, canvas)
    density = 0.27 + 0.075 * bundles + 0.055 * fibrils + 0.05 * smooth_field(rng, canvas, 190.0)
    clefts = _ramp(bundles + 0.45 * fibrils, -2.3, -1.25)
    return np.clip(density, 0.06, None) * (0.2 + 0.8 * clefts)


def background_stain(seed: int, tissue: TissueMap) -> Stain:
    """Stain of everything but the nuclei (deterministic in `seed`)."""
    canvas = tissue.canvas
    rng = stream(seed, "cytoplasm")
    grain = white_noise(rng, canvas, 1.3)
    clumps = smooth_field(rng, canvas, 5.0)

    eosin = _collagen(seed, tissue)
    haematoxylin = np.full(canvas.shape, 0.035, np.float32) + 0.012 * grain

    tumour = tissue.kind == Tissue.TUMOUR
    eosin[tumour] = (0.25 + 0.035 * grain + 0.05 * clumps)[tumour]
    haematoxylin[tumour] = (0.15 + 0.02 * grain + 0.03 * clumps)[tumour]

    plan = canvas.coarser(PLAN_UM_PER_PX)
    share = _ramp(enlarge(lymphocyte_share(tissue, plan), plan, canvas) + 0.08 * clumps, 0.15, 0.85)
    eosin += share * (0.14 + 0.03 * grain + 0.03 * clumps - eosin)
    haematoxylin += share * (0.13 + 0.02 * grain + 0.03 * clumps - haematoxylin)

    _draw_glands(seed, tissue, eosin, haematoxylin, grain, clumps)
    _draw_fat(tissue, eosin, haematoxylin, grain)
    glass = tissue.kind == Tissue.GLASS
    eosin[glass] = haematoxylin[glass] = 0.0
    return Stain(np.clip(haematoxylin, 0.0, None), np.clip(eosin, 0.0, None))


def _draw_glands(
    seed: int, tissue: TissueMap, eosin: Float, haematoxylin: Float, grain: Float, clumps: Float
) -> None:
    """Paint loose stroma between glands, columnar epithelium, and lumina with a trace of secretion."""
    loose = (tissue.kind == Tissue.GLAND) & (tissue.gland_depth_um <= 0.0)
    eosin[loose] *= 0.72
    inside = (tissue.kind == Tissue.GLAND) & (tissue.gland_depth_um > 0.0)
    depth, wall = tissue.gland_depth_um[inside], tissue.wall_um[inside]
    secretion = np.clip(smooth_field(stream(seed, "secretion"), tissue.canvas, 60.0)[inside] - 0.5, 0.0, 1.2)
    grain, clumps = grain[inside], clumps[inside]

    edge = wall + 1.2 * clumps
    lumen = _ramp(depth - edge, -1.0, 1.0)
    apical = _ramp(depth, 7.0, 14.0)
    basement = np.exp(-np.square(depth / 1.8))
    brush = np.exp(-np.square((depth - edge) / 1.6))
    cytoplasm = 0.25 - 0.07 * apical + 0.03 * grain + 0.04 * clumps + 0.12 * basement + 0.10 * brush
    fluid = 0.012 + 0.11 * secretion * (1.0 + 0.25 * clumps)
    eosin[inside] = cytoplasm * (1.0 - lumen) + fluid * lumen
    haematoxylin[inside] = (0.12 - 0.06 * apical + 0.02 * clumps) * (1.0 - lumen)


def _draw_fat(tissue: TissueMap, eosin: Float, haematoxylin: Float, grain: Float) -> None:
    """Paint adipocytes: empty, with thin pink membranes."""
    fat = tissue.kind == Tissue.FAT
    depth = tissue.fat_depth_um[fat]
    membrane = np.exp(-np.square(np.maximum(depth - 0.4, 0.0) / 1.9))
    eosin[fat] = 0.30 * membrane * (1.0 + 0.22 * grain[fat]) + 0.006
    haematoxylin[fat] = 0.03 * membrane

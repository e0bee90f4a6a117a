"""A small block of serial sections in which everything is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spadework.volume.stack import Stack

SIDE, VOXEL, SPOT = 64, 25.0, 100.0
SECTIONS = ("one", "two", "three")


@dataclass(frozen=True)
class PlantedBlock:
    """Stack, spots (with ``spot_um``) and domains, as the workflow has them."""

    stack: Stack
    spots: pd.DataFrame
    domains: pd.DataFrame


def planted_block(
    *, z_um: tuple[float, ...] = (0.0, 16.0, 40.0), stained: tuple[str, ...] = (), seed: int = 0, shift: float = 0.0
) -> PlantedBlock:
    """A round tissue in three domains side by side, each of its own colour, on sections named one, two, three, ...

    ``shift`` moves the boundaries of each section by so many µm more.
    """
    rng = np.random.default_rng(seed)
    names = [*SECTIONS, *(f"section {k}" for k in range(4, len(z_um) + 1))][: len(z_um)]
    y, x = (np.indices((SIDE, SIDE)) + 0.5) * VOXEL
    disc = np.hypot(x - 800, y - 800) < 700
    shades = np.array([[150, 60, 130], [220, 150, 190], [90, 60, 150]])
    stain, rows = [], []
    for k, (name, z) in enumerate(zip(names, z_um, strict=True)):
        domain = np.digitize(x - k * shift, (600, 1000))
        pixels = shades[domain] + rng.normal(0, 6, (SIDE, SIDE, 3))
        stain.append(np.where(disc[..., None], pixels.clip(0, 255), 255).astype(np.uint8))
        if name in stained:
            continue
        for i, cy in enumerate(np.arange(150, 1500, 150.0)):
            for j, cx in enumerate(np.arange(150, 1500, 150.0)):
                cx, cy_ = cx + rng.uniform(-10, 10), cy + rng.uniform(-10, 10)
                if np.hypot(cx - 800, cy_ - 800) < 620:
                    kind = int(np.digitize(cx - k * shift, (600, 1000)))
                    rows.append((name, f"{i}x{j}", cx, cy_, z, SPOT, "abc"[kind], kind - 1.0, cy_ / 800 - 1))
    columns = ["sample", "barcode", "x_um", "y_um", "z_um", "spot_um", "domain", "latent_1", "latent_2"]
    table = pd.DataFrame(rows, columns=columns)
    stack = Stack(
        tuple(names),
        np.array(z_um, float),
        VOXEL,
        np.array(stain),
        np.repeat(disc[None], len(names), 0),
        tuple(name not in stained for name in names),
    )
    return PlantedBlock(stack, table[columns[:6]], table[["sample", "barcode", *columns[6:]]])

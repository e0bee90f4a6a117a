"""Registration of real sections against their authors' alignment, of strangers, and of drawn sections.

python tests/benchmarks/bench_registration.py DATA

DATA is a folder with her2st and mouse_olfactory_bulb. Prints Markdown: time and memory of reading and registering
full-resolution images, errors of spots (turned and mirrored copies, too), neighbours and strangers, planted truth.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import machine

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from serial_sections import (
    SPAN_UM,
    TURNS,
    Tissue,
    authors_placement,
    errors_px,
    her2st_views,
    labelled,
    landmarks,
    lying,
    section,
    warped_by,
)

from spadework.errors import InputError
from spadework.images import open_image
from spadework.volume.block import Block, build_block
from spadework.volume.placement import Placement
from spadework.volume.registration import Picture, Registered, compare_in_block, match, register
from spadework.volume.sections import make_view

NAMES = ["C2", "C3", "C4"]
SQUEEZED = (4.63, 4.16)  # µm per px of the olfactory bulb


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |")


def header(title: str, *cells: str) -> None:
    """Print a heading and the head of a Markdown table."""
    print(f"\n### {title}\n")
    row(*cells)
    row(*["---"] * len(cells))


def rows_of(data: Path, what: str, block: Block, turns: dict[str, str] | None = None) -> None:
    """Print how far the spots are off."""
    for name, e in errors_px(data, block, turns).items():
        r = block.table.set_index("sample").loc[name]
        row(
            *(what, name, f"{np.median(e):.0f}", f"{np.percentile(e, 90):.0f}", f"{e.max():.0f}"),
            *(f"{r['rotation_deg']:.1f}", r["mirrored"], r["overlap"], r["correlation"], r["runner_up"]),
        )


def errors(data: Path) -> None:
    """Errors of spots as the sections are, turned, mirrored, and bent."""
    header(
        "Spots against the authors' alignment, px of the reference (145 px is half a spot distance)",
        *("sections", "section", "median", "90 %", "largest", "rotation", "mirrored", "overlap", "correlation"),
        "runner-up",
    )
    rows_of(data, "as they are", build_block(her2st_views(data, NAMES), 25.0))
    rows_of(data, "as they are, C3 left out", build_block(her2st_views(data, ["C2", "C4"]), 25.0))
    rows_of(data, "bent (nonrigid)", build_block(her2st_views(data, NAMES), 25.0, nonrigid=True))
    for which in ("C3", "C4"):
        for how in list(TURNS)[1:]:
            turns = {which: how}
            rows_of(data, f"{which} {how}", build_block(her2st_views(data, NAMES, turns), 25.0), turns)
    exact = ", ".join(f"{warped_by(data, name)[1]:.3f}" for name in NAMES)
    print(f"\nThe authors' placements are affine to {exact} px.")


def against_authors(data: Path) -> None:
    """How well sections lie on each other: here, and as the authors have them."""
    header("The authors' alignment by the same measures", "pair", "whose", "overlap", "correlation", "texture")
    pictures = {name: her2st_views(data, [name])[0].picture for name in NAMES}
    found = {(a, b): match(pictures[a], pictures[b], 20.0).placement for a, b in permutations(NAMES, 2)}
    for a, b in (("C2", "C3"), ("C4", "C3"), ("C2", "C4")):
        fixed = Registered(pictures[b], Placement.rigid(0.0))
        for whose, placement in (("here", found[a, b]), ("authors", authors_placement(data, a, b))):
            row(f"{a} on {b}", whose, *compare_in_block(Registered(pictures[a], placement), fixed, 20.0))
    loop = found["C2", "C3"].then(found["C3", "C4"])
    points = labelled(data, "C2")[["pixel_x", "pixel_y"]].to_numpy() * (SPAN_UM / (9274, 9911))
    gap = np.linalg.norm(loop.to_block(points) - found["C2", "C4"].to_block(points), axis=1)
    print(f"\nC2 to C4 by way of C3 and directly: {np.median(gap):.0f} µm apart (median of spots).")


def bulb(data: Path, k: int) -> Picture:
    """Read a section of the olfactory bulb."""
    folder = data / "mouse_olfactory_bulb" / f"MOB{k}"
    spots = pd.read_csv(folder / "spots.tsv", sep="\t").query("selected == 1")
    xy = spots[["pixel_x", "pixel_y"]].to_numpy() * SQUEEZED
    table = pd.DataFrame({"x_um": xy[:, 0], "y_um": xy[:, 1]})
    sample = {"name": f"MOB{k}", "z_um": float(k), "flip": ""}
    return make_view(open_image(folder / "image.jpg", "MOB"), SQUEEZED, 20.0, sample, spots=table).picture


def strangers(data: Path) -> None:
    """Compare neighbours with sections of other tissues."""
    header(
        "Neighbours and strangers",
        *("pair", "same tissue", "overlap", "texture", "correlation", "runner-up", "difference", "refused"),
    )
    pictures = [her2st_views(data, [name])[0].picture for name in (*NAMES, "B4")] + [bulb(data, k) for k in (1, 2, 3)]
    for a, b in permutations(pictures, 2):
        if a.name > b.name:
            continue
        same = a.name[0] == b.name[0]
        found = match(a, b, 20.0)
        refused = "no"
        try:
            register([replace(a, z_um=0.0), replace(b, z_um=1.0)])
        except InputError:
            refused = "yes"
        row(
            *(f"{a.name} on {b.name}", "yes" if same else "no", found.overlap, found.texture, found.correlation),
            *(found.runner_up, found.correlation - found.runner_up, refused),
        )


def planted() -> None:
    """Errors where the truth is known, and whether what is wrong is said."""
    header(
        "Drawn sections of a known truth (landmarks; wrong: more than 100 µm off)",
        *("what", "sections", "right", "median µm", "largest µm", "wrong and refused", "wrong and doubted", "wrong"),
    )
    tears = {"whole": None, "a quarter torn off": (900.0, 300.0, 700.0), "half torn off": (900.0, 300.0, 1150.0)}
    for what, missing in tears.items():
        off, wrong = [], {"refused": 0, "doubted": 0, "not seen": 0}
        for seed in range(12):
            a, b, tissue = lying(47.0 * seed + 20, mirrored=seed % 2 == 1), lying(5), Tissue(seed)
            moving, fixed = section("a", 1, replace(tissue, missing=missing), a), section("b", 0, tissue, b)
            placement = match(moving, fixed, 20.0).placement
            points = landmarks()
            e = np.median(np.linalg.norm(placement.to_block(a.to_own(points)) - b.to_own(points), axis=1))
            if e < 100:
                off.append(e)
                continue
            try:
                registered, _ = register([fixed, moving])
                wrong["doubted" if "another orientation" in registered[1].note else "not seen"] += 1
            except InputError:
                wrong["refused"] += 1
        row(what, 12, len(off), f"{np.median(off):.1f}", f"{np.max(off):.1f}", *wrong.values())


def cost(data: Path) -> None:
    """Time and memory, from the full-resolution images."""
    header("Three sections of 9300 x 9900 px, from JPEG to stack", "step", "CPU s", "wall s", "peak MB")
    cpu, wall = machine.cpu(), time.perf_counter()
    views = []
    for k, name in enumerate(NAMES):
        image = open_image(data / "her2st" / name / "image.jpg", name)
        spots = labelled(data, name)
        xy = spots[["pixel_x", "pixel_y"]].to_numpy() * (SPAN_UM / (image.width, image.height))
        table = pd.DataFrame({"barcode": spots.index, "x_um": xy[:, 0], "y_um": xy[:, 1], "spot_um": 100.0})
        um = SPAN_UM[0] / image.width, SPAN_UM[1] / image.height
        views.append(make_view(image, um, 20.0, {"name": name, "z_um": 16.0 * k, "flip": ""}, spots=table))
        del image
    steps = {"read": lambda: None, "rigid": lambda: build_block(views, 25.0)}
    steps["rigid and bent"] = lambda: build_block(views, 25.0, nonrigid=True)
    for step, run in steps.items():
        run()
        row(step, f"{machine.cpu() - cpu:.1f}", f"{time.perf_counter() - wall:.1f}", f"{machine.peak_mb():.0f}")
        cpu, wall = machine.cpu(), time.perf_counter()


def main() -> None:
    """Print all tables."""
    data = Path(sys.argv[1])
    warnings.filterwarnings("ignore", message="Image size")  # Pillow's, of every microscope image
    print(machine.describe())
    cost(data)
    errors(data)
    against_authors(data)
    strangers(data)
    planted()


if __name__ == "__main__":
    main()

"""Command line of the simulator: ``python -m spadework.simulation OUT --seed N``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from . import DEFAULT_COLUMNS, DEFAULT_ROWS, simulate


def main(arguments: list[str] | None = None) -> int:
    """Simulate a section and print two lines about it."""
    parser = argparse.ArgumentParser(
        prog="python -m spadework.simulation",
        description="Simulate a Visium section with an H&E-like image as a Space Ranger 2 outs folder.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that receives outs/ and truth/")
    parser.add_argument("--seed", type=int, required=True, help="same seed, same bytes")
    parser.add_argument("--spot-rows", type=int, default=DEFAULT_ROWS, help="rows of spots (%(default)s)")
    parser.add_argument("--spot-columns", type=int, default=DEFAULT_COLUMNS, help="spots per row (%(default)s)")
    parser.add_argument("--um-per-px", type=float, default=2.0, help="pixel size, µm (%(default)s)")
    parser.add_argument("--nuclei", action="store_true", help="also write tiles with labelled nuclei, to train on")
    options = parser.parse_args(arguments)
    try:
        outs = simulate(
            options.out,
            seed=options.seed,
            spot_rows=options.spot_rows,
            spot_columns=options.spot_columns,
            um_per_px=options.um_per_px,
            nuclei=options.nuclei,
        )
    except ValueError as error:
        parser.error(str(error))
    spots = pd.read_csv(options.out / "truth" / "spots.csv")
    genes = pd.read_csv(options.out / "truth" / "genes.csv")
    kinds = spots["dominant_type"].value_counts().to_dict()
    sys.stdout.write(f"{outs}: {len(spots)} spots in tissue, {len(genes)} genes, seed {options.seed}\n")
    sys.stdout.write("spots by dominant type: " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""U-Nets trained as the workflow trains them: membranes (ISBI 2012) and nuclei (Data Science Bowl 2018).

python tests/benchmarks/bench_unet.py DATA [membranes|nuclei] [seeds]

DATA is a folder with isbi2012 and dsb2018_nuclei, each with image and label. CPU seconds are those of reading, weight
maps, training and inference, with the first run those of importing Keras.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Crops are made beside the network: with more threads they would wait for each other, which is counted, too.
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import machine
import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
DATA = {"membranes": "isbi2012", "nuclei": "dsb2018_nuclei"}
SHOWN = ["pixel_error", "background_iou", "rand_error", "object_f1", "objects_found", "count_correlation", "dice"]


def settings(task: str) -> dict[str, Any]:
    """Return the keys of ``unet``: the defaults, with the recipe of the task over them."""
    found = yaml.safe_load((ROOT / "config/config.yaml").read_text())["unet"]
    for key, value in yaml.safe_load((ROOT / f"config/unet/{task}.yaml").read_text())["unet"].items():
        found[key] = found[key] | value if isinstance(value, dict) else value
    return found


def trained(data: Path, unet: dict[str, Any], seed: int) -> tuple[dict[str, float], float, Any, Any, Any]:
    """Train and score; return scores, CPU seconds, images, labels and model."""
    started = machine.cpu()
    from spadework.unet.augmentation import Augmentation
    from spadework.unet.data import read_sets
    from spadework.unet.network import Architecture
    from spadework.unet.objects import Objects
    from spadework.unet.scores import score
    from spadework.unet.training import Recipe, train

    sets = read_sets(data / "image", data / "label", None, unet["held_out"], unet["validation"], unet["split_by"])
    recipe = Recipe(**unet["touching"], **unet["training"], augmentation=Augmentation(**unet["augmentation"]))
    architecture = Architecture(sets.channels, **unet["network"])
    with tempfile.TemporaryDirectory() as folder:
        model = train(sets.train, sets.validation, architecture, recipe, state=Path(folder) / "s.h5", seed=seed).best
    objects = Objects(**unet["objects"])
    found = [objects.find(model.foreground(item.pixels)) for item in sets.held_out]
    spent = machine.cpu() - started
    return score([item.labels for item in sets.held_out], found), spent, sets, found, model


def main() -> None:
    """Print a row per seed and variant, their means, and the baselines."""
    data = Path(sys.argv[1])
    tasks = sys.argv[2:3] or list(DATA)
    seeds = range(int(sys.argv[3]) if len(sys.argv) > 3 else 3)
    print(machine.describe())
    for task in tasks:
        unet = settings(task)
        variants = {"U-Net": unet}
        if task == "nuclei":
            plain = unet["touching"] | {"w0": 0, "gap_px": 0}
            variants["U-Net, neither weights nor gap"] = unet | {"touching": plain}
            variants["the same, threshold 0.5 alone"] = variants["U-Net, neither weights nor gap"] | {
                "objects": unet["objects"] | {"core": 0.5}
            }
        rows = []
        for name, variant in variants.items():
            for seed in seeds:
                scores, spent, sets, found, _ = trained(data / DATA[task], variant, seed)
                rows.append({"method": name, "seed": seed, "cpu_s": spent} | {k: scores[k] for k in SHOWN})
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        from spadework.unet.evaluation import evaluate
        from spadework.unet.objects import Objects

        table = pd.DataFrame(rows).drop(columns="seed").groupby("method", sort=False).mean()
        others = evaluate(sets, found, Objects(**unet["objects"])).drop(index="U-Net")
        table = pd.concat([table, others[SHOWN]])
        print(f"\n{task}: {len(sets.train)} images, {len(sets.held_out)} held out, mean of {len(seeds)} seeds\n")
        print("| method | " + " | ".join(table.columns) + " |\n|" + "---|" * (1 + len(table.columns)))
        for method, row in table.iterrows():
            print(f"| {method} | " + " | ".join("" if pd.isna(v) else f"{v:.4g}" for v in row) + " |")


if __name__ == "__main__":
    main()

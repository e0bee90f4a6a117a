"""VGG16 through the encoder against a bare compiled call of the same network on the same batch.

python tests/benchmarks/bench_encoder.py [px] [patches]
"""

from __future__ import annotations

import sys
import time

import machine
import numpy as np


def main() -> None:
    """Time both in turn and print patches per second and their ratio."""
    px = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 2048
    from spadework.encoders.registry import create

    encoder = create("vgg16", px)
    import tensorflow as tf

    patches = np.random.default_rng(0).integers(0, 256, (n, px, px, 3), dtype=np.uint8)
    size = encoder.batch_size
    prepared = patches.astype(np.float32)
    bare = tf.function(lambda x: encoder._model(x, training=False))

    def ours() -> None:
        for start in range(0, n, size):
            encoder.encode(patches[start : start + size])

    def compiled() -> None:
        for start in range(0, n, size):
            bare(prepared[start : start + size]).numpy()

    for call in (ours, compiled):
        call()
    rates: dict[str, list[float]] = {"ours": [], "compiled": []}
    for _ in range(5):
        for name, call in (("ours", ours), ("compiled", compiled)):
            started = time.perf_counter()
            call()
            rates[name].append(n / (time.perf_counter() - started))
    ratios = np.array(rates["ours"]) / np.array(rates["compiled"])
    print(machine.describe())
    print("| px | batch | encoder, patches/s | bare compiled call, patches/s | ratio, median of 5 (min to max) |")
    print("|---|---|---|---|---|")
    print(
        f"| {px} | {size} | {np.median(rates['ours']):.0f} | {np.median(rates['compiled']):.0f} | "
        f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}) |"
    )


if __name__ == "__main__":
    main()

"""The published script's stages on 4,000 spots: patches, features, PCA, t-SNE, six maps of 10 x 10 inches at 300 dpi.

The published script took 103 CPU seconds for them on a simulated section of 4,000 spots (two threads).

python tests/benchmarks/bench_published_stages.py FOLDER   (a section from: python -m spadework.simulation FOLDER
--seed 1 --spot-rows 78 --spot-columns 64 --um-per-px 4.1667)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import machine
import numpy as np

PUBLISHED_CPU = 103.0
SPOTS = 4000


def main() -> None:
    """Run the stages and print seconds by stage."""
    stages = machine.Stages()
    from spadework.encoders.registry import create
    from spadework.figures import maps
    from spadework.figures.style import finish, plt, resolution
    from spadework.ingest import ingest
    from spadework.latents import fit_latents, tsne
    from spadework.patches import cut_patches, patch_boxes, section_image
    from spadework.samples import Sample

    encoder = create("vgg16", 32)
    stages.done("imports and network")
    section = ingest(Sample("s", Path(sys.argv[1]) / "outs"), 8)[:SPOTS].copy()
    scaled = section_image(section, "s", "hires", None)
    boxes = patch_boxes(scaled.to_px(section.obsm["spatial"]), (32, 32))
    patches = np.empty((len(boxes), 32, 32, 3), np.uint8)
    for i, patch in cut_patches(scaled.image, boxes, 32):
        patches[i] = patch
    stages.done("section and patches")
    features = encoder.encode(patches)
    stages.done("features")
    scores = (model := fit_latents(features, 30, standardize=False)).project(features)
    stages.done("PCA")
    tsne(scores, perplexity=30, seed=0)
    stages.done("t-SNE")
    canvas = maps.section_canvas(
        section.uns["spatial"]["s"], section.uns["spade"]["lattice"], section.obsm["spatial"]
    )
    with tempfile.TemporaryDirectory() as folder, resolution(300):
        for j in range(6):
            figure, ax = plt.subplots(figsize=(10, 10), layout="constrained")
            maps.latent_map(ax, canvas, scores[:, j], f"latent {j + 1} ({model.variance_ratio[j]:.1%})")
            finish(figure, Path(folder) / f"{j}.png")
    stages.done("six maps")
    total = sum(row[1] for row in stages.rows)
    print(machine.describe())
    print(stages.table())
    print(f"\n{len(boxes)} spots; {total:.1f} / {PUBLISHED_CPU:.0f} CPU s = {total / PUBLISHED_CPU:.2f}; "
          f"peak {machine.peak_mb():.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()

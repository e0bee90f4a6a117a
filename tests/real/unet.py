"""Train the two U-Nets for a minute each on real images, and look at a part of a real slide with one of them."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

sys.path[:0] = ["scripts", "tests/benchmarks"]

SHARED = Path("../shared/data")
# Of 22: docs/benchmarks.md has the scores of whole trainings.
EPOCHS = 6
UM_PER_PX = (0.690, 0.686)


def main() -> None:
    """Print the scores; fail where they are no better than those of thresholds."""
    import numpy as np
    from bench_unet import DATA, settings, trained

    from spadework.images import ArrayImage, read_rgb
    from spadework.nuclei.engines import UNetSegmenter
    from spadework.nuclei.slide import label_slide
    from spadework.patches import ScaledImage
    from spadework.tissue import fit_tissue
    from spadework.unet.objects import Objects

    models = {}
    for task in DATA:
        unet = settings(task)
        unet["training"] |= {"epochs": EPOCHS}
        scores, spent, _, _, models[task] = trained(SHARED / DATA[task], unet, 0)
        print(f"{task}: {spent:.0f} CPU s, " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
        if task == "membranes":  # the best threshold has 0.44
            assert scores["background_iou"] > 0.5
        else:  # Otsu's threshold has 0.48
            assert scores["object_f1"] > 0.52
    model, unet = models["nuclei"], settings("nuclei")
    slide = read_rgb(SHARED / "her2st/C2/image.jpg", "C2")
    tissue = fit_tissue(slide[::8, ::8])
    part = ScaledImage(ArrayImage(slide[5000:7000, 5000:7000]), (1.0, 1.0), UM_PER_PX, "fullres")
    a = model.architecture
    segmenter = UNetSegmenter(model.foreground, unet["um_per_px"], a.context, a.step, Objects(**unet["objects"]))
    with tempfile.TemporaryDirectory() as folder:
        nuclei, _ = label_slide(part, segmenter, tissue, Path(folder) / "labels.ome.tif", min_area_um2=10)
    per_mm2 = len(nuclei) / (np.prod(UM_PER_PX) * 2000**2 * 1e-6)
    print(f"C2, part: {len(nuclei)} nuclei, {per_mm2:.0f} per mm², median area {nuclei['area_um2'].median():.0f} µm²")
    assert 2000 < per_mm2 < 9000


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()

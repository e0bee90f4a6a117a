"""A page of a large section stays small enough to be sent; the benchmark has the same with a real slide."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spadework.images import ArrayImage

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

# The slide is left out, which takes 4 to 8 MB of the 25 that a page may have.
LARGEST_MB = 12


def test_4000_spots_15000_genes_and_500_maps(tmp_path):
    pytest.importorskip("playwright", reason="needs pip install -r tests/browser/requirements.txt")
    import bench_report

    image = ArrayImage(np.full((1200, 1200, 3), 240, np.uint8))
    large = bench_report.section(*bench_report.SIZES["spots"], image, bins=False)
    assert large.shape == (3969, 15_000)
    seconds = bench_report.build(large, image, tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < 1e6 * LARGEST_MB
    assert seconds < 60

"""The published method's own input, step by step, against its own patches and components."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spadework.images import ArrayImage, read_rgb
from spadework.patches import cut_patches, patch_boxes
from spadework.readers.positions import read_positions

pytestmark = pytest.mark.shared


@pytest.fixture
def reference(shared_data):
    return shared_data / "spade_reference" / "C2"


def test_patches_equal_the_published_ones_to_the_byte(reference):
    with np.load(reference / "exact_range255.npz", allow_pickle=True) as exact:
        expected, barcodes = exact["patches"], exact["barcodes"].astype(str)
    positions = read_positions("C2", reference / "tissue_positions_list.csv")
    scale = json.loads((reference / "scalefactors_json.json").read_text())["tissue_hires_scalef"]
    labelled = pd.read_csv(reference / "metadata.csv", index_col=0).index
    assert set(barcodes) == set(labelled)
    image = ArrayImage(read_rgb(reference / "tissue_hires_image.png", "C2"))
    boxes = patch_boxes(positions.loc[barcodes, ["x", "y"]].to_numpy() * scale, (32, 32))
    ours = np.empty_like(expected)
    for i, patch in cut_patches(image, boxes, 32):
        ours[i] = patch
    np.testing.assert_array_equal(ours, expected)

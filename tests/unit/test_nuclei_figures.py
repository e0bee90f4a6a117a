"""Outlines lie where the nuclei are, and spots without nuclei are grey."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba

from spadework.figures.nuclei import nuclei_over_tissue, nuclei_per_spot, outlines
from spadework.figures.style import UNLABELLED
from spadework.images import ArrayImage
from spadework.keys import NUCLEI, Keys
from spadework.nuclei.label_image import write_label_image
from spadework.patches import ScaledImage

UM = 0.5


def test_outlines_go_around_the_pixels_of_each_nucleus():
    labels = np.zeros((20, 30), int)
    labels[2:5, 10:18] = 7
    labels[5:9, 10:18] = 3  # touches the first
    labels[0:3, 0:4] = 9  # at the border
    found = {(line[:, 0].min(), line[:, 0].max(), line[:, 1].min(), line[:, 1].max()) for line in outlines(labels)}
    assert found == {(10, 18, 2, 5), (10, 18, 5, 9), (0, 4, 0, 3)}


@pytest.fixture
def section() -> ad.AnnData:
    """Four spots of 55 µm, all of them on an image of 300 µm."""
    px = np.array([(200.0, 200.0), (400.0, 200.0), (200.0, 400.0), (400.0, 400.0)])
    section = ad.AnnData(obs=pd.DataFrame(index=list("abcd")), obsm={Keys.SPATIAL: px})
    images = {"hires": np.full((300, 300, 3), 220, np.uint8)}
    section.uns[Keys.SPATIAL] = {"s": {"images": images, "scalefactors": {"tissue_hires_scalef": 0.5}}}
    lattice = {"kind": "hexagonal", "pitch_um": 100.0, "spot_um": 55.0, "um_per_px_x": UM, "um_per_px_y": UM}
    section.uns[Keys.SPADE] = {"lattice": lattice}
    return section


@pytest.fixture
def spots(section: ad.AnnData) -> pd.DataFrame:
    table = pd.DataFrame(np.arange(1.0, 29.0).reshape(4, 7), index=section.obs_names, columns=list(NUCLEI))
    table.loc["b"] = [0, 0, *[np.nan] * 4, 0]
    return table


def test_spots_without_nuclei_are_grey(section, spots):
    figure = nuclei_per_spot(section, spots, "s")
    figure.canvas.draw()
    density, area = (next(c for c in ax.collections if isinstance(c, EllipseCollection)) for ax in figure.axes[:2])
    grey = [tuple(c) == to_rgba(UNLABELLED) for c in area.get_facecolors()]
    assert grey == [False, True, False, False]
    assert not any(tuple(c) == to_rgba(UNLABELLED) for c in density.get_facecolors())
    assert "without any, 1 of 4" in figure.get_suptitle()
    plt.close(figure)


def test_close_ups_show_the_densest_and_the_sparsest_spot_and_their_nuclei(section, spots, tmp_path):
    labels = np.zeros((600, 600), np.uint32)
    labels[395:405, 395:405] = 1  # under spot d
    path = tmp_path / "labels.ome.tif"
    write_label_image(path, labels, np.array([0, 1], np.uint32), np.array([UM, UM]))
    nuclei = pd.DataFrame({"label": [1]})
    nuclei.attrs = {"um_per_px": [UM, UM], "left_out": {"too_large_share": 0.125}, "segmenter": {"engine": "unet"}}
    # Three cells of 2 µm in a row, the last hardly covered, under spot d.
    clumps = pd.DataFrame({"x": [398.0, 402.0, 406.0], "y": [402.0] * 3, "area_um2": [4.0, 3.0, 1.0]})
    clumps.attrs["cell_px"] = [2 / UM, 2 / UM]
    scaled = ScaledImage(ArrayImage(np.full((600, 600, 3), 220, np.uint8)), (1.0, 1.0), (UM, UM), "fullres")
    figure = nuclei_over_tissue(section, scaled, path, nuclei, clumps, spots, "s")
    figure.canvas.draw()
    whole, densest, *_, sparsest = figure.axes
    assert "clumps wider than 40 µm (orange), 12.5% of the area" in whole.get_title()
    assert "densest" in densest.get_title()
    assert "sparsest" in sparsest.get_title()
    (line,) = densest.collections[0].get_segments()
    np.testing.assert_allclose((line.min(axis=0), line.max(axis=0)), [(197.5, 197.5), (202.5, 202.5)])
    (line,) = densest.collections[1].get_segments()
    np.testing.assert_allclose((line.min(axis=0), line.max(axis=0)), [(198, 200), (202, 202)])
    assert not any(lines.get_segments() for lines in sparsest.collections)
    plt.close(figure)

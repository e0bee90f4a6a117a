"""Stains made alike: white glass, and the colours of a reference."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from spadework.tissue import TissueModel
from spadework.volume.stains import StainStatistics, normalise_stain, stain_statistics, white_glass


def coloured(seed: int, mean: tuple[float, float, float], sd: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), bool)
    mask[5:30, 8:45] = True
    rgb = np.full((40, 50, 3), 255, np.uint8)
    rgb[mask] = np.clip(rng.normal(mean, sd, (mask.sum(), 3)), 0, 255).astype(np.uint8)
    return rgb, mask


def test_glass_becomes_white_and_density_stays():
    glass = TissueModel((238.0, 220.0, 236.0), 0.1)
    rgb = np.random.default_rng(0).integers(20, 200, (30, 30, 3), np.uint8)
    rgb[:5] = (238, 220, 236)
    whitened = white_glass(rgb, glass)
    assert (whitened[:5] == 255).all()
    white = TissueModel((255.0, 255.0, 255.0), 0.1)
    assert np.allclose(white.density(whitened)[5:], glass.density(rgb)[5:], atol=0.01)


def test_colours_become_those_of_the_reference():
    reference, its_mask = coloured(0, (150, 90, 160))
    other, mask = coloured(1, (120, 110, 150), sd=7)
    # By hand, with nothing of the module.
    target = rgb2lab(reference)[its_mask]
    before = rgb2lab(other)[mask]
    after = rgb2lab(normalise_stain(other, mask, stain_statistics(reference, its_mask)))[mask]
    assert np.abs(before.mean(axis=0) - target.mean(axis=0)).max() > 5
    assert np.allclose(after.mean(axis=0), target.mean(axis=0), atol=0.3)
    assert np.allclose(after.std(axis=0), target.std(axis=0), rtol=0.05, atol=0.2)


def test_the_reference_stays_as_it_is():
    rgb, mask = coloured(0, (150, 90, 160))
    again = normalise_stain(rgb, mask, stain_statistics(rgb, mask))
    assert np.abs(again.astype(int) - rgb)[mask].max() <= 1
    assert np.array_equal(normalise_stain(rgb, mask, None)[mask], rgb[mask])


@pytest.mark.parametrize("reference", [None, StainStatistics(np.array([50.0, 20, -20]), np.array([10.0, 5, 5]))])
def test_everything_else_is_white(reference):
    rgb, mask = coloured(0, (150, 90, 160))
    rgb[~mask] = (200, 180, 190)
    assert (normalise_stain(rgb, mask, reference)[~mask] == 255).all()
    assert (normalise_stain(rgb, np.zeros_like(mask), reference) == 255).all()


def test_one_colour_is_moved_not_stretched():
    rgb, mask = coloured(0, (120, 100, 140), sd=0)
    target = StainStatistics(np.array([60.0, 10, -10]), np.array([12.0, 6, 6]))
    out = normalise_stain(rgb, mask, target)
    assert np.ptp(out[mask], axis=0).max() == 0
    assert np.allclose(rgb2lab(out)[mask][0], target.mean, atol=0.6)


def test_no_tissue_has_no_stain():
    rgb, mask = coloured(0, (1, 2, 3))
    with pytest.raises(ValueError, match="no tissue"):
        stain_statistics(rgb, np.zeros_like(mask))

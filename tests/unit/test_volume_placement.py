"""Placements of sections: there and back, one after the other, and images with the points on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from spadework.volume.bending import smoothed
from spadework.volume.placement import STEEPEST, Displacement, Placement, grid_points, steepness, warp

um = st.floats(-5000, 5000)
placements = st.builds(
    lambda angle, mirrored, centre, to: Placement.rigid(angle, mirrored=mirrored, centre=centre, to=to),
    st.floats(-179, 179),
    st.booleans(),
    st.tuples(um, um),
    st.tuples(um, um),
)
POINTS = np.random.default_rng(0).uniform(-4000, 4000, (25, 2))


def field(seed: int, size_um: float = 300.0) -> Displacement:
    rough = np.random.default_rng(seed).normal(0, size_um * 12, (2, 40, 50))
    return Displacement(smoothed(rough, 50.0), 50.0, (-300.0, 200.0))


@given(placements)
def test_there_and_back(placement):
    assert np.allclose(placement.to_own(placement.to_block(POINTS)), POINTS, atol=1e-6)
    assert np.allclose(placement.to_block(placement.to_own(POINTS)), POINTS, atol=1e-6)


@given(placements, placements, placements)
def test_one_after_the_other(a, b, c):
    assert np.allclose(a.then(b).to_block(POINTS), b.to_block(a.to_block(POINTS)), atol=1e-6)
    left, right = a.then(b).then(c), a.then(b.then(c))
    assert np.allclose(left.to_block(POINTS), right.to_block(POINTS), atol=1e-6)
    assert a.then(b).mirrored == (a.mirrored != b.mirrored)


@given(placements)
def test_distances_stay(placement):
    placed = placement.to_block(POINTS)
    assert np.allclose(np.linalg.norm(placed[1:] - placed[0], axis=1), np.linalg.norm(POINTS[1:] - POINTS[0], axis=1))


@given(st.floats(-179, 179), st.booleans())
def test_what_it_is_made_of_is_read_off(angle, mirrored):
    placement = Placement.rigid(angle, mirrored=mirrored, centre=(10, 20), to=(-3, 4))
    assert placement.rotation_deg == pytest.approx(angle, abs=1e-9)
    assert placement.mirrored == mirrored
    assert np.allclose(placement.to_block(np.array([[10.0, 20.0]])), [[-3, 4]])


def test_a_quarter_turn_is_clockwise_on_the_screen():
    """What was right (x) is then below (y); mirrored, it was left before."""
    right = np.array([[1.0, 0.0]])
    assert np.allclose(Placement.rigid(90).to_block(right), [[0, 1]])
    assert np.allclose(Placement.rigid(90, mirrored=True).to_block(right), [[0, -1]])


@pytest.mark.parametrize("seed", range(3))
def test_bent_placements_have_an_inverse(seed):
    bent = Placement(Placement.rigid(30, mirrored=True).linear, np.array([500.0, 900.0]), field(seed))
    assert np.median(np.hypot(*bent.field.values)) > 20
    assert np.allclose(bent.to_own(bent.to_block(POINTS)), POINTS, atol=1e-3)
    assert np.allclose(bent.to_block(bent.to_own(POINTS)), POINTS, atol=1e-3)
    moved = bent.moved((40.0, -70.0))
    assert np.allclose(moved.to_block(POINTS), np.add(bent.to_block(POINTS), (40, -70)), atol=1e-3)
    with pytest.raises(ValueError, match="cannot be followed"):
        bent.then(Placement.rigid(0))


@pytest.mark.parametrize("seed", range(4))
def test_fields_neither_fold_nor_tear(seed):
    values = field(seed, 600).values
    assert steepness(values, 50.0) <= STEEPEST
    # Independently: the area of every cell after the displacement stays positive.
    y, x = np.mgrid[: values.shape[1], : values.shape[2]] * 50.0
    corners = np.stack([x + values[0], y + values[1]], -1)
    across, down = np.diff(corners, axis=1)[:-1], np.diff(corners, axis=0)[:, :-1]
    assert (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] > 0).all()


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_steepness_is_the_largest_ratio_of_distances(seed):
    rng = np.random.default_rng(seed)
    shift = Displacement(rng.normal(0, 3, (2, 5, 6)), 10.0)
    a, b = rng.uniform(0, [50, 40], (200, 2)), rng.uniform(0, [50, 40], (200, 2))
    ratio = np.linalg.norm(shift.at(a) - shift.at(b), axis=1) / np.linalg.norm(a - b, axis=1)
    assert ratio.max() <= shift.steepness + 1e-9
    assert shift.steepness <= 4 * ratio.max()


@pytest.mark.parametrize("angle", [0, 33, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_images_go_where_points_go(angle, mirrored):
    """A blot on an image of oblong pixels is found where its centre is placed, bent or not."""
    um_per_px, spot = (8.0, 12.5), np.array([[610.0, 410.0]])
    xy = grid_points((80, 150), um_per_px)
    image = np.exp(-((xy - spot) ** 2).sum(axis=1) / (2 * 60.0**2)).reshape(80, 150)
    rigid = Placement.rigid(angle, mirrored=mirrored, centre=(600, 500), to=(900, 800))
    for placement in (rigid, Placement(rigid.linear, rigid.shift, field(1, 30.0))):
        expected = placement.to_block(spot)[0]
        shown = warp(image, um_per_px, placement, (110, 120), 16.0, origin=(20.0, -40.0))
        row, column = ndimage.center_of_mass(shown**4)
        found = (np.array([column, row]) + 0.5) * 16.0 + [20.0, -40.0]
        assert np.linalg.norm(found - expected) < (1.0 if placement.field is None else 5.0)


def test_what_stays_is_the_same_image():
    image = np.random.default_rng(0).uniform(0, 1, (12, 17)).astype(np.float32)
    assert np.allclose(warp(image, (10.0, 10.0), Placement.rigid(0), (12, 17), 10.0), image, atol=1e-6)
    colour = np.stack([image] * 3, -1)
    outside = warp(colour, (10.0, 10.0), Placement.rigid(0), (5, 5), 10.0, origin=(500.0, 0.0), fill=7.0)
    assert (outside == 7).all()


def test_larger_pixels_are_means():
    """Stripes that would alias come out as their mean."""
    stripes = np.tile([0.0, 1.0], (64, 32)).astype(np.float32)
    shown = warp(stripes, (5.0, 5.0), Placement.rigid(0), (12, 12), 20.0, origin=(30.0, 30.0))
    assert np.allclose(shown, 0.5, atol=0.03)

"""The lattice gives the scale of the image, however the array lies in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spadework.lattice import Lattice, array_to_um, fit_lattice, is_checkerboard

PITCH_UM = {"hexagonal": 100.0, "square": 8.0, "checkerboard": 200.0}


def array_positions(kind: str, n: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of a small array of every kind."""
    row, col = (a.ravel() for a in np.mgrid[0:n, 0 : 2 * n])
    if kind != "square":
        keep = (row + col) % 2 == 0
        row, col = row[keep], col[keep]
    return row, col


def lay(um: np.ndarray, um_per_px: tuple[float, float], degrees: float, mirrored: bool) -> np.ndarray:
    """Turn the array, mirror it, and give it the scale of an image: µm to pixels."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    if mirrored:
        turn = turn @ np.diag([1, -1])
    return um @ turn.T / um_per_px + [1234.5, -67.0]


scales = st.floats(0.1, 10)
layouts = st.tuples(
    st.sampled_from(sorted(PITCH_UM)),
    scales,
    scales,
    st.sampled_from([0, 90, 180, 270]),
    st.floats(-3, 3),
    st.booleans(),
)


@given(layouts)
@settings(deadline=None)
def test_the_scale_is_recovered_whichever_way_the_array_lies(layout):
    kind, um_x, um_y, quarter, jitter, mirrored = layout
    row, col = array_positions(kind)
    spatial = lay(array_to_um(kind, PITCH_UM[kind], row, col), (um_x, um_y), quarter + jitter, mirrored)
    lattice = fit_lattice(kind, PITCH_UM[kind], 55.0, row, col, spatial)
    assert lattice.um_per_px_x == pytest.approx(um_x, rel=1e-6)
    assert lattice.um_per_px_y == pytest.approx(um_y, rel=1e-6)
    assert lattice.um_per_px == pytest.approx(np.sqrt(um_x * um_y), rel=1e-6)
    assert lattice.mirrored is mirrored
    assert lattice.residual_um < 1e-6


@given(st.sampled_from([0, 90, 180, 270]), st.floats(-3, 3), st.booleans())
@settings(deadline=None)
def test_the_rotation_is_recovered(quarter: int, jitter: float, mirrored: bool):
    row, col = array_positions("hexagonal")
    spatial = lay(array_to_um("hexagonal", 100, row, col), (0.5, 0.5), quarter + jitter, mirrored)
    found = fit_lattice("hexagonal", 100, 55, row, col, spatial).rotation_deg
    assert (found - quarter - jitter + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_the_residual_is_in_micrometres():
    row, col = array_positions("square")
    shift = np.random.default_rng(0).normal(size=(len(row), 2))
    exact = lay(array_to_um("square", 8, row, col), (0.5, 2.0), 0, False)
    lattice = fit_lattice("square", 8, 8, row, col, exact + shift)
    # of 2 n coordinates, 6 are spent on the fit
    in_um = np.sqrt(np.mean(np.sum((shift * [0.5, 2.0]) ** 2, axis=1)))
    assert lattice.residual_um == pytest.approx(in_um, rel=0.05)


def test_a_single_misplaced_spot_raises_the_residual():
    row, col = array_positions("hexagonal")
    spatial = lay(array_to_um("hexagonal", 100, row, col), (1, 1), 0, False)
    spatial[0] += 1000
    assert fit_lattice("hexagonal", 100, 55, row, col, spatial).residual_um > 50


@pytest.mark.parametrize(
    ("kind", "pitch", "row_step", "column_step", "diagonal"),
    [("hexagonal", 100, 173.205, 100, 100), ("checkerboard", 200, 200, 200, 141.421), ("square", 8, 16, 16, 11.314)],
)
def test_neighbours_are_a_pitch_apart(kind, pitch, row_step, column_step, diagonal):
    um = array_to_um(kind, pitch, np.array([0, 2, 0, 1]), np.array([0, 0, 2, 1]))
    distance = np.linalg.norm(um - um[0], axis=1)
    assert distance[1:].tolist() == pytest.approx([row_step, column_step, diagonal], abs=1e-3)
    assert um[1, 0] == 0, "rows run along y"
    assert um[2, 1] == 0, "columns run along x"


@pytest.mark.parametrize(
    ("row", "col"),
    [([], []), ([0], [0]), ([0, 1], [0, 1]), ([0, 0, 0, 0], [0, 2, 4, 6]), ([0, 1, 2, 3], [0, 1, 2, 3])],
)
def test_too_few_spots_or_spots_on_one_line_of_the_array_are_refused(row: list[int], col: list[int]):
    spatial = np.random.default_rng(0).uniform(0, 100, (len(row), 2))
    with pytest.raises(ValueError, match="one line"):
        fit_lattice("hexagonal", 100, 55, np.array(row, int), np.array(col, int), spatial)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (-2, 1), (0, 0)])
def test_spots_on_one_line_of_the_image_are_refused(direction: tuple[int, int]):
    row, col = array_positions("square")
    spatial = (row + 3 * col)[:, None] * np.array(direction, float) + 17.3
    with pytest.raises(ValueError, match="one line"):
        fit_lattice("square", 8, 8, row, col, spatial)


@pytest.mark.parametrize(
    ("row", "col", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], True),
        ([0, 1, 2], [1, 2, 3], True),
        ([0, 1], [0, 0], False),
        ([3], [4], False),
        ([], [], False),
    ],
)
def test_a_checkerboard_uses_every_second_position(row: list[int], col: list[int], expected: bool):
    assert is_checkerboard(np.array(row, int), np.array(col, int)) is expected


def test_a_lattice_can_be_written_as_json():
    row, col = array_positions("square")
    lattice = fit_lattice("square", 8, 8, row, col, np.column_stack([col, row]) * 4.0)
    assert Lattice(**json.loads(json.dumps(lattice.as_dict()))) == lattice

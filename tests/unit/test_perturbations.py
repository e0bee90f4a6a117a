"""Perturbations move pixels and boxes exactly, and stains by their factors."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import combine_stains, rgb_from_hed

from spadework.images import ArrayImage
from spadework.patches import cut_patches, patch_boxes
from spadework.perturbations import BRIGHTNESS, PERTURBATIONS, SHIFT, STAIN, UNPERTURBED, restain

EDGE = 12
# Ruifrok & Johnston's table: what a unit of haematoxylin, of eosin and of the rest takes from red, green and blue.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
FACTORS = {"stain_weak": (0.9, 1.1, 1.02), "stain_strong": (1.1, 0.9, 0.98)}
TURNS = ["rotate_90", "rotate_180", "rotate_270", "flip_horizontal", "flip_vertical"]


@pytest.fixture(scope="module")
def patch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (EDGE, EDGE, 3), np.uint8)


def stained(amounts: np.ndarray) -> np.ndarray:
    """Patch (h, w, 3) of amounts (h, w, 3) of haematoxylin, eosin and the rest, by Beer and Lambert's law."""
    light = 256 * 10 ** -np.einsum("hws,sc->hwc", amounts, STAINS) - 1
    assert light.min() > 8
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def amounts_in(pixels: np.ndarray) -> np.ndarray:
    """Solve for the stains of each pixel (n, 3)."""
    density = -np.log10((pixels.astype(float) + 1) / 256)
    return np.linalg.solve(STAINS.T, density.T).T


def test_all_perturbations_are_there():
    shifts = {f"shift_{side}" for side in ("left", "right", "up", "down")}
    assert set(PERTURBATIONS) == {UNPERTURBED.name, *TURNS, *shifts, *FACTORS}
    assert all(PERTURBATIONS[name].name == name for name in PERTURBATIONS)
    assert (SHIFT, STAIN, BRIGHTNESS) == (0.1, 0.1, 0.02)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_a_patch_stays_a_patch_and_the_original_is_left_alone(name, patch):
    before = patch.copy()
    changed = PERTURBATIONS[name].transform(patch)
    assert changed.dtype == np.uint8
    assert changed.shape == patch.shape
    np.testing.assert_array_equal(patch, before)


@pytest.mark.parametrize("name", sorted({*PERTURBATIONS} - {UNPERTURBED.name}))
def test_each_perturbation_does_one_thing(name, patch):
    same_pixels = np.array_equal(PERTURBATIONS[name].transform(patch), patch)
    assert same_pixels == name.startswith("shift")
    assert (PERTURBATIONS[name].shift == (0, 0)) != same_pixels


def test_unperturbed_patches_are_as_they_were(patch):
    np.testing.assert_array_equal(UNPERTURBED.transform(patch), patch)
    np.testing.assert_array_equal(UNPERTURBED.centres(np.array([[3.5, -2.0]]), (20, 40)), [[3.5, -2.0]])


def test_turned_pixels_are_where_the_indices_say(patch):
    last = EDGE - 1
    from_where = {
        "rotate_90": lambda i, j: (j, last - i),  # anticlockwise: the right edge comes to lie on top
        "rotate_180": lambda i, j: (last - i, last - j),
        "rotate_270": lambda i, j: (last - j, i),
        "flip_horizontal": lambda i, j: (i, last - j),
        "flip_vertical": lambda i, j: (last - i, j),
    }
    for name, source in from_where.items():
        changed = PERTURBATIONS[name].transform(patch)
        for i, j in np.ndindex(EDGE, EDGE):
            np.testing.assert_array_equal(changed[i, j], patch[source(i, j)], err_msg=name)


def test_turns_form_the_group_of_the_square(patch):
    def after(*names: str) -> np.ndarray:
        out = patch
        for name in names:
            out = PERTURBATIONS[name].transform(out)
        return out

    np.testing.assert_array_equal(after(*["rotate_90"] * 4), patch)
    np.testing.assert_array_equal(after(*["rotate_90"] * 2), after("rotate_180"))
    np.testing.assert_array_equal(after(*["rotate_90"] * 3), after("rotate_270"))
    np.testing.assert_array_equal(after("rotate_270", "rotate_90"), patch)
    np.testing.assert_array_equal(after(*["flip_horizontal"] * 2), patch)
    np.testing.assert_array_equal(after("flip_horizontal", "flip_vertical"), after("rotate_180"))
    np.testing.assert_array_equal(
        after("flip_horizontal", "rotate_90", "flip_horizontal"), after("rotate_270"), err_msg="turns the other way"
    )
    assert len({after(name).tobytes() for name in TURNS} | {patch.tobytes()}) == 6


def test_boxes_are_shifted_by_a_tenth_of_their_own_width_and_height():
    size = (20, 40)
    centres = np.array([[100.0, 200.0], [3.0, -7.0]])
    expected = {
        "shift_left": [[98, 200], [1, -7]],
        "shift_right": [[102, 200], [5, -7]],
        "shift_up": [[100, 196], [3, -11]],
        "shift_down": [[100, 204], [3, -3]],
    }
    for name, moved in expected.items():
        np.testing.assert_allclose(PERTURBATIONS[name].centres(centres, size), moved, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(PERTURBATIONS["rotate_90"].centres(centres, size), centres)
    boxes = patch_boxes(PERTURBATIONS["shift_right"].centres(centres, size), size)
    np.testing.assert_array_equal(boxes, [[92, 180, 112, 220], [-5, -27, 15, 13]])


def test_shifted_patches_show_what_is_to_their_side():
    image = ArrayImage(np.random.default_rng(1).integers(0, 256, (60, 60, 3), np.uint8))
    centres = np.array([[30.0, 30.0]])

    def patch_of(name: str | None) -> np.ndarray:
        at = centres if name is None else PERTURBATIONS[name].centres(centres, (20, 20))
        return next(iter(cut_patches(image, patch_boxes(at, (20, 20)), 20)))[1]

    here = patch_of(None)
    np.testing.assert_array_equal(patch_of("shift_right")[:, :-2], here[:, 2:])
    np.testing.assert_array_equal(patch_of("shift_left")[:, 2:], here[:, :-2])
    np.testing.assert_array_equal(patch_of("shift_down")[:-2], here[2:])
    np.testing.assert_array_equal(patch_of("shift_up")[2:], here[:-2])


@pytest.mark.parametrize("name", sorted(FACTORS))
def test_stains_change_by_their_factors(name):
    haematoxylin, eosin, brightness = FACTORS[name]
    # From pale to dark, with a little of the third stain, which must stay, of either sign.
    grid = np.stack(np.meshgrid(np.linspace(0.1, 0.6, 15), np.linspace(0.1, 0.5, 15), indexing="ij"), axis=-1)
    third = np.random.default_rng(2).uniform(-0.05, 0.1, (15, 15, 1))
    patch = stained(np.concatenate([grid, third], axis=-1))
    changed = PERTURBATIONS[name].transform(patch)
    unclipped = ((patch > 15) & (patch < 255) & (changed > 15) & (changed < 255)).all(axis=-1)
    assert unclipped.sum() > 100
    before, after = amounts_in(patch[unclipped]), amounts_in(changed[unclipped])
    after -= np.linalg.solve(STAINS.T, np.full(3, -np.log10(brightness)))  # the light counts on all channels alike
    # A grey level is up to 0.014 of optical density at 15, 0.002 at 255; solving for stains doubles that.
    np.testing.assert_allclose(after, before * [haematoxylin, eosin, 1], atol=0.03)
    dark = before[:, 0] > 0.3
    ratio = (after / before)[dark].mean(axis=0)
    np.testing.assert_allclose(ratio[:2], [haematoxylin, eosin], atol=0.01)


def test_restained_pixels_equal_pixels_stained_so_from_the_start():
    rng = np.random.default_rng(3)
    amounts = np.concatenate([rng.uniform(0.05, 0.5, (20, 20, 2)), np.zeros((20, 20, 1))], axis=-1)
    ours = restain(stained(amounts), haematoxylin=1.3, eosin=0.6)
    expected = stained(amounts * [1.3, 0.6, 1])
    assert np.abs(ours.astype(int) - expected).max() <= 2
    # scikit-image says the same; its unit of density is another one, but the stains are its own.
    np.testing.assert_allclose(rgb_from_hed, STAINS)
    theirs = 255 * combine_stains(amounts * [1.3, 0.6, 1] * np.log(10) / -np.log(1e-6), STAINS)
    assert np.abs(ours - theirs).max() <= 3


@pytest.mark.parametrize("name", sorted(FACTORS))
def test_white_glass_stays_nearly_white(name):
    glass = np.full((8, 8, 3), 255, np.uint8)
    changed = PERTURBATIONS[name].transform(glass)
    assert changed.min() >= 249
    assert np.ptp(changed) == 0, "and grey"
    tinted = np.full((8, 8, 3), (244, 240, 241), np.uint8)
    assert np.abs(PERTURBATIONS[name].transform(tinted).astype(int) - tinted).max() <= 7


def test_factors_of_one_change_no_colour_at_all():
    levels = np.array([0, 1, 2, 60, 127, 128, 200, 253, 254, 255], np.uint8)
    every = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(10, -1, 3)
    np.testing.assert_array_equal(restain(every, haematoxylin=1, eosin=1), every)


def test_more_haematoxylin_is_darker_and_less_is_paler():
    nucleus = stained(np.full((4, 4, 3), [0.6, 0.1, 0.0]))
    assert (PERTURBATIONS["stain_strong"].transform(nucleus) < nucleus).all()
    assert (PERTURBATIONS["stain_weak"].transform(nucleus) > nucleus).all()


@pytest.mark.parametrize("name", sorted(FACTORS))
def test_every_pixel_of_a_colour_changes_alike(name, patch):
    # One staining for the whole section: what is around a pixel, and how often it is done, plays no part.
    transform = PERTURBATIONS[name].transform
    whole = transform(patch)
    np.testing.assert_array_equal(transform(patch[:5, 3:]), whole[:5, 3:])
    np.testing.assert_array_equal(transform(patch), whole)

"""Voxels of spots against brute force; what was not measured stays so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_blocks import SIDE, VOXEL, planted_block

from spadework.volume.pairs import read_volumes, write_volumes
from spadework.volume.rasterise import at_spots, rasterise, spot_voxels


def brute_force(block, domains: pd.DataFrame) -> np.ndarray:
    """Every voxel: the class of the spot it is under, if there is one."""
    names = sorted(set(domains["domain"]) - {"unlabelled"})
    joined = block.spots.merge(domains, on=["sample", "barcode"])
    target = np.full(block.stack.tissue.shape, -1)
    for k, section in enumerate(block.stack.samples):
        for _, spot in joined[(joined["sample"] == section) & (joined["domain"] != "unlabelled")].iterrows():
            for i in range(SIDE):
                for j in range(SIDE):
                    x, y = (j + 0.5) * VOXEL, (i + 0.5) * VOXEL
                    if np.hypot(x - spot["x_um"], y - spot["y_um"]) <= spot["spot_um"] / 2:
                        target[k, i, j] = names.index(spot["domain"])
    return target


def test_discs_are_those_of_brute_force(tmp_path):
    block = planted_block(stained=("two",))
    domains = block.domains.copy()
    domains.loc[::7, "domain"] = "unlabelled"
    domains = domains.drop(index=domains.index[3::11])  # failed the quality control
    volumes = rasterise(block.stack, block.spots, domains, target="domains")
    (pair,) = volumes.pairs
    np.testing.assert_array_equal(pair.target, brute_force(block, domains))
    assert pair.target.dtype == np.int16
    assert volumes.classes == ("a", "b", "c")
    assert volumes.planes == ("one", "two", "three")
    assert (pair.target[1] == -1).all()
    assert pair.spacing == (20.0, VOXEL, VOXEL)
    np.testing.assert_allclose(pair.inputs, block.stack.stain / 127.5 - 1, atol=1e-6)
    write_volumes(volumes, tmp_path / "volumes.h5")
    np.testing.assert_array_equal(read_volumes(tmp_path / "volumes.h5").pairs[0].target, pair.target)


def test_order_of_spots_and_domains_is_no_matter():
    block = planted_block()
    expected = rasterise(block.stack, block.spots, block.domains, target="latents").pairs[0].target
    turned = rasterise(block.stack, block.spots[::-1], block.domains.sample(frac=1, random_state=0), target="latents")
    np.testing.assert_array_equal(turned.pairs[0].target, expected)


def test_classes_are_in_numeric_order():
    block = planted_block()
    domains = block.domains.assign(domain=block.domains["domain"].map({"a": "10", "b": "9", "c": "2"}))
    assert rasterise(block.stack, block.spots, domains, target="domains").classes == ("2", "9", "10")


def test_latents_are_under_spots_and_nan_elsewhere():
    block = planted_block(stained=("three",))
    volumes = rasterise(block.stack, block.spots, block.domains, target="latents")
    target = volumes.pairs[0].target
    assert volumes.outputs == ("latent_1", "latent_2")
    assert target.dtype == np.float32
    measured = brute_force(block, block.domains) >= 0
    np.testing.assert_array_equal(np.isfinite(target).all(axis=-1), measured)
    np.testing.assert_array_equal(np.isnan(target).all(axis=-1), ~measured)
    expected = block.domains[["latent_1", "latent_2"]].to_numpy()
    np.testing.assert_allclose(at_spots(target, block.stack, block.spots), expected, atol=1e-6)


def test_a_spot_smaller_than_a_voxel_has_the_one_it_lies_in():
    block = planted_block()
    spots = pd.DataFrame(
        {"sample": "two", "x_um": [0.1, 24.9, 25.1, 1599.9], "y_um": [0.1, 0.1, 30.0, 1599.9], "spot_um": 2.0}
    )
    under = spot_voxels(block.stack, spots)
    plane = SIDE * SIDE
    assert under.indices.tolist() == [plane, plane, plane + SIDE + 1, 2 * plane - 1]


def test_spots_that_share_a_voxel_vote():
    block = planted_block()
    spots = pd.DataFrame(
        {
            "sample": "one",
            "barcode": list("pqrst"),
            "x_um": [3.0, 5.0, 12.6, 30.0, 37.4],
            "y_um": [3.0, 5.0, 12.6, 12.5, 12.5],
            "spot_um": 2.0,
        }
    )
    domains = pd.DataFrame({"sample": "one", "barcode": list("tsrqp"), "domain": list("yxybb")})
    domains["latent_1"] = [5.0, 3.0, 6.0, 2.0, 1.0]
    target = rasterise(block.stack, spots, domains, target="domains")
    # p and q are b and r is y: b by votes, though r is nearest; s is x and t, nearer, is y
    assert [target.classes[k] for k in target.pairs[0].target[0, 0, :2]] == ["b", "y"]
    latents = rasterise(block.stack, spots, domains, target="latents").pairs[0].target
    np.testing.assert_allclose(latents[0, 0, :2, 0], [(1 + 2 + 6) / 3, (3 + 5) / 2])


def test_spots_outside_the_volume_have_no_voxels(caplog):
    block = planted_block()
    spots = block.spots.copy()
    spots.loc[0, "x_um"], spots.loc[1, "sample"] = -1.0, "another"
    under = spot_voxels(block.stack, spots)
    assert np.diff(under.indptr)[:2].tolist() == [0, 0]
    values = at_spots(np.ones((*block.stack.tissue.shape, 1)), block.stack, spots)
    assert np.isnan(values[:2]).all()
    assert (values[2:] == 1).all()
    rasterise(block.stack, spots, block.domains, target="domains")
    assert "1 of" in caplog.text  # the other has no domain under that name


def test_at_spots_is_the_mean_over_the_disc():
    block = planted_block()
    volume = np.random.default_rng(0).random((*block.stack.tissue.shape, 2))
    spots = block.spots.iloc[[5, 50]]
    got = at_spots(volume, block.stack, spots, 2.0)
    y, x = (np.indices((SIDE, SIDE)) + 0.5) * VOXEL
    for values, (_, spot) in zip(got, spots.iterrows(), strict=True):
        plane = volume[block.stack.samples.index(spot["sample"])]
        disc = np.hypot(x - spot["x_um"], y - spot["y_um"]) <= spot["spot_um"]
        np.testing.assert_allclose(values, plane[disc].mean(axis=0))


def test_a_disc_at_the_border_does_not_reach_round():
    block = planted_block()
    spots = pd.DataFrame({"sample": "one", "x_um": [5.0], "y_um": [800.0], "spot_um": 200.0})
    columns = spot_voxels(block.stack, spots).indices % SIDE
    assert columns.max() <= 4


@pytest.mark.parametrize("target", ["clusters", None])
def test_another_target_is_refused(target):
    block = planted_block()
    with pytest.raises(ValueError, match="expected domains or latents"):
        rasterise(block.stack, block.spots, block.domains, target=target)


def test_nothing_measured_is_refused():
    block = planted_block()
    with pytest.raises(ValueError, match="none of"):
        rasterise(replace(block.stack, samples=("x", "y", "z")), block.spots, block.domains, target="domains")

"""Nuclei per spot, against counting them one by one."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spadework.keys import NUCLEI, Keys
from spadework.nuclei.spots import count_nuclei

UM = np.array([0.7, 0.8])


def a_section(px: np.ndarray, kind: str = "hexagonal", spot_um: float = 55.0, **lattice) -> ad.AnnData:
    """A section with spots at the places given, full-resolution px."""
    pitch = spot_um if kind == "square" else 100.0
    section = ad.AnnData(obs=pd.DataFrame(index=[f"S{i}" for i in range(len(px))]), obsm={Keys.SPATIAL: px})
    given_lattice = {"kind": kind, "pitch_um": pitch, "spot_um": spot_um, "rotation_deg": 0.0}
    section.uns[Keys.SPADE] = {"lattice": given_lattice | {"um_per_px_x": UM[0], "um_per_px_y": UM[1]} | lattice}
    return section


def a_table(px: np.ndarray, image_px=(1000.0, 900.0), seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = ("area_um2", "eccentricity", "haematoxylin", "nearest_um")
    table = pd.DataFrame({"x": px[:, 0], "y": px[:, 1]} | {name: rng.random(len(px)) for name in names})
    table.attrs["image_px"] = list(image_px)
    return table


NO_CLUMPS = pd.DataFrame({"x": [], "y": [], "area_um2": []})


def by_hand(section: ad.AnnData, nuclei: pd.DataFrame, clumps: pd.DataFrame, holds) -> pd.DataFrame:
    rows = []
    for spot in section.obsm[Keys.SPATIAL]:
        offset = (nuclei[["x", "y"]].to_numpy() - spot) * UM
        inside = nuclei[np.array([holds(dx, dy) for dx, dy in offset], bool)]
        means = [inside[c].mean() for c in ("area_um2", "eccentricity", "haematoxylin", "nearest_um")]
        offset = (clumps[["x", "y"]].to_numpy() - spot) * UM
        rows.append([len(inside), np.nan, *means, clumps["area_um2"][[holds(dx, dy) for dx, dy in offset]].sum()])
    return pd.DataFrame(rows, columns=list(NUCLEI), index=pd.Index(section.obs_names, name="barcode"))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["hexagonal", "none", "square"]), n=st.integers(0, 300))
def test_counts_and_means_are_those_counted_by_hand(seed, kind, n):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-180, 180)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    places = rng.uniform(-30, 1030, (40, 2))
    if kind == "square":  # some bins of a tilted array
        array = rng.permutation(np.stack(np.meshgrid(*[np.arange(-9, 9)] * 2), axis=-1).reshape(-1, 2))[:200]
        places = (array * 55.0 @ np.array([[c, s], [-s, c]])) / UM + 500
    section = a_section(places, kind, rotation_deg=angle)
    nuclei = a_table(rng.uniform(0, 1000, (n, 2)), seed=seed)

    def holds(dx: float, dy: float) -> bool:
        if kind != "square":
            return np.hypot(dx, dy) <= 27.5
        return abs(dx * c + dy * s) <= 27.5 and abs(dy * c - dx * s) <= 27.5

    clumps = a_table(rng.uniform(0, 1000, (n // 2, 2)), seed=seed + 1)[["x", "y", "area_um2"]]
    found = count_nuclei(section, nuclei, clumps)
    pd.testing.assert_frame_equal(
        found.assign(**{Keys.NUCLEI_DENSITY: np.nan}), by_hand(section, nuclei, clumps, holds), check_dtype=False
    )


def test_bins_hold_every_nucleus_once():
    edge = 8.0
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), axis=-1).reshape(-1, 2)
    section = a_section((grid + 0.5) * edge / UM, "square", edge)
    corners = np.random.default_rng(0).integers(0, 20, (500, 2)) * edge / UM  # on the corners of four bins
    found = count_nuclei(section, a_table(corners), NO_CLUMPS)
    assert found[Keys.NUCLEI_COUNT].sum() == 500


def test_a_spot_without_nuclei_has_a_count_and_no_means():
    found = count_nuclei(a_section(np.array([(500.0, 500.0)])), a_table(np.empty((0, 2))), NO_CLUMPS).iloc[0]
    assert found[Keys.NUCLEI_COUNT] == 0
    assert found[Keys.NUCLEI_DENSITY] == 0
    assert found[Keys.NUCLEI_LEFT_OUT] == 0
    assert found.drop([Keys.NUCLEI_COUNT, Keys.NUCLEI_DENSITY, Keys.NUCLEI_LEFT_OUT]).isna().all()


@pytest.mark.parametrize(
    ("kind", "px", "share"),
    [
        ("hexagonal", (500, 400), 1.0),
        ("hexagonal", (0, 400), 0.5),
        ("hexagonal", (1000, 900), 0.25),
        ("hexagonal", (-27.5 / 2 / 0.7, 400), 0.19550),  # the cap beyond half the radius
        ("square", (500, 900), 0.5),
        ("square", (-55 / 4 / 0.7, 400), 0.25),
    ],
)
def test_density_is_by_the_part_of_the_spot_in_the_image(kind, px, share):
    section = a_section(np.array([px], float), kind)
    inside = np.clip(np.array([px], float), 1, (999, 899))
    found = count_nuclei(section, a_table(np.repeat(inside, 3, axis=0)), NO_CLUMPS)
    area = (55**2 if kind == "square" else np.pi * 27.5**2) * 1e-6
    assert found[Keys.NUCLEI_COUNT].item() == 3
    assert found[Keys.NUCLEI_DENSITY].item() == pytest.approx(3 / area / share, rel=0.03)


def test_a_spot_outside_the_image_has_no_density():
    found = count_nuclei(a_section(np.array([(-100.0, 400.0)])), a_table(np.array([(5.0, 400.0)])), NO_CLUMPS)
    assert found[Keys.NUCLEI_DENSITY].isna().all()

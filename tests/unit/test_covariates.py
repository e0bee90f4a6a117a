"""Covariates by name, and pieces of tissue."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from spadework.covariates import covariate_matrix, tissue_pieces
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.lattice import array_to_um


@pytest.fixture
def obs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            Keys.TOTAL_COUNTS: [100, 1000, 10, 10000],
            "nuclei": [1, 2, 3, 5],
            Keys.CLUSTER: pd.Categorical(["2", "0", "2", "10"]),
            "damaged": [True, False, False, True],
            "slide": ["A", "A", "A", "A"],
            "holes": [1.0, np.nan, 2.0, 3.0],
        },
        index=list("abcd"),
    )


def test_numbers_stay_and_categories_become_indicators(obs):
    matrix = covariate_matrix(obs, ["log10_umi", "nuclei", Keys.CLUSTER, "damaged"], "s")
    expected = [[2, 1, 0, 1, 1], [3, 2, 0, 0, 0], [1, 3, 0, 1, 0], [4, 5, 1, 0, 1]]
    np.testing.assert_allclose(matrix, expected)


def test_no_names_give_no_columns(obs):
    assert covariate_matrix(obs, [], "s").shape == (4, 0)


def test_a_covariate_that_does_not_vary_is_left_out_and_named(obs, caplog):
    with caplog.at_level(logging.WARNING, "spadework"):
        assert covariate_matrix(obs, ["slide", "nuclei"], "s").shape == (4, 1)
    assert "slide is the same in all spots" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [("clusters", "clusters, which no spot has.*log10_umi, nuclei"), ("holes", "in 1 of 4 spots")],
)
def test_covariates_that_are_not_there_are_refused(name, message, obs):
    with pytest.raises(InputError, match=f"(?s){message}"):
        covariate_matrix(obs, [name], "sec")


def test_what_spots_without_nuclei_lack_is_refused_with_what_they_have(obs):
    obs[Keys.NUCLEI_AREA] = [20.0, np.nan, 30.0, 40.0]
    with pytest.raises(InputError, match="1 of 4 spots") as caught:
        covariate_matrix(obs, [Keys.NUCLEI_AREA], "S")
    assert "or use nuclei_count or nuclei_density_mm2" in caught.value.remedy


@pytest.mark.parametrize("kind", ["hexagonal", "square", "checkerboard"])
def test_pieces_are_the_connected_parts(kind):
    row, column = (index.ravel() for index in np.indices((20, 30)))
    used = (row + column) % 2 == 0 if kind != "square" else row >= 0
    gap = (column > 13) & (column < 26)
    lone = (row == 0) & (column == 20)
    keep = used & (~gap | lone)
    um = array_to_um(kind, 1.0, row[keep], column[keep])
    pieces = tissue_pieces(um, 1.0)
    n, label = connected_components(cdist(um, um) < 1.5, directed=False)
    assert n == 3
    assert pieces.groupby(label).nunique().eq(1).all()
    assert pieces.value_counts().index[0] == "1"
    assert (pieces[lone[keep]] == "other").all()
    assert sorted(pieces.unique()) == ["1", "2", "other"]

"""Covariates by name: what the adjusted tests, and the nested models, hold constant."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from spadework.errors import InputError
from spadework.keys import LOG10_UMI, NUCLEI, Keys

log = logging.getLogger("spadework")

# Neighbours across a diagonal of the square lattice are 1.41 pitches apart.
_NEIGHBOUR_PITCHES = 1.5
_LEAST_PIECE = 10


def covariate_matrix(obs: pd.DataFrame, names: Sequence[str], sample: str) -> NDArray[np.float64]:
    """Turn columns of ``obs`` into columns of a model: numbers as they are, categories as indicators.

    Parameters
    ----------
    obs
        One row per spot. ``log10_umi`` is made from its total counts.

    Returns
    -------
    numpy.ndarray
        (spots, c) float64, without an intercept. A covariate that does not vary has no column.

    Raises
    ------
    InputError
        If a name is not there, or values are missing.
    """
    known = obs.assign(**{LOG10_UMI: np.log10(obs[Keys.TOTAL_COUNTS].to_numpy(float))})
    columns = [np.empty((len(obs), 0))]
    for name in names:
        if name not in known:
            raise InputError(
                sample,
                None,
                found=f"the covariate {name}, which no spot has",
                expected=f"one of {', '.join(sorted(map(str, known.columns)))}",
                remedy="correct association.covariates",
            )
        values = known[name]
        missing = values.isna()
        if pd.api.types.is_float_dtype(values):
            missing |= ~np.isfinite(values)
        if missing.any():
            remedy = f"take {name} out of association.covariates"
            if name in NUCLEI:
                remedy += (
                    f", or use {Keys.NUCLEI_COUNT} or {Keys.NUCLEI_DENSITY}, which spots without nuclei have, too"
                )
            raise InputError(
                sample,
                None,
                found=f"no value of the covariate {name} in {int(missing.sum())} of {len(values)} spots",
                expected="a value in every spot",
                remedy=remedy,
            )
        if values.nunique() < 2:
            log.warning("%s: the covariate %s is the same in all spots and changes nothing", sample, name)
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns.append(values.to_numpy(float)[:, None])
        else:
            columns.append(pd.get_dummies(values.astype(str), drop_first=True).to_numpy(float))
    return np.hstack(columns)


def tissue_pieces(um: NDArray[np.float64], pitch_um: float) -> pd.Series:
    """Name the connected pieces of tissue, ``1`` the largest; those of a few spots are ``other`` together.

    Parameters
    ----------
    um
        (n, 2) physical positions on the lattice.

    Returns
    -------
    pandas.Series
        (n,) str.
    """
    tree = KDTree(um)
    near = tree.sparse_distance_matrix(tree, _NEIGHBOUR_PITCHES * pitch_um, output_type="coo_matrix")
    _, label = connected_components(near, directed=False)
    size = np.bincount(label)
    rank = np.argsort(np.argsort(-size, kind="stable")) + 1
    return pd.Series(np.where(size >= _LEAST_PIECE, rank.astype(str), "other")[label])

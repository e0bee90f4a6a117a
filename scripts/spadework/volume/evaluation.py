"""How well sections are predicted whose spots a network has not seen, beside what needs no network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spadework.labels import UNLABELLED
from spadework.prototypes.evaluation import nearest_neighbours
from spadework.volume.packing import spread_of, with_given
from spadework.volume.pairs import Volumes
from spadework.volume.rasterise import at_spots, measured_spots, over_discs, spot_voxels
from spadework.volume.stack import Stack

log = logging.getLogger("spadework")

NETWORK, NEIGHBOUR, AROUND, COLOUR = "Vox2Vox", "neighbouring section", "mean of other sections", "k-NN on colour"
LARGEST, MEAN = "largest domain", "mean"
_DISC = 2.0  # spot diameters: colour is looked at in the array cell of a spot


@dataclass(frozen=True)
class Predicted:
    """The spots of sections left out, and what each method says of them.

    Attributes
    ----------
    spots
        ``sample``, ``barcode``, ``x_um``, ``y_um``, ``z_um``, ``domain`` and the latents: in the volume and measured.
    truth
        (n,) int, class of each spot; or (n, k) float64.
    says
        Method -> the same, predicted.
    """

    spots: pd.DataFrame
    truth: NDArray
    says: dict[str, NDArray]


def predict_spots(
    volumes: Volumes,
    stack: Stack,
    spots: pd.DataFrame,
    domains: pd.DataFrame,
    predictions: Mapping[str, NDArray[np.floating]],
    *,
    neighbours: int,
) -> Predicted:
    """Say of every spot of the sections left out what it is: by the network, and by what needs none.

    * the network that has not seen the section's spots: the mean of its prediction over the voxels of a spot;
    * the neighbouring section: the nearest spot of the nearest section (in depth) that has spots; of two sections
      equally near, of both together;
    * the mean of other sections: a Gaussian mean of what was measured there around the place. It knows nothing of the
      stain, and is what a network starts from that is given what was measured on other sections;
    * k-NN on colour: the most similar spots of all other sections, by mean and standard deviation of Lab in a disc
      of two spot diameters (votes weighted by the size of the domains);
    * the largest domain of the other sections, or the mean of their latents.

    Parameters
    ----------
    predictions
        Section left out -> (z, y, x, k): class probabilities or values of the network that has not seen its spots.
    neighbours
        Of k-NN on colour.

    Raises
    ------
    ValueError
        If there is no section left out, or no other with measured spots.
    """
    if not predictions:
        raise ValueError("no section is left out: there is nothing to score")
    known = measured_spots(spots, domains)
    if volumes.classes:
        known = known[known["domain"] != UNLABELLED]
    colour = colour_features(stack, known)
    kept = np.asarray(np.isfinite(colour).all(axis=1))
    if not kept.all():
        log.warning("%d of %d measured spots lie outside the volume and are not scored", (~kept).sum(), len(kept))
    known, colour = known[kept].reset_index(drop=True), colour[kept]
    if volumes.classes:
        truth = pd.Categorical(known["domain"], categories=list(volumes.classes)).codes.astype(int)
    else:
        truth = known[list(volumes.values)].to_numpy(float)
    sample = known["sample"].to_numpy(str)
    parts: list[NDArray] = []
    says: dict[str, list[NDArray]] = {}
    for section, volume in predictions.items():
        own = np.flatnonzero(sample == section)
        others = np.flatnonzero(sample != section)
        if not len(own) or not len(others):
            raise ValueError(f"{len(own)} measured spots in {section} and {len(others)} in other sections")
        network = at_spots(volume, stack, known.iloc[own])
        around = at_spots(_given(volumes, section), stack, known.iloc[own])
        from_stain = _by_colour(colour[others], truth[others], colour[own], neighbours)
        said = {
            NETWORK: network.argmax(axis=1) if volumes.classes else network,
            NEIGHBOUR: truth[others][_nearest(known, own, others)],
            AROUND: around.argmax(axis=1) if volumes.classes else around,
            COLOUR: from_stain,
        }
        if volumes.classes:
            said[LARGEST] = np.full(len(own), np.bincount(truth[others]).argmax())
        else:
            said[MEAN] = np.tile(truth[others].mean(axis=0), (len(own), 1))
        parts.append(own)
        for method, values in said.items():
            says.setdefault(method, []).append(values)
    rows = np.concatenate(parts)
    return Predicted(
        known.iloc[rows].reset_index(drop=True),
        truth[rows],
        {method: np.concatenate(values) for method, values in says.items()},
    )


def colour_features(stack: Stack, spots: pd.DataFrame) -> NDArray[np.float64]:
    """Return mean and standard deviation of Lab in a disc of two diameters around each spot, (n, 6)."""
    under = spot_voxels(stack, spots, _DISC)
    columns = np.flatnonzero(under.getnnz(axis=0))
    lab = rgb2lab(stack.stain.reshape(-1, 3)[columns])
    moments = over_discs(np.concatenate([lab, lab**2], axis=-1), under[:, columns])
    mean, square = moments[:, :3], moments[:, 3:]
    return np.hstack([mean, np.sqrt(np.maximum(square - mean**2, 0.0))])


def _by_colour(train: NDArray[np.floating], truth: NDArray, test: NDArray[np.floating], k: int) -> NDArray:
    if truth.ndim == 1:
        return nearest_neighbours(train, truth, test, k)
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(min(k, len(train)), algorithm="brute"))
    return model.fit(train, truth).predict(test)


def _given(volumes: Volumes, section: str) -> NDArray[np.float32]:
    """Return what other sections say of one: (z, y, x, outputs), right in the plane of the section only."""
    pair = volumes.pairs[0]
    plane = volumes.planes.index(section)
    looked_at = with_given(pair.inputs, pair.target, plane, len(volumes.classes), spread_of(pair))
    return looked_at[..., pair.inputs.shape[-1] : -1]


def _nearest(spots: pd.DataFrame, own: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return, for each spot of a section, which of the others is the nearest in the nearest section."""
    away = np.abs(spots["z_um"].to_numpy(float)[others] - spots["z_um"].to_numpy(float)[own[0]])
    candidates = np.flatnonzero(np.isclose(away, away.min()))
    xy = spots[["x_um", "y_um"]].to_numpy(float)
    return candidates[cKDTree(xy[others[candidates]]).query(xy[own])[1]]


def spots_table(predicted: Predicted, names: Sequence[str]) -> pd.DataFrame:
    """Tabulate every spot of the sections left out with what is measured and what each method says.

    Parameters
    ----------
    names
        Of the classes, or of the values.

    Returns
    -------
    pandas.DataFrame
        ``sample``, ``barcode``, ``x_um``, ``y_um``, ``z_um``, then ``measured`` and a column per method (classes), or
        ``measured latent_1`` and so on.
    """
    table = predicted.spots[["sample", "barcode", "x_um", "y_um", "z_um"]].copy()
    for source, values in {"measured": predicted.truth, **predicted.says}.items():
        if values.ndim == 1:
            table[source] = np.asarray(names, object)[values]
        else:
            for k, name in enumerate(names):
                table[f"{source} {name}"] = values[:, k]
    return table

"""How well labels of volumes are predicted, beside what needs no network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.ndimage import gaussian_filter

from spadework.volume.pair_table import SETS
from spadework.volume.pairs import VolumePair, Volumes

NETWORK, LARGEST, THRESHOLD = "Vox2Vox", "commonest label", "blur and threshold"
ALL, SUMMARY = "all", "mean"
_SIGMA = 1.0  # voxels
_THRESHOLDS = 500


def score_pairs(volumes: Volumes, predictions: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Score predicted labels of every volume.

    Dice of each label but the first (background), and their mean. Beside the network stand the commonest label of
    the training volumes and, where there are two labels, the best of the thresholds of one blurred modality, chosen
    on the training volumes. Intervals of the mean over volumes (t, 95 %) are those of volumes like these.

    Parameters
    ----------
    predictions
        Name of the volume -> (z, y, x, k) class probabilities.

    Returns
    -------
    pandas.DataFrame
        ``set``, ``volume`` (``all`` for the mean over the volumes of the set), ``method``, ``class_or_latent`` (the
        label; ``mean`` for the summary), ``score`` (``dice``), ``value`` (NaN where a label is neither there nor
        predicted), ``low``, ``high``, ``n_volumes``.
    """
    says = {NETWORK: {name: values.argmax(axis=-1) for name, values in predictions.items()}}
    train = volumes.of("train")
    n = np.sum([np.bincount(p.target[p.measured], minlength=len(volumes.classes)) for p in train], axis=0)
    says[LARGEST] = {p.name: np.full(p.shape, n.argmax()) for p in volumes.pairs}
    if len(volumes.classes) == 2:
        says[THRESHOLD] = _thresholded(train, volumes)
    rows = []
    for pair in volumes.pairs:
        for method, said in says.items():
            scores = _dice(pair, said[pair.name], len(volumes.classes))
            named = dict(zip(volumes.classes[1:], scores, strict=True)) | {SUMMARY: _mean(scores)}
            rows += [
                {"set": pair.set, "volume": pair.name, "method": method, "class_or_latent": k, "value": v}
                for k, v in named.items()
            ]
    table = pd.DataFrame(rows)
    means = []
    for (of, method, label), group in table.groupby(["set", "method", "class_or_latent"], sort=False):
        means.append(
            {"set": of, "volume": ALL, "method": method, "class_or_latent": label} | _interval(group["value"])
        )
    table = pd.concat([table.assign(n_volumes=1), pd.DataFrame(means)], ignore_index=True)
    table.insert(4, "score", "dice")
    order = table["set"].map({name: k for k, name in enumerate(reversed(SETS))})
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def strictest(table: pd.DataFrame) -> str:
    """Return the set that says most of volumes not seen: test, else validation, else train."""
    return next(name for name in reversed(SETS) if (table["set"] == name).any())


def _dice(pair: VolumePair, said: NDArray[np.integer], n: int) -> list[float]:
    there = pair.measured
    truth, found = pair.target[there], said[there]
    scores = []
    for k in range(1, n):
        sizes = (truth == k).sum() + (found == k).sum()
        scores.append(float(2 * ((truth == k) & (found == k)).sum() / sizes) if sizes else np.nan)
    return scores


def _mean(scores: list[float]) -> float:
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else np.nan


def _interval(values: pd.Series) -> dict[str, float]:
    values = values.dropna()
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    if n < 2:
        return {"value": mean, "low": np.nan, "high": np.nan, "n_volumes": n}
    reach = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return {"value": mean, "low": max(mean - reach, 0.0), "high": min(mean + reach, 1.0), "n_volumes": n}


def _thresholded(train: list[VolumePair], volumes: Volumes) -> dict[str, NDArray[np.integer]]:
    """Find the threshold with the highest mean Dice on the training volumes, and apply it to all."""
    best = (-1.0, 0, 0.0, 1)
    for channel in range(len(volumes.inputs)):
        smooth = [_blurred(pair, channel)[pair.measured] for pair in train]
        limits = np.linspace(min(s.min() for s in smooth), max(s.max() for s in smooth), _THRESHOLDS)
        for sign in (1, -1):
            dice = []
            for pair, values in zip(train, smooth, strict=True):
                label = pair.target[pair.measured] == 1
                found, right = (_beyond(sign * part, sign * limits) for part in (values, values[label]))
                dice.append(2 * right / np.maximum(found + label.sum(), 1))
            mean = np.mean(dice, axis=0)
            k = int(mean.argmax())
            best = max(best, (float(mean[k]), channel, float(limits[k]), sign))
    _, channel, limit, sign = best
    return {p.name: (sign * _blurred(p, channel) >= sign * limit).astype(int) for p in volumes.pairs}


def _blurred(pair: VolumePair, channel: int) -> NDArray[np.float32]:
    return gaussian_filter(pair.inputs[..., channel], _SIGMA)


def _beyond(values: NDArray[np.floating], limits: NDArray[np.floating]) -> NDArray[np.integer]:
    """Count, for each limit, the values that are not below it."""
    return len(values) - np.searchsorted(np.sort(values), limits)

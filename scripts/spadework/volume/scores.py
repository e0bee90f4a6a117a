"""Scores of predicted spots, with intervals from resampled blocks of tissue, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from spadework.volume.evaluation import AROUND, COLOUR, NEIGHBOUR, NETWORK, Predicted

ALL, SUMMARY = "all", "mean"
DICE, BALANCED, ACCURACY, PEARSON, R2 = "dice", "balanced_accuracy", "accuracy", "pearson_r", "r2"
_BLOCK_UM = 1000.0  # edge of the squares of tissue that are resampled
_DRAWS = 1000
_WITHOUT_NETWORK = {
    NEIGHBOUR: "copying the neighbouring section",
    AROUND: "the mean of what the other sections show around each place",
    COLOUR: "k-NN on colour",
}
# Of one method: by score and class (None for the summary), its value in every resample; NaN where not defined.
Draws = dict[tuple[str, int | None], NDArray[np.float64]]


def score_table(predicted: Predicted, names: Sequence[str], seed: int) -> pd.DataFrame:
    """Score every method on every section left out, and on all of them.

    Classes: Dice of each domain of a section, their mean, balanced accuracy (mean share found) and accuracy.
    Latents: Pearson's r, and R² (share of the variance within the section that is explained; below 0 for what is
    worse than the section's own mean). Scores of all sections are means over the sections that have them.

    Intervals of 95 % come from 1,000 resamples of whole squares of tissue (1 mm), the same for all methods, because
    neighbouring spots are right or wrong together. A square is one through all sections: what is hard to tell in one
    is hard in the next. They reach t(R - 1) standard deviations of the resamples to either side, enlarged by
    sqrt(R / (R - 1)) (Hesterberg 2015, The American Statistician 69:371). With few squares they are rough, and they
    say nothing about other blocks.

    Parameters
    ----------
    names
        Of the classes, or of the latents.

    Returns
    -------
    pandas.DataFrame
        ``section`` (``all`` for all), ``method``, ``class_or_latent`` (``mean`` for the summary), ``score``,
        ``value`` with ``low`` and ``high``; ``gain``, the network's value minus this method's, with its interval;
        ``n_spots``, ``n_regions`` (squares), ``n_sections``. Not defined: NaN (r of what is constant; intervals from
        one square).
    """
    spots = predicted.spots
    square = spots[["x_um", "y_um"]].to_numpy(float) // _BLOCK_UM
    regions, region = np.unique(square, axis=0, return_inverse=True)
    region = region.ravel()
    sample = spots["sample"].to_numpy(str)
    sections = list(dict.fromkeys(sample))
    weights = _weights(len(regions), seed)
    by_section = {}
    for section in sections:
        rows = sample == section
        by_section[section] = {
            method: _scores(predicted.truth[rows], said[rows], region[rows], weights, len(names))
            for method, said in predicted.says.items()
        }
    table = []
    for section in sections:
        rows = sample == section
        said = {"n_spots": int(rows.sum()), "n_regions": len(np.unique(region[rows])), "n_sections": 1}
        table += _tabulate(section, by_section[section], names, said)
    said = {"n_spots": len(spots), "n_regions": len(regions), "n_sections": len(sections)}
    table += _tabulate(ALL, _mean_over(list(by_section.values())), names, said)
    return pd.DataFrame(table)


def _weights(n: int, seed: int) -> NDArray[np.float64]:
    """Return how often each region is drawn; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _DRAWS)
    return np.vstack([np.ones(n), drawn]).astype(float)


def _scores(
    truth: NDArray, said: NDArray, region: NDArray[np.integer], weights: NDArray[np.float64], n: int
) -> Draws:
    if truth.ndim == 1:
        return _class_scores(truth, said, region, weights, n)
    return _value_scores(truth, said, region, weights)


def _class_scores(
    truth: NDArray[np.integer],
    said: NDArray[np.integer],
    region: NDArray[np.integer],
    weights: NDArray[np.float64],
    n: int,
) -> Draws:
    def drawn(labels: NDArray[np.integer]) -> NDArray[np.float64]:
        cells = np.bincount(region * n + labels, minlength=weights.shape[1] * n)
        return weights @ cells.reshape(-1, n)

    right = truth == said
    found = weights @ np.bincount(region[right] * n + truth[right], minlength=weights.shape[1] * n).reshape(-1, n)
    true, claimed = drawn(truth), drawn(said)
    there = true > 0
    dice = np.where(there, _share(2 * found, true + claimed), np.nan)
    recall = _share(found, true)
    scores: Draws = {
        (DICE, None): _mean(dice),
        (BALANCED, None): _mean(recall),
        (ACCURACY, None): _share(found.sum(axis=1), true.sum(axis=1)),
    }
    # of a class that a section does not have there is nothing to say
    return scores | {(DICE, k): dice[:, k] for k in range(n) if there[0, k]}


def _value_scores(
    truth: NDArray[np.floating],
    said: NDArray[np.floating],
    region: NDArray[np.integer],
    weights: NDArray[np.float64],
) -> Draws:
    def drawn(values: NDArray[np.floating]) -> NDArray[np.float64]:
        sums = np.zeros((weights.shape[1], values.shape[1]))
        np.add.at(sums, region, values)
        return weights @ sums

    n = drawn(np.ones_like(truth))
    # the origin does not matter to the scores but to their rounding
    centre = truth.mean(axis=0)
    x, y = truth - centre, said - centre
    mean_x, mean_y = _share(drawn(x), n), _share(drawn(y), n)
    var_x = _share(drawn(x * x), n) - mean_x**2
    var_y = _share(drawn(y * y), n) - mean_y**2
    constant = var_y <= 1e-12 * np.maximum(var_x, 1e-300)
    r = np.where(
        constant, np.nan, _share(_share(drawn(x * y), n) - mean_x * mean_y, np.sqrt(np.maximum(var_x * var_y, 0)))
    )
    r2 = 1 - _share(_share(drawn((x - y) ** 2), n), var_x)
    scores: Draws = {(PEARSON, None): _mean(r), (R2, None): _mean(r2)}
    for k in range(truth.shape[1]):
        scores[PEARSON, k], scores[R2, k] = r[:, k], r2[:, k]
    return scores


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over columns of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return _share(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(float))


def _mean_over(
    sections: list[dict[str, Draws]],
) -> dict[str, Draws]:
    methods = {}
    for method in sections[0]:
        keys = sorted(
            {key for of in sections for key in of[method]}, key=lambda k: (k[0], k[1] is not None, k[1] or 0)
        )
        methods[method] = {
            key: _mean(np.stack([of[method][key] for of in sections if key in of[method]], axis=1)) for key in keys
        }
    return methods


def _tabulate(
    section: str,
    methods: dict[str, Draws],
    names: Sequence[str],
    said: dict[str, int],
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for method, scores in methods.items():
        for (score, k), values in scores.items():
            bounded = score not in (PEARSON, R2)
            lowest = 0.0 if bounded else -1.0 if score == PEARSON else -np.inf
            row: dict[str, object] = {
                "section": section,
                "method": method,
                "class_or_latent": SUMMARY if k is None else names[k],
                "score": score,
            }
            row |= dict(zip(("value", "low", "high"), _interval(values, said["n_regions"], lowest), strict=True))
            gain = (
                _interval(methods[NETWORK][score, k] - values, said["n_regions"], -np.inf)
                if method != NETWORK
                else (np.nan,) * 3
            )
            rows.append(row | dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)) | said)
    return rows


def _interval(values: NDArray[np.float64], n: int, lowest: float) -> tuple[float, float, float]:
    """Return the estimate (the first of the values) and its interval from the spread of the others, of n regions."""
    estimate, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if n < 2 or not np.isfinite(estimate) or len(drawn) < _DRAWS / 2:
        return estimate, np.nan, np.nan
    reach = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1)) * drawn.std()
    highest = 1.0 if np.isfinite(lowest) else np.inf
    return estimate, max(estimate - reach, lowest), min(estimate + reach, highest)


def verdict(table: pd.DataFrame, z_um: Sequence[float], *, given: bool) -> str:
    """Say in words whether the network is worth having.

    It is better, or worse, than what needs no network where the interval of the difference lies on one side of zero;
    else nothing is said for either. It adds something only if it is better than all of them.

    Parameters
    ----------
    table
        Of :func:`score_table`.
    z_um
        Depths of the sections of the block that have spots, µm.
    given
        The networks were given what was measured on the other sections.
    """
    rows = table[(table["section"] == ALL) & (table["class_or_latent"] == SUMMARY)]
    values = (rows["score"] == PEARSON).any()
    main = rows[rows["score"] == (PEARSON if values else DICE)].set_index("method")
    own = main.loc[NETWORK]
    tested, one = int(own["n_sections"]), own["n_sections"] == 1
    what = "correlation (mean of r over the latents)" if values else "Dice (mean over the domains)"
    said = [
        f"{tested} of {_count(len(z_um), 'section')} with spots, of 1 block, {'was' if one else 'were'} left out"
        f"{'' if one else ' in turn'} and predicted by {'a network' if one else 'networks'} that had "
        f"not seen {'its' if one else 'their'} spots"
        + (
            " and started from the mean of what the other sections show around each place"
            if given and len(z_um) > 2
            else ""
        )
        + f": {what} {_number(own)} at {_count(own['n_spots'], 'spot')}."
    ]
    if given and len(z_um) == 2:
        said.append(
            "With two sections with spots there are no others to start from: these networks saw the stain alone. "
            "That of the volume starts from both, and is not what was scored."
        )
    others = main.loc[list(_WITHOUT_NETWORK)]
    said += [_compared(row, _WITHOUT_NETWORK[str(method)]) for method, row in others.iterrows()]
    if own["n_regions"] < 2:
        said.append(
            "All spots lie in one square millimetre, which allows no judgement of uncertainty: whether the network "
            "is needed stays open."
        )
    elif (others["gain_low"] > 0).all():
        said.append("So on these sections the network adds something to what its neighbours and its colour say.")
    else:
        left = [_WITHOUT_NETWORK[str(method)] for method, row in others.iterrows() if not row["gain_low"] > 0]
        beaten = " and ".join([", ".join(left[:-1]), left[-1]] if len(left) > 1 else left)
        said.append(
            f"So these data do not show that the network is needed: {beaten} {'is' if len(left) == 1 else 'are'} not "
            "beaten."
        )
    if len(z_um) > 1:
        near = float(np.min(np.diff(np.sort(z_um))))
        said.append(
            f"The nearest sections are {near:g} µm apart: the thinner the gap, the better the neighbours do without "
            "a network."
        )
    said.append(
        f"The intervals are of {_count(own['n_regions'], 'square')} of 1 mm of this tissue. From one block nothing "
        "follows for other blocks: another tissue, stain or scanner may give another result."
    )
    return " ".join(said)


def _compared(row: pd.Series, method: str) -> str:
    if np.isnan(row["value"]):
        return f"For {method}, this score is not defined."
    if row["gain_low"] > 0:
        how = "That is better than"
    elif row["gain_high"] < 0:
        how = "That is worse than"
    elif np.isnan(row["gain_low"]):
        how = "Beside it stands"
    else:
        how = "It cannot be told from"
    return f"{how} {method}, {_number(row)}; the difference is {_number(row, 'gain')}."


def _number(row: pd.Series, name: str = "value") -> str:
    """Write an estimate with its interval, if it has one."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    text = f"{row[name]:.2f}"
    return text if np.isnan(row[low]) else f"{text} ({row[low]:.2f} to {row[high]:.2f})"


def _count(n: float, what: str) -> str:
    return f"{n:.0f} {what}{'' if n == 1 else 's'}"

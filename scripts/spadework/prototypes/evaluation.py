"""What the predictions of prototypes are worth: beside chance, shuffled classes and nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROTOTYPES, SHUFFLED, MAJORITY = "prototypes", "shuffled classes", "most frequent class"
METHODS = (PROTOTYPES, SHUFFLED, MAJORITY)  # all others are nearest neighbours
_DRAWS = 1000
# A balanced accuracy from which on classes are told, not just better than by chance.
_GOOD = 0.8
# So much above chance, the estimate itself does not speak for chance.
_ABOVE = 0.1


def nearest_neighbours(
    train_features: NDArray[np.floating], train_labels: NDArray, test_features: NDArray[np.floating], k: int
) -> NDArray:
    """Predict the class that is most over-represented among the nearest training spots.

    Features are standardised, because those of colour and texture differ in unit. A vote counts the less the more
    training spots its class has: the score is the mean over classes, and plain votes would all but ignore small ones.

    Parameters
    ----------
    train_features, test_features
        (n, d) and (m, d).
    train_labels
        (n,).
    k
        Neighbours; all training spots if there are fewer.

    Returns
    -------
    numpy.ndarray
        (m,) labels.
    """
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(min(k, len(train_labels)), algorithm="brute"))
    votes = model.fit(train_features, train_labels).predict_proba(test_features)
    names, n = np.unique(train_labels, return_counts=True)
    return names[np.argmax(votes / n, axis=1)]


def majority(train_labels: NDArray, n: int) -> NDArray:
    """Predict the most frequent training class for n spots; of several, the first by name."""
    names, counts = np.unique(train_labels, return_counts=True)
    return np.full(n, names[counts.argmax()])


def accuracy_table(spots: pd.DataFrame, predictions: Mapping[str, Sequence | NDArray], seed: int) -> pd.DataFrame:
    """Score predictions of test spots.

    Intervals of 95 % come from 1,000 resamples of whole regions, the same for all methods, because neighbouring spots
    are right or wrong together. They reach t(R - 1) standard deviations of the resamples to either side, enlarged by
    sqrt(R / (R - 1)) (Hesterberg 2015, The American Statistician 69:371). Percentiles would be too narrow with few
    regions, and lie off the estimate where classes are missing from many resamples.
    Neighbouring regions are not quite independent, and a class that lies in one region has no spread: take the
    intervals as optimistic rather than not. They say nothing about other sections.

    Parameters
    ----------
    spots
        The test spots: ``sample``, ``class``, ``region``.
    predictions
        Method -> names of classes, in the order of the rows; ``prototypes`` must be there.

    Returns
    -------
    pandas.DataFrame
        A row per method, in their order: ``method``; ``accuracy``, ``balanced_accuracy`` (mean over the classes of
        the test spots of the share found) and ``gain`` (balanced accuracy of the prototypes minus the method's; NaN
        for themselves), each with ``_low`` and ``_high`` (NaN if there is one region); ``n_test``, ``n_regions``,
        ``n_sections``, ``n_classes``.

    Raises
    ------
    ValueError
        If there are no spots, or predictions of another number.
    """
    if spots.empty:
        raise ValueError("no test spots to score predictions of")
    classes, label = np.unique(spots["class"].to_numpy(str), return_inverse=True)
    regions, region = np.unique(spots["region"].to_numpy(), return_inverse=True)
    cell = region * len(classes) + label
    n, size = len(regions), len(regions) * len(classes)
    total = np.bincount(cell, minlength=size).reshape(n, -1)
    # The first row is the sample itself.
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _DRAWS)
    weights = np.vstack([np.ones(n, int), drawn])
    accuracy, balanced = {}, {}
    for method, predicted in predictions.items():
        right = np.asarray(predicted, str) == spots["class"].to_numpy(str)
        found = np.bincount(cell, right, size).reshape(n, -1)
        accuracy[method] = (weights @ found).sum(axis=1) / (weights @ total).sum(axis=1)
        balanced[method] = _mean_recall(weights @ found, weights @ total)
    rows = [
        _interval("accuracy", accuracy[method], n, 0.0)
        | _interval("balanced_accuracy", balanced[method], n, 0.0)
        | _interval("gain", balanced[PROTOTYPES] - balanced[method] if method != PROTOTYPES else None, n, -1.0)
        for method in predictions
    ]
    table = pd.DataFrame(rows)
    table.insert(0, "method", list(predictions))
    return table.assign(n_test=len(spots), n_regions=n, n_sections=spots["sample"].nunique(), n_classes=len(classes))


def _mean_recall(found: NDArray[np.floating], total: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean of found / total (draws, classes) over the classes a draw has, (draws,)."""
    recall = np.divide(found, total, out=np.zeros(total.shape), where=total > 0)
    return recall.sum(axis=1) / (total > 0).sum(axis=1)


def _interval(name: str, values: NDArray[np.float64] | None, n: int, lowest: float) -> dict[str, float]:
    """Return the estimate (the first of the values) and its interval from the spread of the others, of n regions."""
    if values is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    estimate = float(values[0])
    if n < 2:
        return {name: estimate, f"{name}_low": np.nan, f"{name}_high": np.nan}
    reach = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1)) * values[1:].std()
    return {name: estimate, f"{name}_low": max(estimate - reach, lowest), f"{name}_high": min(estimate + reach, 1.0)}


def verdict(table: pd.DataFrame, untested: Sequence[str] = (), untrained: Sequence[str] = ()) -> str:
    """Say in words whether the classes can be told from the image.

    They cannot, as far as these data show, if the lower end of the balanced accuracy is not above chance (one over
    the number of classes in the test), or that of its gain over the same network trained on shuffled classes is not
    above zero; they can in part below a balanced accuracy of 0.8. Where the estimates are well above both (by 0.1)
    and only the intervals are not, it is for want of test regions.

    Parameters
    ----------
    table
        From :func:`accuracy_table`, with ``prototypes`` and ``shuffled classes``; methods that are not in
        :data:`METHODS` are nearest neighbours.
    untested, untrained
        Classes without test spots, and those with test spots but no training spots
        (:func:`spadework.prototypes.data.one_sided`).
    """
    rows = table.set_index("method")
    own, shuffled = rows.loc[PROTOTYPES], rows.loc[SHUFFLED]
    others = rows.drop(list(METHODS), errors="ignore")
    best = others.loc[others["balanced_accuracy"].idxmax()] if len(others) else None
    chance = 1 / own["n_classes"]
    numbers = (
        f"the balanced accuracy of the prototypes is {_number(own, 'balanced_accuracy')}, where guessing gives "
        f"{chance:.2f} and the same network trained on shuffled classes {_number(shuffled, 'balanced_accuracy')}; "
        f"the difference is {_number(shuffled, 'gain')}."
    )
    told = own["balanced_accuracy_low"] > chance and shuffled["gain_low"] > 0
    if own["n_classes"] < 2:
        said = ["Whether these classes can be told from the image stays open: all test spots are of one class."]
    elif own["n_regions"] < 2:
        said = [
            f"Whether these classes can be told from the image stays open: {numbers}",
            "All test spots lie in one region, which allows no judgement of uncertainty.",
        ]
    elif told and own["balanced_accuracy"] >= _GOOD:
        said = [f"These classes can be told from the image: {numbers}"]
    elif told:
        said = [f"These classes can in part be told from the image: {numbers}"]
    elif min(own["balanced_accuracy"] - chance, shuffled["gain"]) >= _ABOVE:
        said = [
            f"These classes cannot be told from the image with so few test regions: {numbers}",
            "The number itself is above chance: a larger test may tell.",
        ]
    elif best is not None and best["balanced_accuracy_low"] > chance:
        said = [f"These classes cannot be told from the image by these prototypes: {numbers}"]
    else:
        said = [f"These classes cannot be told from the image: {numbers}"]
    if best is not None and own["n_classes"] > 1:
        said.append(_compared(best))
    said.append(
        f"This rests on {_count(own['n_test'], 'test spot')} in {_count(own['n_regions'], 'region')} of "
        f"{_count(own['n_sections'], 'section')}."
    )
    if untested:
        said.append(f"Not in the test, for want of spots: {', '.join(untested)}.")
    if untrained:
        said.append(f"Without training spots, so that their test spots count as wrong: {', '.join(untrained)}.")
    return " ".join(said)


def _compared(best: pd.Series) -> str:
    """Compare the prototypes with the best nearest neighbours."""
    if best["gain_low"] > 0:
        how = "The prototypes do better than"
    elif best["gain_high"] < 0:
        how = "The prototypes do worse than"
    elif np.isnan(best["gain_low"]):
        how = "Beside the prototypes stands"
    else:
        how = "The prototypes do about as well as"
    return (
        f"{how} the best of the baselines without prototypes, {best.name}: {_number(best, 'balanced_accuracy')}; "
        f"the difference is {_number(best, 'gain')}."
    )


def _number(row: pd.Series, name: str) -> str:
    """Write an estimate with its interval, if it has one."""
    text = f"{row[name]:.2f}"
    if np.isnan(row[f"{name}_low"]):
        return text
    return f"{text} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def _count(n: float, what: str) -> str:
    return f"{n:.0f} {what}{'' if n == 1 else 's'}"


def nearest_patches(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Return the rows of the k patches most similar to every prototype, best first, of scores (n, P); (P, k)."""
    return np.argsort(-scores, axis=0, kind="stable")[:k].T

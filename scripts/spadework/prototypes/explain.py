"""Why the model says what it says of a spot: which prototypes its patch looks like, where, and what each adds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spadework.errors import InputError
from spadework.prototypes.boxes import Box, located

if TYPE_CHECKING:
    from spadework.prototypes.architecture import Architecture
    from spadework.prototypes.model import ProtoPNet, Said, Source

NAMED, TYPICAL, BORDERLINE = "named", "typical", "borderline"
_EDGES = ("y1", "y2", "x1", "x2")


@dataclass(frozen=True)
class Prototype:
    """A prototype, and the patch it was taken from.

    Attributes
    ----------
    number
        Index in the model, from 0: as in the push files of the last cycle.
    class_name
        The class it is a prototype of.
    source
        Whose patch it was taken from, and where.
    patch
        That patch, (px, px, 3) uint8.
    activation
        How much each part of that patch is like the prototype, (px, px) float32 similarity.
    box
        The box around the peak of ``activation``.
    field
        What the cell it was taken from sees.
    weights
        (classes,) float32: what a unit of its score adds to each class.
    """

    number: int
    class_name: str
    source: Source
    patch: NDArray[np.uint8]
    activation: NDArray[np.float32]
    box: Box
    field: Box
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """How a patch is like one prototype.

    Attributes
    ----------
    rank
        From 1, the highest score.
    score
        Mean similarity of the best cells.
    activation
        (px, px) float32 similarity over the patch.
    box, field
        The box around the peak, and what the cell there sees.
    own_source
        The patch is the very one the prototype was taken from: that it is alike says nothing.
    """

    prototype: Prototype
    rank: int
    score: float
    activation: NDArray[np.float32]
    box: Box
    field: Box
    own_source: bool

    def contribution(self, k: int) -> float:
        """Return what this prototype adds to the logit of class ``k``."""
        return self.score * float(self.prototype.weights[k])


@dataclass(frozen=True)
class Explanation:
    """What the model says of one spot, and why.

    Attributes
    ----------
    kind
        Why this spot is explained: ``named``, ``typical`` or ``borderline``.
    class_name
        The class it has; empty for none.
    set
        ``train``, ``margin``, ``test`` or ``unused``.
    classes
        The classes of the model.
    logits, probability
        (classes,) float32.
    patch
        (px, px, 3) uint8.
    matches
        Every prototype, the highest score first: what they add makes up the logits.
    top_k
        How many of them are shown.
    """

    sample: str
    barcode: str
    kind: str
    class_name: str
    set: str
    classes: tuple[str, ...]
    logits: NDArray[np.float32]
    probability: NDArray[np.float32]
    patch: NDArray[np.uint8]
    matches: tuple[Match, ...]
    top_k: int

    @property
    def predicted(self) -> int:
        """Index of the most probable class."""
        return int(self.logits.argmax())

    @property
    def runner_up(self) -> int:
        """Index of the next class."""
        return int(np.argsort(-self.logits, kind="stable")[1])

    @property
    def shown(self) -> tuple[Match, ...]:
        """The first ``top_k`` matches; all, if there are fewer."""
        return self.matches[: self.top_k]

    def of_class(self, k: int) -> tuple[Match, ...]:
        """All prototypes of one class, the highest score first."""
        return tuple(m for m in self.matches if m.prototype.class_name == self.classes[k])


@dataclass(frozen=True)
class Nearest:
    """The patches most similar to one prototype, the most similar first; its own source is left out.

    Attributes
    ----------
    patches
        (k, px, px, 3) uint8.
    classes
        The class of each; empty for none.
    scores
        (k,) float32.
    boxes
        Where in each patch the peak of the similarity is.
    """

    patches: NDArray[np.uint8]
    classes: list[str]
    scores: NDArray[np.float32]
    boxes: list[Box]


def prototypes_of(model: ProtoPNet) -> list[Prototype]:
    """Describe all prototypes of a model, in its order."""
    a = model.architecture
    maps = _maps(model, model.source_patches)
    found = []
    for j, (source, patch) in enumerate(zip(model.sources, model.source_patches, strict=True)):
        activation, box, _ = located(maps[j, j], a.patch_px)
        field = a.field.box(source.row, source.column, a.patch_px)
        name = a.classes[a.class_of[j]]
        found.append(Prototype(j, name, source, patch, activation, box, field, model.weights[j]))
    return found


def nearest_to(
    model: ProtoPNet, scores: NDArray[np.float32], patches: NDArray[np.uint8], spots: pd.DataFrame, k: int
) -> list[Nearest]:
    """Find the patches most similar to each prototype.

    Parameters
    ----------
    scores
        (n, prototypes) float32, what the model says of the patches.
    patches
        (n, px, px, 3) uint8, such as those of the test.
    spots
        (n rows) ``sample``, ``barcode``, ``class``.
    k
        How many of each, at most.
    """
    names, label = list(zip(spots["sample"], spots["barcode"], strict=True)), spots["class"].to_numpy()
    found = []
    for j, source in enumerate(model.sources):
        order = np.argsort(-scores[:, j], kind="stable")[: k + 1]
        rows = [int(i) for i in order if names[i] != (source.sample, source.barcode)][:k]
        maps = _maps(model, patches[rows])[:, j] if rows else ()
        boxes = [located(cells, model.architecture.patch_px)[1] for cells in maps]
        found.append(Nearest(patches[rows], [str(c) for c in label[rows]], scores[rows, j], boxes))
    return found


def check_named(barcodes: Iterable[str], known: Collection[str]) -> None:
    """Check that spots the user wants explained are there.

    Parameters
    ----------
    known
        Barcodes of all sections.

    Raises
    ------
    InputError
        If one of them is not there.
    """
    for barcode in barcodes:
        if barcode not in known:
            close = get_close_matches(barcode, sorted(known), n=3)
            example = min(known, default="")
            raise InputError(
                "config",
                None,
                found=f"prototypes.shown: {barcode}, which no section has",
                expected=f"barcodes of spots, such as {example!r}",
                remedy=f"did you mean {' or '.join(close)}?" if close else "remove it",
            )


def choose_spots(
    said: Said,
    spots: pd.DataFrame,
    classes: Sequence[str],
    per_kind: int,
    *,
    sources: Collection[Source] = (),
    named: Iterable[str] = (),
) -> list[tuple[int, str]]:
    """Choose the spots of a section that are explained.

    Those the user names; for every class, its *typical* spots, of which the model is surest among those it gets
    right, and its *borderline* ones, with the smallest gap between the two most probable classes. Both are spots set
    aside for the test, if the section has any; otherwise spots trained on, which the model knows (their ``set``
    tells). Spots that prototypes were taken from are like themselves and are explained only if named.

    Parameters
    ----------
    said
        What the model says of the spots; maps are not needed.
    spots
        Rows as in ``said``: ``sample``, ``barcode``, ``class``, ``set``.
    per_kind
        Typical and borderline spots for each class, at most.
    sources
        What the prototypes were taken from.
    named
        Barcodes; those of other sections are passed over, see :func:`check_named`.

    Returns
    -------
    list
        Row and kind, every row once.
    """
    names = list(dict.fromkeys(named))
    chosen = {int(i): NAMED for name in names for i in np.flatnonzero(spots["barcode"] == name)}
    known = {(s.sample, s.barcode) for s in sources}
    is_source = np.array([pair in known for pair in zip(spots["sample"], spots["barcode"], strict=True)], bool)
    of_set = "test" if (spots["set"] == "test").any() else "train"
    eligible = (spots["set"] == of_set).to_numpy() & ~is_source
    best_two = np.sort(said.probability, axis=1)[:, -2:]
    gap = best_two[:, 1] - best_two[:, 0]
    label = spots["class"].to_numpy()
    for k, name in enumerate(classes):
        own = eligible & (label == name)
        for kind, members, order in (
            (TYPICAL, own & (said.predicted == k), -said.confidence),
            (BORDERLINE, own, gap),
        ):
            rows = np.flatnonzero(members)
            rows = rows[np.argsort(order[rows], kind="stable")]
            free = [int(i) for i in rows if int(i) not in chosen]
            chosen |= dict.fromkeys(free[:per_kind], kind)
    return list(chosen.items())


def explain(
    prototypes: Sequence[Prototype],
    architecture: Architecture,
    said: Said,
    i: int,
    patch: NDArray[np.uint8],
    spot: pd.Series,
    kind: str,
    top_k: int,
) -> Explanation:
    """Explain what the model says of one spot.

    Parameters
    ----------
    prototypes
        All of the model's, from :func:`prototypes_of`.
    said
        What the model says, with maps; ``i`` is its row.
    patch
        (px, px, 3) uint8, the patch that row is about.
    spot
        Its ``sample``, ``barcode``, ``class`` and ``set``.

    Raises
    ------
    ValueError
        If ``said`` has no maps.
    """
    if said.maps is None:
        raise ValueError("an explanation needs maps: say(patches, maps=True)")
    px = architecture.patch_px
    matches = []
    for rank, j in enumerate(np.argsort(-said.scores[i], kind="stable"), start=1):
        prototype, (activation, box, cell) = prototypes[j], located(said.maps[i, j], px)
        matches.append(
            Match(
                prototype,
                rank,
                float(said.scores[i, j]),
                activation,
                box,
                architecture.field.box(*cell, px),
                (prototype.source.sample, prototype.source.barcode) == (spot["sample"], spot["barcode"]),
            )
        )
    return Explanation(
        spot["sample"],
        spot["barcode"],
        kind,
        spot["class"],
        spot["set"],
        architecture.classes,
        said.logits[i],
        said.probability[i],
        patch,
        tuple(matches),
        top_k,
    )


def _maps(model: ProtoPNet, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(model.say(patches, maps=True).maps)


def explanations_table(explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Tabulate explanations, a row for each spot and prototype: contributions of a spot add up to its logit.

    Returns
    -------
    pandas.DataFrame
        ``sample``, ``barcode``, ``kind``, ``set``, ``class``, ``predicted``, ``probability`` and ``logit`` (of the
        predicted class), ``rank``, ``prototype``, ``prototype_class``, ``source_sample``, ``source_barcode``,
        ``score``, ``weight`` (to the predicted class), ``contribution``, ``box_y1`` .. ``box_x2``, ``field_y1`` ..
        ``field_x2`` (px of the patch, ends exclusive) and ``own_source``. Of the same columns if there is no spot.
    """
    columns = ["sample", "barcode", "kind", "set", "class", "predicted", "probability", "logit", "rank", "prototype"]
    columns += ["prototype_class", "source_sample", "source_barcode", "score", "weight", "contribution"]
    columns += [f"{box}_{edge}" for box in ("box", "field") for edge in _EDGES]
    rows = []
    for e in explanations:
        k = e.predicted
        spot = (e.sample, e.barcode, e.kind, e.set, e.class_name, e.classes[k], e.probability[k], e.logits[k])
        for m in e.matches:
            p = m.prototype
            of_match = (m.rank, p.number, p.class_name, p.source.sample, p.source.barcode, m.score, p.weights[k])
            rows.append((*spot, *of_match, m.contribution(k), *m.box, *m.field, m.own_source))
    return pd.DataFrame(rows, columns=[*columns, "own_source"])


def explanation_text(e: Explanation) -> str:
    """Say in words why the model says what it says."""
    k, second = e.predicted, e.runner_up
    name = e.classes[k]
    lines = [f"Spot {e.barcode} of section {e.sample} ({e.kind}).", *_standing(e), ""]
    lines += [
        f"This spot looks like class {name} (probability {e.probability[k]:.2f}; next is {e.classes[second]}, "
        f"{e.probability[second]:.2f}), by what its parts look like. Prototypes, the most alike first:",
        "",
    ]
    for m in e.shown:
        lines += [*_match_lines(e, m, k), ""]
    lines += ["How the score of a class (its logit) is made up: similarity x weight, over all prototypes.", ""]
    for c, title in ((k, "most probable class"), (second, "next class")):
        lines += [*_class_lines(e, c, title), ""]
    lines += [
        "Similarity is a mean over the parts of the patch most like the prototype: 0 for nothing alike, 9.21 for the",
        "same part of the same patch. Weights are those of the model's last layer, as they are.",
        f"Places are pixels of the patch ({len(e.patch)} x {len(e.patch)} px): the box encloses where the similarity "
        "is highest, the field is all that the network sees there.",
    ]
    return "\n".join(lines) + "\n"


def _standing(e: Explanation) -> list[str]:
    """Say what class the spot has, and whether the model knew it."""
    name = e.classes[e.predicted]
    if not e.class_name:
        standing = "It has no class."
    elif e.class_name == name:
        standing = f"Its class is {e.class_name}: the model is right."
    elif e.class_name in e.classes:
        standing = f"Its class is {e.class_name}: the model is wrong."
    else:
        standing = f"Its class is {e.class_name}, which the model does not know."
    if e.set == "train":
        standing += " The model was trained on this spot: that it knows its class says little."
    return [standing]


def _match_lines(e: Explanation, m: Match, k: int) -> list[str]:
    p = m.prototype
    weights = ", ".join(f"{c} {w:+.2f}" for c, w in zip(e.classes, p.weights, strict=True))
    added = m.contribution(k)
    source = f"from spot {p.source.barcode} of section {p.source.sample}"
    lines = [
        f"{m.rank}. prototype {p.number} of class {p.class_name}, {source}",
        f"   similarity {m.score:.2f} x weight {p.weights[k]:+.2f} = {added:+.2f}, which speaks "
        f"{'for' if added >= 0 else 'against'} {e.classes[k]}",
        f"   weights to the classes: {weights}",
        f"   in the patch: {_place(m.box)} (field: {_place(m.field)})",
    ]
    if m.own_source:
        lines.append("   It was taken from this very patch, so that they are alike says nothing.")
    return lines


def _class_lines(e: Explanation, c: int, title: str) -> list[str]:
    own = e.of_class(c)
    lines = [f"{e.classes[c]} ({title}): {e.logits[c]:+.2f}"]
    lines += [
        f"   prototype {m.prototype.number}: {m.score:.2f} x {m.prototype.weights[c]:+.2f} = {m.contribution(c):+.2f}"
        for m in own
    ]
    n_others = len(e.matches) - len(own)
    others = float(e.logits[c]) - sum(m.contribution(c) for m in own)
    if n_others:
        which = "the prototype" if n_others == 1 else f"the {n_others} prototypes"
        lines.append(f"   {which} of other classes: {others:+.2f}")
    return lines


def _place(box: Box) -> str:
    y1, y2, x1, x2 = box
    return f"rows {y1 + 1} to {y2}, columns {x1 + 1} to {x2}"

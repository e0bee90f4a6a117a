"""Train a ProtoPNet in stages, and make its prototypes patches that there are."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers, ops
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from spadework.arrays import read_arrays, write_arrays
from spadework.job import versions, whole_file
from spadework.prototypes.architecture import Architecture
from spadework.prototypes.model import ProtoPNet, Source, distance_maps, pool_cells
from spadework.prototypes.network import build, pooled, ready, similarity
from spadework.prototypes.recipe import Costs, Recipe, TrainingSet
from spadework.unet.augmentation import Augmentation, change_colour

log = logging.getLogger("spadework")

# Patches whose nearest to a prototype are looked at, and how many of them must be of its class (Chen et al. 2019,
# supplement S8).
_NEAREST, _OF_CLASS = 6, 3
_COLUMNS = ["stage", "cycle", "step", "loss", "cross_entropy", "cluster", "separation", "accuracy"]
# Candidates for prototypes at first: of each class, the patches that the classifier is surest of.
_CANDIDATES = 20


@dataclass(frozen=True)
class Push:
    """A push: what the prototypes became.

    Attributes
    ----------
    cycle
        From 1.
    class_of
        Class of each prototype.
    rows, places
        (prototypes,) int64: the patch each one comes from, a row of the training set, and the cell of its map,
        flattened.
    sources
        The same by name.
    images
        (prototypes, px, px, 3) uint8.
    maps
        (prototypes, cells, cells) float32: similarity of each prototype to the cells of its own source.
    """

    cycle: int
    class_of: tuple[int, ...]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    sources: list[Source]
    images: NDArray[np.uint8]
    maps: NDArray[np.float32]


@dataclass
class Trained:
    """What training gives.

    Attributes
    ----------
    history
        ``stage``, ``cycle``, ``step``, and of the patches trained on ``loss``, ``cross_entropy``, ``cluster``,
        ``separation`` and ``accuracy``; NaN where a stage has no such cost.
    pushes
        One per cycle; the last one without the prototypes that were pruned.
    """

    model: ProtoPNet
    history: pd.DataFrame
    pushes: list[Push]


def train(
    data: TrainingSet,
    architecture: Architecture,
    recipe: Recipe,
    *,
    state: Path,
    seed: int,
    origin: dict[str, Any] | None = None,
    device: str = "cpu",
    code: str = "",
    backbone_weights: list[NDArray] | None = None,
) -> Trained:
    """Train; go on where an earlier, interrupted run of the same training got to.

    The stages are those of Chen et al. (2019, section 2.2), but for three things without which prototypes die or
    land on background: the backbone learns first with an ordinary classifier, prototypes begin as cells of the
    patches that this is surest of, and no two prototypes come from the same patch.

    Parameters
    ----------
    state
        File for what is needed to go on, written after every stage, never by half.
    origin
        What is known of the patches; kept with the model, with recipe, seed and versions.
    code
        Fingerprint of the code: a run of other code is not gone on with.
    backbone_weights
        Of all layers of the backbone, trained elsewhere; they are not pretrained, then.

    Raises
    ------
    ValueError
        If a class has fewer patches than prototypes.
    FloatingPointError
        If the loss is no longer a number.
    """
    sizes, wanted = data.sizes(len(architecture.classes)), np.bincount(architecture.class_of)
    if (np.asarray(sizes) < wanted).any():
        raise ValueError(f"{wanted.tolist()} prototypes for classes of {sizes} patches")
    keras.utils.set_random_seed(seed)
    with keras.device(device):
        run = _Run(data, architecture, recipe, seed, device, backbone_weights)
        fingerprint = _fingerprint(data, architecture, recipe, seed, code, backbone_weights or [])
        run.go(state, fingerprint)
        described = (origin or {}) | {"recipe": asdict(recipe), "seed": seed, "pruned": run.pruned}
        described |= versions("keras") | {"backend": keras.backend.backend()}
        push = run.pushes[-1]
        model = ProtoPNet(run.network, push.sources, push.images, described, device)
    return Trained(model, pd.DataFrame(run.history, columns=_COLUMNS), run.pushes)


class _Run:
    """A training under way."""

    def __init__(
        self,
        data: TrainingSet,
        architecture: Architecture,
        recipe: Recipe,
        seed: int,
        device: str,
        backbone_weights: list[NDArray] | None,
    ) -> None:
        self._data, self._recipe, self._seed, self._device = data, recipe, seed, device
        self._by_class = [np.flatnonzero(data.labels == k) for k in range(len(architecture.classes))]
        self._one_hot = np.eye(len(architecture.classes), dtype=np.float32)
        self.network = build(architecture, recipe.off_class_l1)
        self._keeps_backbone = backbone_weights is not None
        if backbone_weights is not None:
            self.network.backbone.set_weights(backbone_weights)
        self._head = layers.Conv2D(len(architecture.classes), 1, name="head")
        self._classifier = self._with_head()
        self._stages: dict[str, keras.Model] = {}
        self.history: list[dict[str, Any]] = []
        self.pushes: list[Push] = []
        self.pruned: list[dict[str, Any]] = []

    # The order of things

    def plan(self) -> list[tuple[str, int]]:
        """List stages and the cycles they belong to."""
        cycles = range(1, self._recipe.cycles + 1)
        each = [(stage, c) for c in cycles for stage in ("joint", "push", "last layer")]
        return [("pretrain", 0), ("warm", 0), *each, ("prune", self._recipe.cycles)]

    def go(self, state: Path, fingerprint: str) -> None:
        """Do all stages that are not done yet."""
        plan = self.plan()
        done = self._resume(state, fingerprint)
        r = self._recipe
        per_stage = {"pretrain": r.pretrain_steps, "warm": r.warm_steps, "joint": r.joint_steps}
        per_stage |= {"push": 1, "last layer": 1, "prune": 1}
        with tqdm(
            total=sum(per_stage[s] for s, _ in plan), desc="training", unit="step", mininterval=5, ascii=True
        ) as progress:
            progress.update(sum(per_stage[s] for s, _ in plan[:done]))
            for number, (stage, cycle) in enumerate(plan[done:], done):
                progress.set_postfix_str(f"{stage} {cycle or ''}", refresh=False)
                self._do(stage, cycle, number, progress)
                if stage != "prune":  # the last one, and quickly done again
                    self._keep(state, fingerprint, number + 1)

    def _do(self, stage: str, cycle: int, number: int, progress: tqdm) -> None:
        r = self._recipe
        if stage == "pretrain":
            self._train(stage, cycle, number, r.pretrain_steps, r.learning_rate, progress)
            self._begin_prototypes()
        elif stage == "warm":
            self._train(stage, cycle, number, r.warm_steps, r.learning_rate, progress)
        elif stage == "joint":
            # Published weights are moved more slowly, as in the paper.
            rate = r.learning_rate * (0.1 if self._keeps_backbone else 1.0) * 0.5 ** (cycle - 1)
            self._train(stage, cycle, number, r.joint_steps, rate, progress)
        elif stage == "push":
            self._push(cycle)
            progress.update()
        elif stage == "last layer":
            self._fit_last_layer(stage, cycle)
            progress.update()
        else:
            self._prune()
            self._fit_last_layer(stage, cycle)
            progress.update()

    # Stages that look at patches

    def _train(self, stage: str, cycle: int, number: int, steps: int, rate: float, progress: tqdm) -> None:
        model = self._model(stage)
        model.optimizer.learning_rate.assign(rate)
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._batch, number, 0)
            for step in range(steps):
                pixels, classes = coming.result()
                if step + 1 < steps:
                    coming = ahead.submit(self._batch, number, step + 1)
                targets = classes if stage == "pretrain" else {"logits": classes, "distances": classes}
                values = model.train_on_batch(pixels, targets, return_dict=True)
                self.history.append({"stage": stage, "cycle": cycle, "step": step + 1} | _named(values))
                progress.update()
        if steps and not np.isfinite(self.history[-1]["loss"]):
            raise FloatingPointError(
                f"the loss is {self.history[-1]['loss']}: lower prototypes.training.learning_rate"
            )

    def _model(self, stage: str) -> keras.Model:
        """Return the model of a stage, with exactly what moves in it set free."""
        n, a = self.network, self.network.architecture
        n.backbone.trainable = stage == "joint" or (stage == "pretrain" and not self._keeps_backbone)
        n.add_on.trainable = n.prototypes.trainable = stage in ("warm", "joint")
        n.last.trainable = False
        if stage not in self._stages:
            model = self._classifier if stage == "pretrain" else keras.Model(n.whole.input, n.whole.output)
            entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
            accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
            adam = keras.optimizers.Adam(self._recipe.learning_rate)
            if stage == "pretrain":
                model.compile(adam, entropy, metrics=[accuracy], jit_compile=False)
            else:
                costs = Costs(a, self._recipe)
                model.compile(
                    adam,
                    {"logits": entropy, "distances": costs},
                    metrics={"logits": [accuracy], "distances": [costs.cluster, costs.separation]},
                    jit_compile=False,
                )
            model.optimizer.build(model.trainable_variables)
            self._stages[stage] = model
        return self._stages[stage]

    def _with_head(self) -> keras.Model:
        """Return an ordinary classifier on the backbone: evidence per cell, pooled as scores are."""
        n = self.network
        return keras.Model(n.backbone.input, pooled(self._head(n.backbone.output), n.architecture.top_cells))

    def _batch(self, number: int, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return patches, augmented, and classes, one-hot. Rare classes come as often as common ones."""
        r = self._recipe
        rng = np.random.default_rng([self._seed, number, step])
        labels = rng.integers(len(self._by_class), size=r.batch_size)
        rows = [int(rng.choice(self._by_class[k])) for k in labels]
        change = Augmentation(0.0, stain=r.stain, brightness=r.brightness)
        pixels = np.stack(
            [change_colour(rng, _turned(rng, self._data.patches[i]).astype(np.float32), change) for i in rows]
        )
        return pixels, self._one_hot[labels]

    # Prototypes

    def _begin_prototypes(self) -> None:
        """Put prototypes on cells of patches that the classifier is surest of, far from each other."""
        n, data = self.network, self._data
        evidence = ready(keras.Model(n.backbone.input, self._head(n.backbone.output)))
        margins = np.empty(len(data.labels), np.float32)
        at = np.empty(len(data.labels), np.int64)
        k = n.architecture.top_cells
        for start, cells in distance_maps(evidence, data.patches, self._device):
            own = data.labels[start : start + len(cells)]
            margins[start : start + len(cells)] = _margin(pool_cells(cells, k), own)
            flat = cells.reshape(len(cells), -1, cells.shape[-1])
            above = _margin(flat.reshape(-1, flat.shape[-1]), np.repeat(own, flat.shape[1]))
            at[start : start + len(cells)] = above.reshape(flat.shape[:2]).argmax(axis=1)
        vectors = self.network.prototypes.get_weights()[0]
        for c in range(len(n.architecture.classes)):
            members = n.architecture.of_class(c)
            rows = self._by_class[c]
            rows = rows[np.argsort(-margins[rows], kind="stable")][: _CANDIDATES * len(members)]
            cells = self._cells(rows, at[rows])
            vectors[members] = cells[_far_apart(cells, len(members))]
        n.prototypes.set_weights([vectors])

    def _cells(self, rows: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the latent cells (n, dimension) of patches at places of their flattened maps."""
        latent = self.network.latent
        blocks = [block for _, block in distance_maps(latent, self._data.patches[rows], self._device)]
        cells = np.concatenate(blocks).reshape(len(rows), -1, self.network.architecture.dimension)
        return cells[np.arange(len(rows)), at]

    def _push(self, cycle: int) -> None:
        """Set every prototype to the nearest cell of its class, no two to cells of one patch (ibid., equation 4)."""
        n, data, a = self.network, self._data, self.network.architecture
        nearest = np.empty((len(data.labels), a.n_prototypes), np.float32)
        at = np.empty((len(data.labels), a.n_prototypes), np.int64)
        for start, distances in distance_maps(n.maps, data.patches, self._device):
            flat = distances.reshape(len(distances), -1, a.n_prototypes)
            here = slice(start, start + len(distances))
            nearest[here], at[here] = flat.min(axis=1), flat.argmin(axis=1)
        rows = np.empty(a.n_prototypes, np.int64)
        for c, candidates in enumerate(self._by_class):
            own = np.asarray(a.of_class(c))
            which, chosen = linear_sum_assignment(nearest[np.ix_(candidates, own)].T)
            rows[own[which]] = candidates[chosen]
        places = at[rows, np.arange(a.n_prototypes)]
        n.prototypes.set_weights([self._cells(rows, places)])
        distances = np.concatenate([block for _, block in distance_maps(n.maps, data.patches[rows], self._device)])
        similar = ops.convert_to_numpy(similarity(distances))
        maps = similar[np.arange(len(rows)), :, :, np.arange(len(rows))]
        self.pushes.append(self._pushed(cycle, rows, places, maps))

    def _pushed(
        self, cycle: int, rows: NDArray[np.int64], places: NDArray[np.int64], maps: NDArray[np.float32]
    ) -> Push:
        data, a = self._data, self.network.architecture
        cells = a.field.cells
        sources = [
            Source(data.samples[i], data.barcodes[i], int(place) // cells, int(place) % cells)
            for i, place in zip(rows, places, strict=True)
        ]
        return Push(cycle, a.class_of, rows, places, sources, data.patches[rows], maps)

    # The last layer

    def _scores(self) -> NDArray[np.float32]:
        a = self.network.architecture
        blocks = distance_maps(self.network.maps, self._data.patches, self._device)
        return np.concatenate([pool_cells(ops.convert_to_numpy(similarity(d)), a.top_cells) for _, d in blocks])

    def _fit_last_layer(self, stage: str, cycle: int) -> None:
        """Fit the last layer to the scores of all patches, as they are; nothing else can move here."""
        n, r = self.network, self._recipe
        n.last.trainable = True
        inputs = keras.Input((n.architecture.n_prototypes,))
        model = keras.Model(inputs, n.last(inputs))
        model.compile(
            keras.optimizers.Adam(10 * r.learning_rate),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=False,
        )
        scores, labels = self._scores(), self._data.labels
        sizes = np.asarray(self._data.sizes(len(n.architecture.classes)))
        present = (sizes > 0).sum()
        weights = (len(labels) / (present * np.maximum(sizes, 1)))[labels].astype(np.float32)
        for _ in range(r.last_layer_steps):
            values = model.train_on_batch(scores, self._one_hot[labels], sample_weight=weights, return_dict=True)
        if r.last_layer_steps:
            self.history.append({"stage": stage, "cycle": cycle, "step": r.last_layer_steps} | _named(values))
        n.last.trainable = False

    def _prune(self) -> None:
        """Drop prototypes that do not speak for their class (after Chen et al. 2019, supplement S8).

        Few of the patches most like such a prototype are of its class, or its weight to its class is not the largest
        it has, or not positive. A class keeps its best one.
        """
        n, a, push = self.network, self.network.architecture, self.pushes[-1]
        class_of, weights, scores = np.asarray(a.class_of), n.last.get_weights()[0], self._scores()
        nearest = np.argsort(-scores, axis=0, kind="stable")[:_NEAREST]
        of_class = (self._data.labels[nearest] == class_of).sum(axis=0)
        own = weights[np.arange(len(class_of)), class_of]
        speaks = (own > 0) & (own >= weights.max(axis=1))
        sizes = np.asarray(self._data.sizes(len(a.classes)))
        good = speaks & (of_class >= np.minimum(_OF_CLASS, sizes[class_of]))
        for c in set(a.class_of):
            members = np.asarray(a.of_class(c))
            if not good[members].any():
                good[members[np.lexsort((own[members], of_class[members]))[-1]]] = True
        self.pruned = [
            {
                "class": a.classes[class_of[j]],
                "barcode": push.sources[j].barcode,
                "nearest_of_class": int(of_class[j]),
                "weight": round(float(own[j]), 4),
            }
            for j in np.flatnonzero(~good)
        ]
        if self.pruned:
            log.info("%d of %d prototypes do not speak for their class and leave", len(self.pruned), len(good))
        self._keep_prototypes(np.flatnonzero(good))

    def _keep_prototypes(self, kept: NDArray[np.int64]) -> None:
        """Go on with some of the prototypes."""
        n, a, push = self.network, self.network.architecture, self.pushes[-1]
        class_of = tuple(int(a.class_of[j]) for j in kept)
        fewer = build(Architecture(**asdict(a) | {"class_of": class_of}), self._recipe.off_class_l1)
        fewer.backbone.set_weights(n.backbone.get_weights())
        fewer.add_on.set_weights(n.add_on.get_weights())
        fewer.prototypes.set_weights([n.prototypes.get_weights()[0][kept]])
        fewer.last.set_weights([n.last.get_weights()[0][kept]])
        self.network = fewer
        self.pushes[-1] = self._pushed(push.cycle, push.rows[kept], push.places[kept], push.maps[kept])

    # What an interrupted training goes on from

    def _keep(self, state: Path, fingerprint: str, done: int) -> None:
        arrays = {
            "whole": self.network.whole.get_weights(),
            "head": self._head.get_weights(),
            "rows": [push.rows for push in self.pushes],
            "places": [push.places for push in self.pushes],
            "maps": [push.maps for push in self.pushes],
        }
        for stage, model in self._stages.items():
            arrays[f"optimizer {stage}"] = [ops.convert_to_numpy(v) for v in model.optimizer.variables]
        state.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(state) as path:
            write_arrays(path, arrays, {"fingerprint": fingerprint, "done": done, "history": self.history})

    def _resume(self, state: Path, fingerprint: str) -> int:
        """Take up the state of an interrupted run of the same training, and return how many stages are done."""
        if not state.exists():
            return 0
        try:
            arrays, kept = read_arrays(state)
        except (OSError, KeyError):
            log.warning("%s cannot be read: training begins anew", state)
            return 0
        if kept["fingerprint"] != fingerprint:
            return 0
        self.history = kept["history"]
        each = zip(*(arrays.get(name, []) for name in ("rows", "places", "maps")), strict=True)
        self.pushes = [self._pushed(cycle, *push) for cycle, push in enumerate(each, 1)]
        self.network.whole.set_weights(arrays["whole"])
        self._head.set_weights(arrays["head"])
        for stage in ("pretrain", "warm", "joint"):
            if f"optimizer {stage}" in arrays:
                variables = self._model(stage).optimizer.variables
                for variable, value in zip(variables, arrays[f"optimizer {stage}"], strict=True):
                    variable.assign(value)
        log.info("going on after stage %d of %d of an interrupted run", kept["done"], len(self.plan()))
        return kept["done"]


def _named(values: dict[str, Any]) -> dict[str, float]:
    """Return the columns of the history that a step's values hold."""
    keys = {"loss": "loss", "logits_loss": "cross_entropy", "accuracy": "accuracy", "logits_accuracy": "accuracy"}
    keys |= {"distances_cluster": "cluster", "distances_separation": "separation"}
    found = {keys[key]: float(np.ravel(value)[0]) for key, value in values.items() if key in keys}
    return {"cross_entropy": found["loss"]} | found


def _margin(evidence: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how far the evidence (n, classes) for the own class is above that for the best other one."""
    rows = np.arange(len(own))
    others = evidence.copy()
    others[rows, own] = -np.inf
    return evidence[rows, own] - others.max(axis=1)


def _far_apart(points: NDArray[np.float32], n: int) -> list[int]:
    """Pick the first point, and then always the one that is farthest from those picked."""
    picked = [0]
    distance = ((points - points[0]) ** 2).sum(axis=1)
    while len(picked) < n:
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[picked[-1]]) ** 2).sum(axis=1))
    return picked


def _turned(rng: np.random.Generator, patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one of the eight ways to lay a square."""
    turned = np.rot90(patch, int(rng.integers(4)))
    return turned[:, ::-1] if rng.random() < 0.5 else turned


def _fingerprint(data: TrainingSet, architecture: Architecture, recipe: Recipe, *others: Any) -> str:  # noqa: ANN401
    """Tell one training from another: data, network, recipe and seed."""
    *settings, weights = others
    digest = hashlib.sha256(json.dumps([asdict(architecture), asdict(recipe), *settings], sort_keys=True).encode())
    for array in [data.patches, data.labels, *weights]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

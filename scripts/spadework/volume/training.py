"""Train a Vox2Vox: a generator that translates volumes, and a discriminator that tells its work from the truth."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops
from numpy.typing import NDArray
from tqdm import tqdm

from spadework.arrays import read_arrays, write_arrays
from spadework.job import versions, whole_file
from spadework.volume.architecture import Architecture, Shape
from spadework.volume.augmentation import Augmentation, cut, random_crop
from spadework.volume.losses import LOSSES
from spadework.volume.model import Vox2Vox
from spadework.volume.network import discriminator, generator, ready
from spadework.volume.packing import one_hidden, pack, spread_of, with_given
from spadework.volume.pairs import VolumePair, Volumes

log = logging.getLogger("spadework")


@dataclass(frozen=True)
class Recipe:
    """How a Vox2Vox is trained; the keys of ``volume.training`` in the configuration.

    Attributes
    ----------
    crop
        Edge of the crops in y and x, and in z where the strides there are 2, voxels; less where volumes have less.
        With strides of 1 in z, a crop has all the planes.
    batch_size, steps_per_epoch, epochs
        Crops per step; steps per epoch; epochs.
    learning_rate, beta_1
        Of Adam, for both networks. 2e-4 and 0.5 as published.
    voxel_weight
        Of the voxel loss beside the adversarial one; 100 in Isola et al. 2017, 5 in Cirillo et al. 2020.
    voxel_loss
        One of :data:`spadework.volume.losses.LOSSES`.
    d_threshold
        The discriminator learns in a step only if it is right about at most this share of the patches.
    n_samples
        How often, during training, a sample of the translation is kept.
    """

    crop: int = 96
    batch_size: int = 1
    steps_per_epoch: int = 20
    epochs: int = 20
    learning_rate: float = 3e-4
    beta_1: float = 0.5
    voxel_weight: float = 100.0
    voxel_loss: str = "dice"
    d_threshold: float = 0.8
    n_samples: int = 5
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Samples:
    """How a plane of a crop was translated as training went on.

    Attributes
    ----------
    inputs, target
        The plane: (y, x, channels) float32, and in the target's own form.
    epochs
        After which each sample was made.
    predicted
        (y, x, outputs) float32 each.
    """

    inputs: NDArray[np.float32]
    target: NDArray[Any]
    epochs: list[int]
    predicted: list[NDArray[np.float32]]


@dataclass
class Trained:
    """What training gives.

    Attributes
    ----------
    last, best
        The model after the last epoch, and after the one with the lowest loss of the validation volumes (the same
        object where there are none).
    history
        Per epoch, means over its steps: ``epoch``, ``g_loss`` (adversarial + weight x voxel loss), ``g_adversarial``,
        ``voxel_loss``, ``d_loss``, ``d_accuracy``, ``d_updated`` (share of the steps), and ``val_loss``.
    steps
        Per step: ``epoch``, ``step``, ``d_accuracy`` and whether the discriminator was ``d_updated``.
    """

    last: Vox2Vox
    best: Vox2Vox
    history: pd.DataFrame
    steps: pd.DataFrame


def window(architecture: Architecture, crop: int, shapes: Sequence[Shape]) -> Shape:
    """Return the sides of training crops: what was asked for, or as much as fits into the largest volume.

    Raises
    ------
    InputError
        If the network cannot work on crops of that size.
    """
    largest = [max(sides) for sides in zip(*shapes, strict=True)]
    asked = (crop if architecture.step[0] > 1 else largest[0], crop, crop)
    z, y, x = (
        min(n, side) // step * step or min(n, side)
        for n, side, step in zip(largest, asked, architecture.step, strict=True)
    )
    architecture.check((z, y, x), "config")
    return z, y, x


class Adversaries:
    """A generator and a discriminator, and the steps in which each of them learns."""

    def __init__(self, architecture: Architecture, recipe: Recipe) -> None:
        self.architecture, self.recipe = architecture, recipe
        self.generator, self.discriminator = generator(architecture), discriminator(architecture)
        self.discriminator.compile(_adam(recipe), "mse", jit_compile=False)
        self.discriminator.optimizer.build(self.discriminator.trainable_variables)
        # What the generator learns from. The discriminator is part of it, but learns in its own steps only.
        self.discriminator.trainable = False
        volume, measured = self.generator.input, keras.Input((None, None, None, 1), name="measured")
        translated = self.generator.output
        verdict = self.discriminator([translated * measured, volume])
        self.combined = keras.Model([volume, measured], [verdict, translated])
        self.combined.compile(
            _adam(recipe),
            ["mse", LOSSES[recipe.voxel_loss]],
            loss_weights=[1.0, recipe.voxel_weight],
            jit_compile=False,
        )
        self.combined.optimizer.build(self.generator.trainable_variables)

    def step(self, inputs: NDArray[np.float32], packed: NDArray[np.float32]) -> dict[str, float]:
        """Let the discriminator learn, unless it is too good, and then the generator.

        Parameters
        ----------
        inputs
            (n, z, y, x, channels).
        packed
            Targets and where they were measured, see :func:`spadework.volume.packing.pack`.
        """
        said = self.teach_discriminator(inputs, packed) | self.teach_generator(inputs, packed)
        return {name: float(value) for name, value in said.items()}

    def teach_discriminator(self, inputs: NDArray[np.float32], packed: NDArray[np.float32]) -> dict[str, float]:
        """Ask the discriminator about the truth and the generator's work; teach it if it is right too rarely.

        The truth is hidden where nothing was measured, and so is the generator's work: the discriminator must not
        tell them apart by that.
        """
        measured = packed[..., -1:]
        translated = ops.convert_to_numpy(self.generator(inputs, training=True)) * measured
        shown = [np.concatenate([packed[..., :-1] * measured, translated]), np.concatenate([inputs, inputs])]
        said = np.asarray(self.discriminator.predict_on_batch(shown))
        wanted = np.zeros_like(said)
        wanted[: len(inputs)] = 1
        accuracy = float(np.mean((said >= 0.5) == (wanted == 1)))
        update = accuracy <= self.recipe.d_threshold
        if update:
            with _learning(self.discriminator):
                self.discriminator.train_on_batch(shown, wanted)
        return {"d_loss": float(np.mean((said - wanted) ** 2)), "d_accuracy": accuracy, "d_updated": update}

    def teach_generator(self, inputs: NDArray[np.float32], packed: NDArray[np.float32]) -> dict[str, float]:
        """Let the generator learn to be taken for the truth, and to be near it."""
        measured = packed[..., -1:]
        patches = self.discriminator.compute_output_shape([packed[..., :-1].shape, inputs.shape])
        losses = self.combined.train_on_batch([inputs, measured], [np.ones(patches, np.float32), packed])
        return dict(zip(("g_loss", "g_adversarial", "voxel_loss"), map(float, losses), strict=True))

    def variables(self) -> dict[str, list[keras.Variable]]:
        """Return all that changes as the networks learn; the random numbers of dropout, too."""
        models = {"generator": self.generator, "discriminator": self.discriminator}
        optimizers = {"of_generator": self.combined.optimizer, "of_discriminator": self.discriminator.optimizer}
        return {name: thing.variables for name, thing in (models | optimizers).items()}


def train(
    volumes: Volumes,
    architecture: Architecture,
    recipe: Recipe,
    *,
    state: Path,
    seed: int,
    origin: dict[str, Any] | None = None,
    device: str = "cpu",
    code: str = "",
    show: Callable[[Samples], None] = lambda samples: None,
) -> Trained:
    """Train; go on where an earlier, interrupted run of the same training got to.

    Parameters
    ----------
    volumes
        Those for training and validation are used.
    state
        File for what is needed to go on, written after every epoch, never by half.
    origin
        What is known of the volumes; kept with the model, with recipe, seed and versions.
    code
        Fingerprint of the code: a run of other code is not gone on with.
    show
        Called with the samples there are whenever there is a new one.

    Raises
    ------
    InputError
        If crops do not fit the network.
    FloatingPointError
        If the loss is no longer a number.
    """
    keras.utils.set_random_seed(seed)
    pairs, held = volumes.of("train"), volumes.of("validation")
    crop = window(architecture, recipe.crop, [pair.shape for pair in pairs])
    n_classes = len(volumes.classes)
    with keras.device(device):
        adversaries = Adversaries(architecture, recipe)
        run = _Run(adversaries, recipe, state, _fingerprint(volumes, architecture, recipe, seed, code))
        described = (origin or {}) | {"recipe": asdict(recipe), "seed": seed}
        described |= versions("keras") | {"backend": keras.backend.backend()}

        def model(weights: list[NDArray]) -> Vox2Vox:
            network = ready(generator(architecture))
            network.set_weights(weights)
            judge = adversaries.discriminator.get_weights()
            return Vox2Vox(architecture, network, crop, volumes.outputs, judge, described, device)

        plane = _Plane(held or pairs, crop, architecture, n_classes)
        loss = LOSSES[recipe.voxel_loss]
        for epoch in range(run.resume(), recipe.epochs):
            steps = _train_epoch(adversaries, volumes, crop, epoch, seed)
            now = model(adversaries.generator.get_weights()) if held else None
            run.end_epoch(epoch, steps, _validate(now, held, loss, n_classes) if now else None)
            if epoch + 1 in _sampled(recipe):
                run.samples.append([epoch + 1, plane.translated(adversaries.generator)])
                show(plane.samples(run.samples))
            run.save()
        last = model(adversaries.generator.get_weights())
        best = model(run.best) if held else last
    if run.samples:
        show(plane.samples(run.samples))
    return Trained(last, best, pd.DataFrame(run.history), pd.DataFrame(run.steps))


def _train_epoch(
    adversaries: Adversaries, volumes: Volumes, crop: Shape, epoch: int, seed: int
) -> list[dict[str, float]]:
    """Train for an epoch and return what every step said."""
    recipe, said = adversaries.recipe, []
    pairs, n_classes, planar = volumes.of("train"), len(volumes.classes), bool(volumes.planes)

    def batch(step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng = np.random.default_rng([seed, epoch, step])
        drawn = [pairs[int(rng.integers(len(pairs)))] for _ in range(recipe.batch_size)]
        crops = [random_crop(rng, pair, crop, recipe.augmentation, planar=planar) for pair in drawn]
        if adversaries.architecture.given:
            made = [
                one_hidden(rng, *crop, n_classes, spread_of(pair)) for crop, pair in zip(crops, drawn, strict=True)
            ]
        else:
            made = [(inputs, pack(target, n_classes)) for inputs, target in crops]
        return np.stack([inputs for inputs, _ in made]), np.stack([packed for _, packed in made])

    # The next crops are made while the networks work on these.
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(batch, 0)
        for step in range(recipe.steps_per_epoch):
            inputs, packed = coming.result()
            if step + 1 < recipe.steps_per_epoch:
                coming = ahead.submit(batch, step + 1)
            said.append({"epoch": epoch + 1, "step": step + 1} | adversaries.step(inputs, packed))
            if not np.isfinite(said[-1]["g_loss"]):
                raise FloatingPointError(
                    f"the loss is {said[-1]['g_loss']} in epoch {epoch + 1}: lower volume.training.learning_rate"
                )
    return said


def _validate(model: Vox2Vox, held: list[VolumePair], loss: Callable, n_classes: int) -> float:
    """Return the mean voxel loss of whole volumes."""
    losses = [
        float(loss(pack(pair.target, n_classes)[None], model.translate(pair, n_classes)[None])) for pair in held
    ]
    return float(np.mean(losses))


def _sampled(recipe: Recipe) -> set[int]:
    """Epochs after which a sample is kept, the last among them."""
    if not recipe.n_samples:
        return set()
    return {round(e) for e in np.geomspace(1, recipe.epochs, recipe.n_samples)} | {recipe.epochs}


class _Plane:
    """A plane of a crop, looked at as training goes on: the measured one nearest to the middle."""

    def __init__(self, pairs: Sequence[VolumePair], crop: Shape, architecture: Architecture, n_classes: int) -> None:
        pair = pairs[0]
        where = np.argwhere(pair.measured)
        middle = np.median(where, axis=0) if len(where) else np.array(pair.shape) / 2
        room = np.maximum(np.array(pair.shape) - crop, 0)
        start = np.clip(middle.astype(int) - np.array(crop) // 2, 0, room)
        inputs, target = cut(pair, start, crop)
        measured = np.flatnonzero(pack(target, n_classes)[..., -1].any(axis=(1, 2)))
        self._z = int(min(measured, key=lambda z: abs(z - crop[0] // 2), default=crop[0] // 2))
        self._shown, self._truth = inputs[self._z], target[self._z]
        self._inputs = (
            with_given(inputs, target, self._z, n_classes, spread_of(pair)) if architecture.given else inputs
        )

    def translated(self, network: keras.Model) -> NDArray[np.float32]:
        return ops.convert_to_numpy(network(self._inputs[None], training=False))[0, self._z]

    def samples(self, kept: list[list[Any]]) -> Samples:
        epochs, predicted = zip(*kept, strict=True)
        return Samples(self._shown, self._truth, list(epochs), list(predicted))


class _Run:
    """The state of a training, on disk after every epoch in one file: it is there whole, or that of before is."""

    def __init__(self, adversaries: Adversaries, recipe: Recipe, state: Path, fingerprint: str) -> None:
        self._adversaries, self._file, self._fingerprint = adversaries, state, fingerprint
        state.parent.mkdir(parents=True, exist_ok=True)
        self.best: list[NDArray] = []
        self.history: list[dict[str, float]] = []
        self.steps: list[dict[str, float]] = []
        self.samples: list[list[Any]] = []
        self._progress = tqdm(total=recipe.epochs, desc="training", unit="epoch", ascii=True)

    def resume(self) -> int:
        """Take up the state of an interrupted run of the same training, and return the next epoch."""
        if not self._file.exists():
            return 0
        arrays, kept = read_arrays(self._file)
        if kept["fingerprint"] != self._fingerprint:
            return 0
        for name, variables in self._adversaries.variables().items():
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)
        self.best = arrays.get("best", [])
        self.history, self.steps = kept["history"], kept["steps"]
        self.samples = [list(pair) for pair in zip(kept["sampled"], arrays.get("samples", []), strict=True)]
        self._progress.update(len(self.history))
        log.info("going on after epoch %d of an interrupted run", len(self.history))
        return len(self.history)

    def end_epoch(self, epoch: int, steps: list[dict[str, float]], val_loss: float | None) -> None:
        """Write an epoch down."""
        row: dict[str, float] = {"epoch": epoch + 1}
        row |= {k: float(np.mean([step[k] for step in steps])) for k in steps[0] if k not in ("epoch", "step")}
        if val_loss is not None:
            if val_loss < min((r["val_loss"] for r in self.history), default=np.inf):
                self.best = self._adversaries.generator.get_weights()
            row["val_loss"] = val_loss
        self.history.append(row)
        self.steps += [{k: step[k] for k in ("epoch", "step", "d_accuracy", "d_updated")} for step in steps]
        self._progress.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "epoch"}, refresh=False)
        self._progress.update()

    def save(self) -> None:
        """Write all that is needed to go on."""
        kept = {"fingerprint": self._fingerprint, "history": self.history, "steps": self.steps}
        kept["sampled"] = [epoch for epoch, _ in self.samples]
        arrays = {
            name: [ops.convert_to_numpy(v) for v in values] for name, values in self._adversaries.variables().items()
        }
        arrays |= {"best": self.best, "samples": [sample for _, sample in self.samples]}
        with whole_file(self._file) as path:
            write_arrays(path, arrays, kept)


@contextmanager
def _learning(model: keras.Model) -> Iterator[None]:
    """Let a model's weights move in the block only."""
    model.trainable = True
    try:
        yield
    finally:
        model.trainable = False


def _adam(recipe: Recipe) -> keras.optimizers.Adam:
    return keras.optimizers.Adam(recipe.learning_rate, beta_1=recipe.beta_1, beta_2=0.999)


def _fingerprint(volumes: Volumes, architecture: Architecture, recipe: Recipe, *others: Any) -> str:  # noqa: ANN401
    """Tell one training from another: data, networks, recipe and seed."""
    settings = json.dumps([asdict(architecture), asdict(recipe), *others], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for pair in volumes.pairs:
        digest.update(json.dumps([pair.set, pair.spacing, pair.origin], sort_keys=True).encode())
        for array in (pair.inputs, pair.target):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

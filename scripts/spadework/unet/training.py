"""Train a U-Net on labelled images."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from spadework.arrays import read_arrays, write_arrays
from spadework.job import versions, whole_file
from spadework.unet.augmentation import Augmentation, change_colour, sample, sampling_grid
from spadework.unet.data import LabelledImage
from spadework.unet.model import UNet
from spadework.unet.network import Architecture, build
from spadework.unet.weight_map import part_touching, weight_map

if TYPE_CHECKING:
    import keras

log = logging.getLogger("spadework")

Batch = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]
# What the callbacks remember between epochs.
_PLATEAU, _PATIENCE = ("best", "wait", "cooldown_counter"), ("best", "wait", "best_epoch")


@dataclass(frozen=True)
class Recipe:
    """How a U-Net is trained; the keys of ``unet`` in the configuration.

    Attributes
    ----------
    gap_px
        Background that is put between touching objects, px.
    w0, sigma
        Height and width (px) of the border term of the weight map; see :func:`spadework.unet.weight_map.weight_map`.
    balance
        Weigh classes by their share.
    crop_px, batch_size, steps_per_epoch, epochs
        Edge of the part of a training crop that counts, px; crops per step; steps per epoch; epochs at most.
    optimizer, learning_rate, momentum, weight_decay, clip
        ``adam``, ``rmsprop`` or ``sgd``; gradients are cut off at ± ``clip`` (0: not).
    schedule
        Of the learning rate: ``constant``, ``cosine`` (to zero at the last epoch) or ``plateau`` (times ``factor``
        once the validation loss has not improved for ``patience`` epochs).
    stop_after
        Epochs without improvement of the validation loss before training ends; 0: never.
    """

    gap_px: int = 1
    w0: float = 10.0
    sigma: float = 3.0
    balance: bool = False
    crop_px: int = 160
    batch_size: int = 4
    steps_per_epoch: int = 50
    epochs: int = 22
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float = 0.0
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    patience: int = 30
    factor: float = 0.1
    stop_after: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass
class Trained:
    """What training gives.

    Attributes
    ----------
    last, best
        The network after the last epoch, and after the one with the lowest validation loss (the same object if
        nothing was set aside for validation).
    history
        Per epoch: ``epoch``, ``loss``, ``val_loss``, ``learning_rate``.
    """

    last: UNet
    best: UNet
    history: pd.DataFrame


class Crops:
    """Training crops of labelled images, random but reproducible: the same numbers give the same crop.

    Parameters
    ----------
    images
        At least one.
    """

    def __init__(
        self, images: Sequence[LabelledImage], architecture: Architecture, recipe: Recipe, seed: int
    ) -> None:
        self._recipe, self._seed = recipe, seed
        self._pixels = [image.pixels.astype(np.float32) for image in images]
        parted = [part_touching(image.labels, recipe.gap_px) for image in images]
        self._target = [(labels > 0).astype(np.uint8) for labels in parted]
        self._weights = [weight_map(labels, recipe.w0, recipe.sigma, recipe.balance) for labels in parted]
        self.input_px, self.output_px = crop_sizes(architecture, recipe.crop_px)

    def random(self, epoch: int, step: int) -> Batch:
        """Return the augmented crops of a step: pixels, classes and weights."""
        r = self._recipe
        rng = np.random.default_rng([self._seed, epoch, step])
        return _stack(
            [self._crop(rng, int(rng.integers(len(self._pixels))), r.augmentation) for _ in range(r.batch_size)]
        )

    def regular(self) -> Iterator[Batch]:
        """Yield all of every image, unchanged, in crops that may overlap."""
        for k, pixels in enumerate(self._pixels):
            corners = [_starts(length, self.output_px) for length in pixels.shape[:2]]
            grids = [self._plain_grid(y, x) for y in corners[0] for x in corners[1]]
            for start in range(0, len(grids), self._recipe.batch_size):
                yield _stack([self._at(k, g) for g in grids[start : start + self._recipe.batch_size]])

    def _crop(self, rng: np.random.Generator, k: int, augmentation: Augmentation) -> Batch:
        shape = self._pixels[k].shape[:2]
        grid = sampling_grid(rng, shape, self.input_px, self.output_px, augmentation)
        pixels, target, weights = self._at(k, grid)
        return change_colour(rng, pixels, augmentation), target, weights

    def _plain_grid(self, y: int, x: int) -> NDArray[np.float32]:
        at = np.arange(self.input_px, dtype=np.float32) - (self.input_px - self.output_px) // 2
        return np.stack(np.meshgrid(at + y, at + x, indexing="ij"))

    def _at(self, k: int, grid: NDArray[np.float32]) -> Batch:
        edge = (self.input_px - self.output_px) // 2
        inner = grid[:, edge : edge + self.output_px, edge : edge + self.output_px]
        target = sample(self._target[k], inner, 0).astype(np.int32)
        return sample(self._pixels[k], grid, 1), target, sample(self._weights[k], inner, 1)


def crop_sizes(architecture: Architecture, crop_px: int) -> tuple[int, int]:
    """Return the edges of what goes into and what comes out of the network for crops of about ``crop_px``."""
    if architecture.padding == "same":
        n = max(1, round(crop_px / architecture.step)) * architecture.step
        return n, n
    n = architecture.input_px(crop_px)
    return n, n - 2 * architecture.margin


def train(
    images: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    architecture: Architecture,
    recipe: Recipe,
    *,
    state: Path,
    seed: int,
    um_per_px: float | None = None,
    origin: dict[str, Any] | None = None,
    device: str = "cpu",
    code: str = "",
) -> Trained:
    """Train; go on where an earlier, interrupted run of the same training got to.

    Parameters
    ----------
    images, validation
        Trained on, and looked at after every epoch; ``validation`` may be empty.
    state
        File for what is needed to go on, written after every epoch, never by half.
    origin
        What is known of the images; kept with the model, with recipe, seed and versions.
    code
        Fingerprint of the code: a run of other code is not gone on with.

    Raises
    ------
    FloatingPointError
        If the loss is no longer a number.
    """
    import keras

    keras.utils.set_random_seed(seed)
    crops = Crops(images, architecture, recipe, seed)
    held = Crops(validation, architecture, recipe, seed) if validation else None
    with keras.device(device):
        network = build(architecture)
        run = _Run(network, recipe, state, _fingerprint(crops, held, architecture, recipe, seed, code))
        for epoch in range(run.resume(), recipe.epochs):
            if run.finished:
                break
            loss = _train_epoch(network, crops, recipe, epoch)
            run.end_epoch(epoch, loss, _validate(network, held) if held else None)

        described = (origin or {}) | {"recipe": asdict(recipe), "seed": seed, "epochs": len(run.history)}
        described |= versions("keras") | {"backend": keras.backend.backend()}

        def finished(weights: list[NDArray]) -> UNet:
            model = UNet(architecture, build(architecture), um_per_px, described, device)
            model.network.set_weights(weights)
            return model

        last = finished(network.get_weights())
        best = finished(run.best) if held else last
    return Trained(last, best, pd.DataFrame(run.history))


def _train_epoch(network: keras.Model, crops: Crops, recipe: Recipe, epoch: int) -> float:
    """Train for an epoch and return the mean loss."""
    losses = []
    # The next crops are made while the network works on these.
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(crops.random, epoch, 0)
        for step in range(recipe.steps_per_epoch):
            pixels, target, weights = coming.result()
            if step + 1 < recipe.steps_per_epoch:
                coming = ahead.submit(crops.random, epoch, step + 1)
            losses.append(_loss(network.train_on_batch(pixels, target, sample_weight=weights)))
    if not np.isfinite(losses[-1]):
        raise FloatingPointError(f"the loss is {losses[-1]} in epoch {epoch + 1}: lower unet.training.learning_rate")
    return float(np.mean(losses))


def _validate(network: keras.Model, held: Crops) -> float:
    """Return the mean loss of unchanged crops."""
    batches = [
        (_loss(network.test_on_batch(pixels, target, sample_weight=weights)), len(pixels))
        for pixels, target, weights in held.regular()
    ]
    losses, sizes = zip(*batches, strict=True)
    return float(np.average(losses, weights=sizes))


def _loss(metrics: Any) -> float:  # noqa: ANN401  (Keras: a number, an array of one, or a list of them)
    return float(np.ravel(metrics)[0])


class _Run:
    """The state of a training, on disk after every epoch in one file: it is there whole, or that of before is."""

    def __init__(self, network: keras.Model, recipe: Recipe, state: Path, fingerprint: str) -> None:
        import keras

        self._network, self._fingerprint = network, fingerprint
        self._file = state
        state.parent.mkdir(parents=True, exist_ok=True)
        self.best: list[NDArray] = []
        self.history: list[dict[str, float]] = []
        network.compile(
            _optimizer(recipe),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        network.optimizer.build(network.trainable_variables)
        self._plateau = keras.callbacks.ReduceLROnPlateau(
            "val_loss", recipe.factor, recipe.patience, mode="min", min_delta=0.0
        )
        self._patience = keras.callbacks.EarlyStopping("val_loss", patience=recipe.stop_after, mode="min")
        used = [self._plateau] * (recipe.schedule == "plateau") + [self._patience] * bool(recipe.stop_after)
        self._callbacks = keras.callbacks.CallbackList(used, model=network)
        network.stop_training = False
        self._callbacks.on_train_begin()
        self._progress = tqdm(total=recipe.epochs, desc="training", unit="epoch", ascii=True)

    @property
    def finished(self) -> bool:
        """Whether the loss has stopped to improve."""
        return bool(self._network.stop_training)

    def _variables(self) -> dict[str, list[keras.Variable]]:
        """Return all that changes as the network is trained; the random numbers of dropout, too."""
        return {"network": self._network.variables, "optimizer": self._network.optimizer.variables}

    def resume(self) -> int:
        """Take up the state of an interrupted run of the same training, and return the next epoch."""
        if not self._file.exists():
            return 0
        arrays, kept = read_arrays(self._file)
        if kept["fingerprint"] != self._fingerprint:
            return 0
        for name, variables in self._variables().items():
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)
        self.best = arrays.get("best", [])
        self.history = kept["history"]
        for callback, names in ((self._plateau, _PLATEAU), (self._patience, _PATIENCE)):
            for name in names:
                setattr(callback, name, kept[type(callback).__name__][name])
        self._network.stop_training = kept["finished"]
        self._progress.update(len(self.history))
        log.info("going on after epoch %d of an interrupted run", len(self.history))
        return len(self.history)

    def end_epoch(self, epoch: int, loss: float, val_loss: float | None) -> None:
        """Write down an epoch; let the schedule and the early stop see it."""
        from keras.ops import convert_to_numpy

        rate = float(convert_to_numpy(self._network.optimizer.learning_rate))
        row = {"epoch": epoch + 1, "loss": loss, "learning_rate": rate}
        if val_loss is not None:
            if val_loss < min((r["val_loss"] for r in self.history), default=np.inf):
                self.best = self._network.get_weights()
            row["val_loss"] = val_loss
        self.history.append(row)
        self._callbacks.on_epoch_end(epoch, {k: v for k, v in row.items() if k != "epoch"})
        kept: dict[str, Any] = {
            type(c).__name__: {name: getattr(c, name, None) for name in names}
            for c, names in ((self._plateau, _PLATEAU), (self._patience, _PATIENCE))
        }
        kept |= {"fingerprint": self._fingerprint, "history": self.history, "finished": self.finished}
        arrays = {name: [convert_to_numpy(v) for v in values] for name, values in self._variables().items()}
        with whole_file(self._file) as path:
            write_arrays(path, {"best": self.best} | arrays, kept)
        self._progress.set_postfix({k: f"{v:.4g}" for k, v in row.items() if k != "epoch"}, refresh=False)
        self._progress.update()


def _optimizer(recipe: Recipe) -> keras.Optimizer:
    from keras import optimizers

    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = optimizers.schedules.CosineDecay(rate, recipe.epochs * recipe.steps_per_epoch)
    common = {"learning_rate": rate, "weight_decay": recipe.weight_decay or None, "clipvalue": recipe.clip or None}
    if recipe.optimizer == "adam":
        return optimizers.Adam(**common)
    kind = {"rmsprop": optimizers.RMSprop, "sgd": optimizers.SGD}[recipe.optimizer]
    return kind(momentum=recipe.momentum, **common)


def _fingerprint(
    crops: Crops, held: Crops | None, architecture: Architecture, recipe: Recipe, *others: object
) -> str:
    """Tell one training from another: data, network, recipe and seed."""
    settings = json.dumps([asdict(architecture), asdict(recipe), *others], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for part in (crops, held):
        for array in [*part._pixels, *part._target] if part else [np.zeros(0)]:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _starts(length: int, size: int) -> list[int]:
    """Places to cut ``length`` into pieces of ``size`` that cover it; a shorter one is mirrored beyond its end."""
    if length <= size:
        return [0]
    n = -(-length // size)
    return [round(k * (length - size) / (n - 1)) for k in range(n)]


def _stack(crops: list[Batch]) -> Batch:
    pixels, target, weights = zip(*crops, strict=True)
    return np.stack(pixels), np.stack(target), np.stack(weights).astype(np.float32)

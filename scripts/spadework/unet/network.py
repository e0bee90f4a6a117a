"""The network of Ronneberger, Fischer & Brox (MICCAI 2015), of any depth and width, in Keras layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spadework.errors import InputError

if TYPE_CHECKING:
    import keras

Padding = Literal["valid", "same"]
Up = Literal["transposed", "bilinear"]

# Names as papers and other frameworks use them, and what Keras calls them.
INITIALISATIONS = {
    "he": "he_normal",
    "kaiming": "he_normal",
    "xavier": "glorot_normal",
    "normal": "normal",
    "orthogonal": "orthogonal",
    "default": "glorot_uniform",
}


@dataclass(frozen=True)
class Architecture:
    """What a U-Net looks like.

    Attributes
    ----------
    channels
        Of the input: 1 (grey) or 3 (RGB).
    depth
        Levels of pooling; the paper has 4.
    width
        Channels of the first level, doubled at each pooling; the paper has 64.
    padding
        ``valid`` (the paper: the output is smaller than the input by :attr:`margin` on each side) or ``same``.
    up
        ``transposed`` (the paper: 2 x 2 up-convolution) or ``bilinear`` (interpolation, then a 1 x 1 convolution).
    batch_norm
        Normalise after every 3 x 3 convolution, which then has no bias.
    dropout
        Share dropped at the end of the contracting path.
    initialisation
        One of :data:`INITIALISATIONS`.
    """

    channels: int = 3
    depth: int = 4
    width: int = 64
    padding: Padding = "valid"
    up: Up = "transposed"
    batch_norm: bool = False
    dropout: float = 0.0
    initialisation: str = "he"

    def __post_init__(self) -> None:
        """Refuse a name that is not an initialisation."""
        if self.initialisation not in INITIALISATIONS:
            raise InputError(
                "config",
                None,
                found=f"unet.network.initialisation: {self.initialisation}",
                expected=f"one of {', '.join(INITIALISATIONS)}",
                remedy="correct the name",
            )

    @property
    def step(self) -> int:
        """Sizes of inputs differ by multiples of this, px."""
        return 2**self.depth

    @property
    def margin(self) -> int:
        """How far around a pixel its result depends on, px: with valid padding, what a side of the output lacks."""
        return self._lost(self.depth) // 2

    @property
    def context(self) -> int:
        """What same padding needs around a tile, px; a multiple of :attr:`step`."""
        return (self.margin // self.step + 1 + self._trim) * self.step

    def _lost(self, levels: int) -> int:
        """Pixels that two 3 x 3 convolutions before and after each of some levels take off, both sides together."""
        return 4 if levels == 0 else 2 * self._lost(levels - 1) + 2 * self._trim + 8

    @property
    def _trim(self) -> int:
        """Pixels per side for which interpolation has no neighbour and makes one up."""
        return int(self.up == "bilinear")

    def crop(self, level: int) -> int:
        """Return what a side of a skip connection is cropped by, px, with valid padding; level 0 is the first."""
        return self._lost(self.depth - level - 1) + self._trim

    def fits(self, input_px: int) -> bool:
        """Tell whether an input of this edge goes through the network: at every pooling its size is even."""
        if self.padding == "same":
            return input_px > 0 and input_px % self.step == 0
        return input_px > 2 * self.margin and (input_px + 4) % self.step == 0

    def input_px(self, output_px: int) -> int:
        """Return the least edge of an input whose result covers ``output_px`` with all that it depends on."""
        n = output_px + 2 * (self.context if self.padding == "same" else self.margin)
        while not self.fits(n):
            n += 1
        return n


def build(architecture: Architecture, input_px: int | None = None) -> keras.Model:
    """Build the network: pixels of 0 to 255 in, logits of background and foreground out.

    Parameters
    ----------
    input_px
        Edge of the input; None for any that fits.

    Returns
    -------
    keras.Model
        (n, h, w, channels) float32 to (n, h', w', 2) float32.
    """
    from keras import Input, Model, layers

    a = architecture
    kernel = INITIALISATIONS[a.initialisation]

    def convolved_twice(x: Any, width: int) -> Any:  # noqa: ANN401  (a Keras tensor of any backend)
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding=a.padding, use_bias=not a.batch_norm, kernel_initializer=kernel)(x)
            if a.batch_norm:
                x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
        return x

    inputs = Input((input_px, input_px, a.channels))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    skipped = []
    for level in range(a.depth):
        x = convolved_twice(x, a.width * 2**level)
        skipped.append(x)
        if a.dropout and level == a.depth - 1:
            x = layers.Dropout(a.dropout)(x)
        x = layers.MaxPooling2D(2)(x)
    x = convolved_twice(x, a.width * 2**a.depth)
    if a.dropout:
        x = layers.Dropout(a.dropout)(x)
    for level in reversed(range(a.depth)):
        width = a.width * 2**level
        if a.up == "transposed":
            x = layers.Conv2DTranspose(width, 2, strides=2, kernel_initializer=kernel)(x)
        else:
            x = layers.UpSampling2D(2, interpolation="bilinear")(x)
            x = layers.Conv2D(width, 1, kernel_initializer=kernel)(x)
        across = skipped[level]
        if a.padding == "valid":
            across = layers.Cropping2D(a.crop(level))(across)
            if a.up == "bilinear":
                x = layers.Cropping2D(1)(x)
        x = convolved_twice(layers.Concatenate()([across, x]), width)
    return Model(inputs, layers.Conv2D(2, 1, kernel_initializer=kernel)(x))

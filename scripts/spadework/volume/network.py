"""Generator and discriminator of Vox2Vox, in Keras layers.

The layers are those of a 3-D pix2pix with four strided convolutions, four more at the bottom, and a PatchGAN. One
channel in, one out, and 64 wide, they have 137,900,033 and 11,051,968 weights.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from spadework.volume.architecture import LEVELS, Architecture, Shape

_SLOPE = 0.2
_EPSILON = 1e-5
# What a class has that was not measured nearby: another is e ** 4 times as likely at most.
_DOUBT = 0.02
_NONE = (0, 0, 0)


def generator(a: Architecture) -> keras.Model:
    """Build the 3-D U-Net that translates: (n, z, y, x, channels) to (n, z, y, x, outputs)."""
    volume = keras.Input((None, None, None, a.channels), name="input")
    skipped = []
    x = volume
    for level in range(LEVELS):
        x = _down(x, a.width * 2**level, a, level)
        if level:
            x = _normalised(x)
        x = layers.LeakyReLU(_SLOPE)(x)
        skipped.append(x)
    deep = LEVELS - 1
    for k, width in enumerate((*(a.width * 2**deep,) * 3, a.width * 2 ** (deep - 1))):
        x = layers.Concatenate()([x, x])
        x = _padded(x, 1, a.low_side if k else _NONE)
        x = layers.Conv3D(width, a.kernel(deep), use_bias=False, kernel_initializer=_small())(x)
        x = layers.LeakyReLU(_SLOPE)(_normalised(x))
        x = layers.Dropout(a.dropout)(x)
    x = _padded(x, 0, a.low_side)
    for level in reversed(range(1, LEVELS)):
        x = _up(x, a.width * 2 ** (level - 1), a, level, use_bias=False)
        x = layers.ReLU()(_normalised(x))
        x = layers.Concatenate()([x, skipped[level - 1]])
    x = _up(x, a.outputs, a, 0, use_bias=True)
    if a.given:
        x = _corrected(x, volume[..., a.inputs : -1], a)
    return keras.Model(volume, layers.Activation(a.activation, dtype="float32")(x), name="generator")


def discriminator(a: Architecture) -> keras.Model:
    """Build the PatchGAN: from a volume, and what it is said to become, to one number per patch (LSGAN: no sigmoid).

    The patches are 16 voxels apart, as far as the strides in z allow.
    """
    target = keras.Input((None, None, None, a.outputs), name="target")
    volume = keras.Input((None, None, None, a.channels), name="input")
    x = layers.Concatenate()([volume, target])
    for level in range(LEVELS):
        x = _down(x, a.width * 2**level, a, level, use_bias=True)
        if level:
            x = _normalised(x)
        x = layers.LeakyReLU(_SLOPE)(x)
    x = _padded(x, 1, a.low_side)
    x = layers.Conv3D(1, a.kernel(LEVELS - 1), use_bias=False, kernel_initializer=_small())(x)
    return keras.Model([target, volume], x, name="discriminator")


def _down(
    x: keras.KerasTensor, width: int, a: Architecture, level: int, *, use_bias: bool = False
) -> keras.KerasTensor:
    """Halve the sides by a convolution; as they are even, ``same`` puts one plane of zeros on every side.

    Not with a padding before it: TensorFlow's graph optimiser takes padding, convolution and leaky ReLU together and
    forgets the slope (2.21, on CPUs with oneDNN), so that predictions are wrong.
    """
    strides = (a.strides_z[level], 2, 2)
    kernel = a.kernel(level)
    return layers.Conv3D(width, kernel, strides, "same", use_bias=use_bias, kernel_initializer=_small())(x)


def _up(x: keras.KerasTensor, width: int, a: Architecture, level: int, *, use_bias: bool) -> keras.KerasTensor:
    return layers.Conv3DTranspose(
        width,
        a.kernel(level),
        (a.strides_z[level], 2, 2),
        padding="same",
        use_bias=use_bias,
        kernel_initializer=_small(),
    )(x)


def _normalised(x: keras.KerasTensor) -> keras.KerasTensor:
    """Normalise every channel of every volume by itself: instance normalisation, without weights."""
    return layers.GroupNormalization(groups=-1, epsilon=_EPSILON, center=False, scale=False)(x)


def _padded(x: keras.KerasTensor, n: int, low_side: Shape = _NONE) -> keras.KerasTensor:
    """Put ``n`` planes of zeros on every side, and more on the low side of each axis.

    All at once: where one padding follows another, TensorFlow's graph optimiser loses one of them (as above).
    """
    return layers.ZeroPadding3D(tuple((n + more, n) for more in low_side))(x)


def _corrected(x: keras.KerasTensor, given: keras.KerasTensor, a: Architecture) -> keras.KerasTensor:
    """Let the network say how its result differs from what it was given: few sections do not teach it that."""
    return x + (ops.log(given + _DOUBT) if a.activation == "softmax" else given)


def _small() -> keras.Initializer:
    return keras.initializers.RandomNormal(0.0, 0.02)


def ready(model: keras.Model) -> keras.Model:
    """Make a model ready to predict: left to itself, Keras compiles with XLA, which is slow on a CPU."""
    model.compile(jit_compile=False)
    return model

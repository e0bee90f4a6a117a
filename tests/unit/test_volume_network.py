import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import importlib.util

import keras
import numpy as np
import pytest
import vox2vox_torch
from vox2vox_torch import SHAPES, STRIDES, drawn, probed, volume

from spadework.errors import InputError
from spadework.volume.architecture import Architecture, strides_for
from spadework.volume.network import discriminator, generator, ready

# What the PyTorch networks of vox2vox_torch.py say (2.15, CPU); `python tests/vox2vox_torch.py` prints it.
SAID = {
    ("isotropic", "generator"): """
        0.31726894 0.6307131 0.16795683 0.18500732 0.4276128 0.6174238
        0.3890836 0.09109212 0.35388544 0.30011472 0.47235 0.5060661""",
    ("isotropic", "discriminator"): """
        -0.01343622 0.55002755 -0.40352476 0.04117377 0.23258404 0.5271533
        0.22928648 0.4256994 0.05902552 0.31903344 0.22300605 0.07245645""",
    ("anisotropic", "generator"): """
        0.13417906 0.6405314 0.20026231 0.3173866 0.16059512 0.6210209
        0.67886275 0.14061438 0.23641187 0.08820685 0.79192716 0.65330034""",
    ("anisotropic", "discriminator"): """
        -0.28209335 -0.5218278 -0.43431535 -1.1295805 0.10636374 0.18291257
        -0.15385187 -0.8715819 0.25241607 -0.10514271 -0.35821453 -0.62841487""",
}


def channels_last(array):
    return np.moveaxis(array, 1, -1)


def networks(kind, inputs=2, outputs=3, width=2):
    """Generator and discriminator with the weights of the PyTorch ones."""
    a = Architecture(inputs, outputs, width=width, strides_z=STRIDES[kind])
    made = generator(a), discriminator(a)
    for seed, network in enumerate(made):
        shapes = [
            w.shape if len(w.shape) == 1 else tuple(np.array(w.shape)[[4, 3, 0, 1, 2]]) for w in network.weights
        ]
        values = drawn(shapes, seed)
        network.set_weights([v if v.ndim == 1 else v.transpose(2, 3, 4, 1, 0) for v in values])
    return made


def say(kind):
    g, d = networks(kind)
    a, b = (channels_last(volume(kind, channels, seed)) for channels, seed in ((2, 10), (3, 11)))
    return [keras.ops.convert_to_numpy(x) for x in (g(a, training=False), d([b, a], training=False))]


@pytest.mark.parametrize(
    ("inputs", "outputs", "width", "of_generator", "of_discriminator"),
    [
        (1, 1, 64, 137_900_033, 11_051_968),
        (3, 4, 64, 137_932_804, None),
        (3, 4, 4, 541_444, None),
        (3, 4, 8, 2_160_132, None),
        (3, 4, 16, 8_629_252, None),
        (3, 3, 64, None, 11_068_352),
    ],
)
def test_the_networks_have_the_published_number_of_weights(inputs, outputs, width, of_generator, of_discriminator):
    a = Architecture(inputs, outputs, width=width)
    if of_generator:
        assert generator(a).count_params() == of_generator
    if of_discriminator:
        assert discriminator(a).count_params() == of_discriminator


@pytest.mark.parametrize("kind", STRIDES)
def test_the_layers_agree_with_values_of_an_independent_implementation(kind):
    for name, array in zip(("generator", "discriminator"), say(kind), strict=True):
        np.testing.assert_allclose(probed(array), np.array(SAID[kind, name].split(), float), atol=1e-5)


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("kind", STRIDES)
def test_the_layers_agree_with_an_independent_implementation(kind):
    for array, wanted in zip(say(kind), vox2vox_torch.said(kind), strict=True):
        assert array.shape == wanted.shape
        np.testing.assert_allclose(array, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", STRIDES)
def test_graph_optimisers_leave_the_result_alone(kind):
    """TensorFlow takes layers together as it compiles; two such combinations are wrong on CPUs with oneDNN."""
    g, d = networks(kind)
    a, b = (channels_last(volume(kind, channels, seed)) for channels, seed in ((2, 10), (3, 11)))
    for network, shown in ((g, a), (d, [b, a])):
        plain = keras.ops.convert_to_numpy(network(shown, training=False))
        np.testing.assert_allclose(ready(network).predict_on_batch(shown), plain, atol=1e-5)


@pytest.mark.parametrize("kind", STRIDES)
def test_the_discriminator_judges_patches_16_voxels_apart(kind):
    a = Architecture(2, 3, width=1, strides_z=STRIDES[kind])
    z, y, x = SHAPES[kind]
    patches = discriminator(a).compute_output_shape([(1, z, y, x, 3), (1, z, y, x, 2)])
    assert patches == (1, z // a.step[0], y // 16, x // 16, 1)


@pytest.mark.parametrize("shape", [(48, 48, 48), (64, 128, 96), (32, 48, 48)])
def test_sizes_that_work(shape):
    a = Architecture(1, 2, width=1)
    a.check(shape, "volume")
    x = np.random.default_rng(0).normal(size=(1, *shape, 1)).astype(np.float32)
    said = keras.ops.convert_to_numpy(generator(a)(x))
    assert said.shape == (1, *shape, 2)
    np.testing.assert_allclose(said.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(32, 32, 32), (50, 48, 48), (48, 48, 40), (3, 48, 48)])
def test_sizes_that_cannot_work_are_refused_with_sizes_that_can(shape):
    a = Architecture(1, 2, width=1)
    with pytest.raises(InputError, match=" x ".join(map(str, shape))) as error:
        a.check(shape, "brain1")
    assert " x ".join(map(str, a.fitting(shape))) in str(error.value)
    assert a.fits(a.fitting(shape))


def test_a_dead_bottom_is_what_refusing_prevents():
    """In a cube of 32, one voxel is left at the bottom: normalised by itself, it is 0, whatever the input."""
    a = Architecture(1, 2, width=1)
    g = generator(a)
    deepest = [layer for layer in g.layers if isinstance(layer, keras.layers.GroupNormalization)][6]
    bottom = keras.Model(g.input, deepest.output)
    x = np.random.default_rng(0).normal(size=(1, 48, 48, 48, 1)).astype(np.float32)
    assert abs(keras.ops.convert_to_numpy(bottom(x[:, :32, :32, :32]))).max() == 0
    assert abs(keras.ops.convert_to_numpy(bottom(x))).max() > 0.5


@pytest.mark.parametrize("depth", [1, 3, 7])
def test_stacks_of_few_sections_keep_their_planes(depth):
    a = Architecture(3, 4, width=1, strides_z=strides_for(depth))
    a.check((depth, 48, 48), "block")
    x = np.zeros((1, depth, 48, 48, 3), np.float32)
    assert generator(a)(x).shape == (1, depth, 48, 48, 4)
    assert strides_for(48) == (2, 2, 2, 2)


@pytest.mark.parametrize("strides", [(2, 2, 2), (2, 2, 2, 3), (1, 1, 1, 0)])
def test_strides_are_four_numbers_one_or_two(strides):
    with pytest.raises(InputError, match="strides_z"):
        Architecture(1, 1, strides_z=strides)

"""The network against the numbers of the paper, and tiles against the whole image."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from spadework.errors import InputError
from spadework.unet.model import UNet
from spadework.unet.network import INITIALISATIONS, Architecture, build

PAPER = Architecture(channels=1)
# Parameters per layer of the network of figure 1 in Ronneberger et al. 2015.
PER_LAYER = [640, 36928, 73856, 147584, 295168, 590080, 1180160, 2359808, 4719616, 9438208, 2097664, 4719104]
PER_LAYER += [2359808, 524544, 1179904, 590080, 131200, 295040, 147584, 32832, 73792, 36928, 130]


def test_the_network_of_the_paper_has_its_parameters_and_sizes():
    network = build(PAPER, 572)
    assert [layer.count_params() for layer in network.layers if layer.count_params()] == PER_LAYER
    assert network.count_params() == 31_030_658
    assert network.output_shape == (None, 388, 388, 2)
    pooled = [layer.output.shape[1] for layer in network.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert pooled == [284, 140, 68, 32]


def test_brain_segmentation_net_has_its_parameters():
    # A well-known other U-Net: 3 channels, width 32, batch norm, no bias beside it; one output there, two here.
    other = Architecture(channels=3, depth=4, width=32, padding="same", batch_norm=True)
    trainable = sum(int(np.prod(w.shape)) for w in build(other).trainable_weights)
    assert trainable == 7_763_041 + 33


@pytest.mark.parametrize(("depth", "margin"), [(1, 8), (2, 20), (3, 44), (4, 92)])
def test_margin_is_that_of_the_formula(depth, margin):
    assert Architecture(depth=depth).margin == margin == 6 * 2**depth - 4


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_fits_goes_through_and_nothing_else_comes_out_right(depth, up):
    a = Architecture(channels=1, depth=depth, width=1, up=up)
    sizes = [n for n in range(2 * a.margin + 4 * a.step) if a.fits(n)]
    assert sizes
    for n in sizes[:2]:
        assert build(a, n).output_shape[1] == n - 2 * a.margin
    # one pixel more is odd at some pooling: the skip connection no longer fits, or a row is lost
    assert not any(a.fits(n + 1) for n in sizes)


def test_fits_only_multiples_with_same_padding():
    a = Architecture(depth=3, padding="same")
    assert [n for n in range(1, 33) if a.fits(n)] == [8, 16, 24, 32]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("up", ["transposed", "bilinear"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tiles_give_exactly_the_whole_image(padding, up, depth):
    keras.utils.set_random_seed(depth)
    a = Architecture(depth=depth, width=2, padding=padding, up=up)
    model = UNet(a, build(a))
    pixels = np.random.default_rng(0).integers(0, 256, (75, 98, 3), dtype=np.uint8)
    n = a.input_px(-(-98 // a.step) * a.step)
    edge = a.context if padding == "same" else a.margin
    around = np.pad(pixels, ((edge, n - edge - 75), (edge, n - edge - 98), (0, 0)), mode="reflect")[None]
    logits = np.asarray(model._logits(around[0]))[
        edge if padding == "same" else 0 :, edge if padding == "same" else 0 :
    ]
    whole = 1 / (1 + np.exp(logits[:75, :98, 0].astype(np.float64) - logits[:75, :98, 1]))
    assert whole.std() > 1e-3
    np.testing.assert_allclose(model.foreground(pixels, 1000), whole, atol=1e-6)
    whole = model.foreground(pixels, 1000)
    for tile in (1, 16, 40, 75):
        assert np.abs(model.foreground(pixels, tile) - whole).max() <= (0.0 if padding == "valid" else 1e-6)
    # a part is what the whole has there, if it brings its surroundings along
    around = a.context + a.step
    large = np.random.default_rng(1).integers(0, 256, (2 * around + 40, 2 * around + 50, 3), dtype=np.uint8)
    part = slice(around + 3, around + 40), slice(around + 1, around + 49)
    assert np.abs(model.foreground(large, part=part) - model.foreground(large)[part]).max() <= 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (97, 61, 3)])
def test_images_of_any_size_are_mirrored_at_their_borders(shape):
    a = Architecture(depth=2, width=2)
    model = UNet(a, build(a))
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    found = model.foreground(pixels)
    margin = a.margin
    padded = np.pad(pixels, ((margin, 300), (margin, 300), (0, 0)), mode="reflect")[None]
    n = max(a.input_px(s) for s in shape[:2])
    logits = np.asarray(model.network.predict_on_batch(padded[:, :n, :n].astype(np.float32)))[0]
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert found.shape == shape[:2]
    np.testing.assert_allclose(found, softmax[: shape[0], : shape[1], 1], atol=1e-6)


def test_a_wrong_initialisation_lists_the_right_ones():
    with pytest.raises(InputError) as error:
        Architecture(initialisation="kaming")
    assert all(name in str(error.value) for name in INITIALISATIONS)


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_initialisations_by_name(name):
    keras.utils.set_random_seed(0)
    kernel = build(Architecture(channels=3, depth=1, width=64, initialisation=name)).get_weights()[2]
    fan_in, fan_out = 9 * 64, 9 * 64
    sd = {
        "he": 2 / fan_in,
        "kaiming": 2 / fan_in,
        "xavier": 2 / (fan_in + fan_out),
        "default": 2 / (fan_in + fan_out),
    }
    if name in sd:
        assert kernel.std() == pytest.approx(sd[name] ** 0.5, rel=0.05)
    elif name == "orthogonal":
        q = kernel.reshape(-1, 64)
        np.testing.assert_allclose(q.T @ q, np.eye(64), atol=1e-4)
    else:
        assert kernel.std() == pytest.approx(0.05, rel=0.1)


def test_a_model_comes_back_from_its_file(tmp_path):
    a = Architecture(depth=2, width=3, padding="same", batch_norm=True, dropout=0.5)
    model = UNet(a, build(a), um_per_px=0.4, origin={"images": {"train": 3}})
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    model.save(tmp_path / "model.h5")
    back = UNet.load(tmp_path / "model.h5")
    assert (back.architecture, back.um_per_px, back.origin) == (a, 0.4, {"images": {"train": 3}})
    np.testing.assert_array_equal(back.foreground(pixels), model.foreground(pixels))


def test_a_file_that_is_no_model_says_so(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"no")
    with pytest.raises(InputError, match="no U-Net of this workflow"):
        UNet.load(tmp_path / "model.h5")


@pytest.mark.parametrize(
    "bad", [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 1), np.uint8), np.zeros((9, 9), np.uint8)]
)
def test_pixels_of_another_kind_are_refused(bad):
    a = Architecture(depth=1, width=1)
    with pytest.raises(ValueError, match="expected uint8"):
        UNet(a, build(a)).foreground(bad)

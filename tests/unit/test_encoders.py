"""Encoders: the published numbers, the contract, and where weights come from."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.decomposition import PCA

from spadework.device import check_gpu_offer
from spadework.encoders import registry, weights
from spadework.encoders.download import fetch_weights
from spadework.encoders.keras_applications import KerasEncoder, seeded_vgg16
from spadework.encoders.run import encode_file
from spadework.errors import InputError, SpadeworkError
from spadework.latents import fit_latents


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def vgg16() -> KerasEncoder:
    return KerasEncoder("vgg16", 32)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("pixel_range", "file", "precision", "bound"),
    [
        ("0-255", "exact_range255.npz", "float32", 1e-4),
        ("0-1", "exact_range01.npz", "float32", 1e-2),
        ("0-255", "exact_range255.npz", "float64", 1e-9),
        ("0-1", "exact_range01.npz", "float64", 1e-9),
    ],
)
def test_features_and_latents_equal_the_published_method(shared_data, pixel_range, file, precision, bound):
    folder = shared_data / "spade_reference" / "C2"
    with np.load(folder / "exact_range255.npz", allow_pickle=True) as reference:
        patches = reference["patches"]
    with np.load(folder / file, allow_pickle=True) as reference:
        features, pcs = reference["features"], reference["pcs"]
    ours = KerasEncoder("vgg16", 32, pixel_range=pixel_range, precision=precision).encode(patches)
    assert np.abs(ours - features).max() / features.std(axis=0).mean() < bound
    latents = fit_latents(ours, 6, standardize=False).project(ours)
    latents *= np.sign((latents * pcs).sum(axis=0))
    assert (np.abs(latents - pcs) / pcs.std(axis=0)).max() < bound


def test_vgg16_is_the_published_network(vgg16):
    per_layer = [layer.count_params() for layer in vgg16._model.layers if layer.count_params()]
    expected = [1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160, *[2359808] * 5]
    assert per_layer == expected
    assert sum(per_layer) == 14_714_688
    assert vgg16.dim == 512


@pytest.mark.parametrize("name", ["vgg16", "colour_texture", "dummy"])
def test_the_contract(name, patches):
    encoder = registry.create(name, 32)
    features = encoder.encode(patches)
    assert features.shape == (len(patches), encoder.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0
    with pytest.raises(TypeError, match="uint8"):
        encoder.encode(patches / np.float32(255))
    with pytest.raises(ValueError, match="expected"):
        encoder.encode(patches[..., 0])


@pytest.mark.parametrize("name", ["vgg16", "colour_texture", "dummy"])
def test_features_depend_neither_on_batch_size_nor_on_order(name, patches):
    encoder = registry.create(name, 32)
    once = encoder.encode(patches)
    sd = once.std(axis=0).mean()
    for size in (1, 5, 16):
        encoder.batch_size = size
        parts = np.concatenate([encoder.encode(patches[i : i + size]) for i in range(0, len(patches), size)])
        assert np.abs(parts - once).max() < 1e-5 * sd
    order = np.random.default_rng(1).permutation(len(patches))
    assert np.abs(encoder.encode(patches[order]) - once[order]).max() < 1e-5 * sd


def test_colour_texture_sees_stain_and_grain():
    pink, blue = np.full((2, 32, 32, 3), (230, 150, 190), np.uint8), np.full((2, 32, 32, 3), (90, 70, 150), np.uint8)
    grain = blue.copy()
    grain[:, ::2, ::2] = 255
    encoder = registry.create("colour_texture", 32)
    p, b, g = (encoder.encode(x)[0] for x in (pink, blue, grain))
    assert b[6 + 1] > p[6 + 1]  # median haematoxylin
    assert g[9:12].sum() > b[9:12].sum() + 0.01  # haematoxylin detail
    rotated = encoder.encode(np.rot90(grain, axes=(1, 2)))[0]
    np.testing.assert_allclose(rotated, g, atol=1e-4)


def test_another_network_works_by_name(patches):
    encoder = registry.create("mobilenetv2", 32)
    assert encoder.encode(patches[:3]).shape == (3, 1280)
    assert encoder.describe()["weights"] == "seeded"


def test_the_same_weights_have_the_same_digest(vgg16):
    again = KerasEncoder("vgg16", 32).describe()
    assert again == vgg16.describe()
    assert again["weights_digest"].startswith("sha256:")


def _published_layout(path: Path, arrays: list[np.ndarray], names: list[str]) -> None:
    """Write weights the way the published VGG16 file holds them (Keras 1 names, one group per layer)."""
    with h5py.File(path, "w") as handle:
        handle.attrs["layer_names"] = np.array([n.encode() for n in names])
        kernels = iter(zip(arrays[::2], arrays[1::2], strict=True))
        for name in names:
            group = handle.create_group(name)
            if "conv" not in name:
                group.attrs["weight_names"] = np.array([], "S1")
                continue
            group.attrs["weight_names"] = np.array([f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()])
            group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = next(kernels)


@pytest.fixture(scope="module")
def weights_file(vgg16, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    names = [layer.name for layer in vgg16._model.layers if layer.name.startswith("block")]
    shapes = [w.shape for w in vgg16._model.weights]
    _published_layout(path, [1.5 * w for w in seeded_vgg16(shapes)], names)
    return path


def test_a_local_file_in_the_published_layout_is_loaded(weights_file, vgg16, patches):
    encoder = KerasEncoder("vgg16", 32, weights=weights_file)
    # Thirteen linear layers with zero bias: scaling every kernel scales the response to equal input.
    loaded, seeded = encoder._model.get_weights(), vgg16._model.get_weights()
    np.testing.assert_array_equal(loaded[4], np.float32(1.5) * seeded[4])
    assert encoder.describe()["weights"] == weights_file.name
    assert encoder.describe()["weights_digest"] != vgg16.describe()["weights_digest"]


def test_weights_of_another_network_are_refused(weights_file, tmp_path):
    with pytest.raises(InputError, match="do not fit vgg19"):
        KerasEncoder("vgg19", 32, weights=weights_file)
    junk = tmp_path / "junk.h5"
    junk.write_bytes(b"not a weights file")
    with pytest.raises(InputError, match="notop"):
        KerasEncoder("vgg16", 32, weights=junk)


@pytest.fixture
def server(weights_file, monkeypatch):
    """A mirror on loopback that serves the weights file."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=weights_file.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def _expect(monkeypatch, checksum: str) -> None:
    known = weights.IMAGENET["vgg16"]
    monkeypatch.setitem(weights.IMAGENET, "vgg16", weights.WeightsFile(known.url, checksum))


def test_weights_are_downloaded_and_verified(server, weights_file, monkeypatch, tmp_path):
    _expect(monkeypatch, f"md5:{hashlib.md5(weights_file.read_bytes()).hexdigest()}")
    target = tmp_path / "cache" / weights_file.name
    fetch_weights("vgg16", target, mirror=server)
    assert target.read_bytes() == weights_file.read_bytes()


def test_a_download_with_another_checksum_is_refused_and_not_kept(server, weights_file, tmp_path):
    target = tmp_path / weights_file.name
    with pytest.raises(InputError, match="md5:6d6bbae143d832006294945121d1f1fc"):
        fetch_weights("vgg16", target, mirror=server)
    assert not target.exists()


def test_a_missing_download_says_how_to_go_on(server, tmp_path):
    with pytest.raises(InputError, match=r"encoder\.weights"):
        fetch_weights("vgg19", tmp_path / "x.h5", mirror=server)


def test_published_weights_put_there_by_hand_are_checked(weights_file):
    checksum = f"md5:{hashlib.md5(weights_file.read_bytes()).hexdigest()}"
    weights.check_weights(weights_file, checksum)
    weights.check_weights(weights_file, None)
    with pytest.raises(InputError, match="the published file"):
        weights.check_weights(weights_file, weights.IMAGENET["vgg16"].checksum)


def test_imagenet_weights_of_unlisted_networks_ask_for_a_file():
    with pytest.raises(InputError, match="efficientnetb7"):
        weights.imagenet_file("efficientnetb7")


def test_a_missing_gpu_is_an_error(patches):
    with pytest.raises(SpadeworkError, match="no GPU"):
        KerasEncoder("vgg16", 32, device="gpu")
    with pytest.raises(SpadeworkError, match="--resources gpu=1"):
        check_gpu_offer("gpu", 0)
    check_gpu_offer("gpu", 1)
    check_gpu_offer("cpu", 0)


@pytest.mark.parametrize(("name", "px"), [("vgg17", 224), ("vgg16", 16), ("inceptionv3", 64)])
def test_bad_names_and_sizes_are_refused_early(name, px):
    with pytest.raises(InputError):
        registry.check(name, px)


def test_a_patch_file_is_encoded_in_blocks(tmp_path, patches):
    with h5py.File(tmp_path / "p.h5", "w") as handle:
        handle["patches"] = patches
        handle["barcodes"] = np.array([f"b{i}" for i in range(len(patches))], object)
    encoder = registry.create("dummy", 32)
    seen = []
    plain, encoder.batch_size = encoder.encode, 10
    encoder.encode = lambda block: (seen.append(len(block)), plain(block))[1]  # type: ignore[method-assign]
    adata = encode_file(encoder, tmp_path / "p.h5")
    assert max(seen) == 10
    np.testing.assert_array_equal(adata.X, plain(patches))
    assert list(adata.obs_names) == [f"b{i}" for i in range(len(patches))]


def test_sklearn_agrees_on_the_latents_of_real_features(vgg16, patches):
    features = vgg16.encode(patches)
    ours = fit_latents(features, 3, standardize=False).project(features)
    theirs = PCA(3, svd_solver="full").fit_transform(features.astype(float))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-8 * np.abs(theirs).max())

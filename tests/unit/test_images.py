"""Whatever the format, an image comes out as the same uint8 RGB, by region and without decoding the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from spadework.errors import InputError
from spadework.images import ArrayImage, OpenSlideImage, SlideImage, TiffImage, open_image, read_rgb, to_rgb8

HEIGHT, WIDTH = 150, 203  # no multiple of the tiles
TILE = (64, 64)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    """An image JPEG reproduces to within a few grey levels; no symmetry, so that a swap of axes shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([y * 250 // HEIGHT, x * 250 // WIDTH, (x + 2 * y) // 3 + 20], axis=-1).astype(np.uint8)


def whole(image: SlideImage) -> np.ndarray:
    return image.read(0, 0, image.width, image.height)


def tiff(path: Path, array: np.ndarray, **options) -> None:
    tifffile.imwrite(path, array, **({"photometric": "rgb"} | options))


def pyramid(path: Path, array: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "tile": TILE, "compression": "deflate"}
        writer.write(array, subifds=2, **options)
        writer.write(array[::2, ::2], subfiletype=1, **options)
        writer.write(array[::4, ::4], subfiletype=1, **options)


def planes_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def opaque(array: np.ndarray) -> np.ndarray:
    return np.dstack([array, np.full(array.shape[:2], np.iinfo(array.dtype).max, array.dtype)])


# ---- every lossless format -----------------------------------------------------------------------------------------

LOSSLESS: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "PNG": (".png", lambda p, a: Image.fromarray(a).save(p)),
    "PNG, capitals": (".PNG", lambda p, a: Image.fromarray(a).save(p)),
    "PNG, opaque alpha": (".png", lambda p, a: Image.fromarray(opaque(a)).save(p)),
    "TIFF, one strip": (".tif", tiff),
    "TIFF, strips": (".tiff", lambda p, a: tiff(p, a, rowsperstrip=16)),
    "TIFF, tiles, deflate": (".tif", lambda p, a: tiff(p, a, tile=TILE, compression="deflate")),
    "TIFF, LZW with predictor": (".tif", lambda p, a: tiff(p, a, compression="lzw", predictor=2)),
    "TIFF, big endian": (".tif", lambda p, a: tiff(p, a, byteorder=">", tile=TILE)),
    "TIFF, planes": (".tif", lambda p, a: tiff(p, planes_first(a), planarconfig="separate")),
    "TIFF, tiled planes": (".tif", lambda p, a: tiff(p, planes_first(a), planarconfig="separate", tile=TILE)),
    "TIFF, opaque alpha": (".tif", lambda p, a: tiff(p, opaque(a), extrasamples=["unassalpha"], tile=TILE)),
    "TIFF, 16 bit": (".tif", lambda p, a: tiff(p, a.astype(np.uint16) * 257, tile=TILE)),
    "TIFF, 16 bit, opaque alpha": (
        ".tif",
        lambda p, a: tiff(p, opaque(a.astype(np.uint16) * 257), extrasamples=["unassalpha"]),
    ),
    "TIFF, pyramid": (".tif", pyramid),
    "BigTIFF": (".btf", lambda p, a: tiff(p, a, bigtiff=True, tile=TILE, compression="deflate")),
    "OME-TIFF": (".ome.tif", lambda p, a: tiff(p, a, tile=TILE, metadata={"axes": "YXS"})),
    "OME-TIFF, planes": (
        ".ome.tif",
        lambda p, a: tiff(p, planes_first(a), planarconfig="separate", metadata={"axes": "SYX"}),
    ),
    "OME-TIFF, colour as channels": (".ome.tif", lambda p, a: tiff(p, planes_first(a), metadata={"axes": "CYX"})),
    "OME-TIFF, axes of length one": (".ome.tif", lambda p, a: tiff(p, a[None, None], metadata={"axes": "TZYXS"})),
}


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats_keep_every_pixel(form: str, pixels: np.ndarray, tmp_path: Path):
    suffix, write = LOSSLESS[form]
    path = tmp_path / f"image{suffix}"
    write(path, pixels)
    image = open_image(path, "gut")
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert whole(image).dtype == np.uint8
    assert np.array_equal(whole(image), pixels)


def to_grey(array: np.ndarray) -> np.ndarray:
    return array[:, :, 0]


GREY: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "PNG": (".png", lambda p, g: Image.fromarray(g).save(p)),
    "PNG, 16 bit": (".png", lambda p, g: Image.fromarray(g.astype(np.uint16) * 257).save(p)),
    "PNG, opaque alpha": (".png", lambda p, g: Image.fromarray(np.dstack([g, np.full_like(g, 255)])).save(p)),
    "TIFF": (".tif", lambda p, g: tiff(p, g, photometric="minisblack", tile=TILE)),
    "TIFF, 16 bit": (".tif", lambda p, g: tiff(p, g.astype(np.uint16) * 257, photometric="minisblack")),
    "TIFF, white is zero": (".tif", lambda p, g: tiff(p, 255 - g, photometric="miniswhite")),
    "OME-TIFF": (".ome.tif", lambda p, g: tiff(p, g, photometric="minisblack", metadata={"axes": "YX"})),
}


@pytest.mark.parametrize("form", GREY)
def test_grey_becomes_three_equal_channels(form: str, pixels: np.ndarray, tmp_path: Path):
    suffix, write = GREY[form]
    path = tmp_path / f"image{suffix}"
    write(path, to_grey(pixels))
    assert np.array_equal(whole(open_image(path, "gut")), np.dstack([to_grey(pixels)] * 3))


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_palette_is_looked_up(kind: str, pixels: np.ndarray, tmp_path: Path):
    path, index = tmp_path / f"image.{kind}", to_grey(pixels)
    colours = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    if kind == "png":
        image = Image.fromarray(index)
        image.putpalette(colours.tobytes())
        image.save(path)
    else:
        tifffile.imwrite(path, index, photometric="palette", colormap=colours.T.astype(np.uint16) * 257)
    assert np.array_equal(whole(open_image(path, "gut")), colours[index])


def test_one_bit_becomes_black_and_white(pixels: np.ndarray, tmp_path: Path):
    mask = to_grey(pixels) > 127
    Image.fromarray(mask).save(tmp_path / "image.png")
    assert np.array_equal(
        read_rgb(tmp_path / "image.png", "gut"), np.where(mask, 255, 0)[:, :, None].repeat(3, axis=2)
    )


# ---- lossy formats -------------------------------------------------------------------------------------------------

LOSSY: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "JPEG": (".jpg", lambda p, a: Image.fromarray(a).save(p, quality=95)),
    "JPEG, long suffix": (".jpeg", lambda p, a: Image.fromarray(a).save(p, quality=95)),
    "TIFF, JPEG tiles": (".tif", lambda p, a: tiff(p, a, tile=TILE, compression="jpeg")),
    "TIFF, JPEG tiles in RGB": (
        ".tif",
        lambda p, a: tiff(p, a, tile=TILE, compression="jpeg", compressionargs={"outcolorspace": "rgb"}),
    ),
    "SVS": (".svs", lambda p, a: svs(p, a)),
}


def svs(path: Path, array: np.ndarray) -> None:
    """Write a file that OpenSlide takes for a slide of an Aperio scanner."""
    description = f"Aperio Image Library v1\n{array.shape[1]}x{array.shape[0]} (64x64) JPEG/RGB Q=95|MPP = 0.5"
    tiff(path, array, tile=TILE, compression="jpeg", metadata=None, description=description)


@pytest.mark.parametrize("form", LOSSY)
def test_lossy_formats_stay_close(form: str, smooth: np.ndarray, tmp_path: Path):
    suffix, write = LOSSY[form]
    path = tmp_path / f"image{suffix}"
    write(path, smooth)
    image = open_image(path, "gut")
    assert (image.width, image.height) == (WIDTH, HEIGHT)
    difference = np.abs(whole(image).astype(int) - smooth)
    assert difference.mean() < 3
    assert np.percentile(difference, 99) < 12


def test_scanner_formats_go_to_openslide(smooth: np.ndarray, tmp_path: Path):
    svs(tmp_path / "slide.svs", smooth)
    image = open_image(tmp_path / "slide.svs", "gut")
    assert isinstance(image, OpenSlideImage)
    assert image._slide.properties["openslide.vendor"] == "aperio"


@pytest.mark.parametrize("suffix", [".ndpi", ".NDPI", ".mrxs", ".scn"])
def test_a_scanner_file_openslide_cannot_read_is_refused(suffix: str, tmp_path: Path):
    path = tmp_path / f"slide{suffix}"
    path.write_bytes(b"II*\0" + bytes(500))
    with pytest.raises(InputError, match="cannot be read"):
        open_image(path, "gut")


# ---- alpha and depth -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "tif", "grey png", "palette png", "colour key"])
def test_what_is_transparent_becomes_white(form: str, tmp_path: Path):
    path = tmp_path / f"image.{form[-3:]}" if form != "colour key" else tmp_path / "image.png"
    if form == "grey png":
        Image.fromarray(np.array([[[10, 0], [10, 255], [10, 51]]], np.uint8)).save(path)
        expected = [[[255] * 3, [10] * 3, [206] * 3]]
    elif form == "palette png":
        image = Image.fromarray(np.array([[0, 1]], np.uint8))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.save(path, transparency=b"\0\xff")
        expected = [[[255] * 3, [40, 50, 60]]]
    elif form == "colour key":
        Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8)).save(path, transparency=(10, 20, 30))
        expected = [[[255] * 3, [40, 50, 60]]]
    else:
        rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [10, 20, 30, 51]]], np.uint8)
        expected = [[[255] * 3, [10, 20, 30], [206, 208, 210]]]
        Image.fromarray(rgba).save(path) if form == "png" else tiff(path, rgba, extrasamples=["unassalpha"])
    assert whole(open_image(path, "gut")).tolist() == expected


@given(st.integers(0, 255), st.integers(0, 255))
def test_alpha_is_mixed_with_white_and_rounded(value: int, alpha: int):
    # one opaque and one mixed pixel: neither may change the other
    mixed = to_rgb8(np.array([[[value, value, value, alpha], [value, 0, 255, 255]]], np.uint8))
    assert mixed[0, 0].tolist() == [int((value * alpha + 255 * (255 - alpha)) / 255 + 0.5)] * 3
    assert mixed[0, 1].tolist() == [value, 0, 255]


@given(st.integers(0, 65535))
def test_sixteen_bits_keep_the_upper_byte(value: int):
    assert to_rgb8(np.full((1, 1, 3), value, np.uint16))[0, 0].tolist() == [value // 256] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32, bool])
def test_other_pixel_types_are_no_image(dtype: type):
    with pytest.raises(TypeError, match="expected uint8 or uint16"):
        to_rgb8(np.zeros((2, 2, 3), dtype))


# ---- regions and overviews -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lazily_read(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SlideImage]:
    folder = tmp_path_factory.mktemp("lazy")
    tiff(folder / "tiles.tif", pixels, tile=TILE, compression="deflate")
    tiff(folder / "strips.tif", pixels, rowsperstrip=16)
    tiff(folder / "planes.ome.tif", planes_first(pixels), planarconfig="separate", metadata={"axes": "SYX"})
    tiff(folder / "deep.tif", opaque(pixels.astype(np.uint16) * 257), extrasamples=["unassalpha"], tile=TILE)
    svs(folder / "slide.svs", pixels)
    cells = np.random.default_rng(2).integers(0, 4000, (4, HEIGHT, WIDTH)).astype(np.uint16)
    tiff(folder / "cells.ome.tif", cells, photometric="minisblack", metadata={"axes": "CYX"})
    channels = {"cells.ome.tif": ("1", "3")}
    images = {path.name: open_image(path, "gut", channels.get(path.name, ())) for path in folder.iterdir()}
    return images | {"memory": ArrayImage(pixels)}


@pytest.mark.parametrize(
    "name", ["tiles.tif", "strips.tif", "planes.ome.tif", "deep.tif", "slide.svs", "cells.ome.tif", "memory"]
)
@given(data=st.data())
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_region_is_a_slice_of_the_whole(name: str, lazily_read: dict[str, SlideImage], data: st.DataObject):
    image = lazily_read[name]
    x0 = data.draw(st.integers(0, WIDTH - 1))
    y0 = data.draw(st.integers(0, HEIGHT - 1))
    x1 = data.draw(st.integers(x0 + 1, WIDTH))
    y1 = data.draw(st.integers(y0 + 1, HEIGHT))
    assert np.array_equal(image.read(x0, y0, x1, y1), whole(image)[y0:y1, x0:x1])


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, 0, WIDTH + 1, 5), (0, 0, 5, HEIGHT + 1), (5, 0, 5, 5), (0, 7, 5, 6)]
)
def test_a_region_outside_the_image_is_refused(box: tuple[int, ...], pixels: np.ndarray):
    with pytest.raises(ValueError, match="not inside the image"):
        ArrayImage(pixels).read(*box)


@pytest.mark.parametrize(
    ("height", "width", "longest"), [(400, 600, 60), (403, 607, 60), (3001, 777, 100), (910, 2100, 70)]
)
def test_an_overview_is_a_block_mean(height: int, width: int, longest: int):
    y, x = np.mgrid[0:height, 0:width]
    array = np.stack([y * 255 // height, x * 255 // width, (x * y) % 7 * 20], axis=-1).astype(np.uint8)
    overview = ArrayImage(array).overview(longest)
    rows, columns = overview.shape[:2]
    scale = longest / max(height, width)
    assert (rows, columns) == (max(1, round(height * scale)), max(1, round(width * scale)))
    edges_y = (np.arange(rows + 1) * height / rows).astype(int)
    edges_x = (np.arange(columns + 1) * width / columns).astype(int)
    sums = np.add.reduceat(np.add.reduceat(array.astype(float), edges_y[:-1], axis=0), edges_x[:-1], axis=1)
    areas = np.diff(edges_y)[:, None, None] * np.diff(edges_x)[None, :, None]
    assert np.abs(overview[..., :2] - (sums / areas)[..., :2]).max() < 255 / min(rows, columns) + 1.5
    np.testing.assert_allclose(overview.mean(axis=(0, 1)), array.mean(axis=(0, 1)), atol=2)


def test_an_overview_stays_in_register_up_to_the_far_edge():
    array = np.zeros((1009, 1009, 3), np.uint8)  # ten blocks of 100 px and a narrow rest
    array[:, 900:] = 255
    overview = ArrayImage(array).overview(10)
    centre_of_edge = 1009 / 10 * (10 - (overview[5, :, 0] / 255).sum())
    assert centre_of_edge == pytest.approx(900, abs=51), "half a pixel of the overview"


@pytest.mark.parametrize("longest", [WIDTH, WIDTH + 1, 5000])
def test_an_overview_is_never_enlarged(longest: int, pixels: np.ndarray):
    assert np.array_equal(ArrayImage(pixels).overview(longest), pixels)


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the tiles or strips that tifffile decodes from now on."""
    decoded: list[int] = []
    original = tifffile.TiffPage.decode.func if hasattr(tifffile.TiffPage.decode, "func") else None
    assert original is not None, "tifffile keeps its decoder in a cached property"

    def decode(page):
        inner = original(page)

        def counted(data, index, *args, **options):
            decoded.append(index)
            return inner(data, index, *args, **options)

        return counted

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(decode))
    return decoded


@pytest.mark.parametrize(
    ("options", "most"),
    [({"tile": TILE, "compression": "deflate"}, 4), ({"rowsperstrip": 16, "compression": "lzw"}, 3)],
)
def test_a_region_decodes_only_the_tiles_it_touches(
    options: dict, most: int, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decoded = count_decoded(monkeypatch)
    tiff(tmp_path / "image.tif", pixels, **options)
    image = open_image(tmp_path / "image.tif", "gut")
    assert decoded == [], "opening decodes nothing"
    image.read(60, 20, 70, 50)
    assert 0 < len(set(decoded)) <= most


# ---- what is no H&E image ------------------------------------------------------------------------------------------

NAMES = ["DAPI", "CD3", "CD8", "PanCK"]


@pytest.fixture(scope="module")
def fluorescence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fluorescence") / "cells.ome.tif"
    planes = np.zeros((4, HEIGHT, WIDTH), np.uint16)
    planes[0, :, :100], planes[1, :75], planes[2] = 3000, 500, 77
    tiff(path, planes, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    return path


def test_fluorescence_is_refused_and_its_channels_listed(fluorescence: Path):
    with pytest.raises(InputError, match=r"fluorescence image \(DAPI, CD3, CD8, PanCK\)") as caught:
        open_image(fluorescence, "gut")
    assert "`channels`" in caught.value.remedy


def test_fluorescence_without_names_is_refused(tmp_path: Path):
    tiff(
        tmp_path / "cells.ome.tif",
        np.zeros((4, 20, 30), np.uint16),
        photometric="minisblack",
        metadata={"axes": "CYX"},
    )
    with pytest.raises(InputError, match="4 channels without names"):
        open_image(tmp_path / "cells.ome.tif", "gut")


@pytest.mark.parametrize("channels", [("DAPI", "CD3"), ("1", "2"), ("DAPI", "2")])
def test_channels_are_named_or_numbered(channels: tuple[str, ...], fluorescence: Path):
    rgb = whole(open_image(fluorescence, "gut", channels))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert (rgb[:, :100, 0] == 255).all()
    assert (rgb[:, 100:, 0] == 0).all()
    assert (rgb[:75, :, 1] == 255).all()
    assert (rgb[75:, :, 1] == 0).all()
    assert (rgb[..., 2] == 0).all()


def test_channels_come_in_the_order_asked_for(fluorescence: Path):
    forth, back = (whole(open_image(fluorescence, "gut", c)) for c in (("DAPI", "CD3"), ("CD3", "DAPI")))
    assert np.array_equal(forth[..., :2], back[..., 1::-1])


def test_one_channel_is_grey(fluorescence: Path):
    rgb = whole(open_image(fluorescence, "gut", ("DAPI",)))
    assert (rgb == rgb[..., :1]).all()
    assert rgb.max() == 255


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (("CD4",), "no channel 'CD4'"),
        (("0",), "no channel '0'"),
        (("5",), "no channel '5'"),
        (tuple("1234"), "4 channels"),
    ],
)
def test_channels_that_are_not_there_are_refused(channels: tuple[str, ...], words: str, fluorescence: Path):
    with pytest.raises(InputError, match=words):
        open_image(fluorescence, "gut", channels)


def test_channels_of_a_png_are_refused(pixels: np.ndarray, tmp_path: Path):
    Image.fromarray(pixels).save(tmp_path / "image.png")
    with pytest.raises(InputError, match="multichannel TIFF"):
        open_image(tmp_path / "image.png", "gut", ("1",))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_a_tiff_of_other_numbers_is_refused(dtype: type, pixels: np.ndarray, tmp_path: Path):
    tiff(tmp_path / "image.tif", pixels.astype(dtype))
    with pytest.raises(InputError, match=f"pixels of type {np.dtype(dtype).name}"):
        open_image(tmp_path / "image.tif", "gut")


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_a_stack_of_focal_planes_is_refused(suffix: str, pixels: np.ndarray, tmp_path: Path):
    path = tmp_path / f"image{suffix}"
    tiff(path, np.stack([pixels] * 3), **({"metadata": {"axes": "ZYXS"}} if "ome" in suffix else {}))
    with pytest.raises(InputError, match="stack"):
        open_image(path, "gut")


# ---- broken files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"II*", b"II*\0", b"\x89PNG\r\n\x1a\n", b"<html>404</html>" * 40])
@pytest.mark.parametrize("suffix", [".tif", ".btf", ".ome.tif", ".svs", ".png", ".jpg"])
def test_a_file_that_is_no_image_is_refused(suffix: str, content: bytes, tmp_path: Path):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read") as caught:
        open_image(path, "gut")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["image.tif", "image.png", "image.jpg", "image.svs"])
def test_a_file_that_is_not_there_is_refused(name: str, tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        open_image(tmp_path / name, "gut")


@pytest.mark.parametrize("name", ["image.bmp", "image", "image.pdf"])
def test_an_unknown_format_is_refused(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"words")
    with pytest.raises(InputError, match="not known"):
        open_image(tmp_path / name, "gut")


@pytest.mark.parametrize("share", [0.002, 0.3, 0.95])
@pytest.mark.parametrize(
    "form", ["PNG", "TIFF, one strip", "TIFF, strips", "TIFF, tiles, deflate", "BigTIFF", "OME-TIFF"]
)
def test_an_incomplete_copy_is_refused_when_it_is_opened(form: str, share: float, pixels: np.ndarray, tmp_path: Path):
    suffix, write = LOSSLESS[form]
    path = tmp_path / f"image{suffix}"
    write(path, pixels)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match="cannot be read"):
        open_image(path, "gut")


def test_a_damaged_tile_is_refused_when_it_is_read(pixels: np.ndarray, tmp_path: Path):
    path = tmp_path / "image.tif"
    tiff(path, pixels, tile=TILE, compression="deflate")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(b ^ 0x5A for b in content[middle : middle + 2000])
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        whole(open_image(path, "gut"))


def test_damaged_headers_never_raise_anything_else(pixels: np.ndarray, tmp_path: Path):
    path, rng = tmp_path / "image.ome.tif", np.random.default_rng(0)
    tiff(path, pixels, metadata={"axes": "YXS"})
    sound = path.read_bytes()
    refused = 0
    for _ in range(60):
        content = bytearray(sound)
        for place in rng.integers(0, 500, 3):
            content[place] ^= int(rng.integers(1, 255))
        path.write_bytes(content)
        try:
            image = open_image(path, "gut")
            if image.width * image.height < 1e6:
                whole(image)
        except (InputError, MemoryError):
            refused += 1
    assert refused > 0


def test_the_limit_of_pillow_is_lifted_for_the_read_alone(
    pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert read_rgb(tmp_path / "image.png", "gut").shape == pixels.shape
    assert Image.MAX_IMAGE_PIXELS == 100
    (tmp_path / "broken.png").write_bytes(b"words")
    with pytest.raises(InputError):
        read_rgb(tmp_path / "broken.png", "gut")
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.shared
def test_published_images_have_the_size_they_should(shared_data: Path):
    image = open_image(shared_data / "mouse_olfactory_bulb" / "MOB1" / "image.jpg", "MOB1")
    assert (image.width, image.height) == (1905, 1905)
    blank = read_rgb(shared_data / "spaceranger_formats/seurat_v1/outs/spatial/tissue_lowres_image.png", "blank")
    assert blank.shape == (599, 600, 3)
    assert (blank == 255).all(), "fully transparent is white"


def test_the_class_follows_the_suffix(pixels: np.ndarray, tmp_path: Path):
    tiff(tmp_path / "image.TIFF", pixels)
    assert isinstance(open_image(tmp_path / "image.TIFF", "gut"), TiffImage)

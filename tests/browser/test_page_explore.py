"""Slide and embeddings: lasso, zoom, keyboard; what is seen and chosen is what the data say."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import drive
import numpy as np
import pages
import pytest
from PIL import Image

from spadework.keys import Keys

# Corners as shares of a map's width and height: no convex shape, which a box around it would not tell.
CORNERS = [(0.15, 0.2), (0.8, 0.25), (0.5, 0.5), (0.85, 0.85), (0.3, 0.75)]
CLEAR = 0.12  # opacity of what is not selected


# Room around what a map shows at first, px: buttons lie there.
TOP, RIGHT, BOTTOM, LEFT = 8, 12, 46, 46


def fitted(page, testid: str, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where values (y down) are in the window when their range, from low to high, fills a map but for its margins."""
    left, top, width, height = drive.box_of(page.get_by_test_id(testid))
    room = np.array([width - LEFT - RIGHT, height - TOP - BOTTOM])
    px = (room / (high - low)).min()
    return (values - (low + high) / 2) * px + room / 2 + [left + LEFT, top + TOP]


def cloud_places(page, adata) -> np.ndarray:
    """Where the spots of the first embedding are in the window."""
    values = adata.obsm[Keys.latents("vgg16", "tsne")].astype(float) * [1, -1]
    return fitted(page, "cloud-0", values, values.min(axis=0), values.max(axis=0))


def slide_places(page, adata) -> np.ndarray:
    """Where the spots are on the slide in the window: all of them, with one and a half spots around them."""
    values = np.asarray(adata.obsm[Keys.SPATIAL], float)
    lattice = adata.uns[Keys.SPADE]["lattice"]
    low, high = values.min(axis=0), values.max(axis=0)
    margin = max(1.5 * lattice["spot_um"] / lattice["um_per_px_x"], 0.08 * (high - low)[1])
    return fitted(page, "slide", values, low - margin, high + margin)


def corners_in(page, testid: str) -> list[tuple[float, float]]:
    left, top, width, height = drive.box_of(page.get_by_test_id(testid))
    return [(round(left + u * width), round(top + v * height)) for u, v in CORNERS]


def opacities(path) -> dict[str, float]:
    """Return the opacity of every spot in a saved map."""
    return {
        spot.find("{*}title").text: float(spot.get("fill-opacity"))
        for spot in ElementTree.parse(path).iter()
        if spot.find("{*}title") is not None
    }


def save_map(page, testid: str, folder):
    frame = page.locator(".frame", has=page.get_by_test_id(testid))
    return drive.save(page, frame.get_by_role("button", name="SVG"), folder)


@pytest.mark.parametrize("shift", [False, True], ids=["button", "shift-drag"])
@pytest.mark.parametrize("on", ["cloud-0", "slide"])
def test_a_lasso_selects_what_lies_in_it_everywhere_and_in_the_file(on, shift, section, open_page, tmp_path):
    (adata,) = section.sections.values()
    page = open_page(section)
    places = {"cloud-0": cloud_places, "slide": slide_places}[on](page, adata)
    corners = corners_in(page, on)
    expected, unsure = drive.inside(corners, places)
    assert 30 < len(expected) < 250
    assert len(unsure) < 10

    if not shift:
        page.get_by_test_id("lasso-button").click()
    drive.draw(page, corners, shift=shift)
    chosen = drive.selection(page)
    assert chosen - unsure == expected
    assert f"{len(chosen)} of {adata.n_obs} spots" in page.get_by_test_id("selection-count").inner_text()

    barcodes = {adata.obs_names[i] for i in chosen}
    for shown in ("slide", "cloud-0"):
        found = opacities(save_map(page, shown, tmp_path))
        assert found.keys() == set(adata.obs_names)
        assert {name for name, opacity in found.items() if opacity > CLEAR} == barcodes

    header, rows = drive.read_csv(drive.save(page, page.get_by_test_id("csv-selection"), tmp_path))
    assert header[0] == "barcode"
    assert [row[0] for row in rows] == [drive.in_spreadsheet(adata.obs_names[i]) for i in sorted(chosen)]
    column = header.index(Keys.TOTAL_COUNTS)
    assert [float(row[column]) for row in rows] == adata.obs[Keys.TOTAL_COUNTS].iloc[sorted(chosen)].tolist()


@pytest.mark.parametrize("on", ["cloud-0", "slide"])
def test_a_drag_without_lasso_moves_the_map_and_selects_nothing(on, section, open_page):
    page = open_page(section)
    map_of = page.get_by_test_id(on)
    left, top, width, height = drive.box_of(map_of)
    page.mouse.move(5, 5)
    before = map_of.screenshot()
    places = "SW.slide.map.getView().getCenter()"
    centre = page.evaluate(places)
    page.mouse.move(left + width * 0.3, top + height * 0.5)
    page.mouse.down()
    page.mouse.move(left + width * 0.6, top + height * 0.6, steps=50)
    page.wait_for_timeout(200)  # a hand that rests does not throw
    page.mouse.up()
    page.mouse.move(5, 5)
    drive.settle(page)
    assert page.evaluate("SW.state.selection") is None
    assert map_of.screenshot() != before
    if on == "slide":
        resolution = page.evaluate("SW.slide.map.getView().getResolution()")
        moved = np.array(page.evaluate(places)) - centre
        assert moved == pytest.approx(np.array([-0.3 * width, 0.1 * height]) * resolution, rel=0.15)


def changed(before: bytes, after: bytes) -> float:
    """Return the share of pixels that two pictures do not share."""
    one, other = (np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int) for picture in (before, after))
    return float((np.abs(one - other).max(axis=-1) > 20).mean())


@pytest.mark.parametrize("on", ["cloud-0", "slide"])
def test_all_maps_show_what_is_selected(on, section, open_page):
    page = open_page(section)
    maps = [page.get_by_test_id(testid) for testid in ("slide", "cloud-0", "cloud-1")]
    page.mouse.move(5, 5)
    drive.settle(page)
    before = [node.screenshot() for node in maps]
    drive.draw(page, corners_in(page, on), shift=True)
    page.mouse.move(5, 5)
    drive.settle(page)
    for node, was in zip(maps, before, strict=True):
        assert changed(was, node.screenshot()) > 0.01


def test_the_selection_can_be_turned_round_and_dropped(section, open_page):
    (adata,) = section.sections.values()
    page = open_page(section)
    drive.draw(page, corners_in(page, "cloud-0"), shift=True)
    chosen = drive.selection(page)
    page.get_by_role("button", name="Invert").click()
    assert drive.selection(page) == set(range(adata.n_obs)) - chosen
    page.keyboard.press("Escape")
    assert page.evaluate("SW.state.selection") is None


def test_a_category_of_the_legend_selects_its_spots(section, open_page):
    (adata,) = section.sections.values()
    page = open_page(section)
    page.get_by_test_id("colour-select").select_option(Keys.CLUSTER)
    page.get_by_test_id("legend").get_by_role("button").filter(has_text=pages.IMAGE).click()
    expected = np.flatnonzero(adata.obs[Keys.CLUSTER] == pages.IMAGE)
    assert drive.selection(page) == set(expected)


def test_the_card_shows_the_spot_under_the_pointer(section, open_page):
    (adata,) = section.sections.values()
    image = section.images[pages.TITLE]
    page = open_page(section)
    page.get_by_test_id("colour-select").select_option(Keys.TOTAL_COUNTS)
    i = 150
    page.mouse.move(*slide_places(page, adata)[i])
    drive.settle(page)
    card = page.get_by_test_id("hover-card")
    assert adata.obs_names[i] in card.inner_text()
    assert f"{adata.obs[Keys.TOTAL_COUNTS].iloc[i]:,}" in card.inner_text()
    canvas = card.locator("canvas")
    shown = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB").resize((100, 100)), float)
    x, y = adata.obsm[Keys.SPATIAL][i]
    assert near(shown, image, (x - 55, y - 48, x + 55, y + 48)) < 8
    assert near(shown, image, (x - 15, y - 48, x + 95, y + 48)) > 16


def near(shown: np.ndarray, image: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Return how far a picture is from a part of the slide, mean difference of grey values."""
    part = Image.fromarray(image).resize(shown.shape[1::-1], Image.Resampling.BOX, box=box)
    # Frame and buttons lie over the edge.
    edge = slice(6, -6)
    return float(np.abs(shown - np.asarray(part, float))[edge, edge].mean())


def test_the_wheel_shows_the_slide_from_near(section, open_page):
    image = section.images[pages.TITLE]
    page = open_page(section, viewport={"width": 1280, "height": 1200})
    page.get_by_test_id("range-opacity").fill("0")
    left, top, width, height = drive.box_of(page.get_by_test_id("slide"))
    drive.settle(page)
    before = set(page.evaluate("[...SW.slide.loaded]"))
    deepest = page.evaluate("SW.page.sections[0].slide.levels") - 1
    assert deepest >= 3
    assert deepest not in before

    page.mouse.move(left + width * 0.4, top + height * 0.6)
    for _ in range(7):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(120)
    page.wait_for_timeout(600)
    assert deepest in set(page.evaluate("[...SW.slide.loaded]"))

    corner = "place => SW.slide.map.getCoordinateFromPixel(place)"
    (x0, y0), (x1, y1) = page.evaluate(corner, [0, 0]), page.evaluate(corner, [width, height])
    assert (x1 - x0) / width < 1.2
    clip = {"x": left, "y": top, "width": width, "height": height}
    shown = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"), float)
    # Left of the scale bar, right of the buttons, above those that save.
    middle = np.s_[120:-60, 60:-10]
    u, v = (x1 - x0) / width, (y0 - y1) / height
    box = (x0 + 60 * u, -y0 + 120 * v, x1 - 10 * u, -y1 - 60 * v)
    assert near(shown[middle], image, box) < 8
    assert near(shown[middle], image, (box[0] + 25, box[1], box[2] + 25, box[3])) > 16


@pytest.mark.parametrize("opacity", ["1", "0.4"])
def test_a_saved_slide_looks_as_on_the_screen(opacity, section, open_page, tmp_path):
    page = open_page(section)
    page.get_by_test_id("range-opacity").fill("0")
    page.get_by_test_id("range-image").fill(opacity)
    drive.settle(page)
    left, top, width, height = drive.box_of(page.get_by_test_id("slide"))
    clip = {"x": left, "y": top, "width": width, "height": height}
    screen = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    root = ElementTree.parse(save_map(page, "slide", tmp_path)).getroot()
    addresses = [node.get("href", "") for node in root.iter() if node.tag.endswith("}image")]
    (slide,) = (address for address in addresses if address.startswith("data:image/jpeg"))
    saved = Image.open(io.BytesIO(base64.b64decode(slide.partition(",")[2])))
    assert saved.width >= 2 * int(width)
    middle = np.s_[120:-60, 60:-10]
    shown = np.asarray(saved.resize((int(width), int(height)), Image.Resampling.BOX), float)[middle]
    assert np.abs(shown - screen[middle]).mean() < 8


def test_the_slide_moves_and_zooms_by_keyboard(section, open_page):
    page = open_page(section)
    slide = page.get_by_test_id("slide")
    slide.focus()
    view = "[...SW.slide.map.getView().getCenter(), SW.slide.map.getView().getResolution()]"
    x, y, resolution = page.evaluate(view)
    page.keyboard.press("+")
    page.wait_for_timeout(500)
    assert page.evaluate(view)[2] < 0.8 * resolution
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        page.wait_for_timeout(500)
    moved = page.evaluate(view)
    assert moved[0] > x
    assert moved[1] < y
    page.get_by_role("button", name="Fit").click()
    page.wait_for_timeout(500)
    assert page.evaluate(view) == pytest.approx([x, y, resolution])


def test_a_patch_of_a_latent_leads_to_its_spot(section, open_page):
    (adata,) = section.sections.values()
    page = open_page(section)
    page.get_by_test_id("tab-latents").click()
    page.locator(".latent-card button:has(img)").first.click()
    drive.settle(page)
    assert page.get_by_test_id("view-explore").is_visible()
    i = int(np.argmin(adata.obsm[Keys.latents("vgg16", "pca")][:, 0]))
    assert page.evaluate("SW.state.hover") == i
    _, _, width, height = drive.box_of(page.get_by_test_id("slide"))
    x, y = page.evaluate(f"SW.slide.map.getPixelFromCoordinate([SW.slide.x[{i}], SW.slide.y[{i}]])")
    assert (x, y) == pytest.approx((width / 2, height / 2), abs=4)
    # Six patches wide.
    patch = page.evaluate("SW.page.sections[0].patch_px[0] / SW.slide.map.getView().getResolution()")
    assert min(width, height) / patch == pytest.approx(6, rel=0.1)

"""A view on paper: what it says is there, what only works on a screen is not."""

from __future__ import annotations

import io
import re

import drive
import pages
import pytest

pypdf = pytest.importorskip("pypdf", reason="needs pip install -r tests/browser/requirements.txt")


def printed(page) -> tuple[str, int]:
    """Return the text of the page as PDF, blanks left out, and its number of images."""
    pdf = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True)))
    text = "".join(sheet.extract_text() for sheet in pdf.pages)
    return re.sub(r"\s+", "", text), sum(len(sheet.images) for sheet in pdf.pages)


SAID = {
    "explore": ["324 spots", "latent 1"],
    "latents": ["Latent 1", "Latent 3", "Genes that rise with it", "gene57"],
    "genes": ["gene6", "All genes against", "gene57", "as published"],
    "quality": ["Checks of the input", "What was left out"],
    "methods": ["Spots were looked at", "A sentence that says how."],
}
NOT_SAID = ["Lasso", "Save CSV", "Filter", "Next", "CSV", "Mouse and keyboard"]


@pytest.mark.parametrize("tab", SAID)
def test_a_view_is_printed_without_its_controls(tab, section, open_page):
    page = open_page(section)
    drive.show(page, tab)
    drive.settle(page)
    text, images = printed(page)
    assert re.sub(r"\s+", "", pages.TITLE) in text
    for said in SAID[tab]:
        assert said.replace(" ", "") in text
    for said in NOT_SAID:
        assert said.replace(" ", "") not in text
    assert "ExploreLatentsGenes" not in text  # the tabs
    if tab in ("explore", "latents"):
        assert images > 0


def test_folded_tables_are_printed(section, open_page):
    page = open_page(section)
    view = drive.show(page, "methods")
    text, _ = printed(page)
    assert "sha256:00" in text
    assert view.locator("details[open]").count() == 0


# What is on paper is what is there when the event has been handled: printing waits for nothing.
PRINTED = """
selector => {
  window.dispatchEvent(new Event("beforeprint"));
  return [...document.querySelectorAll(selector)].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(data.filter((v, i) => i % 4 === 1)).size;
  });
}
"""


def test_maps_out_of_sight_are_printed(section, open_page):
    page = open_page(section)
    drive.show(page, "latents")
    page.wait_for_timeout(2000)
    shades = page.evaluate(PRINTED, ".latent-map .printed")
    assert len(shades) == pages.N_LATENTS
    assert min(shades) > 50


def test_a_slide_is_printed_whole(section, open_page):
    page = open_page(section)
    drive.settle(page)
    size = page.evaluate("SW.slide.map.getSize()")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    left, right, shape = page.evaluate(
        """() => {
          const box = (node) => node.getBoundingClientRect();
          const [map, picture] = [box(SW.slide.node), box(SW.slide.node.querySelector(".printed"))];
          return [picture.left - map.left, map.right - picture.right, picture.width / picture.height];
        }"""
    )
    assert min(left, right) >= 0
    assert shape == pytest.approx(size[0] / size[1], rel=0.01)
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator(".printed").count() == 0

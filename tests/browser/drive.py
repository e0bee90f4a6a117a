"""How a reader uses a page: tabs, lasso, downloads; and what a look at a page checks."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.path import Path as Outline

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 800, "height": 1000}
LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")
# What can be used, in reading order.
INTERACTIVE = "a[href], button, input, select, textarea, summary, [tabindex='0']"


def tabs(page: Page) -> list[str]:
    return [
        tab.removeprefix("tab-") for tab in page.locator("[role=tab]").evaluate_all("nodes => nodes.map(n => n.id)")
    ]


def show(page: Page, tab: str) -> Locator:
    """Click a tab and wait until its view is built."""
    page.get_by_test_id(f"tab-{tab}").click()
    page.evaluate("tab => SW.show(tab)", tab)
    return page.get_by_test_id(f"view-{tab}")


def settle(page: Page) -> None:
    """Wait until nothing moves: two frames, and maps that have all they need."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(300)


def scroll_through(page: Page) -> None:
    """Bring everything into sight once, so that what is drawn late is drawn."""
    page.evaluate(
        """async () => {
          for (let y = 0; y < document.documentElement.scrollHeight; y += 400) {
            window.scrollTo(0, y);
            await new Promise(done => setTimeout(done, 60));
          }
          const seen = [...document.images].filter(image => image.checkVisibility());
          await Promise.all(seen.map(image => image.decode()));
          window.scrollTo(0, 0);
        }"""
    )
    settle(page)


def box_of(node: Locator) -> tuple[float, float, float, float]:
    """Return left, top, width and height of what is inside of an element's border."""
    inner = "n => [n.getBoundingClientRect(), n].flatMap(b => [b.left ?? b.clientLeft, b.top ?? b.clientTop])"
    left, top, border_left, border_top = node.evaluate(inner)
    width, height = node.evaluate("n => [n.clientWidth, n.clientHeight]")
    return left + border_left, top + border_top, width, height


def draw(page: Page, corners: list[tuple[float, float]], *, shift: bool = False) -> None:
    """Draw a polygon (px of the window) with the mouse."""
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=10)
        # Chromium puts moves of the same frame together: a corner must be seen before the next one.
        page.wait_for_timeout(40)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")
    settle(page)


def inside(corners: list[tuple[float, float]], places: np.ndarray) -> tuple[set[int], set[int]]:
    """Return which places lie in a polygon, and which so close to its edge that a pixel decides."""
    edge = 0.5
    outline = Outline([*corners, corners[0]], closed=True)
    surely = [set(np.flatnonzero(outline.contains_points(places, radius=r))) for r in (-edge, edge)]
    unsure = surely[0] ^ surely[1]
    return (surely[0] & surely[1]) - unsure, unsure


def selection(page: Page) -> set[int]:
    return set(page.evaluate("SW.state.selection === null ? [] : [...SW.state.selection]"))


def save(page: Page, button: Locator, folder: Path) -> Path:
    """Click a button and return the file that it saves."""
    with page.expect_download() as download:
        button.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    text = path.read_bytes().decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    return header, rows


def in_spreadsheet(name: str) -> str:
    """Write a name as a cell that no spreadsheet runs."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name

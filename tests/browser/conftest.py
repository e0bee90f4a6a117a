"""Chromium without a network, and pages that fail a test if they complain or ask for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import drive
import pages
import pytest

if TYPE_CHECKING:
    from playwright import sync_api

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install -r tests/browser/requirements.txt")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"needs a browser: one of {', '.join(PROGRAMS)} (Debian: apt install chromium)")
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def section(browser: sync_api.Browser, tmp_path_factory: pytest.TempPathFactory) -> pages.Made:
    return pages.build_section(tmp_path_factory.mktemp("section"))


@pytest.fixture(scope="session")
def cohort(browser: sync_api.Browser, tmp_path_factory: pytest.TempPathFactory) -> pages.Made:
    return pages.build_cohort(tmp_path_factory.mktemp("cohort"))


class Visit:
    """Opens pages from disk, and writes down what they complain of and ask for."""

    def __init__(self, browser: sync_api.Browser):
        self.browser, self.wrong, self.contexts = browser, [], []

    def __call__(self, made: pages.Made, tab: str = "", viewport: dict[str, int] = drive.WIDE) -> sync_api.Page:
        context = self.browser.new_context(viewport=viewport, offline=True, accept_downloads=True)
        self.contexts.append(context)
        own = (made.path.as_uri(), "data:", "blob:")
        context.on("request", lambda r: r.url.startswith(own) or self.wrong.append(f"asks for {r.url}"))
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and self.wrong.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.goto(f"{made.path.as_uri()}{'#' if tab else ''}{tab}")
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    def photograph(self, page: sync_api.Page, path: Path) -> None:
        """Take a picture of all of a page."""
        before = list(self.wrong)
        page.screenshot(path=path, full_page=True)
        page.wait_for_timeout(50)
        # For a moment, Playwright makes the window one pixel wide, and maps complain.
        self.wrong = before + [said for said in self.wrong[len(before) :] if "No map visible" not in said]


@pytest.fixture
def open_page(browser: sync_api.Browser) -> Iterator[Visit]:
    """Open a page; at the end of the test there must have been no complaint, and no request."""
    visit = Visit(browser)
    yield visit
    for context in visit.contexts:
        context.close()
    assert not visit.wrong


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = Path(os.environ.get("SPADEWORK_SCREENSHOTS", Path(__file__).parent / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

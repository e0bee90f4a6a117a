"""Every view, from disk and without a network: no complaint, nothing cut, nothing over anything else."""

from __future__ import annotations

import drive
import pages
import pytest

SECTION = ["explore", "latents", "genes", "nuclei", "prototypes", "volume", "quality", "methods"]
COHORT = ["cohort", "replication", "genes", "methods"]
VIEWS = [("section", tab) for tab in SECTION] + [("cohort", tab) for tab in COHORT]


@pytest.fixture
def made(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("made", "expected"), [("section", SECTION), ("cohort", COHORT)], indirect=["made"])
def test_all_tabs_are_there_and_open(made, expected, open_page):
    page = open_page(made)
    assert drive.tabs(page) == expected
    for tab in expected:
        view = drive.show(page, tab)
        assert view.is_visible()
        assert len(view.inner_text()) > 50
        assert page.locator(".view:visible").count() == 1


@pytest.mark.parametrize("viewport", [drive.WIDE, drive.NARROW], ids=["1280", "800"])
@pytest.mark.parametrize(("made", "tab"), VIEWS, indirect=["made"])
def test_nothing_is_cut_or_covered(made, tab, viewport, open_page, screenshots, request):
    page = open_page(made, tab, viewport)
    drive.show(page, tab)
    drive.scroll_through(page)
    name = f"{request.node.callspec.params['made']}-{tab}-{viewport['width']}.png"
    open_page.photograph(page, screenshots / name)
    assert page.evaluate(drive.LAYOUT) == []


def test_the_page_says_what_must_be_known_first(section, open_page):
    page = open_page(section)
    assert pages.TITLE in page.locator("h1").inner_text()
    assert "random" in page.locator("header .warning").inner_text().lower()

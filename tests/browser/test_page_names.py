"""Names are text, whatever they look like: nothing in them runs, here or in a file that is saved."""

from __future__ import annotations

import drive
import pages
import pytest

RUN = "window.pwned !== undefined || document.querySelectorAll('img[src=x], #app script, #app b').length > 0"


@pytest.mark.parametrize("which", ["section", "cohort"])
def test_no_name_runs_in_any_view(which, request, open_page):
    made = request.getfixturevalue(which)
    page = open_page(made)
    own = "document.scripts.length"
    scripts = page.evaluate(own)
    for tab in drive.tabs(page):
        drive.show(page, tab)
        drive.scroll_through(page)
        page.locator(".view:visible summary").evaluate_all("nodes => nodes.forEach(node => node.click())")
        drive.settle(page)
        assert not page.evaluate(RUN), tab
    # Arrays leave the page as they are read: there are fewer elements, never more.
    assert page.evaluate(own) <= scripts
    title = next(iter(made.sections)) if which == "section" else pages.GROUP
    assert title in page.title()
    assert title in page.locator("h1").inner_text()


def test_hovering_and_choosing_run_nothing(section, open_page):
    (adata,) = section.sections.values()
    page = open_page(section)
    page.get_by_test_id("colour-select").select_option("cluster")
    for i in range(len(pages.HOSTILE)):
        page.evaluate("i => SW.set({ hover: i })", i)
        drive.settle(page)
        assert adata.obs_names[i].strip() in page.get_by_test_id("hover-card").text_content()
    legend = page.get_by_test_id("legend").inner_text()
    for name in adata.obs["cluster"].cat.categories:
        assert name.strip() in legend
    assert not page.evaluate(RUN)


@pytest.mark.parametrize("name", pages.HOSTILE, ids=["script", "image", "quote", "formula", "unicode"])
def test_a_gene_of_any_name_is_found_and_shown(name, section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, "genes")
    search = page.get_by_test_id("gene-search")
    search.fill(name.strip())
    search.press("Enter")
    drive.settle(page)
    assert page.get_by_test_id("gene-name").text_content() == name
    assert not page.evaluate(RUN)
    # The address names the gene, and leads back to it.
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.get_by_test_id("gene-name").text_content() == name
    path = drive.save(page, page.get_by_test_id("gene-statistics").locator("[data-testid^=csv-]"), tmp_path)
    header, rows = drive.read_csv(path)
    assert {row[header.index("gene")] for row in rows} == {drive.in_spreadsheet(name)}


def test_saved_tables_hold_no_formula(section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, "genes")
    paths = [drive.save(page, page.get_by_test_id("gene-table").locator("[data-testid^=csv-]"), tmp_path)]
    drive.show(page, "volume")
    paths.append(drive.save(page, page.get_by_test_id("csv-scores.csv"), tmp_path))
    drive.show(page, "explore")
    paths.append(drive.save(page, page.get_by_test_id("csv-selection"), tmp_path))
    for path in paths:
        _, rows = drive.read_csv(path)
        cells = [cell for row in rows for cell in row]
        assert f"'{pages.FORMULA}" in cells
        assert not [cell for cell in cells if cell.startswith(("=", "@"))]
        assert not [cell for cell in cells if cell.startswith(("+", "-")) and not _is_number(cell)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_names_stay_text_in_a_saved_figure(section, open_page, tmp_path):
    page = open_page(section)
    page.get_by_test_id("colour-select").select_option("cluster")
    drive.settle(page)
    frame = page.locator(".frame", has=page.get_by_test_id("slide"))
    text = drive.save(page, frame.get_by_role("button", name="SVG"), tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in text

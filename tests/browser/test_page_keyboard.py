"""Everything can be reached and used without a mouse, and says what it is."""

from __future__ import annotations

import drive
import pytest

# What has the focus: where it is among all that can have it, what it is called, and whether that is seen.
FOCUSED = """
interactive => {
  const node = document.activeElement;
  if (node === document.body) return null;
  const style = getComputedStyle(node);
  const around = [...(node.labels || [])].flatMap((label) => [...label.childNodes]);
  const labels = around.filter((part) => !part.contains(node)).map((part) => part.textContent);
  const text = node.tagName === "SELECT" ? "" : node.textContent;
  const names = [node.getAttribute("aria-label"), node.title, text, ...labels];
  return {
    index: [...document.querySelectorAll(interactive)].indexOf(node),
    what: `${node.tagName.toLowerCase()}.${node.className} ${node.getAttribute("data-testid") || ""}`,
    name: names.filter(Boolean).join(" ").trim(),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && node.matches(":focus-visible"),
  };
}
"""
# All that a reader could want to reach; radio-like sets (the tabs) have one place for all.
WANTED = """
interactive => [...document.querySelectorAll(interactive)].map((node, i) => [node, i])
  .filter(([node]) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled && node.tabIndex >= 0)
  .map(([node, i]) => [i, `${node.tagName.toLowerCase()}.${node.className} ${node.textContent.slice(0, 30)}`])
"""


def walk(page) -> dict[int, dict]:
    """Press Tab until the focus leaves the page; return what had it."""
    seen: dict[int, dict] = {}
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    for _ in range(600):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED, drive.INTERACTIVE)
        if focused is None or focused["index"] in seen:
            return seen
        seen[focused["index"]] = focused
    raise AssertionError("the focus never comes round")


@pytest.mark.parametrize(
    ("which", "tab"),
    [*(("section", tab) for tab in ("explore", "latents", "genes", "volume", "quality", "methods"))]
    + [("cohort", tab) for tab in ("cohort", "genes")],
)
def test_all_controls_are_reached_named_and_seen(which, tab, request, open_page):
    page = open_page(request.getfixturevalue(which))
    drive.show(page, tab)
    drive.scroll_through(page)
    # From the top, as a reader who opens the page.
    page.evaluate("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
    reached = walk(page)
    missed = [what for i, what in page.evaluate(WANTED, drive.INTERACTIVE) if i not in reached]
    assert not missed
    assert not [focused["what"] for focused in reached.values() if not focused["name"]]
    assert not [focused["what"] for focused in reached.values() if not focused["ring"]]


def test_arrow_keys_go_from_tab_to_tab(section, open_page):
    page = open_page(section)
    tabs = drive.tabs(page)
    page.get_by_test_id("tab-explore").focus()
    for tab in [*tabs[1:], tabs[0]]:
        page.keyboard.press("ArrowRight")
        page.evaluate("tab => SW.show(tab)", tab)
        assert page.get_by_test_id(f"view-{tab}").is_visible()
        assert page.get_by_test_id(f"tab-{tab}").get_attribute("aria-selected") == "true"
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
    page.keyboard.press("ArrowLeft")
    assert page.get_by_test_id(f"tab-{tabs[-1]}").get_attribute("aria-selected") == "true"


def test_the_gene_search_by_keyboard(section, open_page):
    page = open_page(section)
    drive.show(page, "genes")
    search = page.get_by_test_id("gene-search")
    search.focus()
    assert search.get_attribute("role") == "combobox"
    page.keyboard.type("gene1")
    assert search.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    marked = page.locator("[role=option][aria-selected=true]")
    assert marked.count() == 1
    assert marked.get_attribute("id") == search.get_attribute("aria-activedescendant")
    name = marked.evaluate("node => node.firstChild.textContent")
    page.keyboard.press("Enter")
    drive.settle(page)
    assert page.get_by_test_id("gene-name").inner_text() == name
    search.focus()
    page.keyboard.type("gene2")
    page.keyboard.press("Escape")
    assert search.get_attribute("aria-expanded") == "false"
    assert page.get_by_test_id("gene-name").inner_text() == name


def test_a_narrow_screen_has_everything_too(section, open_page):
    page = open_page(section, viewport=drive.NARROW)
    for name in ("slide", "cloud-0", "cloud-1", "lasso-button", "colour-select", "legend"):
        assert page.get_by_test_id(name).first.is_visible()

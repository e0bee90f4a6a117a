"""The HTML of a page: one file, nothing from a network, and names that stay what they are."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import report_section as made
from test_report_section import page_of

from spadework.keys import Keys
from spadework.report.bundle import Bundle
from spadework.report.page import ASSETS, SCRIPTS, STYLES, inline_script, render


class Elements(HTMLParser):
    """Collect elements, and what script and style elements hold."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.content: list[str] = []
        self.open = False

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.content.append("")
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.content and self.open:
            self.content[-1] += data


@pytest.fixture(name="page", scope="module")
def _page():
    section = made.section("S1")
    section.obs["a <b> & 'c'"] = section.obs[Keys.ARRAY_ROW]
    bundle = Bundle()
    page = page_of(section, bundle)
    page["title"] = made.HOSTILE[0]
    return page, bundle, render(bundle, page)


@pytest.fixture(name="elements", scope="module")
def _elements(page):
    parsed = Elements()
    parsed.feed(page[2])
    return parsed


def scripts(elements, kind):
    return {
        attrs.get("id"): text
        for (tag, attrs), text in zip(elements.found, elements.content, strict=True)
        if tag == "script" and attrs.get("type") == kind
    }


def test_data_come_back_whatever_the_names(page, elements):
    data, bundle, _ = page
    [read] = [json.loads(text) for name, text in scripts(elements, "application/json").items() if name == "page"]
    assert read["genes"]["names"] == data["genes"]["names"]
    assert set(made.HOSTILE) <= set(read["genes"]["names"])
    assert read["title"] == made.HOSTILE[0]
    clusters = next(c for c in read["sections"][0]["columns"] if c["key"] == Keys.CLUSTER)
    assert made.HOSTILE[0] in [category["name"] for category in clusters["categories"]]
    assert read["blobs"] == bundle.described
    assert scripts(elements, "text/plain") == {f"blob-{name}": blob for name, blob in bundle.blobs.items()}
    tiles = json.loads(scripts(elements, "application/json")["tiles-0"])
    assert tiles == bundle.tiles["tiles-0"]


def test_no_name_becomes_an_element(elements):
    code = [attrs for tag, attrs in elements.found if tag == "script" and "type" not in attrs]
    assert len(code) == len(SCRIPTS)
    assert {tag for tag, _ in elements.found} == {
        *("html", "head", "meta", "title", "style", "body", "noscript", "main", "script"),
        *("details", "summary", "pre"),
    }


def test_nothing_is_fetched(page, elements):
    policies = [attrs["content"] for tag, attrs in elements.found if attrs.get("http-equiv")]
    assert len(policies) == 1
    rules = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert not any("http" in value or "*" in value for value in rules.values())
    for _, attrs in elements.found:
        assert not {"src", "href", "action", "srcset"} & set(attrs)
    assert "sourceMappingURL" not in page[2]
    styles = "".join((ASSETS / path).read_text(encoding="utf-8") for path in STYLES)
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:)", styles)


def test_the_page_says_what_it_is_before_anything_runs(page, elements):
    html = page[2]
    assert html.startswith("<!doctype html>\n<html lang=")
    assert "<title>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;</title>" in html
    assert ("meta", {"charset": "utf-8"}) in elements.found
    assert "switched off" in html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('x = "</script>";', r'x = "<\/script>";'),
        ('x = "</SCRIPT >";', r'x = "<\/SCRIPT >";'),
        ('x = "<!-- no";', r'x = "<\!-- no";'),
        ("a();\n//# sourceMappingURL=a.js.map\nb();", "a();\n\nb();"),
        ("a < b; c </d/.test(e)", "a < b; c </d/.test(e)"),
    ],
)
def test_scripts_cannot_end_their_element(text, expected):
    assert inline_script(text) == expected


def test_the_same_data_make_the_same_page():
    pages = []
    for _ in range(2):
        bundle = Bundle()
        pages.append(render(bundle, page_of(made.section("S1"), bundle)))
    assert pages[0] == pages[1]


def test_neither_a_network_nor_its_library_is_loaded():
    modules = "cohort, page, panels, section, texts"
    code = f"import sys\nfrom spadework.report import {modules}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ASSETS.parents[2]
    )
    assert not {"keras", "tensorflow", "torch"} & {name.split(".")[0] for name in done.stdout.split()}


def test_libraries_are_those_of_the_list_and_bring_their_licences(page):
    rows = re.findall(
        r"(?m)^\| ([\w.]+).* \| ([\w.]+) \| [\w.-]+ \| `(\w+)` \|$", (ASSETS / "vendor/README.md").read_text()
    )
    listed = {file: digest for file, _, digest in rows}
    files = [path for path in (ASSETS / "vendor").iterdir() if path.suffix in (".js", ".css")]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == listed
    shown = page[2].partition("<pre>")[2].partition("</pre>")[0]
    assert all(name in shown for name in ("OpenLayers Contributors", "Mike Bostock", "Observable, Inc."))
    assert {version for _, version, _ in rows} <= set(re.findall(r"\d+\.\d+\.\d+", shown))

"""What is saved from a page is what the workflow found, in files that other programs read."""

from __future__ import annotations

import math
from decimal import Decimal
from xml.etree import ElementTree

import drive
import numpy as np
import pages
import pandas as pd
import pytest
from PIL import Image

XLINK = "{http://www.w3.org/1999/xlink}href"


def log10(text: str) -> float:
    return float(Decimal(text).log10())


def assert_statistics(path, table: pd.DataFrame, logarithms: dict[str, str]) -> None:
    """Compare a saved table of genes with the association table, row by row, all latents."""
    header, rows = drive.read_csv(path)
    saved = pd.DataFrame(rows, columns=header).astype({"latent": int}).set_index(["latent", "gene"])
    expected = table.assign(gene=table["gene"].map(drive.in_spreadsheet)).set_index(["latent", "gene"])
    assert len(saved) == len(table)
    assert set(saved.index) == set(expected.index)
    expected = expected.loc[saved.index]
    for column in header[5:]:
        if column in logarithms:
            # Where only a number of 64 bits is known, and that is 0, there is nothing to compare with.
            with np.errstate(divide="ignore"):
                known = expected[logarithms[column]] if logarithms[column] in expected else np.log10(expected[column])
            shown = saved[column].map(log10)
            some = np.isfinite(known)
            np.testing.assert_allclose(shown[some], known[some], rtol=0, atol=1e-4 / math.log(10))
        else:
            np.testing.assert_allclose(saved[column].astype(float), expected[column], rtol=1e-4)


def test_the_table_of_genes_is_the_association_table(section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, "genes")
    box = page.get_by_test_id("gene-table")
    box.get_by_label("Filter").fill("gene5")  # a file has all rows, whatever is shown
    path = drive.save(page, box.locator("[data-testid^=csv-]"), tmp_path)
    table = section.associations["vgg16"]
    logarithms = {f"p{t}": f"log10_p{t}" for t in ("", "_depth", "_spatial", "_mixed")}
    logarithms |= {f"fdr{t}": f"log10_fdr{t}" for t in ("", "_depth", "_spatial", "_mixed")}
    assert_statistics(path, table, logarithms)


def test_the_statistics_of_a_gene_are_its_rows(section, open_page, tmp_path):
    page = open_page(section, "genes=gene54")
    drive.show(page, "genes")
    path = drive.save(page, page.get_by_test_id("gene-statistics").locator("[data-testid^=csv-]"), tmp_path)
    table = section.associations["vgg16"].query("gene == 'gene54'")
    assert_statistics(
        path,
        table,
        {"p": "log10_p", "fdr": "log10_fdr", "p_mixed": "", "fdr_mixed": ""}
        | {f"{kind}_{test}": f"log10_{kind}_{test}" for kind in ("p", "fdr") for test in ("depth", "spatial")},
    )


def test_pooled_statistics_are_the_pooled_table(cohort, open_page, tmp_path):
    page = open_page(cohort)
    drive.show(page, "genes")
    path = drive.save(page, page.get_by_test_id("gene-table").locator("[data-testid^=csv-]"), tmp_path)
    assert_statistics(path, cohort.associations["vgg16"], {"p": "log10_p", "fdr": "log10_fdr"})


def test_calibration_and_replication_are_the_tables_of_the_workflow(section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, "quality")
    calibration, replication = section.tables["calibration"], section.tables["replication"]
    header, rows = drive.read_csv(drive.save(page, page.get_by_test_id("csv-vgg16_calibration.csv"), tmp_path))
    ((_, share, with_genes, patterns, called),) = rows
    assert float(share) == pytest.approx(100 * calibration["share_below_05"].mean())
    assert [int(with_genes), int(patterns)] == [(calibration["found"] > 0).sum(), len(calibration)]
    assert float(called) == pytest.approx(calibration["found"].mean())
    header, rows = drive.read_csv(drive.save(page, page.get_by_test_id("csv-vgg16_replication.csv"), tmp_path))
    assert len(rows) == len(replication)
    saved = pd.DataFrame(rows, columns=header)
    assert saved["found in"].tolist() == replication["discovery"].tolist()
    numbers = ["spearman", "n_found", "same_sign", "same_sign_chance", "n_replicated"]
    np.testing.assert_allclose(saved.iloc[:, 3:].astype(float), replication[numbers], rtol=1e-6)


def drawings(page) -> list:
    """Return the buttons that save the figures of the view that is shown."""
    return page.locator(".view:visible").get_by_role("button", name="SVG").all()


@pytest.mark.parametrize("tab", ["explore", "latents", "genes", "quality", "prototypes"])
def test_figures_are_saved_as_svg_without_scripts_and_addresses(tab, section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, tab)
    drive.scroll_through(page)
    buttons = drawings(page)
    assert buttons
    for button in buttons[:6]:
        path = drive.save(page, button, tmp_path)
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        for node in root.iter():
            assert not node.tag.endswith(("}script", "}foreignObject", "}iframe"))
            assert not [name for name in node.attrib if name.lower().startswith("on")]
            for address in filter(None, [node.get("href"), node.get(XLINK)]):
                assert address.startswith(("data:image/", "#"))


@pytest.mark.parametrize("tab", ["explore", "genes", "quality"])
def test_figures_are_saved_as_png_fit_for_a_paper(tab, section, open_page, tmp_path):
    page = open_page(section)
    drive.show(page, tab)
    drive.scroll_through(page)
    view = page.locator(".view:visible")
    for button in view.get_by_role("button", name="PNG").all()[:3]:
        with Image.open(drive.save(page, button, tmp_path)) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width >= 1000
            assert np.asarray(image.convert("L")).std() > 5


def test_methods_are_saved_as_text(section, open_page, tmp_path):
    page = open_page(section)
    view = drive.show(page, "methods")
    path = drive.save(page, view.get_by_role("button", name="Save text"), tmp_path)
    assert path.read_text(encoding="utf-8").strip() == pages.methods()[0]["text"].strip()
    view.get_by_test_id("copy-text").click()
    view.get_by_text("Copied.").wait_for()


def test_settings_and_digests_are_saved(section, open_page, tmp_path):
    page = open_page(section)
    view = drive.show(page, "methods")
    view.locator("summary", has_text="Input files").click()
    button = view.locator("details[open] [data-testid^=csv-]")
    _, rows = drive.read_csv(drive.save(page, button, tmp_path))
    assert rows == [[pages.IMAGE, "sha256:00"]]

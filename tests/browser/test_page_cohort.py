"""Sections of a group side by side: one scale, one gene."""

from __future__ import annotations

from xml.etree import ElementTree

import drive
import numpy as np

from spadework.keys import Keys


def fills(page, k: int, folder) -> dict[str, str]:
    """Return the colour of every spot in the saved map of a section."""
    path = drive.save(page, page.locator(".frame").nth(k).get_by_role("button", name="SVG"), folder)
    return {
        spot.find("{*}title").text: spot.get("fill")
        for spot in ElementTree.parse(path).iter()
        if spot.find("{*}title") is not None
    }


def colours_by_value(page, made, key: str, values: dict[str, np.ndarray], folder) -> dict[float, set[str]]:
    page.evaluate("key => SW.set({ colour: key })", key)
    drive.settle(page)
    colours: dict[float, set[str]] = {}
    for k, (name, section) in enumerate(made.sections.items()):
        of_spot = fills(page, k, folder)
        assert len(of_spot) == section.n_obs
        for barcode, value in zip(section.obs_names, values[name], strict=True):
            colours.setdefault(float(value), set()).add(of_spot[barcode])
    return colours


def test_the_same_value_has_the_same_colour_in_all_sections(cohort, open_page, tmp_path):
    page = open_page(cohort)
    values = {name: section.obs[Keys.NUCLEI_COUNT].to_numpy() for name, section in cohort.sections.items()}
    assert {v.max() for v in values.values()} != 1
    colours = colours_by_value(page, cohort, Keys.NUCLEI_COUNT, values, tmp_path)
    assert len(colours) > 10
    assert all(len(several) == 1 for several in colours.values())
    assert len({next(iter(several)) for several in colours.values()}) > 8


def test_a_gene_has_one_scale_in_all_sections(cohort, open_page, tmp_path):
    page = open_page(cohort)
    gene = page.evaluate("SW.page.genes.kept[0]")
    name = page.evaluate("gene => SW.page.genes.names[gene]", gene)
    values = {n: np.round(s[:, name].X.toarray().ravel().astype(float), 3) for n, s in cohort.sections.items()}
    colours = colours_by_value(page, cohort, f"gene:{gene}", values, tmp_path)
    # Neighbouring steps of the palette where rounding decides.
    assert sum(len(several) > 1 for several in colours.values()) < 0.05 * len(colours)


def test_a_gene_chosen_is_shown_in_all_sections(cohort, open_page):
    page = open_page(cohort)
    slides = page.get_by_test_id("slide").all()
    assert len(slides) == len(cohort.sections)
    before = [slide.screenshot() for slide in slides]
    field = page.get_by_test_id("colour-gene")
    field.fill(page.evaluate("SW.page.genes.names[SW.page.genes.kept[1]]"))
    field.press("Enter")
    drive.settle(page)
    for slide, was in zip(slides, before, strict=True):
        assert slide.screenshot() != was


def test_the_gene_view_has_a_map_per_section(cohort, open_page):
    page = open_page(cohort)
    drive.show(page, "genes")
    drive.scroll_through(page)
    assert page.get_by_test_id("gene-map").count() == len(cohort.sections)


def test_replication_is_shown(cohort, open_page, tmp_path):
    page = open_page(cohort)
    drive.show(page, "replication")
    _, rows = drive.read_csv(drive.save(page, page.get_by_test_id("csv-vgg16_replication.csv"), tmp_path))
    pairs = cohort.tables["replication"]
    assert len(rows) == len(pairs)
    np.testing.assert_allclose([float(row[3]) for row in rows], pairs["spearman"])

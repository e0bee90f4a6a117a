"""The gene view: search, map, statistics."""

from __future__ import annotations

import drive
import numpy as np
import pages
import pytest

from spadework.keys import Keys

MAPPED, WITHOUT = "gene54", "gene7"


def find(page, text: str) -> None:
    """Type into the search box and take the first suggestion."""
    search = page.get_by_test_id("gene-search")
    search.click()
    search.press_sequentially(text)
    search.press("Enter")
    drive.settle(page)


def statistics_shown(page) -> list[list[str]]:
    rows = page.get_by_test_id("gene-statistics").locator("tbody tr")
    return rows.evaluate_all("rows => rows.map(row => [...row.children].map(cell => cell.textContent.trim()))")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("typed", ["gEnE5", "ENSG00000000054"], ids=["name", "identifier"])
def test_a_gene_is_found_by_a_part_of_its_name(typed, section, open_page):
    (adata,) = section.sections.values()
    table = section.associations["vgg16"]
    page = open_page(section)
    drive.show(page, "genes")
    first = page.get_by_test_id("gene-map").screenshot()
    assert page.get_by_test_id("gene-name").inner_text() == "gene6"  # the smallest p-value of all

    search = page.get_by_test_id("gene-search")
    search.click()
    search.press_sequentially(typed)
    page.get_by_role("option", name=MAPPED).first.wait_for()
    while page.locator("[role=option][aria-selected=true]").all_inner_texts()[:1] != [f"{MAPPED} with map"]:
        search.press("ArrowDown")
    search.press("Enter")
    drive.settle(page)
    assert page.get_by_test_id("gene-name").inner_text() == MAPPED
    assert page.get_by_test_id("gene-map").screenshot() != first
    assert (
        f"{int((adata[:, MAPPED].X.toarray() > 0).sum())} of {adata.n_obs}"
        in page.locator(".facts").first.inner_text()
    )

    rows = table[table["gene"] == MAPPED].set_index("latent").sort_index()
    shown = statistics_shown(page)
    assert [int(row[0]) for row in shown] == list(rows.index)
    columns = [
        "r",
        "p",
        "fdr",
        "r_depth",
        "p_depth",
        "fdr_depth",
        "p_spatial",
        "fdr_spatial",
        "ess",
        "p_mixed",
        "fdr_mixed",
    ]
    for k, column in enumerate(columns, 1):
        # Effects are shown with two decimals, everything else with three digits.
        tolerance = {"abs": 0.0051} if column in ("r", "r_depth") else {"rel": 5.1e-3}
        assert [number(row[k]) for row in shown] == [pytest.approx(v, **tolerance) for v in rows[column]]


def test_p_values_too_small_for_a_number_are_shown(section, open_page):
    page = open_page(section, "genes=gene6")
    drive.show(page, "genes=gene6".partition("=")[0])
    assert statistics_shown(page)[0][2] == "5.01e-413"
    assert not any(cell in ("0", "0.00", "0e0") for row in statistics_shown(page) for cell in row)


def test_the_map_shows_the_log_of_counts_per_ten_thousand(section, open_page):
    (adata,) = section.sections.values()
    page = open_page(section, f"genes={MAPPED}")
    drive.settle(page)
    index = page.evaluate("name => SW.page.genes.names.indexOf(name)", MAPPED)
    values = "async key => Array.from((await SW.scaleOf(SW.page, SW.page.sections[0], key)).values)"
    shown = np.array(page.evaluate(values, f"gene:{index}"))
    counts, totals = adata[:, MAPPED].layers[Keys.COUNTS].toarray().ravel(), adata.layers[Keys.COUNTS].sum(axis=1)
    expected = np.log1p(counts / np.asarray(totals, float).ravel() * 1e4)
    assert np.count_nonzero(expected) > 20
    np.testing.assert_allclose(shown, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(shown, adata[:, MAPPED].X.toarray().ravel(), rtol=1e-6, atol=1e-6)


def test_a_gene_without_a_map_says_so(section, open_page):
    page = open_page(section)
    drive.show(page, "genes")
    find(page, WITHOUT)
    assert page.get_by_test_id("gene-name").inner_text() == WITHOUT
    assert f"no map of {WITHOUT}" in page.get_by_test_id("no-map").inner_text()
    assert f"The {pages.N_MAPS} genes" in page.get_by_test_id("no-map").inner_text()
    assert page.get_by_test_id("gene-map").count() == 0
    assert len(statistics_shown(page)) == pages.N_LATENTS


def test_what_was_not_tested_is_not_found(section, open_page):
    page = open_page(section)
    drive.show(page, "genes")
    page.get_by_test_id("gene-search").press_sequentially("gene59")
    assert page.get_by_role("listbox").count() == 0
    assert "gene59" in page.locator(".combobox [role=status]").inner_text()


def test_another_latent_and_another_encoder(section, open_page):
    page = open_page(section, f"genes={MAPPED}")
    drive.show(page, "genes")
    page.get_by_test_id("latent-select").select_option("1")
    drive.settle(page)
    heading = page.get_by_role("heading", name="All genes", level=2)
    assert "latent 2" in heading.inner_text().lower()
    before = statistics_shown(page)
    page.get_by_label("Encoder").select_option(label=pages.ENCODERS[1])
    drive.settle(page)
    rows = section.associations[pages.ENCODERS[1]].query("gene == @MAPPED").sort_values("latent")
    assert statistics_shown(page) != before
    assert [number(row[1]) for row in statistics_shown(page)] == pytest.approx(rows["r"].tolist(), abs=0.0051)


def test_a_gene_chosen_in_the_table_or_on_a_card_is_shown(section, open_page):
    page = open_page(section)
    drive.show(page, "genes")
    page.get_by_test_id("gene-table").get_by_role("button", name="gene57", exact=True).click()
    drive.settle(page)
    assert page.get_by_test_id("gene-name").inner_text() == "gene57"
    drive.show(page, "latents")
    page.get_by_test_id("latent-2").get_by_role("button", name="gene49", exact=True).click()
    drive.settle(page)
    assert page.get_by_test_id("gene-name").inner_text() == "gene49"
    assert page.get_by_test_id("view-genes").is_visible()


@pytest.mark.parametrize("name", pages.TWINS)
def test_names_that_differ_by_case_are_two_genes(name, section, open_page):
    page = open_page(section)
    drive.show(page, "genes")
    page.get_by_test_id("gene-table").get_by_label("Filter").fill("actb")
    page.get_by_test_id("gene-table").locator("tbody").get_by_text(name, exact=True).click()
    drive.settle(page)
    assert page.get_by_test_id("gene-name").inner_text() == name
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.get_by_test_id("gene-name").inner_text() == name


def test_the_slide_is_coloured_by_a_gene(section, open_page):
    page = open_page(section)
    before = page.get_by_test_id("slide").screenshot()
    field = page.get_by_test_id("colour-gene")
    field.fill(MAPPED)
    field.press("Enter")
    drive.settle(page)
    assert MAPPED in page.get_by_test_id("legend").inner_text()
    assert page.evaluate("SW.slide.scale.label") == MAPPED
    assert page.get_by_test_id("slide").screenshot() != before


def test_tables_sort_filter_and_turn_pages(section, open_page):
    table = section.associations["vgg16"].query("latent == 1").set_index("gene")
    page = open_page(section)
    drive.show(page, "genes")
    box = page.get_by_test_id("gene-table")

    def names() -> list[str]:
        return box.locator("tbody th").all_inner_texts()

    assert names()[0] == "gene6"
    box.get_by_role("button", name="Pearson r").click()
    assert names()[:5] == table["r"].sort_values(ascending=False).index[:5].tolist()
    assert box.locator("th[aria-sort=descending]").inner_text().startswith("Pearson")
    box.get_by_role("button", name="Pearson r").press("Enter")
    assert names()[:5] == table["r"].sort_values().index[:5].tolist()
    first = names()
    box.get_by_role("button", name="Next").click()
    assert not set(names()) & set(first)
    box.get_by_label("only FDR").check()
    found = table.query("fdr_spatial < 0.05").index
    assert box.locator(".pager").inner_text().count(f"of {len(found)}") == 1 or set(names()) == set(found)
    box.get_by_label("only FDR").uncheck()
    box.get_by_label("Filter").fill("GENE5")
    assert set(names()) == {name for name in table.index if name.startswith("gene5")}


def test_a_gene_is_shown_against_the_latent_it_goes_with_best_or_the_one_it_came_from(section, open_page):
    page = open_page(section, "genes")
    best = page.evaluate("""(async () => {
        const encoder = SW.page.encoders[0];
        const p = await SW.page.array(encoder.statistics.find((s) => s.key === encoder.headline.p).values);
        const n = SW.page.genes.names.length;
        return SW.page.genes.names.map((_, g) => d3.minIndex(encoder.latents, ({ k }) => p[(k - 1) * n + g]));
    })()""")
    select = page.get_by_test_id("latent-select")
    names = page.evaluate("SW.page.genes.names")
    for latent in sorted(set(best)):
        gene = next(i for i in range(10, len(names)) if best[i] == latent and names[i].isalnum())
        page.get_by_test_id("gene-search").fill(names[gene])
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        drive.settle(page)
        assert select.input_value() == str(latent)
    page.evaluate(f"SW.chooseGene({gene}, {(latent + 1) % 3})")
    drive.settle(page)
    assert select.input_value() == str((latent + 1) % 3)

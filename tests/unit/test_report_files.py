"""Tables, figures and texts of a page that come from results."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import report_section as made
from PIL import Image

from spadework.keys import Keys
from spadework.report import panels, tables
from spadework.report.bundle import plain
from spadework.report.texts import plain_text
from spadework.tables import write_csv


def empty_page():
    return {"panels": [], "texts": []}


def described(**changes):
    return {"tab": "quality", "title": "T", "caption": "overlay", "wildcards": {"sample": "S*1*"}} | changes


def test_a_drawing_is_carried_as_it_is(tmp_path):
    content = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><text>&lt;script&gt;</text></svg>'
    (tmp_path / "volcano.svg").write_text(content)
    page = empty_page()
    panels.add_results(page, [described()], [str(tmp_path / "volcano.svg")])
    [panel] = page["panels"]
    assert base64.b64decode(panel["svg"].removeprefix("data:image/svg+xml;base64,")).decode() == content
    assert panel["image"] is None
    assert panel["file"] == "S*1*_volcano"
    assert panel["caption"].startswith("Spots of S*1* (circles) over the image")


@pytest.mark.parametrize("script", ["<script>", "<SCRIPT >", "< script/>"])
def test_a_drawing_with_a_script_is_refused(tmp_path, script):
    (tmp_path / "a.svg").write_text(f"<svg>{script}</svg>")
    with pytest.raises(ValueError, match=r"a\.svg holds a script"):
        panels.add_results(empty_page(), [described()], [str(tmp_path / "a.svg")])


@pytest.mark.parametrize(("size", "shown"), [((400, 300), (400, 300)), ((3200, 1000), (1600, 500))])
def test_a_raster_is_no_wider_than_a_screen(tmp_path, size, shown):
    image = Image.new("RGB", size, (200, 30, 60))
    image.save(tmp_path / "map.png")
    page = empty_page()
    panels.add_results(page, [described(caption="", wildcards={})], [str(tmp_path / "map.png")])
    [panel] = page["panels"]
    assert (panel["svg"], panel["caption"], panel["file"]) == (None, "", "map")
    content = base64.b64decode(panel["image"].removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(content)) as found:
        assert (found.format, found.size) == ("WEBP", shown)
        np.testing.assert_allclose(np.asarray(found.convert("RGB")).mean(axis=(0, 1)), (200, 30, 60), atol=3)


def test_a_text_is_told_by_its_suffix(tmp_path):
    (tmp_path / "verdict.txt").write_text("Yes.\n")
    page = empty_page()
    panels.add_results(page, [described(caption="")], [str(tmp_path / "verdict.txt")])
    assert page["texts"] == [{"tab": "quality", "title": "T", "text": "Yes.", "copy": False}]


def test_what_is_no_figure_is_refused(tmp_path):
    with pytest.raises(ValueError, match="page shows SVG"):
        panels.add_results(empty_page(), [described()], [str(tmp_path / "model.h5")])


def test_every_caption_of_the_report_can_be_read():
    wildcards = dict.fromkeys(("sample", "encoder", "group", "model", "block", "fold"), "<b>x</b>")
    for path in panels.CAPTIONS.glob("*.rst"):
        text = panels.caption(path.stem, wildcards)
        assert "{{" not in text
        assert not re.search(r"``|\*\*|\n", text), path.name
    assert panels.caption("calibration", wildcards).startswith("Are the p-values of <b>x</b> (<b>x</b>)")
    assert "``" not in panels.caption("latent_table", wildcards)


def test_checks_are_listed_with_what_asks_for_a_look():
    table = tables.preflight_table(made.PREFLIGHT)
    assert table["columns"] == ["check", "status", "found", "expected", "remedy"]
    assert table["rows"][1] == [made.HOSTILE[1], "warn", made.HOSTILE[0], "less", "more"]
    assert table["note"] == "1 of 2 checks ask for a look."
    assert tables.preflight_table({"checks": made.PREFLIGHT["checks"][:1]})["note"] == "All checks passed."


def test_what_was_left_out_is_said_with_the_reason():
    table = tables.left_out_table(made.section())
    assert ["spots that failed the quality control", 2, "fewer than 10 counts or 5 genes"] in table["rows"]
    assert "64 spots and 20 genes are left" in table["note"]
    assert made.HOSTILE[1] in table["note"]


def test_the_calibration_is_summed_up_by_test():
    both = pd.concat([made.calibration("published", 0.2, (5, 0)), made.calibration("spatial", 0.05, (0, 0))])
    table = tables.calibration_table(both, "vgg16", 0.05)
    assert [row[0] for row in table["rows"]] == ["as published", "given depth and space (modified t-test)"]
    assert table["rows"][0][1:] == pytest.approx([20.0, 3, 6, 2.5])
    assert table["rows"][1][1:] == pytest.approx([5.0, 0, 6, 0.0])


def test_provenance_is_flat_and_as_the_configuration_has_it():
    section = made.section()
    section.uns[Keys.SPADE]["nuclei"] = '{"model": {"name": "unet", "um_per_px": 0.5}, "on": true}'
    found = {table["title"]: table for table in tables.provenance_tables(section, "S1")}
    assert ["encoder.mirror", "null"] in found["Settings (S1)"]["rows"]
    assert found["Input files (S1)"]["rows"] == [["image.tif", "sha256:00"]]
    assert ["latents fitted on", "S1"] in found["Encoder vgg16 (S1)"]["rows"]
    assert not any(row[0] == "device" for row in found["Encoder vgg16 (S1)"]["rows"])
    assert ["model.um_per_px", "0.5"] in found["How nuclei were found (S1)"]["rows"]
    assert ["on", "true"] in found["How nuclei were found (S1)"]["rows"]
    assert {table["tab"] for table in found.values()} == {"methods"}
    assert len({table["file"] for table in found.values()}) == len(found)


def test_prototypes_are_listed_where_there_are_some():
    section = made.section()
    assert tables.prototypes_table(section) == []
    section.uns[Keys.SPADE]["prototypes"] = {"table": pd.DataFrame({"class": ["NA"], "weight": [0.5]}), "made": "{}"}
    [table] = tables.prototypes_table(section)
    assert (table["tab"], table["rows"]) == ("prototypes", [["NA", 0.5]])


def test_names_that_look_like_numbers_or_like_nothing_are_names(tmp_path):
    path = tmp_path / "pairs.csv"
    write_csv(pd.DataFrame({"discovery": ["NA", "01"], "validation": ["nan", "=1"], "r": [0.5, np.nan]}), path)
    read = tables.read_mixed(path, ["discovery", "validation"])
    assert read["discovery"].tolist() == ["NA", "01"]
    assert read["validation"].tolist() == ["nan", "=1"]
    assert plain(read["r"].tolist()) == [0.5, None]


def test_methods_lose_their_marks_and_nothing_else():
    text = "# Methods\n\n**Never** use `x` [1]. 5 * 3 < 16 & so on\n\nMore.\n"
    assert plain_text(text) == "Never use x [1]. 5 * 3 < 16 & so on\n\nMore."

"""The sample sheet is read as text, and every slip of the pen is named before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spadework.errors import InputError
from spadework.samples import PLATFORMS, STAINED, Sample, load_samples


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of a sheet are relative to the working directory."""
    monkeypatch.chdir(tmp_path)


def sheet(*lines: str) -> Path:
    path = Path("samples.tsv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(**cells: str) -> Path:
    """A sheet of one section."""
    cells = {"sample": "gut", "path": "outs"} | cells
    return sheet("\t".join(cells), "\t".join(cells.values()))


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_samples(path)
    message = str(caught.value)
    assert all(part in message for part in ("found:", "expected:", "fix:", *words)), message


# ---- what is read --------------------------------------------------------------------------------------------------


def test_name_and_path_are_enough():
    assert load_samples(row()) == {"gut": Sample("gut", Path("outs"))}


def test_every_column_finds_its_place():
    Path("he.tif").touch()
    Path("clusters.csv").touch()
    path = row(
        image="he.tif",
        channels="DAPI, CD3,",
        platform="visium",
        species="Mouse",
        clusters="clusters.csv",
        group="ctrl",
        block="A",
        z_um="10.5",
        flip="True",
    )
    assert load_samples(path)["gut"] == Sample(
        name="gut",
        path=Path("outs"),
        image=Path("he.tif"),
        channels=("DAPI", "CD3"),
        platform="visium",
        species="mouse",
        clusters=Path("clusters.csv"),
        group="ctrl",
        block="A",
        z_um=10.5,
        flip="yes",
        extra={"block": "A", "z_um": "10.5", "flip": "True"},
    )


def test_the_order_of_the_sheet_is_kept():
    assert list(load_samples(sheet("sample\tpath", "b\tx", "a\ty", "c\tz"))) == ["b", "a", "c"]


def test_cells_stay_text():
    samples = load_samples(sheet("sample\tpath\tgroup\tdose\tcode", "01\touts\t007\t1e3\tNA"))
    assert list(samples) == ["01"]
    assert samples["01"].group == "007"
    assert samples["01"].extra == {"dose": "1e3", "code": "NA"}


def test_further_columns_are_kept_and_empty_serial_ones_are_not():
    extra = load_samples(row(patient="P1", age="", block="", z_um="", flip=""))["gut"].extra
    assert extra == {"patient": "P1", "age": ""}


def test_comments_and_empty_lines_are_skipped_and_white_space_is_trimmed():
    samples = load_samples(sheet("# my sections", "", " sample \tpath", "  # one more", " gut \t outs ", "\t", ""))
    assert samples == {"gut": Sample("gut", Path("outs"))}


def test_a_number_sign_inside_a_path_is_part_of_it():
    assert load_samples(row(path="run#3/outs", group="a"))["gut"] == Sample("gut", Path("run#3/outs"), group="a")


def test_short_rows_are_filled_up():
    assert load_samples(sheet("sample\tpath\timage\tgroup", "gut\touts"))["gut"] == Sample("gut", Path("outs"))


def test_tabs_at_the_ends_of_lines_shift_nothing():
    expected = {"gut": Sample("gut", Path("outs"))}
    assert load_samples(sheet("sample\tpath", "gut\touts\t\t")) == expected
    assert load_samples(sheet("sample\tpath\t\t", "gut\touts\t")) == expected


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8", "\r")])
def test_other_systems_write_other_text(encoding: str, newline: str):
    path = Path("samples.tsv")
    path.write_bytes(newline.join(["sample\tpath", "gut\touts", ""]).encode(encoding))
    assert load_samples(path) == {"gut": Sample("gut", Path("outs"))}


def test_quotes_a_spreadsheet_adds_are_removed():
    assert load_samples(sheet("sample\tpath\tchannels", 'gut\touts\t"DAPI,CD3"'))["gut"].channels == ("DAPI", "CD3")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_samples(row(path="~/outs"))["gut"].path == tmp_path / "outs"


@pytest.mark.parametrize("platform", ["", *PLATFORMS])
def test_every_known_platform_is_accepted(platform: str):
    assert load_samples(row(platform=platform))["gut"].platform == (platform or "auto")


def test_a_linked_image_is_accepted():
    Path("he.tif").touch()
    os.symlink("he.tif", "link.tif")
    assert load_samples(row(image="link.tif"))["gut"].image == Path("link.tif")


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_a_sheet_that_is_not_there_is_refused():
    refused(Path("nowhere.tsv"), "nowhere.tsv", "no such file")


@pytest.mark.parametrize("lines", [(), ("",), ("# only a comment",)])
def test_an_empty_sheet_is_refused(lines: tuple[str, ...]):
    refused(sheet(*lines), "empty", "sample and one called path")


def test_a_sheet_without_samples_is_refused():
    refused(sheet("sample\tpath\timage"), "no samples", "make demo")


@pytest.mark.parametrize("column", ["sample", "path"])
def test_a_missing_column_is_refused(column: str):
    other = {"sample": "path", "path": "sample"}[column]
    refused(sheet(other, "gut"), f"a column called {column}", f"columns {other}")


@pytest.mark.parametrize(("mark", "name"), [(",", "commas"), (";", "semicolons"), ("   ", "spaces")])
def test_what_is_there_instead_of_tabs_is_named(mark: str, name: str):
    refused(sheet(mark.join(("sample", "path")), mark.join(("gut", "outs"))), f"separated by {name}", "tabs")


@pytest.mark.parametrize(
    "content", ["sample\tpath\ngüt\touts\n".encode("latin-1"), b"PK\x03\x04\xff\xfe", b"\xff\xfes\0a\0"]
)
def test_a_sheet_that_is_no_text_is_refused(content: bytes):
    Path("samples.tsv").write_bytes(content)
    refused(Path("samples.tsv"), "cannot be read", "UTF-8")


@pytest.mark.parametrize("name", ["a b", "a/b", "../a", "", "-a", ".a", "gut ärm", "a\\b"])
def test_a_name_that_cannot_name_a_folder_is_refused(name: str):
    refused(row(sample=name), repr(name), "rename")


@pytest.mark.parametrize("name", ["cohort", "blocks", "unet", "vox2vox"])
def test_a_name_of_another_folder_of_results_is_refused(name: str):
    refused(row(sample=name), repr(name), "other than 'cohort', 'blocks'", "rename")


def test_a_name_given_twice_is_refused():
    refused(sheet("sample\tpath", "gut\ta", "gut\tb"), "'gut' twice")


def test_an_empty_path_is_refused():
    refused(row(path=""), "gut", "an empty path")


def test_an_unknown_platform_is_refused():
    refused(row(platform="xenium"), "gut", "'xenium'", "visium_hd")


@pytest.mark.parametrize("column", ["image", "clusters"])
def test_a_file_that_is_not_there_is_refused(column: str):
    refused(row(**{column: "nowhere.tif"}), "gut: nowhere.tif", "no such file", f"`{column}`")


@pytest.mark.parametrize("column", ["image", "clusters"])
def test_a_link_that_leads_nowhere_is_refused(column: str):
    os.symlink("nowhere.tif", "link.tif")
    refused(row(**{column: "link.tif"}), "gut: link.tif", "leads nowhere")


def test_a_column_given_twice_is_refused():
    refused(sheet("sample\tpath\tgroup\tgroup", "gut\touts\ta\tb"), "'group' twice")


def test_a_cell_without_a_column_is_refused():
    refused(sheet("sample\tpath", "gut\touts\the.tif"), "3 cells in row 1")


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("imge", "image"),
        ("Image", "image"),
        ("images", "image"),
        ("specis", "species"),
        ("Species", "species"),
        ("Group", "group"),
        ("cluster", "clusters"),
        ("chanels", "channels"),
        ("platfrom", "platform"),
        ("z-um", "z_um"),
        ("Z um", "z_um"),
        ("blok", "block"),
    ],
)
def test_a_misspelt_column_is_refused_with_a_suggestion(column: str, meant: str):
    refused(row(**{column: ""}), repr(column), f"did you mean {meant!r}?")


@pytest.mark.parametrize(("header", "meant"), [("Sample\tpath", "sample"), ("sample\tPath", "path")])
def test_a_misspelt_needed_column_is_refused_with_a_suggestion(header: str, meant: str):
    refused(sheet(header, "gut\touts"), f"did you mean {meant!r}?")


@pytest.mark.parametrize(
    "column",
    ["patient", "specimen", "stage", "sex", "batch", "sample_id", "block_id", "pathology", "z", "slide", "age"],
)
def test_a_column_of_ones_own_is_no_misspelling(column: str):
    assert load_samples(row(**{column: "x"}))["gut"].extra == {column: "x"}


@pytest.mark.parametrize("column", ["array_row", "total_counts", "a/b", "_index"])
def test_columns_that_results_use_themselves_are_refused(tmp_path, column):
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(f"sample\tpath\t{column}\na\tx\t1\n")
    with pytest.raises(InputError, match="rename the column"):
        load_samples(sheet)


# ---- serial sections -----------------------------------------------------------------------------------------------

STAINED_ROW = {"path": "he.tif", "platform": STAINED, "block": "A", "z_um": "24", "um_per_px": "0.5"}


def stained(**cells: str) -> Path:
    """A sheet of a section with spots, and of one that was only stained."""
    Path("he.tif").touch()
    cells = {"sample": "slide"} | STAINED_ROW | cells
    spots = {"sample": "gut", "path": "outs"}
    return sheet("\t".join(cells), "\t".join(cells.values()), "\t".join(spots.get(c, "") for c in cells))


def test_a_section_that_was_only_stained_has_an_image_a_depth_and_a_scale():
    samples = load_samples(stained())
    assert [name for name, sample in samples.items() if not sample.sequenced] == ["slide"]
    slide = samples["slide"]
    assert (slide.path, slide.block, slide.z_um, slide.um_per_px) == (Path("he.tif"), "A", 24.0, 0.5)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"block": ""}, ("an empty block", "fill in `block`")),
        ({"z_um": ""}, ("an empty z_um", "fill in `z_um`")),
        ({"um_per_px": ""}, ("an empty um_per_px", "scale of its image")),
        ({"um_per_px": "0"}, ("um_per_px 0", "such as 0.5")),
        ({"um_per_px": "fine"}, ("um_per_px 'fine'", "a number")),
        ({"path": "nowhere.tif"}, ("nowhere.tif", "no such file", "`path`")),
        ({"image": "he.tif"}, ("with image", "its image is its `path`")),
        ({"clusters": "he.tif"}, ("with clusters", "it has no spots")),
        ({"held_out": "yes", "group": "a"}, ("with held_out",)),
    ],
)
def test_what_a_stained_section_lacks_or_cannot_have_is_refused(cells: dict[str, str], words: tuple[str, ...]):
    path = stained(**cells)
    if "held_out" in cells:  # the section it is held out of is there
        path.write_text(path.read_text().replace("gut\touts\t\t\t\t\t\t", "gut\touts\t\t\t\t\t\ta"))
    refused(path, "slide", *words)


def test_stained_sections_alone_are_no_analysis():
    Path("he.tif").touch()
    refused(row(**STAINED_ROW), "no section but those of platform stained", "add its row")


@pytest.mark.parametrize("depth", ["16 µm", "1,5", "nan", "inf", "1.2.3"])
def test_a_depth_that_is_no_number_is_refused(depth: str):
    refused(row(block="A", z_um=depth), "gut", repr(depth), "a number, with a point")


@pytest.mark.parametrize(("text", "depth"), [("-8", -8.0), ("0", 0.0), ("1e3", 1000.0), ("", None)])
def test_a_depth_is_a_number(text: str, depth: float | None):
    assert load_samples(row(block="A", z_um=text))["gut"].z_um == depth


def test_an_unclear_flip_is_refused():
    refused(row(flip="perhaps"), "flip 'perhaps'", "yes or no")


def test_a_scale_of_a_sequenced_section_is_a_column_of_ones_own():
    sample = load_samples(row(um_per_px="from the scanner"))["gut"]
    assert sample.um_per_px is None
    assert sample.extra == {"um_per_px": "from the scanner"}

"""Figures for a paper: vector files that hold all they need, as large as they are printed, always the same."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from spadework.figures import charts
from spadework.figures.style import DENSE, WIDTH, finish, resolution
from spadework.headline import headline

HOSTILE = "<script>alert(1)</script>&\"'--]]>$x$"
FORMATS = (".png", ".svg", ".pdf")


def volcano(name: str = "g0") -> Figure:
    r = np.r_[0.9, -0.8, np.random.default_rng(0).uniform(-0.1, 0.1, 50)]
    genes = [name, *(f"g{i}" for i in range(1, 52))]
    table = pd.DataFrame({"latent": 1, "gene": genes, "coef_std": r, "log10_p": -100 * r**2, "fdr": 1 - np.abs(r)})
    return charts.volcano(table, headline(table, "published"), [1, 1, 1, 1], 0.15, 2, name)


def embeddings(n: int, name: str = "a") -> Figure:
    labels = pd.Series(pd.Categorical(["b", name] * (n // 2)))
    return charts.embeddings({"t-SNE": np.random.default_rng(0).normal(size=(n, 2))}, {"clusters": labels}, "x")


def summary() -> Figure:
    columns = ["latent", "variance_ratio", "moran_i", "r_log10_umi", "r_tissue_fraction"]
    return charts.latent_summary(
        pd.DataFrame([[1, 0.3, 0.2, 0.5, -0.5], [2, 0.1, 0.0, 0.1, 0.9]], columns=columns), "x"
    )


def sheet() -> Figure:
    return charts.contact_sheet(*[np.zeros((16, 32, 32, 3), np.uint8)] * 2, *[np.arange(16.0)] * 2, "x")


def files(figure: Figure, folder: Path, note: str = "") -> dict[str, Path]:
    paths = {suffix: folder / f"figure{suffix}" for suffix in FORMATS}
    finish(figure, paths.values(), note)
    return paths


def rasters(svg: Path) -> list[Image.Image]:
    links = [value for element in ET.parse(svg).iter() for key, value in element.attrib.items() if "href" in key]
    held = [link.partition("base64,")[2] for link in links if link.startswith("data:")]
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in held]


@pytest.mark.parametrize("draw", [volcano, lambda: embeddings(200), summary, sheet])
def test_figures_fit_into_a_journal_and_can_be_read(draw):
    figure = draw()
    assert figure.get_size_inches()[0] <= WIDTH + 0.01
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 5
    assert max(sizes) <= 8
    plt.close(figure)


def test_a_figure_is_written_in_the_formats_it_is_given(tmp_path):
    with resolution(300):
        figure = volcano()
    inches = figure.get_size_inches()
    paths = files(figure, tmp_path, "what to know")
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())
    with Image.open(paths[".png"]) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.size == pytest.approx(inches * 300, abs=1)
    root = ET.parse(paths[".svg"]).getroot()
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(inches[0] * 72, abs=0.1)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", paths[".pdf"].read_bytes())
    assert box is not None
    assert [float(side) for side in box.groups()] == pytest.approx(inches * 72, abs=0.1)


def test_an_svg_names_no_other_file_and_no_font_and_runs_nothing(tmp_path):
    path = files(volcano(HOSTILE), tmp_path, HOSTILE)[".svg"]
    for element in ET.parse(path).iter():
        assert not element.tag.lower().endswith("script")
        for key, value in element.attrib.items():
            assert not key.startswith("on")
            assert "font" not in key + value
            if "href" in key:
                assert value.startswith(("#", "data:image/png;base64,"))
    text = path.read_text()
    assert "<script" not in text
    assert "<!DOCTYPE" not in text
    assert not re.sub(r'xmlns(:\w+)?="[^"]*"', "", text).count("http")


def test_a_pdf_holds_its_fonts_as_truetype_and_no_date(tmp_path):
    with mpl.rc_context({"pdf.compression": 0}):
        pdf = files(volcano(HOSTILE), tmp_path)[".pdf"].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_equal_figures_are_equal_files(tmp_path):
    """In another process, with other hashes, too."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path;"
        "import test_vector_figures as t; t.files(t.embeddings(20), Path(sys.argv[1]), 'note')"
    )
    folders = [tmp_path / seed for seed in "12"]
    for folder in folders:
        folder.mkdir()
        paths = [str(folder), str(Path(__file__).parent), *sys.path]
        subprocess.run([sys.executable, "-c", code, *paths], check=True, env={"PYTHONHASHSEED": folder.name})
    for suffix in FORMATS:
        one, two = ((folder / f"figure{suffix}").read_bytes() for folder in folders)
        assert one == two, suffix


def test_few_points_are_drawn_and_many_are_pixels_at_the_resolution(tmp_path):
    with resolution(300):
        few, many = embeddings(20), embeddings(2 * DENSE)
    inches = many.get_size_inches()
    assert not rasters(files(few, tmp_path)[".svg"])
    paths = files(many, tmp_path)
    held = rasters(paths[".svg"])
    assert len(held) >= 1
    # The scatter fills its axes but for margins, and those most of the figure.
    assert 0.6 * inches[0] * 300 < held[0].width < inches[0] * 300
    assert b"/Subtype /Image" in paths[".pdf"].read_bytes()
    assert paths[".svg"].stat().st_size < 1_000_000

"""The report page of a large section: how large it is, how long it takes to make, and how it moves in a browser.

python tests/benchmarks/bench_report.py [DATA]

4,000 round spots and 50,000 square bins, 15,000 genes tested against 6 latents, 500 genes with maps. The slide is the
her2st section C3, if DATA (../shared/data) has it, else noise in its colours. Chromium draws with the processor.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import pandas as pd
from scipy import ndimage, sparse

sys.path.insert(0, str(Path(__file__).parents[1]))

import anndata as ad
import report_section
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from spadework.expression import normalize
from spadework.headline import headline
from spadework.images import ArrayImage, SlideImage, open_image
from spadework.keys import Keys
from spadework.patches import ScaledImage
from spadework.report.bundle import Bundle
from spadework.report.page import render
from spadework.report.section import EncoderTables, section_page

GENES, LATENTS, MAPS, LARGEST_MB = 15_000, 6, 500, 25
SIZES = {"spots": (63, 0.18), "bins": (224, 0.012)}  # rows and columns, share of counts that are not 0
SETTINGS = {"image_px": 6000, "n_genes": MAPS, "genes": []}
PAN_S = 3
COLUMNS = (
    "MB",
    "made in, s",
    "usable after, s",
    "first gene, s",
    "next gene, s",
    "panning: maps/s",
    "frames/s",
    "lasso, s",
)


def slide(data: Path) -> SlideImage:
    """Open the real slide, or make one of 9,000 px whose tiles are as large."""
    real = data / "her2st" / "C3" / "image.jpg"
    if real.exists():
        return open_image(real, "C3")
    rng = np.random.default_rng(0)
    stain = ndimage.gaussian_filter(rng.normal(size=(3000, 3000)).astype(np.float32), 1.2)
    depth = np.clip(0.6 + stain / stain.std() / 3, 0, 2)[..., None] * np.array([0.5, 0.9, 0.3], np.float32)
    image = Image.fromarray((245 * np.exp(-depth)).astype(np.uint8)).resize((9000, 9000), Image.Resampling.BICUBIC)
    return ArrayImage(np.asarray(image))


def section(n_rows: int, density: float, image: SlideImage, *, bins: bool) -> ad.AnnData:
    """Make up a section whose spots cover the slide; some genes are everywhere, most of them rare."""
    rng = np.random.default_rng(0)
    few = report_section.section("large", n_rows, 20, 3)
    n = few.n_obs
    share = np.minimum(rng.gamma(0.5, 2 * density, GENES), 1)
    columns = [np.flatnonzero(rng.random(n) < p) for p in share]
    starts = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
    values = 1 + rng.poisson(np.repeat(4 * share, np.diff(starts)))
    counts = sparse.csc_matrix((values.astype(np.int32), np.concatenate(columns), starts), shape=(n, GENES)).tocsr()
    names = [f"GENE{i}" for i in range(GENES)]
    var = pd.DataFrame({Keys.GENE_IDS: [f"ENSG{i:011d}" for i in range(GENES)], Keys.GENE_NAME: names}, index=names)
    large = normalize(ad.AnnData(counts, obs=few.obs, var=var), "large", 0)
    for key, latent in few.obsm.items():
        large.obsm[key] = latent
    row, column = (few.obs[key].to_numpy() for key in (Keys.ARRAY_ROW, Keys.ARRAY_COL))
    latents = np.column_stack([np.sin(row / (k + 2)) + rng.normal(size=n) for k in range(LATENTS)])
    large.obsm[Keys.latents("vgg16", "pca")] = latents.astype(np.float32)
    pitch = np.array([image.width, image.height]) / (n_rows + 1)
    large.obsm[Keys.SPATIAL] = (np.column_stack([column, row]) + 1) * pitch
    large.uns |= few.uns
    spade = large.uns[Keys.SPADE]
    spade["vgg16"] = {**spade["vgg16"], "variance_ratio": np.full(LATENTS, 0.1)}
    spade["lattice"] |= {"um_per_px_x": 100 / pitch[0], "um_per_px_y": 100 / pitch[1]}
    spade["lattice"] |= {"spot_um": 100.0 if bins else 55.0}
    spade["patch"] = {"width_px": int(pitch[0]), "height_px": int(pitch[1])}
    return large


def association(large: ad.AnnData) -> pd.DataFrame:
    """Make up all statistics: genes that are found in many spots have the smallest p-values."""
    rng = np.random.default_rng(1)
    seen = np.sqrt(large.X.getnnz(axis=0) / large.n_obs)
    parts = []
    for latent in range(1, LATENTS + 1):
        r = rng.normal(size=GENES) * 0.3 * seen
        part = pd.DataFrame(
            {"latent": latent, "gene": large.var_names, "gene_id": large.var[Keys.GENE_IDS].to_numpy()}
        )
        for column in ("coef_std", "r", "r_depth"):
            part[column] = r + rng.normal(size=GENES) / 100
        part["ess"] = rng.uniform(50, 500, GENES)
        for test in ("", "_depth", "_spatial", "_mixed"):
            part[f"log10_p{test}"] = -(np.abs(r) * 30 + rng.random(GENES))
            part[f"p{test}"] = 10 ** part[f"log10_p{test}"]
            part[f"fdr{test}"] = np.minimum(part[f"p{test}"] * 5, 1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def build(large: ad.AnnData, image: SlideImage, path: Path) -> float:
    """Write a page; return how many seconds that takes, reading nothing."""
    table = association(large)
    tables = {"vgg16": EncoderTables(table, headline(table, "spatial"), report_section.summary(LATENTS))}
    scale = tuple(large.uns[Keys.SPADE]["lattice"][f"um_per_px_{axis}"] for axis in "xy")
    began = time.perf_counter()
    bundle = Bundle()
    page = section_page(
        *(
            bundle,
            large,
            ScaledImage(image, (1.0, 1.0), scale, "fullres"),
            report_section.manifest(large),
            "large",
            tables,
        ),
        preflight=report_section.PREFLIGHT,
        settings=SETTINGS,
        fdr=0.05,
    )
    path.write_text(render(bundle, page), encoding="utf-8")
    return time.perf_counter() - began


WRITE_READY = """
new MutationObserver(() => { window.ready_at = performance.now(); })
  .observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });
"""
# Seconds until the map has drawn everything that a change asks for.
REDRAWN = """
async change => {
  const began = performance.now();
  const drawn = new Promise(done => SW.slide.map.once("rendercomplete", done));
  SW.set(change);
  await SW.scaleOf(SW.page, SW.page.sections[0], SW.state.colour);
  SW.slide.map.render();
  await drawn;
  return (performance.now() - began) / 1000;
}
"""
TIME_LASSO = """
() => window.addEventListener("pointerup", () => {
  const began = performance.now();
  SW.slide.map.once("rendercomplete", () => { window.lasso_s = (performance.now() - began) / 1000; });
}, { capture: true, once: true })
"""
COUNT_FRAMES = """
() => {
  window.frames_drawn = { map: 0, page: 0 };
  SW.slide.map.on("postrender", () => { frames_drawn.map++; });
  const count = () => { frames_drawn.page++; requestAnimationFrame(count); };
  requestAnimationFrame(count);
}
"""


def open_page(browser: Browser, path: Path) -> tuple[Page, float]:
    """Open a page; return it and the seconds from navigation until it can be used."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
    page.add_init_script(WRITE_READY)
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    return page, page.evaluate("window.ready_at") / 1000


def pan(page: Page) -> tuple[float, float]:
    """Drag the slide about; return frames per second of the map and of the page."""
    box = page.get_by_test_id("slide").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    # A little nearer than all of it, so that there is somewhere to go.
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(1500)
    page.mouse.down()
    page.evaluate(COUNT_FRAMES)
    began, k = time.perf_counter(), 0
    while time.perf_counter() - began < PAN_S:
        k += 1
        page.mouse.move(x + 120 * np.sin(k / 15), y + 80 * np.sin(k / 11))
    drawn = page.evaluate("({ ...frames_drawn })")
    seconds = time.perf_counter() - began
    page.mouse.up()
    assert page.evaluate("SW.state.selection") is None  # it was moved, not drawn on
    return drawn["map"] / seconds, drawn["page"] / seconds


def lasso(page: Page) -> float:
    """Draw a polygon around a third of the spots; return the seconds from letting go until all is drawn."""
    page.get_by_role("button", name="Fit").click()
    page.wait_for_timeout(1500)
    page.get_by_test_id("lasso-button").click()
    box = page.get_by_test_id("slide").bounding_box()
    corners = [(0.2, 0.2), (0.8, 0.2), (0.7, 0.8), (0.3, 0.7), (0.2, 0.2)]
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=15)
    page.evaluate(TIME_LASSO)
    page.mouse.up()
    page.wait_for_timeout(4000)
    assert page.evaluate("SW.state.selection.size") > 100
    return page.evaluate("window.lasso_s")


def use(browser: Browser, path: Path) -> list[float]:
    """Open a page and do what a reader does; return the seconds, and frames per second."""
    page, ready = open_page(browser, path)
    page.wait_for_timeout(2000)
    genes = page.evaluate("SW.page.genes.kept.slice(0, 2)")
    first, second = (page.evaluate(REDRAWN, {"colour": f"gene:{gene}"}) for gene in genes)
    frames = pan(page)
    return [ready, first, second, *frames, lasso(page)]


def main() -> None:
    """Print a row per page."""
    print(machine.describe())
    data = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[3] / "shared" / "data"
    image = slide(data)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    print(f"\nslide {image.width:,} x {image.height:,} px, {GENES:,} genes x {LATENTS} latents, {MAPS} maps\n")
    print(f"| | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for kind, (n_rows, density) in SIZES.items():
            large, path = section(n_rows, density, image, bins=kind == "bins"), Path(folder) / f"{kind}.html"
            seconds = build(large, image, path)
            megabytes = path.stat().st_size / 1e6
            numbers = [megabytes, seconds, *use(browser, path)]
            print(f"| {large.n_obs:,} {kind} | " + " | ".join(f"{v:.3g}" for v in numbers) + " |", flush=True)
            assert megabytes <= LARGEST_MB
        browser.close()


if __name__ == "__main__":
    main()

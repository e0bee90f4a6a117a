"""The workflow as a whole: what a run makes, what makes it run again, and what must not change the result."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import tifffile
from damage import FULLRES, MATRIX, clusters, fullres, positions
from harness import OVERLAY, ROOT, Run, kill_when, run_workflow
from scipy import sparse

from spadework import job
from spadework.keys import Keys
from spadework.latents import LatentModel

ENCODERS = ("dummy", "colour_texture")
SAMPLE = "gut"
N_LATENTS = OVERLAY["latents"]["n_latents"]
N_SPOTS = 257
TWO_ENCODERS = {"encoder": {"names": list(ENCODERS)}}
# Rules with a job per sample, and with one per sample and encoder.
PER_SAMPLE = {"read_section", "cluster_expression", "cut_patches", "collect_section", "write_report"}
PER_ENCODER = {
    "encode_patches",
    "embed_latents",
    "associate_genes",
    "assess_association",
    "draw_section",
}


def row(outs: Path, sample: str = SAMPLE, **cells: object) -> dict[str, object]:
    return {"sample": sample, "path": outs, "species": "human", **cells}


@pytest.fixture(scope="session")
def full(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One complete run with two encoders."""
    return run_workflow(tmp_path_factory.mktemp("full"), [row(simulated / "outs")], TWO_ENCODERS)


@pytest.fixture(scope="session")
def final(full: Run) -> ad.AnnData:
    """The section's final AnnData, as scanpy opens it."""
    import scanpy as sc

    return sc.read_h5ad(full.folder / f"results/{SAMPLE}/{SAMPLE}.h5ad")


# ---- what a run makes ---------------------------------------------------------------------------------------------


def test_a_run_succeeds_and_makes_every_file(full: Run) -> None:
    assert full.code == 0, full.output
    figures = ["latents", "clusters", "embeddings", "volcano", "variance"]
    figures += ["calibration", "beyond_composition", "cluster_comparison"]
    figures += [f"{kind}_{k}" for kind in ("latent", "patches") for k in range(1, N_LATENTS + 1)]
    files = ["association.parquet", "association.csv.gz", "latents.csv", *(f"figures/{f}.png" for f in figures)]
    files += ["calibration.csv", "beyond_composition.csv.gz", "cluster_comparison.csv"]
    wanted = [
        f"{SAMPLE}.h5ad",
        "report.html",
        "preflight/overlay.png",
        *(f"{e}/{file}" for e in ENCODERS for file in files),
    ]
    of_run = {"results/manifest.json", "results/methods.md"}
    assert {f"results/{SAMPLE}/{name}" for name in wanted} | of_run <= set(full.results)


def test_the_page_of_a_section_carries_its_results(full: Run, final: ad.AnnData) -> None:
    page = page_data(full.folder / f"results/{SAMPLE}/report.html")
    assert page["title"] == SAMPLE
    [section] = page["sections"]
    assert section["barcodes"] == list(final.obs_names)
    assert max(section["slide"]["width"], section["slide"]["height"]) == 639
    assert [encoder["name"] for encoder in page["encoders"]] == list(ENCODERS)
    for encoder in page["encoders"]:
        table = pd.read_csv(full.folder / f"results/{SAMPLE}/{encoder['name']}/latents.csv")
        assert [latent["moran_i"] for latent in encoder["latents"]] == pytest.approx(list(table["moran_i"]))
    assert len(page["genes"]["kept"]) == OVERLAY["report"]["n_genes"]
    calibration = [panel for panel in page["panels"] if panel["title"].startswith("Are the p-values")]
    assert len(calibration) == len(ENCODERS)
    assert all(panel["svg"].startswith("data:image/svg+xml") for panel in calibration)
    methods = (full.folder / "results/methods.md").read_text()
    [text] = [text["text"] for text in page["texts"] if text["title"] == "Methods"]
    assert "One section (10x Visium) was analysed." in text
    assert text.split("\n\n")[1] in methods


def page_data(path: Path) -> dict[str, Any]:
    """Read the data of a page, but for arrays and tiles."""
    data = re.search(r'(?s)<script type="application/json" id="page">(.*?)</script>', path.read_text("utf-8"))
    assert data is not None
    return json.loads(data[1])


def test_a_run_leaves_neither_temporary_nor_partial_files(full: Run) -> None:
    assert not [name for name in full.results if "partial" in name or name.endswith("patches.h5")]


def test_every_job_has_a_log_with_what_it_printed_and_a_benchmark(full: Run) -> None:
    jobs = {f"{SAMPLE}/{rule}" for rule in PER_SAMPLE} | {f"{SAMPLE}/{e}/{r}" for e in ENCODERS for r in PER_ENCODER}
    jobs.add("write_manifest")
    assert sum(full.jobs().values()) / 2 == len(jobs) + 1  # and `all`; the table ends in a total
    for name in jobs:
        assert re.search(r"^\d\d:\d\d:\d\d done in \d+\.\d s$", full.log(f"{name}.log"), re.MULTILINE), name
        assert len((full.folder / f"benchmarks/{name}.tsv").read_text().splitlines()) == 2
    assert f"{N_SPOTS} on tissue" in full.log(f"{SAMPLE}/read_section.log")
    assert "ok   image size: 639 x 570 px" in full.log(f"{SAMPLE}/read_section.log")
    assert f"encoding {N_SPOTS} patches of 32 px" in full.log(f"{SAMPLE}/dummy/encode_patches.log")
    assert f"in {N_SPOTS} spots" in full.log(f"{SAMPLE}/dummy/associate_genes.log")
    assert "done in" not in full.output


def test_the_final_file_has_log_normalised_and_raw_counts(final: ad.AnnData) -> None:
    counts = final.layers[Keys.COUNTS]
    assert isinstance(final.X, sparse.csr_matrix)
    assert isinstance(counts, sparse.csr_matrix)
    assert np.issubdtype(counts.dtype, np.integer)
    total = np.asarray(counts.sum(axis=1))
    np.testing.assert_allclose(final.X.toarray(), np.log1p(counts.toarray() / total * 1e4), rtol=1e-5)


def test_the_final_file_has_every_key(final: ad.AnnData) -> None:
    numbers = [Keys.TOTAL_COUNTS, Keys.N_GENES, Keys.PCT_MT, Keys.TISSUE_FRACTION, Keys.PADDED_FRACTION]
    assert np.isfinite(final.obs[[Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL, *numbers]].to_numpy(float)).all()
    kinds = (Keys.IMAGE_CLUSTER, Keys.SPADE_CLUSTER)
    for key in (Keys.CLUSTER, *(Keys.clusters(kind, e, ENCODERS[0]) for kind in kinds for e in ENCODERS)):
        assert isinstance(final.obs[key].dtype, pd.CategoricalDtype)
    shapes = {Keys.SPATIAL: 2, Keys.PCA: 30, Keys.UMAP: 2, Keys.features("dummy"): 12, Keys.features(ENCODERS[1]): 30}
    for encoder in ENCODERS:
        shapes |= {Keys.latents(encoder, kind): n for kind, n in (("pca", N_LATENTS), ("tsne", 2), ("umap", 2))}
        for statistic in (
            "coef",
            "coef_std",
            "r",
            "rho",
            "t",
            "p",
            "fdr",
            "fdr_depth",
            "fdr_spatial",
            "ess",
            "fdr_mixed",
        ):
            values = final.varm[Keys.association(encoder, statistic)]
            assert values.shape == (final.n_vars, N_LATENTS)
            assert np.isfinite(values).any(axis=1).mean() > 0.5
    assert {key: final.obsm[key].shape[1] for key in shapes} == shapes
    assert all(np.isfinite(final.obsm[key]).all() for key in shapes)
    assert all(final.obsm[key].dtype == np.float32 for key in shapes if key != Keys.SPATIAL)


def test_the_final_file_says_how_it_was_made(final: ad.AnnData) -> None:
    library = final.uns[Keys.SPATIAL][SAMPLE]
    assert set(library["images"]) == {"hires", "lowres"}
    assert {"tissue_hires_scalef", "tissue_lowres_scalef", "spot_diameter_fullres"} <= set(library["scalefactors"])
    spade = final.uns[Keys.SPADE]
    assert set(spade["digests"]) >= {MATRIX, "tissue_positions.csv", FULLRES}
    assert spade["patch"]["image"] == "fullres"
    assert spade["preflight"] == "warn"  # coarse pixels
    assert {"scanpy", "python"} <= set(spade["versions"])
    assert json.loads(spade["parameters"])["encoder"]["names"] == list(ENCODERS)
    for encoder in ENCODERS:
        assert spade[encoder]["encoder"]["name"] == encoder
        assert len(spade[encoder]["variance_ratio"]) == N_LATENTS
        assert spade[encoder]["components"].shape == (N_LATENTS, final.obsm[Keys.features(encoder)].shape[1])


def test_the_manifest_says_what_the_run_was(full: Run, final: ad.AnnData) -> None:
    manifest = json.loads((full.folder / "results/manifest.json").read_text())
    run, measured = manifest["deterministic"], manifest["measured"]
    assert run["configuration"]["patch"]["output_px"] == OVERLAY["patch"]["output_px"]
    assert run["inputs"] == {SAMPLE: dict(final.uns[Keys.SPADE]["digests"])}
    assert run["sections"][SAMPLE]["spots"] == final.n_obs
    assert run["sections"][SAMPLE]["genes_tested"]["dummy"] == np.isfinite(final.varm["spade_dummy_p"]).any(1).sum()
    assert run["software"]["scanpy"] == final.uns[Keys.SPADE]["versions"]["scanpy"]
    ran = {rule: n for rule, n in full.jobs().items() if rule not in ("all", "total", "write_manifest")}
    assert {rule: used["jobs"] for rule, used in measured["rules"].items()} == ran
    assert measured["all_rules"]["wall_s"] == pytest.approx(sum(r["wall_s"] for r in measured["rules"].values()))
    assert "257" in (full.folder / "results/methods.md").read_text()


def test_the_report_shows_what_matters_and_loads_nothing(full: Run) -> None:
    done = run_workflow(full.folder, None, None, "--report", "report.html")
    assert done.code == 0, done.output
    page = (full.folder / "report.html").read_text()
    results = json.loads(re.search(r"^ *var results = (\{.*\});?$", page, re.MULTILINE)[1])
    shown = {name.removeprefix("results/") for name in results}
    figures = ("latents", "clusters", "volcano", "calibration", "beyond_composition")
    wanted = {f"{SAMPLE}/{e}/figures/{figure}.png" for e in ENCODERS for figure in figures}
    wanted |= {f"{SAMPLE}/{e}/latents.csv" for e in ENCODERS} | {f"{SAMPLE}/preflight/overlay.png"}
    assert shown == wanted | {"manifest.json", "methods.md"}
    assert all(len(result["caption"]) > 50 for result in results.values())
    assert f"Spots of {SAMPLE} (circles)" in results[f"results/{SAMPLE}/preflight/overlay.png"]["caption"]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)


def test_the_final_file_joins_by_barcode(final: ad.AnnData, simulated: Path) -> None:
    table = positions(simulated / "outs").set_index("barcode").loc[final.obs_names]
    np.testing.assert_array_equal(
        final.obsm[Keys.SPATIAL], table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    )
    image = fullres(simulated / "outs")
    x, y = final.obsm[Keys.SPATIAL][40].astype(int)
    tile = image[y - 15 : y, x - 15 : x]  # a quarter of the 30 px that 120 µm are
    assert np.abs(final.obsm[Keys.features("dummy")][40, :3] - tile.mean(axis=(0, 1))).max() < 3


def test_squidpy_draws_the_final_file(final: ad.AnnData) -> None:
    import squidpy as sq

    with mpl.rc_context({"backend": "Agg"}):
        axes = sq.pl.spatial_scatter(final, color=[final.var_names[0], Keys.CLUSTER], return_ax=True)
    assert [ax.get_title() for ax in axes] == [final.var_names[0], Keys.CLUSTER]
    assert all(ax.images and ax.collections for ax in axes)  # the tissue, and spots on it


# ---- what makes it run again --------------------------------------------------------------------------------------


def again(
    full: Run, rows: list[dict[str, object]], overlay: dict[str, object], workflow: Path = ROOT
) -> dict[str, int]:
    """Return the jobs that a changed sheet, configuration or workflow would start, by a dry run."""
    run = run_workflow(full.folder, rows, {**TWO_ENCODERS, **overlay}, "--dry-run", workflow=workflow)
    assert run.code == 0, run.output
    assert ("Nothing to be done" in run.output) == (run.jobs() == {})
    # Both say how results were made.
    closing = ("write_manifest", "write_report")
    assert all((rule in run.jobs()) == (run.jobs() != {}) for rule in closing)
    return {rule: n for rule, n in run.jobs().items() if rule not in ("all", "total", *closing)}


COLLECT = {"collect_section": 1, "draw_section": 2}
ASSESS = {"assess_association": 2, **COLLECT}
ASSOCIATE = {"associate_genes": 2, **ASSESS}
EMBED = {"embed_latents": 2, **ASSOCIATE}
PATCHES = {"cut_patches": 1, "encode_patches": 2, **EMBED}


def test_a_second_run_has_nothing_to_do(full: Run, simulated: Path) -> None:
    assert again(full, [row(simulated / "outs")], {}) == {}


@pytest.mark.parametrize(
    ("overlay", "jobs"),
    [
        ({"association": {"min_spots_fraction": 0.2}}, ASSOCIATE),
        ({"association": {"design": "joint"}}, ASSOCIATE),
        ({"association": {"covariates": []}}, ASSOCIATE),
        ({"calibration": {"n_fields": 3}}, ASSESS),
        ({"figures": {"dpi": 60}}, {"draw_section": 2}),
        ({"report": {"genes": ["MORPH001"]}}, {}),
        ({"latents": {"resolution": 2.0}}, EMBED),
        ({"expression": {"min_counts": 120}}, {"cluster_expression": 1, **ASSOCIATE}),
        ({"patch": {"output_px": 32, "um": 100}}, PATCHES),
        # A stage waiting for a check that runs again once went unnoticed.
        (
            {"patch": {"output_px": 32, "um": 100}, "expression": {"min_counts": 120}},
            {"cluster_expression": 1, **PATCHES},
        ),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else None,
)
def test_a_changed_setting_re_runs_what_depends_on_it(
    overlay: dict[str, object], jobs: dict[str, int], full: Run, simulated: Path
) -> None:
    assert again(full, [row(simulated / "outs")], overlay) == jobs


def test_clusters_added_later_re_run_no_network(full: Run, outs: Path, simulated: Path) -> None:
    table = clusters(outs, seurat_clusters=1)
    jobs = again(full, [row(simulated / "outs", clusters=table)], {})
    assert jobs == {"cluster_expression": 1, **ASSOCIATE}


def test_a_changed_image_re_runs_everything(full: Run, outs: Path) -> None:
    jobs = again(full, [row(outs)], {})
    assert set(jobs) == (PER_SAMPLE | PER_ENCODER) - {"write_report"}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A copy of the workflow that a test may edit."""
    copy = tmp_path / "workflow"
    for name in ("Snakefile", "rules", "scripts", "config", "envs", "profiles", "resources/datasets.yaml"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        how = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        how(ROOT / name, copy / name)
    return copy


@pytest.mark.parametrize(
    ("edited", "jobs"),
    [
        (None, {}),
        ("figures/maps.py", {"draw_section": 2}),
        ("collect.py", COLLECT),
        ("spade_clusters.py", ASSESS),
        # imported where it is used; patches are not kept
        ("encoders/dummy.py", {"cut_patches": 1, "encode_patches": 2, **EMBED}),
        ("job.py", {}),
        ("r/limma.R", {}),
    ],
)
def test_an_edited_module_re_runs_exactly_what_depends_on_it(
    edited: str | None, jobs: dict[str, int], full: Run, workflow: Path, simulated: Path
) -> None:
    if edited:
        with (workflow / "scripts/spadework" / edited).open("a") as handle:
            handle.write("# edited\n")
    assert again(full, [row(simulated / "outs")], {}, workflow) == jobs


def test_a_changed_input_re_runs_exactly_what_depends_on_it(simulated: Path, tmp_path: Path) -> None:
    outs = Path(shutil.copytree(simulated / "outs", tmp_path / "outs"))
    labels = clusters(outs, seurat_clusters=1).rename(outs / "clusters.csv")
    rows = [row(outs, clusters=labels)]
    done = run_workflow(tmp_path / "run", rows, {})
    assert done.code == 0, done.output

    def runs() -> set[str]:
        plan = run_workflow(done.folder, rows, {}, "--dry-run")
        assert plan.code == 0, plan.output
        return set(plan.jobs()) - {"all", "total", "write_manifest", "write_report"}

    # Written again as they were, files below a megabyte are known by their checksum.
    labels.touch()
    assert runs() == set()
    before = labels.read_text()
    labels.write_text(before.replace("1", "7"))
    assert runs() == {"cluster_expression", *ASSOCIATE}
    labels.write_text(before)
    assert runs() == set()
    pixels = fullres(outs)
    pixels[0, 0] = 0
    tifffile.imwrite(outs / FULLRES, pixels, photometric="rgb")
    assert runs() == (PER_SAMPLE | PER_ENCODER) - {"write_report"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of scripts and package that a test may edit; returns the package."""
    copy = tmp_path / "scripts"
    shutil.copytree(job.PACKAGE.parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(job, "PACKAGE", copy / "spadework")
    return copy / "spadework"


SCRIPTS = sorted(path.name for path in job.PACKAGE.parent.iterdir() if path.suffix in (".py", ".R"))


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("r/seurat.R", {"cluster_seurat.R"}),
        ("r/job.R", {"cluster_seurat.R", "fit_limma.R"}),
        ("job.py", set()),
        ("patch_file.py", {"cut_patches.py"}),
        ("errors.py", {name for name in SCRIPTS if name.endswith(".py")}),
    ],
)
def test_an_edited_file_changes_the_fingerprint_of_what_imports_it(
    edited: str, changes: set[str], package: Path
) -> None:
    before = {name: job.code_id(name) for name in SCRIPTS}
    with (package / edited).open("a") as handle:
        handle.write("# edited\n")
    assert {name for name, digest in before.items() if job.code_id(name) != digest} == changes


def test_a_fingerprint_of_no_script_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="assocate_genes"):
        job.code_id("assocate_genes.py")


def test_every_rule_is_fingerprinted_by_its_own_script() -> None:
    """Downloads are verified by checksum: no edit of the code makes them stale."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL):
        script = re.search(r'"\.\./scripts/(\w+\.(?:py|R))"', body)
        if script and name not in ("fetch_weights", "download_file"):
            assert f'code=code_id("{script[1]}")' in body, name


# ---- what must not change the result ------------------------------------------------------------------------------


def _as_tiled_tiff(outs: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(outs / "he.tif", pixels, tile=(128, 128), compression="deflate", photometric="rgb")
    return outs / "he.tif"


def _as_png(outs: Path, pixels: np.ndarray) -> Path:
    from PIL import Image

    Image.fromarray(pixels).save(outs / "he.png")
    return outs / "he.png"


def _as_png_with_alpha(outs: Path, pixels: np.ndarray) -> Path:
    return _as_png(outs, np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))


def _as_16_bit_tiff(outs: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(outs / "he.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    return outs / "he.tif"


FORMATS = {f.__name__.removeprefix("_as_"): f for f in (_as_tiled_tiff, _as_png, _as_png_with_alpha, _as_16_bit_tiff)}


def shuffle_barcodes(outs: Path) -> None:
    """Write the matrix with its barcodes in another order."""
    with h5py.File(outs / MATRIX, "a") as handle:
        group = handle["matrix"]
        counts = sparse.csr_matrix((group["data"][:], group["indices"][:], group["indptr"][:]))
        order = np.random.default_rng(0).permutation(counts.shape[0])
        shuffled = counts[order]
        new = {"barcodes": group["barcodes"][:][order], "data": shuffled.data, "indices": shuffled.indices}
        for name, values in (new | {"indptr": shuffled.indptr}).items():
            del group[name]
            group[name] = values


@pytest.fixture(scope="session")
def variants(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same section in other formats and orders, and two sections that share their latents, in one run."""
    folder = tmp_path_factory.mktemp("variants")
    rows = []
    for name in (*FORMATS, "shuffled", "one"):
        outs = Path(shutil.copytree(simulated / "outs", folder / name))
        pixels = fullres(outs)
        (outs / FULLRES).unlink() if name in FORMATS else None
        image = FORMATS[name](outs, pixels) if name in FORMATS else outs / FULLRES
        rows.append(row(outs, name, image=image))
    shuffle_barcodes(folder / "shuffled")
    barcodes = positions(folder / "one")["barcode"] + "_1"
    rows[-1] |= {"group": "mouse", "clusters": clusters(folder / "one", seurat_clusters=LABELS, barcodes=barcodes)}
    rows.append(row(simulated / "outs", "two", group="mouse"))
    rows.append(row(simulated / "outs", "three", group="mouse", held_out="yes"))
    targets = [f"results/{name}/dummy/features.h5ad" for name in (*FORMATS, "shuffled")]
    targets += ["results/one/dummy/latents.h5ad", "results/one/expression/expression.h5ad"]
    targets += ["results/cohort/mouse/report.html", "results/three/report.html"]
    return run_workflow(folder, rows, {"latents": {"scope": "group"}}, *targets, "--notemp")


LABELS = [n % 11 for n in range(324)]


def features(run: Run, sample: str) -> ad.AnnData:
    return ad.read_h5ad(run.folder / f"results/{sample}/dummy/features.h5ad")


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_of_the_image_does_not_change_the_features(name: str, variants: Run, full: Run) -> None:
    ours, theirs = features(variants, name), features(full, SAMPLE)
    assert ours.obs_names.equals(theirs.obs_names)
    np.testing.assert_array_equal(ours.X, theirs.X)


def test_the_order_of_the_barcodes_does_not_change_the_features(variants: Run, full: Run) -> None:
    ours, theirs = features(variants, "shuffled"), features(full, SAMPLE)
    assert not ours.obs_names.equals(theirs.obs_names)
    np.testing.assert_array_equal(ours[theirs.obs_names].X, theirs.X)


def test_sections_of_a_group_share_their_latents(variants: Run) -> None:
    model = LatentModel.load(variants.folder / "results/cohort/mouse/dummy/latent_model.npz")
    assert list(model.fitted_on) == ["one", "two"]
    latents = ad.read_h5ad(variants.folder / "results/one/dummy/latents.h5ad")
    np.testing.assert_allclose(
        latents.obsm["pca"], model.project(features(variants, "one").X)[:, :N_LATENTS], rtol=1e-6, atol=1e-6
    )
    assert list(latents.uns["fitted_on"]) == ["one", "two"]


def test_sections_of_a_group_replicate_each_other_and_one_can_be_held_out(variants: Run) -> None:
    folder = variants.folder / "results/cohort/mouse/dummy"
    pairs = pd.read_csv(folder / "replication.csv")
    assert set(zip(pairs["discovery"], pairs["validation"], strict=True)) == {
        (a, b) for a in ("one", "two", "three") for b in ("one", "two", "three") if a != b
    }
    # Three times the same section, on latents that know nothing of the third.
    np.testing.assert_allclose(pairs["spearman"], 1, atol=1e-9)
    assert (pairs["n_replicated"] == pairs["n_found"]).all()
    pooled = pd.read_csv(folder / "pooled.csv.gz")
    assert (pooled["n_sections"] == 3).all()
    assert (pooled["n_same_sign"] == 3).all()
    assert (folder / "replication.png").stat().st_size > 10_000


def test_the_page_of_a_group_has_one_scale_and_says_what_is_no_replication(variants: Run) -> None:
    page = page_data(variants.folder / "results/cohort/mouse/report.html")
    assert [section["name"] for section in page["sections"]] == ["one", "two", "three"]
    columns = [{c["key"]: c for c in section["columns"]} for section in page["sections"]]
    latents = [f"dummy/shared latent {k}" for k in range(1, N_LATENTS + 1)]
    for key in (*latents, Keys.TOTAL_COUNTS):
        assert columns[0][key]["limits"] == columns[1][key]["limits"] == columns[2][key]["limits"]
    assert any("The same data under several names (two and three)" in warning for warning in page["warnings"])
    own = page_data(variants.folder / "results/three/report.html")
    assert all("other sections confirm it" in latent["trust"]["sentence"] for latent in own["encoders"][0]["latents"])
    # Two is three under another name, and confirms nothing.
    assert any("(three and two)" in warning for warning in own["warnings"])
    [pairs] = [table for table in own["tables"] if table["title"].startswith("Replication")]
    assert {row[pairs["columns"].index("looked for in")] for row in pairs["rows"]} == {"one"}


def test_the_image_side_is_repeated_under_perturbations(variants: Run) -> None:
    overlay = {
        "latents": {"scope": "group"},
        "stability": {"perturbations": ["rotate_180", "shift_right", "stain_weak"]},
    }
    run = run_workflow(variants.folder, None, overlay, "results/tiled_tiff/dummy/stability/stability.png")
    assert run.code == 0, run.output
    # For the second encoder the patches are cut once more as they are.
    assert run.jobs()["cut_perturbed_patches"] == 4
    folder = run.folder / "results/tiled_tiff/dummy/stability"
    latents = pd.read_csv(folder / "latents.csv").set_index("run")
    assert set(latents.index) == {"rotate_180", "shift_right", "stain_weak", "colour_texture"}
    # The dummy sees mean colours of thirds of the patch: turned, the thirds change places.
    assert latents.loc["stain_weak", "abs_r"].min() > 0.9
    assert latents.loc["stain_weak", "abs_r"].min() > latents.loc["colour_texture", "abs_r"].max() - 0.5
    assert latents.loc["shift_right", "abs_r"].max() < 1
    genes = pd.read_csv(folder / "genes.csv.gz")
    assert genes["selection_frequency"].between(0, 1).all()
    assert (genes["selection_frequency"] * 4 % 1 == 0).all()


def test_clusters_made_by_seurat_are_used(variants: Run) -> None:
    section = ad.read_h5ad(variants.folder / "results/one/expression/expression.h5ad")
    by_barcode = dict(zip(positions(variants.folder / "one")["barcode"], map(str, LABELS), strict=True))
    assert section.obs[Keys.CLUSTER].tolist() == [by_barcode[name] for name in section.obs_names]
    assert section.obs[Keys.CLUSTER].cat.categories.tolist() == [str(n) for n in range(11)]
    assert "cluster_scanpy" in section.obs


def test_one_more_encoder_encodes_only_for_itself(variants: Run) -> None:
    targets = [f"results/png/{encoder}/features.h5ad" for encoder in ENCODERS]
    overlay = {**TWO_ENCODERS, "latents": {"scope": "group"}}
    run = run_workflow(variants.folder, None, overlay, *targets, "--dry-run", "--notemp")
    assert run.jobs() == {"encode_patches": 1, "total": 1}


def test_a_weights_file_of_the_user_is_loaded(variants: Run, tmp_path: Path) -> None:
    import keras

    network = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3)
    )
    weights = tmp_path / "mine.weights.h5"
    network.save_weights(weights)
    overlay = {"encoder": {"names": ["mobilenetv3small"], "weights": str(weights)}, "latents": {"scope": "group"}}
    target = "results/png/mobilenetv3small/features.h5ad"
    run = run_workflow(variants.folder, None, overlay, target, "--notemp")
    assert run.code == 0, run.output
    ours = ad.read_h5ad(run.folder / target)
    assert ours.uns["encoder"]["weights"] == "mine.weights.h5"
    with h5py.File(run.folder / "results/png/patches/patches.h5") as handle:
        patches = handle["patches"][:20]
    expected = network.predict(patches.astype(np.float32), verbose=0)
    np.testing.assert_allclose(ours.X[:20], expected, rtol=1e-4, atol=1e-5)


def test_published_weights_are_fetched_only_where_they_are_not(simulated: Path, tmp_path: Path) -> None:
    overlay = {"encoder": {"names": ["vgg16"], "weights": "imagenet"}}
    target = f"results/{SAMPLE}/vgg16/features.h5ad"
    plan = run_workflow(tmp_path, [row(simulated / "outs")], overlay, target, "--dry-run")
    assert plan.jobs()["fetch_weights"] == 1
    file = tmp_path / "resources/cache/weights/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"put there by hand")
    os.utime(file, (0, 0))  # older than any script
    plan = run_workflow(tmp_path, None, None, target, "--dry-run")
    assert plan.code == 0, plan.output
    assert "fetch_weights" not in plan.jobs()
    other = run_workflow(tmp_path, None, None, target)
    assert other.code != 0
    assert "the published file" in other.output
    assert file.read_bytes() == b"put there by hand"


# ---- power cuts ---------------------------------------------------------------------------------------------------


def write_half(target: Path) -> None:
    with job.whole_file(target) as path:
        path.write_text("half")
        assert path.suffix == target.suffix  # writers choose the format by it
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["spots.h5ad", "table.csv.gz"])
def test_a_file_appears_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with job.whole_file(tmp_path / name) as path:
        path.write_text("whole")
        assert not (tmp_path / name).exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_failed_job_leaves_an_older_file_alone(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("good")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "good"


def test_a_killed_run_leaves_nothing_half_and_a_new_one_ends_as_if_it_had_not_been(
    simulated: Path, full: Run, tmp_path: Path
) -> None:
    target = f"results/{SAMPLE}/dummy/association.parquet"
    run_workflow(tmp_path, [row(simulated / "outs")], {}, "--dry-run")
    written = tmp_path / f"results/{SAMPLE}/expression"
    killed = kill_when(tmp_path, lambda: any(written.glob(".*.partial.*")), target)
    assert killed.code != 0
    assert target not in killed.results
    for name in killed.results:
        path = tmp_path / name
        if path.suffix == ".h5ad" and ".partial" not in path.name:
            assert ad.read_h5ad(path).n_obs == N_SPOTS
    assert f"results/{SAMPLE}/expression/expression.h5ad" not in killed.results

    assert run_workflow(tmp_path, None, None, "--unlock").code == 0
    resumed = run_workflow(tmp_path, None, None, target)
    assert resumed.code == 0, resumed.output
    assert "read_section" not in resumed.jobs()
    assert not [name for name in resumed.results if "partial" in name]
    # A second run of the same input: the same numbers.
    for name in ("dummy/latents.h5ad", "expression/expression.h5ad"):
        ours, theirs = (ad.read_h5ad(f / f"results/{SAMPLE}" / name) for f in (tmp_path, full.folder))
        for key in ours.obsm:
            np.testing.assert_array_equal(ours.obsm[key], theirs.obsm[key])
        assert ours.obs.equals(theirs.obs)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / target), pd.read_parquet(full.folder / target))

"""The pages that are tested: a made-up section with everything a page can carry, and a group of two, with names that
mean mischief wherever a name can stand."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import report_section
from PIL import Image
from scipy import ndimage, sparse

from spadework.expression import normalize
from spadework.headline import headline
from spadework.images import ArrayImage
from spadework.keys import Keys
from spadework.patches import ScaledImage
from spadework.report.bundle import Bundle
from spadework.report.cohort import GroupTables, Member, cohort_page
from spadework.report.page import render
from spadework.report.panels import add_results
from spadework.report.section import EncoderTables, section_page
from spadework.report.tables import of_frame

SCRIPT = "<script>window.pwned=1</script>"
IMAGE = '<img src=x onerror="window.pwned=1">'
QUOTED = '"><b>x'
FORMULA = "=cmd|'/c calc'!A1"
UNICODE = "βιο \u2028組織\u202e"
# Genes of man and mouse, which only the case of a letter tells apart.
TWINS = ("ACTB", "Actb")
HOSTILE = (SCRIPT, IMAGE, QUOTED, FORMULA, UNICODE)
TITLE = f"S1 {IMAGE}"
GROUP = f"group {SCRIPT}"

N_ROWS, N_GENES, N_LATENTS, PITCH_PX = 18, 60, 3, 130
N_UNTESTED = 2
N_MAPS = 12
FDR = 0.05
SETTINGS = {"image_px": 2600, "n_genes": N_MAPS, "genes": []}
ENCODERS = ("vgg16", "colour_texture")


@dataclass(frozen=True, repr=False)
class Made:
    """A page and what it was made of."""

    path: Path
    sections: dict[str, ad.AnnData]
    images: dict[str, np.ndarray]
    associations: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]


def make_section(sample: str = TITLE, seed: int = 0) -> ad.AnnData:
    """Return a final AnnData of 324 spots with two encoders, nuclei and prototypes."""
    rng = np.random.default_rng(seed)
    adata = report_section.section(sample, N_ROWS, N_GENES, N_LATENTS, seed)
    row, column = (adata.obs[key].to_numpy() for key in (Keys.ARRAY_ROW, Keys.ARRAY_COL))
    n = adata.n_obs
    # Some genes are sparse, as most are in tissue.
    table = adata.layers[Keys.COUNTS].toarray()
    table[:, 30:] *= rng.random((n, N_GENES - 30)) < 0.15
    names = [*HOSTILE, *adata.var_names[len(HOSTILE) :]]
    names[40:42] = TWINS
    var = adata.var.set_axis(pd.Index(names)).assign(**{Keys.GENE_NAME: names})
    barcodes = [*HOSTILE, *adata.obs_names[len(HOSTILE) :]]
    counts = ad.AnnData(
        sparse.csr_matrix(table.astype(np.int32)), obs=adata.obs.set_axis(pd.Index(barcodes)), var=var
    )
    adata = _with(normalize(counts, sample, 1), adata)
    adata.obs[Keys.TOTAL_COUNTS] = np.asarray(adata.layers[Keys.COUNTS].sum(axis=1)).ravel()
    adata.obs[Keys.CLUSTER] = pd.Categorical(np.array(HOSTILE)[(row // 6 + column // 9) % len(HOSTILE)])
    adata.obs[Keys.NUCLEI_COUNT] = rng.poisson(8, n)
    adata.obs[Keys.NUCLEI_AREA] = rng.normal(40, 5, n)
    adata.obs[Keys.PROTOTYPE_CLASS] = pd.Categorical(np.array(HOSTILE[:2])[column % 2])
    adata.obs[Keys.PROTOTYPE_CONFIDENCE] = rng.uniform(0.5, 1, n)
    shift = 0.3 * rng.normal(size=(n, 2))
    for k, encoder in enumerate(ENCODERS):
        latents = np.column_stack([row, np.cos(column / 3), rng.normal(size=(n, N_LATENTS))])[:, :N_LATENTS]
        adata.obsm[Keys.latents(encoder, "pca")] = (latents + k * rng.normal(size=latents.shape)).astype(np.float32)
        adata.obsm[Keys.latents(encoder, "tsne")] = (np.column_stack([column, row - column / 2]) + shift).astype("f4")
        adata.obsm[Keys.latents(encoder, "umap")] = rng.normal(size=(n, 2)).astype(np.float32)
    adata.obsm[Keys.SPATIAL] = (np.column_stack([column, row]) + 1.0) * PITCH_PX
    spade = adata.uns[Keys.SPADE]
    spade |= {"encoders": np.array(ENCODERS), "patch": {"width_px": 110, "height_px": 96}}
    spade["digests"] = {IMAGE: "sha256:00"}
    spade["lattice"] |= {"um_per_px_x": 0.8, "um_per_px_y": 0.9}
    described = {**spade["vgg16"]["encoder"], "name": ENCODERS[1], "weights": "seeded"}
    spade[ENCODERS[1]] = {**spade["vgg16"], "encoder": described}
    spade["prototypes"] = {
        "table": {"prototype": np.arange(3), "class": np.array(HOSTILE[:3]), "weight": np.array([0.5, 1.5, -2.0])},
        "made": json.dumps({"network": "made up", "classes": list(HOSTILE[:2])}),
    }
    spade["nuclei"] = json.dumps({"engine": "made up", "sizes_um": [1, 2.5]})
    return adata


def _with(normalized: ad.AnnData, whole: ad.AnnData) -> ad.AnnData:
    """Put back what normalising counts leaves aside."""
    for key, values in whole.obsm.items():
        normalized.obsm[key] = values
    normalized.uns |= whole.uns
    return normalized


@functools.cache
def make_image(seed: int = 0) -> np.ndarray:
    """Return a picture in the colours of H&E: round tissue on white, with texture at the scale of nuclei."""
    rng = np.random.default_rng(seed)
    height, width = (N_ROWS + 1) * PITCH_PX, (N_ROWS + 2) * PITCH_PX
    small = (height // 4, width // 4)
    y, x = np.mgrid[: small[0], : small[1]] / np.reshape(small, (2, 1, 1))
    fine = ndimage.gaussian_filter(rng.normal(size=small), 1.8)
    stain = np.clip(0.5 + fine / fine.std() / 4, 0, 1) * (0.7 + 0.3 * np.sin(9 * x + 5 * y))
    tissue = ndimage.gaussian_filter((np.hypot(x - 0.5, y - 0.5) < 0.47).astype(float), 3)
    depth = (stain * tissue)[..., None] * [0.7, 1.3, 0.35] + 0.15 * tissue[..., None] * [0.2, 1.0, 0.3]
    image = Image.fromarray((245 * np.exp(-depth)).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def make_scaled(image: np.ndarray) -> ScaledImage:
    return ScaledImage(ArrayImage(image), (1.0, 1.0), (0.8, 0.9), "fullres")


def make_association(adata: ad.AnnData, seed: int = 0) -> pd.DataFrame:
    table = report_section.association(adata, N_UNTESTED, N_LATENTS, seed).copy()
    # As small as no number of 64 bits is: only its logarithm is known.
    tiny = (table["latent"] == 1) & (table["gene"] == adata.var_names[6])
    table.loc[tiny, ["log10_p", "log10_p_depth", "log10_p_spatial"]] = -412.3
    table.loc[tiny, ["p", "p_depth", "p_spatial", "fdr", "fdr_depth", "fdr_spatial"]] = 0.0
    return table


def make_replication(names: list[str]) -> pd.DataFrame:
    rows = [
        {"discovery": a, "validation": b, "latent": k, "spearman": 0.1 * k, "n_found": 3, "same_sign": 0.75}
        | {"same_sign_chance": 0.5, "n_replicated": 2}
        for a in names
        for b in names
        if a != b
        for k in range(1, N_LATENTS + 1)
    ]
    return pd.DataFrame(rows)


def make_terms(names: list[str]) -> pd.DataFrame:
    rows = [
        {"latent": k, "collection": "c", "test": "rank", "direction": "up", "set": name, "n": 12, "auc": 0.7}
        | {"p": 10.0 ** -(k + j), "fdr": 0.01, "genes": ", ".join(HOSTILE[:2])}
        for k in range(1, N_LATENTS + 1)
        for j, name in enumerate(names)
    ]
    return pd.DataFrame(rows)


def write_files(folder: Path) -> None:
    """Write a figure of each kind, a table and a text."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3))
    ax.plot([0, 1], [0, 1])
    ax.set_title(SCRIPT)
    figure.savefig(folder / "history.svg")
    plt.close(figure)
    Image.fromarray(make_image()[:900, :1400]).save(folder / "spots.png")
    (folder / "verdict.txt").write_text(f"What it shows: {IMAGE}\n\nAnd more.\n", encoding="utf-8")


def add_files(page: dict, folder: Path) -> None:
    """Put them on the nuclei, prototypes, volume, quality and latents tabs."""
    write_files(folder)
    of = {"sample": TITLE, "model": TITLE, "block": QUOTED, "encoder": "vgg16"}
    shown = [
        ("nuclei", "Nuclei by spot", "spots.png", "nuclei_spots"),
        ("prototypes", "What the prototypes show", "verdict.txt", ""),
        ("prototypes", f"Training {QUOTED}", "history.svg", "prototypes_history"),
        ("volume", "What the volume shows", "verdict.txt", ""),
        ("volume", "Cuts through the volume", "spots.png", "volume_cuts"),
        ("quality", "Preflight: spots over the image", "spots.png", "overlay"),
        ("latents", "Gene sets", "history.svg", "terms"),
    ]
    said = [{"tab": tab, "title": title, "caption": words, "wildcards": of} for tab, title, _, words in shown]
    add_results(page, said, [str(folder / name) for _, _, name, _ in shown])
    scores = pd.DataFrame({"score": [0.25, 1e-7], "of": [SCRIPT, FORMULA]})
    page["tables"].append(of_frame("volume", "Scores", "scores.csv", scores, "Of sections left out."))


def methods() -> list[dict]:
    text = f"Spots were looked at, {IMAGE}.\n\n" + "A sentence that says how. " * 60
    return [{"tab": "methods", "title": "Methods", "text": text, "copy": True}]


def build_section(folder: Path) -> Made:
    adata, image = make_section(), make_image()
    associations = {encoder: make_association(adata, k) for k, encoder in enumerate(ENCODERS)}
    replication = make_replication([TITLE, "S2"]).query("discovery == @TITLE")
    calibration = report_section.calibration("spatial", 0.06, (0, 1, 0, 3))
    encoders = {
        encoder: EncoderTables(
            table,
            headline(table, "spatial"),
            report_section.summary(N_LATENTS),
            calibration,
            make_terms([SCRIPT, "a set"]),
            replication if encoder == ENCODERS[0] else None,
        )
        for encoder, table in associations.items()
    }
    bundle = Bundle()
    page = section_page(
        *(bundle, adata, make_scaled(image), report_section.manifest(adata), TITLE, encoders),
        preflight=report_section.PREFLIGHT,
        settings=SETTINGS,
        fdr=FDR,
        species=QUOTED,
        group=GROUP,
        software="spadework 0",
    )
    add_files(page, folder)
    page["texts"] += methods()
    path = folder / "section.html"
    path.write_text(render(bundle, page), encoding="utf-8")
    tables = {"calibration": calibration, "replication": replication}
    return Made(path, {TITLE: adata}, {TITLE: image}, associations, tables)


def build_cohort(folder: Path) -> Made:
    names = [TITLE, "S2"]
    sections = {name: make_section(name, seed) for seed, name in enumerate(names)}
    images = {name: make_image(seed) for seed, name in enumerate(names)}
    tables = {name: make_association(section, seed) for seed, (name, section) in enumerate(sections.items())}
    pooled = tables[TITLE][["latent", "gene", "gene_id", "r", "p", "log10_p", "fdr"]].assign(
        n_sections=2, n_same_sign=2, i2=0.25, r_low=-0.1, r_high=0.1
    )
    pairs = make_replication(names)
    latents = {name: section.obsm[Keys.latents("vgg16", "pca")] for name, section in sections.items()}
    members = {name: Member(section, make_scaled(images[name])) for name, section in sections.items()}
    by = headline(tables[TITLE], "spatial")
    encoders = {"vgg16": GroupTables(latents, tables, {TITLE: report_section.calibration()}, pooled, pairs, by)}
    bundle = Bundle()
    page = cohort_page(bundle, GROUP, members, encoders, settings=SETTINGS, fdr=FDR, software="spadework 0")
    said = {"tab": "replication", "title": "Replication", "caption": "replication"}
    write_files(folder)
    add_results(page, [said | {"wildcards": {"group": GROUP, "encoder": "vgg16"}}], [str(folder / "history.svg")])
    page["texts"] += methods()
    path = folder / "cohort.html"
    path.write_text(render(bundle, page), encoding="utf-8")
    return Made(path, sections, images, {"vgg16": pooled}, {"replication": pairs})

"""A small section as the workflow leaves it, with names that mean mischief, for tests of the report page."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from spadework.expression import normalize
from spadework.headline import Headline, headline
from spadework.images import ArrayImage
from spadework.keys import Keys
from spadework.patches import ScaledImage
from spadework.report.section import EncoderTables

HOSTILE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- &amp; ]]> \u2028 '\"")
PITCH_PX, SPOT_UM, UM_PER_PX = 40, 55.0, (2.0, 2.2)
PREFLIGHT = {
    "status": "warn",
    "checks": [
        {"name": "barcodes", "status": "ok", "found": "all", "expected": "", "remedy": ""},
        {"name": HOSTILE[1], "status": "warn", "found": HOSTILE[0], "expected": "less", "remedy": "more"},
    ],
}
SETTINGS = {"image_px": 600, "n_genes": 6, "genes": []}


def section(sample: str = "S1", n_rows: int = 8, n_genes: int = 20, n_latents: int = 3, seed: int = 0) -> ad.AnnData:
    """Return a final AnnData of n_rows² spots; three genes and a cluster have hostile names."""
    rng = np.random.default_rng(seed)
    row, column = (axis.ravel() for axis in np.mgrid[:n_rows, :n_rows])
    n = len(row)
    names = [*HOSTILE, *(f"gene{i}" for i in range(3, n_genes))]
    var = pd.DataFrame(
        {Keys.GENE_IDS: [f"ENSG{i:011d}.3" for i in range(n_genes)], Keys.GENE_NAME: names}, index=names
    )
    counts = sparse.csr_matrix(rng.poisson(rng.gamma(2, 3, n_genes), (n, n_genes)).astype(np.int32))
    adata = ad.AnnData(
        counts, var=var, obs=pd.DataFrame(index=[f"{r}x{c}" for r, c in zip(row, column, strict=True)])
    )
    adata = normalize(adata, sample, 1)
    adata.obs[Keys.IN_TISSUE], adata.obs[Keys.ARRAY_ROW], adata.obs[Keys.ARRAY_COL] = 1, row, column
    adata.obs[Keys.TOTAL_COUNTS] = np.asarray(counts.sum(axis=1)).ravel()
    adata.obs[Keys.N_GENES] = counts.getnnz(axis=1)
    adata.obs[Keys.PCT_MT] = np.nan
    adata.obs[Keys.TISSUE_FRACTION] = rng.uniform(0, 1, n).astype(np.float32)
    adata.obs[Keys.PADDED_FRACTION] = np.float32(0)
    adata.obs[Keys.CLUSTER] = pd.Categorical(np.array(["0", HOSTILE[0]])[row % 2])
    adata.obs["cluster_scanpy"] = pd.Categorical((row % 3).astype(str))
    adata.obs["layer"] = pd.Categorical.from_codes(np.where(column == 0, -1, column % 2), ["L2", "L1"])
    adata.obs["score"] = np.where(row == 0, np.nan, column)
    adata.obs["sample"] = sample
    for kind in (Keys.SPADE_CLUSTER, Keys.IMAGE_CLUSTER):
        adata.obs[kind] = pd.Categorical((column % 2).astype(str))
    latents = np.column_stack([row, column, rng.normal(size=n), *rng.normal(size=(n_latents, n))])[:, :n_latents]
    for kind in ("pca", "tsne", "umap"):
        adata.obsm[Keys.latents("vgg16", kind)] = (latents - latents.mean(axis=0)).astype(np.float32)
    adata.obsm[Keys.UMAP] = rng.normal(size=(n, 2)).astype(np.float32)
    adata.obsm[Keys.SPATIAL] = (np.column_stack([column, row]) + 1.0) * PITCH_PX
    expression = {"min_counts": 10, "min_genes": 5, "max_pct_mt": 100, "min_spots": 1}
    adata.uns[Keys.SPADE] = {
        "encoders": np.array(["vgg16"]),
        "platform": "visium",
        "preflight": "warn",
        "notes": np.array([HOSTILE[1]]),
        "left_out": {"failed_qc": 2, "off_tissue": 7},
        "digests": {"image.tif": "sha256:00"},
        "versions": {"python": "3.11.7"},
        "parameters": json.dumps({"expression": expression, "encoder": {"names": ["vgg16"], "mirror": None}}),
        "lattice": {
            **{"kind": "square", "pitch_um": 100.0, "spot_um": SPOT_UM},
            **{"um_per_px_x": UM_PER_PX[0], "um_per_px_y": UM_PER_PX[1]},
        },
        "patch": {"width_px": 30, "height_px": 27},
        "vgg16": {
            "encoder": {"name": "vgg16", "weights": "imagenet", "device": "cpu"},
            "variance_ratio": np.array([0.5, 0.3, 0.1])[:n_latents],
            "fitted_on": np.array([sample]),
            "association_engine": "python",
        },
    }
    return adata


def slide(adata: ad.AnnData, seed: int = 0) -> ScaledImage:
    """Return an image that shows where it is: red goes with x, green with y."""
    width, height = (np.ceil(adata.obsm[Keys.SPATIAL].max(axis=0)).astype(int) + PITCH_PX).tolist()
    y, x = np.mgrid[:height, :width]
    blue = np.random.default_rng(seed).integers(100, 120, (height, width))
    image = np.stack([x * 255 // width, y * 255 // height, blue], axis=-1).astype(np.uint8)
    return ScaledImage(ArrayImage(image), (1.0, 1.0), UM_PER_PX, "fullres")


def manifest(adata: ad.AnnData) -> pd.DataFrame:
    """Return the manifest of the patches."""
    size = adata.uns[Keys.SPADE]["patch"]
    corner = np.rint(adata.obsm[Keys.SPATIAL] - [size["width_px"] / 2, size["height_px"] / 2]).astype(int)
    return pd.DataFrame({"x0": corner[:, 0], "y0": corner[:, 1], **size}, index=adata.obs_names)


def association(adata: ad.AnnData, n_untested: int = 2, n_latents: int = 3, seed: int = 0) -> pd.DataFrame:
    """Return an association table of all genes but the last; gene i goes along with latent i % 3 + 1."""
    rng = np.random.default_rng(seed)
    genes = adata.var_names[: adata.n_vars - n_untested]
    parts = []
    for latent in range(1, n_latents + 1):
        r = rng.uniform(-0.9, 0.9, len(genes))
        p = 10.0 ** -np.where(np.arange(len(genes)) % 3 == latent - 1, 2.0 + np.arange(len(genes)), 0.1)
        part = pd.DataFrame({"latent": latent, "gene": genes, "gene_id": adata.var.loc[genes, Keys.GENE_IDS]})
        part["mean_expression"], part["n_spots"] = 1.0, 3
        for column in ("coef_std", "r", "r_depth"):
            part[column] = r
        part["ess"] = 20.0
        for test in ("", "_depth", "_spatial", "_mixed"):
            part[f"p{test}"], part[f"fdr{test}"] = p, np.minimum(p * 3, 1)
            if test != "_mixed":
                part[f"log10_p{test}"] = np.log10(p)
        parts.append(part)
    return pd.concat(parts).sample(frac=1, random_state=seed).reset_index(drop=True)


def summary(n_latents: int = 3) -> pd.DataFrame:
    """Return latents.csv."""
    numbers = {"variance_ratio": 0.3, "moran_i": 0.5, "r_log10_umi": 0.1, "r_tissue_fraction": 0.1}
    return pd.DataFrame([{"latent": k + 1, **numbers, "genes_up": 3.0, "genes_down": 1.0} for k in range(n_latents)])


def calibration(test: str = "spatial", share: float = 0.05, found: tuple[int, ...] = (0, 0, 0, 0)) -> pd.DataFrame:
    """Return calibration.csv of three latents, with ``found`` genes for the patterns of each."""
    rows = [(k, test, share, n) for k in (1, 2, 3) for n in found]
    return pd.DataFrame(rows, columns=["imitates", "test", "share_below_05", "found"])


def spatial() -> Headline:
    """Return the headline test."""
    return headline(pd.DataFrame({"fdr_spatial": [0.5]}), "spatial")


def tables(adata: ad.AnnData) -> dict[str, EncoderTables]:
    """Return the tables of the section's encoder."""
    return {"vgg16": EncoderTables(association(adata), spatial(), summary(), calibration())}

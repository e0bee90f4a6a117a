"""Check the results of the real sections the way a user would: open them, draw them, count."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import squidpy as sq

# spots on tissue with a position, from the description of the data
EXPECTED_SPOTS = {"B4": 283, "C2": 187, "C3": 180, "C4": 184, "MOB1": 379, "MOB2": 407, "MOB3": 438}


def check(sample: str) -> str:
    """Return one line about a section, or raise."""
    folder = Path("results") / sample
    adata = sc.read_h5ad(folder / f"{sample}.h5ad")
    left_out = adata.uns["spade"]["left_out"]
    assert adata.n_obs + int(left_out["failed_qc"]) == EXPECTED_SPOTS[sample]
    assert np.isfinite(adata.obsm["X_vgg16_pca"]).all()
    assert adata.varm["spade_vgg16_fdr"].shape == (adata.n_vars, 6)
    figure, ax = plt.subplots()
    gene = adata.var_names[int(np.nanargmin(adata.varm["spade_vgg16_p"][:, 0]))]
    sq.pl.spatial_scatter(adata, library_id=sample, color=gene, ax=ax)
    assert ax.images, "squidpy drew no image"
    assert ax.collections, "squidpy drew no spots"
    plt.close(figure)
    figures = sorted(folder.glob("vgg16/figures/*.png"))
    assert len(figures) >= 20
    assert 1e6 < (folder / "report.html").stat().st_size < 25e6
    calibration = pd.read_csv(folder / "vgg16" / "calibration.csv").groupby("test")["share_below_05"].mean()
    assert 0.03 < calibration["spatial"] < 0.08, calibration  # 24 fields are few
    summary = pd.read_csv(folder / "vgg16" / "latents.csv")
    hits = int(summary["genes_up"].sum() + summary["genes_down"].sum())
    return (
        f"{sample:5} {adata.n_obs:5} spots {adata.n_vars:6} genes  {hits:6} pairs at FDR 5 %, top {gene}; "
        f"p < 0.05 of null latents: {calibration['spatial']:.1%}, as published {calibration['published']:.1%}"
    )


def replication(group: str) -> str:
    """Return the table of a group: rank correlation of effects between sections, by latent."""
    folder = Path("results/cohort") / group / "vgg16"
    assert (folder.parent / "report.html").stat().st_size < 25e6
    pairs = pd.read_csv(folder / "replication.csv")
    pooled = pd.read_csv(folder / "pooled.csv.gz")
    assert pairs["spearman"].max() > 0.2  # these sections lie on top of each other
    table = pairs[pairs["discovery"] < pairs["validation"]].pivot(
        index=["discovery", "validation"], columns="latent", values="spearman"
    )
    found = pooled[pooled["fdr"] < 0.05].groupby("latent").size().reindex(table.columns, fill_value=0)
    return f"\n{group}: rank correlation of effects\n{table.round(2)}\ngenes found in all together: {found.to_dict()}"


if __name__ == "__main__":
    sheet = pd.read_csv(sys.argv[1], sep="\t", comment="#")
    for name in sheet["sample"]:
        print(check(name))
    for name, members in sheet.groupby("group"):
        if len(members) > 1:
            print(replication(str(name)))

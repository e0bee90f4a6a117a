"""Seurat and limma as engines, the published profile, and the comparison, on the published method's own section."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from harness import OVERLAY, ROOT, Run, run_workflow
from PIL import Image
from rscript import R_CODE, needs_r, run_r
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from spadework.keys import Keys
from spadework.lattice import fit_lattice
from spadework.readers.matrix import write_10x_h5
from spadework.readers.positions import read_positions

PROFILE = yaml.safe_load((ROOT / "config/spade2021.yaml").read_text())
PUBLISHED = PROFILE | {
    "encoder": {"names": ["vgg16"], "weights": "seeded", **PROFILE["encoder"]},
    "latents": {**PROFILE["latents"], "n_latents": 6, "n_embed": 10},
    "figures": {**OVERLAY["figures"], **PROFILE["figures"]},
}
seurat = needs_r("Seurat", "limma", "hdf5r")
# The reference was made with this version; others cluster these few spots otherwise.
seurat_4 = needs_r("Seurat 4.3", "limma", "hdf5r")


def section(folder: Path, shared_data: Path, spots: slice = slice(None)) -> Path:
    """Write the published method's input as one .h5ad: its spots, counts, reduced image and scale."""
    reference = shared_data / "spade_reference/C2"
    barcodes = pd.read_csv(reference / "metadata.csv", index_col=0).index[spots]
    counts = pd.read_csv(shared_data / "her2st/C2/counts.tsv.gz", sep="\t", index_col=0).loc[barcodes]
    positions = read_positions("C2", reference / "tissue_positions_list.csv").loc[barcodes]
    xy = positions[["x", "y"]].to_numpy(float)
    adata = ad.AnnData(
        sparse.csr_matrix(counts.to_numpy(), dtype=np.int32),
        obs=positions[[Keys.IN_TISSUE, Keys.ARRAY_ROW, Keys.ARRAY_COL]],
        var=pd.DataFrame(index=counts.columns),
        obsm={Keys.SPATIAL: xy},
    )
    with Image.open(reference / "tissue_hires_image.png") as image:
        scalefactors = json.loads((reference / "scalefactors_json.json").read_text())
        adata.uns[Keys.SPATIAL] = {"C2": {"images": {"hires": np.asarray(image)}, "scalefactors": scalefactors}}
    row, col = positions[Keys.ARRAY_ROW].to_numpy(), positions[Keys.ARRAY_COL].to_numpy()
    adata.uns[Keys.SPADE] = {"lattice": fit_lattice("square", 200, 100, row, col, xy).as_dict()}
    path = folder / "C2.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def published(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The published section under the published profile."""
    folder = tmp_path_factory.mktemp("published")
    run = run_workflow(folder, [{"sample": "C2", "path": section(folder, shared_data)}], PUBLISHED)
    assert run.code == 0, run.output
    return run


def aligned(pcs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the largest difference per component, in its sd, whatever the signs."""
    sign = np.sign((pcs * reference).sum(axis=0))
    return np.abs(pcs * sign - reference).max(axis=0) / reference.std(axis=0)


@seurat
@pytest.mark.shared
def test_published_components_are_met_as_closely_as_they_meet_themselves(published: Run, shared_data: Path) -> None:
    reference = pd.read_csv(shared_data / "spade_reference/C2/original_pcs_range01.csv", index_col=0)
    ours = pd.read_csv(published.folder / "results/C2/vgg16/published/ts_features_pc.csv", index_col=0)
    assert ours.index.name == reference.index.name
    assert list(ours.columns) == list(reference.columns)
    difference = aligned(ours.loc[reference.index].to_numpy(), reference.to_numpy())
    # How closely the script's randomised PCA meets itself (twenty seeds on this input, in sd).
    assert (difference < [1e-3, 1e-3, 1e-3, 4e-3, 8e-3, 4.6e-2]).all(), difference


@seurat
@pytest.mark.shared
def test_published_files_have_the_published_names(published: Run) -> None:
    made = {Path(p).name for p in published.results if "/vgg16/published/" in p}
    assert made == {"SPADE_image_features.png", "ts_features_pc.csv", *(f"SPADE_pc{k}.png" for k in range(1, 7))}


@seurat_4
@pytest.mark.shared
def test_seurat_clusters_are_those_of_a_seurat_session(published: Run, shared_data: Path, tmp_path: Path) -> None:
    reference = pd.read_csv(shared_data / "spade_reference/C2/seurat_metadata.csv", index_col=0, dtype=str)
    adata = ad.read_h5ad(published.folder / "results/C2/C2.h5ad")
    clusters = adata.obs[Keys.CLUSTER].astype(str)
    assert adjusted_rand_score(clusters, reference.loc[adata.obs_names, "seurat_clusters"]) == 1.0
    # The other resolutions, through the same R code.
    write_10x_h5(tmp_path / "counts.h5", adata.layers[Keys.COUNTS], adata.obs_names, adata.var_names)
    script = f"""
    suppressPackageStartupMessages(library(Seurat))
    source("{R_CODE}/job.R"); source("{R_CODE}/seurat.R")
    object <- seurat_object(Read10X_h5("{tmp_path}/counts.h5"), 1000, 30, 20, "C2")
    for (r in c(0.4, 0.8, 1.2, 1.6)) object <- find_clusters(object, r)
    write.csv(object@meta.data, "{tmp_path}/metadata.csv")
    """
    run_r(script)
    metadata = pd.read_csv(tmp_path / "metadata.csv", index_col=0, dtype=str).loc[reference.index]
    for resolution in (0.4, 0.8, 1.2, 1.6):
        column = f"SCT_snn_res.{resolution}"
        assert adjusted_rand_score(metadata[column], reference[column]) == 1.0, column


@seurat_4
@pytest.mark.shared
def test_published_genes_and_both_engines(published: Run) -> None:
    folder = published.folder / "results/C2/vgg16"
    limma = pd.read_parquet(folder / "association.parquet").set_index(["latent", "gene"])
    assert sorted(set(limma.index.get_level_values("latent"))) == [1, 2]
    # The published R script, run by itself on this section: 1,866 genes with the first component, 1 with the second.
    found = limma[limma["fdr"] < 0.05].groupby("latent").size()
    assert abs(found[1] - 1866) <= 1  # single precision may tip a gene at the limit
    assert found[2] == 1
    overlay = PUBLISHED | {"association": {**PUBLISHED["association"], "engine": "python"}}
    final = ad.read_h5ad(published.folder / "results/C2/C2.h5ad").uns[Keys.SPADE]
    assert "limma" in final["vgg16"]["association_engine"]
    assert "Seurat" in final["seurat"]
    run = run_workflow(published.folder, None, overlay, "results/C2/vgg16/association.parquet")
    assert run.code == 0, run.output
    assert set(run.jobs()) == {"associate_genes", "total"}
    python = pd.read_parquet(folder / "association.parquet").set_index(["latent", "gene"])
    assert list(python.columns) == list(limma.columns)
    python = python.loc[limma.index]
    for column in ("coef", "t"):
        np.testing.assert_allclose(python[column], limma[column], rtol=1e-8, atol=1e-10, err_msg=column)
    np.testing.assert_allclose(python["log10_p"], limma["log10_p"], atol=1e-6)


@seurat
@pytest.mark.shared
def test_25_spots_with_clusters_in_words_and_some_missing(shared_data: Path, tmp_path: Path) -> None:
    """What ends the published script: few spots, text labels, a named index, barcodes without a cluster."""
    path = section(tmp_path, shared_data, slice(0, 25))
    adata = ad.read_h5ad(path)
    adata.X = sparse.hstack([sparse.csr_matrix((25, 3), dtype=np.int32), adata.X[:, 3:]]).tocsr()
    adata.write_h5ad(path)
    labels = pd.Series(["tumour", "stroma"] * 10, index=pd.Index(adata.obs_names[:20], name="spot"))
    labels.rename("seurat_clusters").to_csv(tmp_path / "clusters.csv")
    rows = [{"sample": "C2", "path": path, "clusters": tmp_path / "clusters.csv"}]
    run = run_workflow(tmp_path, rows, PUBLISHED)
    assert run.code == 0, run.output
    adata = ad.read_h5ad(tmp_path / "results/C2/C2.h5ad")
    assert adata.obs[Keys.CLUSTER].value_counts().to_dict() == {"tumour": 10, "stroma": 10, "unlabelled": 5}
    assert "cluster_seurat" in adata.obs
    assert np.isfinite(adata.obsm[Keys.TSNE]).all()
    assert len([p for p in run.results if "/published/" in p]) == 8


NETWORK = {"encoder": {"names": ["vgg16"], "weights": "seeded"}, "latents": {"n_latents": 3, "n_embed": 10}}


@seurat
@pytest.mark.shared
def test_the_comparison_begins_with_what_the_profile_gives(published: Run, tmp_path: Path) -> None:
    path = published.folder / "C2.h5ad"
    table = pd.read_parquet(published.folder / "results/C2/vgg16/association.parquet")
    profile = set(table.loc[table["fdr"] < 0.05, "gene"])
    # The corrected method on the same spots: the filters of the profile.
    overlay = NETWORK | {"expression": {"min_counts": 1, "min_genes": 1, "min_spots": 1}}
    run = run_workflow(tmp_path, [{"sample": "C2", "path": path}], overlay, "compare")
    assert run.code == 0, run.output
    folder = tmp_path / "results/C2/vgg16/comparison"
    genes = pd.read_csv(folder / "genes.csv.gz", index_col=0)
    assert set(genes.index[genes["in_published"]]) == profile
    first = pd.read_csv(folder / "steps.csv").iloc[0]
    assert first["found"] == first["found_alone"] == len(profile)


@seurat
def test_the_comparison_names_every_correction(simulated: Path, tmp_path: Path) -> None:
    rows = [{"sample": "gut", "path": simulated / "outs", "species": "human"}]
    run = run_workflow(tmp_path, rows, NETWORK, "compare")
    assert run.code == 0, run.output
    folder = tmp_path / "results/gut/vgg16/comparison"
    steps = pd.read_csv(folder / "steps.csv").set_index("step")
    assert list(steps.index) == [
        *("published", "one model each", "more latents", "input range", "patch", "common genes"),
        *("normalisation", "depth", "spatial test"),
    ]
    genes = pd.read_csv(folder / "genes.csv.gz", index_col=0)
    assert genes["in_published"].sum() == steps.loc["published", "found"]
    assert genes["in_corrected"].sum() == steps.loc["spatial test", "found"]
    assert set(genes["decided_by"]) <= set(steps.index)
    latents = pd.read_csv(folder / "latents.csv")
    assert len(latents) == len(steps) * OVERLAY["latents"]["n_latents"]
    assert (folder / "comparison.png").is_file()
    assert not (tmp_path / "results/gut/patches/published.h5").exists()
    # A figure drawn anew needs no network.
    again = NETWORK | {"figures": {**OVERLAY["figures"], "dpi": 60}}
    assert set(run_workflow(tmp_path, rows, again, "compare", "-n").jobs()) == {"compare", "compare_methods", "total"}


@seurat
@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (PUBLISHED, "encoder.pixel_range: 0-1"),
        ({}, "dummy as the first of encoder.names"),
        (NETWORK | {"association": {"design": "joint"}}, "association.design: joint"),
    ],
)
def test_settings_the_comparison_does_not_know_are_refused(
    overlay: dict, message: str, simulated: Path, tmp_path: Path
) -> None:
    run = run_workflow(tmp_path, [{"sample": "gut", "path": simulated / "outs"}], overlay, "compare", "-n")
    assert run.code != 0
    assert message in run.output


@pytest.mark.parametrize(
    ("overlay", "target"),
    [
        ({"expression": {"engine": "seurat"}}, "all"),
        ({"association": {"engine": "limma"}}, "all"),
        (NETWORK, "compare"),
    ],
)
def test_without_r_an_r_engine_is_refused_at_once(
    overlay: dict, target: str, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "env", "which"):  # the last for the Slurm plugin, which needs it to be imported
        (tools / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tools))
    run = run_workflow(tmp_path, [{"sample": "gut", "path": simulated / "outs"}], overlay, target)
    assert run.code != 0
    assert "no Rscript on the PATH" in run.output
    assert "--use-conda" in run.output
    assert run.results == []


@seurat
def test_a_missing_r_package_is_named(simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("R_LIBS", "R_LIBS_SITE", "R_LIBS_USER"):
        monkeypatch.setenv(name, os.devnull)
    overlay = {"expression": {"engine": "seurat"}}
    target = "results/gut/expression/seurat.csv"
    run = run_workflow(tmp_path, [{"sample": "gut", "path": simulated / "outs"}], overlay, target)
    assert run.code != 0
    log = run.log("gut/cluster_seurat.log")
    assert "without the package" in log
    assert "--use-conda" in log
    assert not (tmp_path / target).exists()

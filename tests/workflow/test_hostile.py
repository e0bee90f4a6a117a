"""Files made to do harm: nothing in them is run, and nothing is written outside the results."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from damage import MATRIX, clusters
from harness import ROOT, Run, run_workflow, sheet_text

from spadework import checks
from spadework.encoders import registry
from spadework.errors import InputError, SpadeworkError
from spadework.samples import load_samples
from spadework.tables import read_csv, write_csv

SAMPLE = "hostile"
# A formula, markup, an escape of matplotlib's, paths, a break of line and of column.
NAMES = (
    '=HYPERLINK("http://127.0.0.1:9/";"click")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "<script>document.title='run'</script>",
    '"><img src=x onerror=alert(1)>',
    r"$\frac{1}{0}$",
    "../../../escaped",
    "/tmp/escaped",
    "two\nlines",
    "a\tb,c;d",
)


class Marks:
    """Unpickling an instance makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a section whose genes and clusters have such names."""
    folder = tmp_path_factory.mktemp("hostile")
    outs = Path(shutil.copytree(simulated / "outs", folder / "data/outs"))
    with h5py.File(outs / MATRIX, "a") as handle:
        features = handle["matrix/features"]
        totals = np.bincount(handle["matrix/indices"][:], handle["matrix/data"][:], len(features["name"]))
        names = features["name"].asstr()[:].astype(object)
        names[np.argsort(-totals)[: len(NAMES)]] = NAMES  # genes that are tested
        del features["name"]
        features["name"] = [str(name) for name in names]
    sheet = clusters(outs, label=0)
    table = pd.read_csv(sheet)
    table.iloc[:, -1] = [NAMES[i % len(NAMES)] for i in range(len(table))]
    table.to_csv(sheet, index=False)
    row = {"sample": SAMPLE, "path": outs, "species": "human", "clusters": sheet}
    overlay = {"association": {"headline": "published"}, "figures": {"dpi": 50, "top_genes": 4, "n_extreme": 2}}
    return run_workflow(folder / "run", [row], overlay)


def test_a_run_with_such_names_ends_well(run: Run) -> None:
    assert run.code == 0, run.output
    final = ad.read_h5ad(run.folder / f"results/{SAMPLE}/{SAMPLE}.h5ad")
    assert {name.strip() for name in NAMES} <= {str(name).strip() for name in final.var_names}
    assert set(final.obs["cluster"]) == {name.strip() for name in NAMES}


def test_no_cell_of_a_table_is_a_formula(run: Run) -> None:
    tables = [*(run.folder / "results").rglob("*.csv"), *(run.folder / "results").rglob("*.csv.gz")]
    assert len(tables) >= 5
    seen = 0
    for path in tables:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in table:
            text = table[column][pd.to_numeric(table[column], errors="coerce").isna()]
            assert not text.str.match(r"[=+\-@\t\r]").any(), (path.name, column)
            seen += int(text.str.startswith("'").sum())
    assert seen


def test_nothing_is_written_outside_the_run(run: Run) -> None:
    assert not Path("/tmp/escaped").exists()
    assert {path.name for path in run.folder.parent.iterdir()} == {"run", "data"}
    allowed = {"results", "logs", "benchmarks", ".snakemake", "samples.tsv", "overlay.yaml"}
    assert {path.name for path in run.folder.iterdir()} <= allowed
    assert not [path for path in run.folder.rglob("*") if re.search("escaped|<|HYPERLINK", path.name)]


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "<b>", "..", "-rf", "a b"])
@pytest.mark.parametrize("column", ["sample", "group"])
def test_names_that_are_paths_are_refused(column: str, name: str, simulated: Path, tmp_path: Path) -> None:
    row = {"sample": "a", "path": simulated / "outs", "group": "g"} | {column: name}
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(sheet_text([row]))
    with pytest.raises(SpadeworkError, match=re.escape(name)):
        checks.check_samples(load_samples(sheet), str(sheet), ROOT / "config/schemas/samples.schema.yaml")


def hdf5_with_pickles(path: Path, marks: Marks) -> None:
    """Weights of the right names, whose attributes and data are pickles, and a model that would run code."""
    with h5py.File(path, "w") as handle:
        handle.attrs["layer_names"] = [b"block1_conv1"]
        handle.attrs["model_config"] = b'{"class_name": "Lambda", "config": {"function": ["gASV", null, null]}}'
        group = handle.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"kernel"]
        group.attrs["pickle"] = np.void(pickle.dumps(marks))
        group["kernel"] = np.void(pickle.dumps(marks))


def keras_with_pickles(path: Path, marks: Marks) -> None:
    """A .keras archive with a pickle in each member, and members that climb out."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda", "module": "os", "config": {"function": "system"}}')
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", pickle.dumps(marks))
        archive.writestr("../../escaped", "escaped")


def plain_pickle(path: Path, marks: Marks) -> None:
    """A pickle under the name of weights."""
    path.write_bytes(pickle.dumps(marks))


@pytest.mark.parametrize(
    ("write", "name"),
    [(hdf5_with_pickles, "w.h5"), (keras_with_pickles, "w.keras"), (plain_pickle, "w.h5"), (plain_pickle, "w.keras")],
)
def test_weights_that_hold_code_are_refused_and_not_run(
    write: Callable[[Path, Marks], None], name: str, tmp_path: Path
) -> None:
    write(tmp_path / name, Marks(tmp_path / "ran"))
    with pytest.raises(InputError, match="weights that do not fit vgg16"):
        registry.create("vgg16", 32, weights=tmp_path / name, pixel_range="0-255", precision="float32", device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert not (tmp_path.parent.parent / "escaped").exists()


@pytest.mark.parametrize("file", ["section.h5ad", MATRIX])
def test_sections_that_hold_pickles_do_not_run_them(file: str, simulated: Path, tmp_path: Path) -> None:
    outs = Path(shutil.copytree(simulated / "outs", tmp_path / "outs"))
    marks = Marks(tmp_path / "ran")
    with h5py.File(outs / MATRIX, "a") as handle:
        handle.attrs["pickle"] = np.void(pickle.dumps(marks))
        handle["matrix"].create_dataset("extra", data=np.void(pickle.dumps(marks)))
    if file == "section.h5ad":
        adata = ad.AnnData(np.ones((40, 3), np.float32), uns={"x": np.frombuffer(pickle.dumps(marks), np.uint8)})
        adata.write_h5ad(tmp_path / file)
        with h5py.File(tmp_path / file, "a") as handle:
            handle["uns/y"] = np.void(pickle.dumps(marks))
            handle["uns/y"].attrs.update({"encoding-type": "pickle", "encoding-version": "0.1.0"})
    path = outs if file == MATRIX else tmp_path / file
    target = f"results/{SAMPLE}/ingest/spots.h5ad"
    done = run_workflow(tmp_path / "run", [{"sample": SAMPLE, "path": path, "species": "human"}], {}, target)
    assert (done.code == 0) == (file == MATRIX), done.output
    assert not (tmp_path / "ran").exists()


def test_tables_come_back_as_they_were(tmp_path: Path) -> None:
    """Barcodes may look like formulas; so may text that has an apostrophe of its own."""
    table = pd.DataFrame(
        {"name": [*NAMES, "-1x2", "'quoted", "'tis", None], "value": np.arange(len(NAMES) + 4) + 0.5}
    )
    write_csv(table.set_index("name"), tmp_path / "t.csv", index_label="name")
    assert not pd.read_csv(tmp_path / "t.csv")["name"].str.match(r"[=+\-@\t\r]").any()
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table)


def test_the_mark_would_be_seen(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Marks(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()

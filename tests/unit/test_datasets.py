"""The registry of public datasets, and what the sample sheet takes from it."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spadework import datasets
from spadework.errors import InputError, SpadeworkError
from spadework.ingest import ingest
from spadework.readers.locate import locate
from spadework.samples import Sample, load_samples
from spadework.targets import all_inputs

ROOT = Path(__file__).parents[2]
OURS = ROOT / "resources/datasets.yaml"
SCHEMA = ROOT / "config/schemas/datasets.schema.yaml"
PAPERS = sorted((ROOT / "config/papers").glob("*.yaml"))
CONFIG = {"ingest": {"bin_um": 8}}
REGISTRY = datasets.read_registry([OURS], SCHEMA)
ENTRY = {
    "what": "a section",
    "platform": "visium",
    "licence": "CC0",
    "citation": "nobody",
    "urls": ["https://data.example/a"],
    "files": [{"name": "a.h5", "sha256": "0" * 64}],
}


def write(path: Path, **entries: object) -> Path:
    path.write_text(yaml.safe_dump(entries))
    return path


def read(path: Path) -> datasets.Registry:
    return datasets.read_registry([path], SCHEMA)


# ---- the registry --------------------------------------------------------------------------------------------------


def test_every_dataset_is_named_once():
    names = re.findall(r"^(\S+):", OURS.read_text(), re.MULTILINE)  # YAML keeps the last of equal keys in silence
    assert sorted(names) == sorted(REGISTRY)


def test_files_of_the_registry_do_not_collide():
    files = datasets._all_files(REGISTRY)
    digests = [f.sha256 for f in files if f.sha256]
    assert len({f.path for f in files}) == len(files)
    assert len(set(digests)) == len(digests)
    assert len({url for f in files for url in f.urls}) == sum(len(f.urls) for f in files)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_section_reads_what_the_registry_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = REGISTRY[name]
    for file in [*dataset.files, *([dataset.image] if dataset.image else [])]:
        file.cached.parent.mkdir(parents=True, exist_ok=True)
        file.cached.touch()
    asked = Sample("s", Path(f"dataset:{name}"), Path(f"dataset:{name}"), platform=dataset.platform)
    sample = datasets.resolve({"s": asked}, REGISTRY)["s"]
    found = locate(sample)
    inputs = all_inputs({"s": sample}, CONFIG, REGISTRY)["s"]
    assert sorted(inputs["files"]) == sorted(map(str, found.counts_inputs()))
    assert inputs["image"] == [str(found.fullres)]


def test_the_image_is_left_out_unless_the_sheet_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "V1_Human_Lymph_Node"
    sample = datasets.resolve({"s": Sample("s", Path(f"dataset:{name}"))}, REGISTRY)["s"]
    for file in (*REGISTRY[name].files, REGISTRY[name].image):
        file.cached.parent.mkdir(parents=True, exist_ok=True)
        file.cached.touch()  # there, for the sake of another sheet
    assert all_inputs({"s": sample}, CONFIG, REGISTRY)["s"]["image"] == []
    assert locate(sample).fullres is None


@pytest.mark.shared
@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        *((f"her2st_{s}", f"her2st/{s}") for s in ("B4", "C2", "C3", "C4")),
        *((f"olfactory_bulb_{k}", f"mouse_olfactory_bulb/MOB{k}") for k in (1, 2, 3)),
    ],
)
def test_checksums_are_those_of_real_copies(dataset, folder, shared_data):
    entry = REGISTRY[dataset]
    for file in (*entry.files, entry.image):
        name = Path(file.path).name
        packed = shared_data / folder / f"{name}.gz"
        content = (
            gzip.decompress(packed.read_bytes()) if packed.exists() else (shared_data / folder / name).read_bytes()
        )
        assert hashlib.sha256(content).hexdigest() == file.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": None}, r"x\.licence: None is not of type 'string'"),
        ({"citation": ...}, "'citation' is a required property"),
        ({"urls": ["http://data.example/a"]}, r"x\.urls\.0: .* does not match"),
        ({"files": []}, r"x\.files: \[\] should be non-empty"),
        ({"files": [{"name": "a.h5"}]}, "'sha256' is a required property"),
        ({"files": [{"name": "a.h5", "sha256": "0" * 63}]}, r"x\.files\.0\.sha256: .* does not match"),
        ({"files": [{"name": "../a.h5", "sha256": None}]}, r"x\.files\.0\.name: .* does not match"),
        ({"md5": "0" * 32}, "'md5' was unexpected"),
        ({"platform": "xenium"}, r"x\.platform: 'xenium' is not one of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_entry_of_another_form_is_refused(changes, message, tmp_path):
    entry = {key: value for key, value in (ENTRY | changes).items() if value is not ...}
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "own.yaml", x=entry))


def test_own_datasets_are_added_and_replace_none(tmp_path):
    own = write(tmp_path / "own.yaml", mine=ENTRY)
    assert set(datasets.read_registry([OURS, own], SCHEMA)) == {*REGISTRY, "mine"}
    with pytest.raises(InputError, match="her2st_B4, which is known already"):
        datasets.read_registry([OURS, write(tmp_path / "own.yaml", her2st_B4=ENTRY)], SCHEMA)


def test_a_registry_that_is_not_there_or_no_yaml_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml\n.*cannot be read"):
        read(tmp_path / "gone.yaml")
    (tmp_path / "own.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"datasets\.registry"):
        read(tmp_path / "own.yaml")


def test_snakemake_is_not_burdened_with_a_client_for_the_web():
    code = "import sys; from spadework import datasets; print({'requests', 'pooch'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "scripts"
    ).stdout
    assert out.strip() == "set()"


# ---- the sample sheet ----------------------------------------------------------------------------------------------


def resolve(path: str, image: str | None = None) -> Sample:
    sample = Sample("s", Path(path), Path(image) if image else None)
    return datasets.resolve({"s": sample}, REGISTRY)["s"]


def test_a_misspelt_dataset_is_an_error_with_a_suggestion():
    with pytest.raises(SpadeworkError, match=r"(?s)s: dataset:her2st_B5\n.*did you mean her2st_B4\?"):
        resolve("dataset:her2st_B5")
    with pytest.raises(SpadeworkError, match=r"dataset:xxx(?s:.*)a registry of your own"):
        resolve("data/mine", "dataset:xxx")


def test_all_wrong_datasets_are_reported_at_once():
    samples = {name: Sample(name, Path(f"dataset:{name}")) for name in ("xxx", "yyy")}
    with pytest.raises(SpadeworkError, match=r"(?s)xxx: dataset:xxx.*yyy: dataset:yyy"):
        datasets.resolve(samples, REGISTRY)


def test_a_legacy_section_needs_its_image():
    with pytest.raises(SpadeworkError, match="put dataset:her2st_C2 into the column `image`"):
        resolve("dataset:her2st_C2")
    assert resolve("dataset:her2st_C2", "own.tif").image == Path("own.tif")


def test_a_dataset_without_an_image_gives_none(tmp_path):
    registry = read(write(tmp_path / "own.yaml", x=ENTRY))
    with pytest.raises(SpadeworkError, match="without a full-resolution image"):
        datasets.resolve({"s": Sample("s", Path("dataset:x"), Path("dataset:x"))}, registry)


def test_local_sections_are_left_alone():
    sample = Sample("s", Path("data/mine"), Path("mine.tif"))
    assert datasets.resolve({"s": sample}, REGISTRY) == {"s": sample}
    assert datasets.section_files(sample, REGISTRY) is None


def test_only_images_may_come_from_the_registry(tmp_path):
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("sample\tpath\timage\tclusters\ns\tdataset:x\tdataset:x\tdataset:x\n")
    with pytest.raises(InputError, match="column `clusters`"):
        load_samples(sheet)


# ---- what is fetched -----------------------------------------------------------------------------------------------


def test_files_in_the_cache_are_not_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = [f.cached for f in REGISTRY["her2st_B4"].files]
    assert set(datasets.to_download(inputs, REGISTRY)) == {"her2st_B4/counts.tsv.gz", "her2st_B4/spots.tsv"}
    inputs[0].parent.mkdir(parents=True)
    inputs[0].touch()
    assert set(datasets.to_download(inputs, REGISTRY)) == {"her2st_B4/spots.tsv"}
    assert datasets.to_download(["data/mine/counts.tsv.gz"], REGISTRY) == {}


def test_a_file_without_a_checksum_is_taken_from_the_cache_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unknown = {"files": [{"name": n, "sha256": None} for n in ("a.h5", "b.tar.gz")]}
    registry = read(write(tmp_path / "own.yaml", x=ENTRY | unknown))
    files = [f.cached for f in registry["x"].files]
    with pytest.raises(
        SpadeworkError, match=r"(?s)x: .*x/a\.h5\n.*download https://data\.example/a/a\.h5.*x/b\.tar\.gz"
    ):
        datasets.to_download(files, registry)
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.touch()
    assert datasets.to_download(files, registry) == {}
    assert datasets.known_checksums(files, registry) == {}


def test_a_mirror_takes_the_place_of_the_publishers():
    image = REGISTRY["her2st_B4"].image
    assert image.sources(None) == list(image.urls)
    assert image.sources("http://mirror/x/") == ["http://mirror/x/her2st_B4/image/image.jpg"]


def test_a_file_put_there_by_hand_must_be_the_right_one(outs):
    sample = Sample("s", outs)
    matrix = "filtered_feature_bc_matrix.h5"
    right = f"sha256:{hashlib.sha256((outs / matrix).read_bytes()).hexdigest()}"
    assert ingest(sample, 8, {matrix: right}).uns["spade"]["digests"][matrix] == right
    with pytest.raises(InputError, match=rf"(?s){matrix}\n.*{right}.*sha256:00, as the registry.*delete the file"):
        ingest(sample, 8, {matrix: "sha256:00"})


# ---- the papers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.stem)
def test_a_paper_has_all_it_needs_in_the_registry(paper, monkeypatch, tmp_path):
    sheet = yaml.safe_load(paper.read_text())["samples"]
    assert sheet == f"config/papers/{paper.stem}.tsv"
    samples = datasets.resolve(load_samples(ROOT / sheet), REGISTRY)
    monkeypatch.chdir(tmp_path)
    inputs = all_inputs(samples, CONFIG, REGISTRY)
    wanted = [path for found in inputs.values() for path in found["files"] + found["image"]]
    assert len(datasets.to_download(wanted, REGISTRY)) == len(wanted) >= 2 * len(samples)


def test_the_rerun_of_2021_has_the_settings_of_2021():
    paper = yaml.safe_load((ROOT / "config/papers/spade2021_breast.yaml").read_text())
    del paper["samples"]
    assert paper == yaml.safe_load((ROOT / "config/spade2021.yaml").read_text())


def test_every_paper_has_its_command_in_the_readme():
    text = (ROOT / "config/papers/README.md").read_text()
    assert {f"config/papers/{p.name}" for p in PAPERS} == set(re.findall(r"config/papers/\w+\.yaml", text))

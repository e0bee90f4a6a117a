"""Which engines can run, and what the comparison compares."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from spadework.checks import check_comparison, check_config, check_engines, check_r
from spadework.errors import InputError
from spadework.samples import Sample
from spadework.targets import final_outputs, published_settings, result_parameters

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "config" / "spade2021.yaml"


def defaults() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def merged(overlay: dict[str, Any]) -> dict[str, Any]:
    """Lay one configuration over the default, key by key, as Snakemake does."""
    config = copy.deepcopy(defaults())
    for key, value in overlay.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    return config


def published() -> dict[str, Any]:
    return merged(yaml.safe_load(PROFILE.read_text()))


@pytest.fixture
def no_r(tmp_path, monkeypatch) -> Path:
    """A PATH without Rscript; the folder on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("Rscript") is None
    return tmp_path


@pytest.fixture
def with_r(no_r) -> None:
    (no_r / "Rscript").write_text("#!/bin/sh\n")
    (no_r / "Rscript").chmod(0o755)


def test_the_defaults_need_no_r(no_r):
    check_engines(defaults(), own_r=True)


@pytest.mark.parametrize(
    ("overlay", "wanted_by"),
    [
        ({"expression": {"engine": "seurat"}}, "expression.engine: seurat needs"),
        ({"association": {"engine": "limma"}}, "association.engine: limma needs"),
        (
            {"expression": {"engine": "seurat"}, "association": {"engine": "limma"}},
            "expression.engine: seurat and association.engine: limma needs",
        ),
    ],
)
def test_r_engines_need_rscript_or_conda(no_r, overlay, wanted_by):
    config = merged(overlay)
    with pytest.raises(InputError) as error:
        check_engines(config, own_r=True)
    assert wanted_by in error.value.found
    assert "no Rscript on the PATH" in error.value.found
    assert "--use-conda" in error.value.remedy
    assert "expression.engine: scanpy" in error.value.remedy
    check_engines(config, own_r=False)


def test_rscript_on_the_path_is_enough(with_r):
    check_r("anything", "go without")
    check_engines(published(), own_r=True)


def test_a_file_that_cannot_be_run_is_no_rscript(no_r):
    (no_r / "Rscript").write_text("")
    with pytest.raises(InputError, match="no Rscript"):
        check_r("anything", "go without")


def test_rscript_is_looked_for_by_name(monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "which", lambda name: asked.append(name))
    with pytest.raises(InputError, match="which a reviewer needs"):
        check_r("a reviewer", "go without")
    assert asked == ["Rscript"]


@pytest.mark.parametrize("own_r", [False, True])
def test_sct_values_need_seurat(with_r, own_r):
    with pytest.raises(InputError) as error:
        check_engines(merged({"association": {"values": "sct"}}), own_r=own_r)
    assert error.value.found == "association.values: sct with expression.engine: scanpy"
    assert "expression.engine: seurat" in error.value.remedy
    check_engines(merged({"association": {"values": "sct"}, "expression": {"engine": "seurat"}}), own_r=own_r)


def test_no_more_latents_are_tested_than_there_are():
    for n, latents in ((None, 6), (6, 6), (1, 1)):
        check_engines(merged({"association": {"n_latents": n}, "latents": {"n_latents": latents}}), own_r=True)
    with pytest.raises(InputError) as error:
        check_engines(merged({"association": {"n_latents": 7}}), own_r=True)
    assert error.value.found == "association.n_latents: 7"
    assert error.value.expected == "at most latents.n_latents: 6"


def test_the_published_profile_is_a_valid_configuration(with_r):
    config = published()
    check_config(config, ROOT / "config" / "schemas" / "config.schema.yaml")
    check_engines(config, own_r=True)
    # what the paper's script does, from the paper's script
    assert config["patch"] == {"um": None, "px": 32, "output_px": 32, "image": "hires"}
    assert config["association"] == config["association"] | {
        "engine": "limma",
        "values": "sct",
        "zscore": True,
        "design": "joint",
        "n_latents": 2,
        "min_spots_fraction": 0,
        "headline": "published",
    }


def test_the_comparison_needs_the_corrected_settings_and_a_network(with_r):
    old = published_settings(PROFILE)
    check_comparison(defaults(), old, own_r=True)
    check_comparison(merged({"patch": {"um": 80}, "expression": {"engine": "seurat"}}), old, own_r=True)
    for overlay, found in (
        (yaml.safe_load(PROFILE.read_text()), "encoder.pixel_range: 0-1"),
        ({"latents": {"scope": "group"}}, "latents.scope: group"),
        ({"association": {"zscore": True}}, "association.zscore: True"),
        ({"association": {"n_latents": 2}}, "association.n_latents: 2"),
    ):
        with pytest.raises(InputError, match=rf"{found}\n(.|\n)*without config/spade2021"):
            check_comparison(merged(overlay), old, own_r=True)
    with pytest.raises(InputError, match="put vgg16 first"):
        check_comparison(merged({"encoder": {"names": ["colour_texture", "vgg16"]}}), old, own_r=True)
    with pytest.raises(InputError, match="at least 71"):  # the published patch has 32 px
        check_comparison(merged({"encoder": {"names": ["xception"]}}), old, own_r=True)


def test_the_comparison_needs_r_whatever_the_engines_are(no_r):
    old = published_settings(PROFILE)
    with pytest.raises(InputError, match=r"which the comparison with the published method needs(.|\n)*do without"):
        check_comparison(defaults(), old, own_r=True)
    check_comparison(defaults(), old, own_r=False)


def test_published_files_are_asked_for_only_where_wanted():
    samples = {"a": Sample.__new__(Sample), "b": Sample.__new__(Sample)}
    plain = set(final_outputs(samples, merged({"latents": {"n_latents": 3}})))
    more = set(final_outputs(samples, merged({"latents": {"n_latents": 3}, "figures": {"published": True}})))
    assert plain < more
    names = ["SPADE_image_features.png", "ts_features_pc.csv", *(f"SPADE_pc{k}.png" for k in (1, 2, 3))]
    assert more - plain == {f"results/{s}/vgg16/published/{name}" for s in samples for name in names}


def test_engines_are_kept_with_the_results():
    kept = result_parameters(published())
    assert kept["expression"]["engine"] == "seurat"
    assert kept["association"]["engine"] == "limma"

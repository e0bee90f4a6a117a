"""Profiles name rules that exist, and a cluster's profile forgets none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from spadework.targets import growing

ROOT = Path(__file__).parents[2]
PROFILES = sorted(p.parent.name for p in (ROOT / "profiles").glob("*/config.yaml"))


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def rules() -> dict[str, str]:
    """Text of every rule, by name; of one made from another by ``use rule``, both texts."""
    own, base = {}, {}
    for path in (ROOT / "rules").glob("*.smk"):
        for text in re.split(r"(?m)^(?=(?:use )?rule )", path.read_text())[1:]:
            first, second = re.match(r"(?:use )?rule (\w+)(?: as (\w+))?", text).groups()
            own[second or first] = text
            base[second or first] = first if second else ""
    return {name: text + own.get(base[name], "") for name, text in own.items()}


def encoder_rules() -> set[str]:
    return {name for name, text in rules().items() if "encode_patches.py" in text}


def network_rules() -> set[str]:
    prototypes = {"train_prototypes", "train_control", "score_prototypes"}
    volumes = {"train_vox2vox", "predict_vox2vox"}
    return encoder_rules() | prototypes | volumes | {"segment_nuclei", "train_unet", "score_unet"}


def section_rules() -> set[str]:
    """Rules with a job, or several, for every section."""
    outputs = {name: re.search(r"(?s)    output:\n(.*?)(?=\n    \w)", text) for name, text in rules().items()}
    return {name for name, output in outputs.items() if output and "{sample}" in output[1]}


def test_rules_are_found():
    assert {"read_section", "encode_patches", "encode_perturbed_patches", "draw_section"} <= section_rules()
    assert encoder_rules() == {"encode_patches", "encode_perturbed_patches", "encode_published_patches"}
    assert "fetch_weights" in rules()
    assert "fetch_weights" not in section_rules()


@pytest.mark.parametrize("name", PROFILES)
def test_every_rule_named_in_a_profile_exists(name):
    named = profile(name)
    assert {
        *named.get("groups", {}),
        *named.get("set-resources", {}),
        *named.get("set-threads", {}),
    } <= rules().keys()
    assert named.get("group-components", {}).keys() <= set(named.get("groups", {}).values())


def test_every_rule_of_a_section_is_submitted_with_others_but_never_with_the_encoder():
    groups = profile("slurm-gpu")["groups"]
    first = {"encode_patches", "segment_nuclei"}
    # The page of a group is made beside those of its sections.
    assert section_rules() - first == groups.keys() - {"write_cohort_report"}
    with_encoder = {groups[name] for name in encoder_rules() - first}
    assert not with_encoder & {groups[name] for name in groups.keys() - encoder_rules()}


def test_every_rule_with_a_network_asks_for_a_gpu_and_no_other_does():
    asked = profile("slurm-gpu")["set-resources"]
    assert {name for name, resources in asked.items() if resources.get("gpu")} == network_rules()


def test_cores_are_asked_for_by_number_where_a_rule_goes_by_the_size_of_its_input():
    by_size = {name for name, text in rules().items() if re.search(r"(?m)^    threads: \D", text)}
    assert set(profile("slurm-gpu")["set-threads"]) == by_size


def test_every_job_that_is_submitted_says_how_long_it_takes_and_grows_when_tried_again():
    for name, text in rules().items():
        if "script:" in text and "localrule: True" not in text:
            assert "mem_mb=mem_mb(" in text, name
            assert "runtime=minutes(" in text, name


class Wildcards:
    sample = "gut"


def test_what_a_job_asks_for_follows_its_input_and_doubles(tmp_path):
    raw, made = tmp_path / "raw.h5", tmp_path / "made.h5ad"
    raw.write_bytes(bytes(3_000_000))
    made.write_bytes(bytes(1_000_000))
    ask = growing({"gut": {"files": [str(raw)], "image": []}}, 100, 10)
    assert [ask(Wildcards(), [made], attempt) for attempt in (1, 2, 3)] == [110, 220, 440]
    # Submitted with the job that makes its input, it goes by the section's files.
    assert ask(Wildcards(), [tmp_path / "later.h5ad"], 1) == 130
    assert ask(object(), [tmp_path / "later.h5ad"], 1) == 100

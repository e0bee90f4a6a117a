"""The workflow on a cluster: what is submitted, what it asks for, and what happens to a job that is killed."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, missing
from harness import ROOT, Run, command, environment, results_of, sheet_text, write_overlay

PROFILE = ("--workflow-profile", ROOT / "profiles/slurm-gpu")
# Nothing is far away here.
NEAR = ("--slurm-init-seconds-before-status-checks", 2, "--latency-wait", 5)
needs_slurm = pytest.mark.skipif(bool(missing()), reason=missing() or "Slurm is there")
ONE = {"gut": ""}
PER_SECTION = ("before", "encode_patches", "after")


def run_on_cluster(
    folder: Path,
    outs: Path,
    *arguments: object,
    sections: Mapping[str, str] = ONE,
    scope: str = "section",
    **env: str,
) -> Run:
    """Run the workflow on sections, given with their group, as on a login node."""
    folder.mkdir()
    rows = [{"sample": name, "path": outs, "group": group, "species": "human"} for name, group in sections.items()]
    (folder / "samples.tsv").write_text(sheet_text(rows))
    write_overlay(folder, {"encoder": {"names": ["dummy"], "device": "cpu"}, "latents": {"scope": scope}})
    line = command(folder, *PROFILE, *arguments)
    del line[line.index("--cores") :]  # of the node, says the profile
    done = subprocess.run(line, env=environment() | env, capture_output=True, text=True, timeout=900, cwd=folder)
    return Run(folder, done.returncode, done.stdout + done.stderr, results_of(folder))


def submissions(output: str) -> list[str]:
    """Names of what a dry run would submit: groups, and rules in none. It calls local rules rules, too."""
    texts = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.split(r"(?m)^(?=(?:use )?rule )", texts)
    local = {"all", *(re.match(r"rule (\w+)", block)[1] for block in blocks if "    localrule: True\n" in block)}
    named = re.findall(r"(?m)^(?:\[.*\] Group job|rule) (\w+)", output)
    return [name for name in named if name not in local]


def asked(output: str) -> dict[str, dict[str, int]]:
    """Memory and minutes every rule asks for, from what Snakemake prints."""
    found = re.findall(r"\brule (\w+):(?:\n +\w.*)*?\n +resources: (.*)", output)
    return {
        rule: {key: int(re.search(rf"\b{key}=(\d+)", text)[1]) for key in ("mem_mb", "runtime")}
        for rule, text in found
        if "mem_mb=" in text
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture
def accounted(cluster: Cluster):
    """Read the accounting of a run's submissions, so many: a row for each, in order."""
    fields = ("JobID", "State", "Partition", "AllocTRES", "ReqMem", "TimelimitRaw", "Comment")
    form = f"--format={','.join(fields)}"

    def read(output: str, n: int) -> list[dict[str, str]]:
        run_id = re.search(r"SLURM run ID: (\S+)", output)[1]
        # Without a start it is midnight, and a test may be run then.
        query = ("sacct", "-X", "-P", "--noheader", "--starttime=now-1hour", f"--name={run_id}")
        end = time.monotonic() + 20
        while True:
            rows = [
                dict(zip(fields, line.split("|"), strict=True)) for line in cluster.output(*query, form).splitlines()
            ]
            # A job and its last state may arrive late.
            ended = [row for row in rows if row["State"] not in ("PENDING", "RUNNING")]
            if len(ended) == n or time.monotonic() > end:
                return sorted(rows, key=lambda row: int(row["JobID"]))
            time.sleep(0.5)

    return read


@needs_slurm
def test_only_the_encoder_gets_a_gpu(cluster, accounted, simulated, tmp_path):
    section = "results/gut/gut.h5ad"
    run = run_on_cluster(tmp_path / "run", simulated / "outs", section, *NEAR, **cluster.environment)
    assert run.code == 0, run.output
    assert section in run.results
    rows = accounted(run.output, 3)
    assert [row["State"] for row in rows] == ["COMPLETED"] * 3
    before, encoder, after = rows
    assert "encode_patches" in encoder["Comment"]
    assert encoder["Partition"] == "gpu"
    assert "gres/gpu=1" in encoder["AllocTRES"].split(",")
    together = yaml.safe_load((ROOT / "profiles/slurm-gpu/config.yaml").read_text())["groups"]
    for row, name in ((before, "before"), (after, "after")):
        assert f"rule_{name}_" in row["Comment"]
        assert row["Partition"] == "main"
        assert "gres" not in row["AllocTRES"]
        # One after the other: the memory and cores of one job, the time of all.
        assert "cpu=2" in row["AllocTRES"].split(",")
        asks = [ask for rule, ask in asked(run.output).items() if together.get(rule) == name]
        assert row["ReqMem"] == f"{max(ask['mem_mb'] for ask in asks)}M"
        assert int(row["TimelimitRaw"]) == sum(ask["runtime"] for ask in asks)


@needs_slurm
def test_a_job_killed_for_its_memory_is_tried_again_with_more(cluster, accounted, simulated, tmp_path):
    little = "read_section:mem_mb=300 * 5 ** (attempt - 1)"
    arguments = ("--until", "read_section", "--set-resources", little)
    run = run_on_cluster(tmp_path / "run", simulated / "outs", *arguments, *NEAR, **cluster.environment)
    assert run.code == 0, run.output
    assert "results/gut/ingest/spots.h5ad" in run.results
    killed, done = accounted(run.output, 2)
    assert (killed["ReqMem"], done["ReqMem"]) == ("300M", "1500M")
    assert killed["State"] in ("OUT_OF_MEMORY", "FAILED")  # the latter without cgroups, as here
    assert "Exceeded job memory limit" in run.output
    assert done["State"] == "COMPLETED"


# Sections, their group, scope of latents, submissions.
COHORTS = {
    # and pages, five at a time
    "sections": (20, "", "section", 3 * 20 + 4),
    # shared latents, two batches of five sections and of one, replication, seven pages
    "replicates": (6, "g", "section", 3 * 6 + 1 + 2 + 1 + 2),
    # shared latents, replication, seven pages
    "shared_latents": (6, "g", "group", 3 * 6 + 1 + 1 + 2),
}


@pytest.mark.parametrize(("n", "group", "scope", "expected"), COHORTS.values(), ids=COHORTS)
def test_a_section_is_three_submissions(n, group, scope, expected, simulated, tmp_path):
    """A dry run: needs no Slurm."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    sections = {f"s{i}": group for i in range(n)}
    run = run_on_cluster(tmp_path / "run", simulated / "outs", "--dry-run", sections=sections, scope=scope)
    assert run.code == 0, run.output
    assert run.jobs()["total"] > 9 * n
    submitted = submissions(run.output)
    assert {name: submitted.count(name) for name in PER_SECTION} == dict.fromkeys(PER_SECTION, n)
    assert len(submitted) == expected, set(submitted)
    assert len(re.findall(r"resources: .*\bgpu=1\b.*\bslurm_partition=gpu\b", run.output)) == n

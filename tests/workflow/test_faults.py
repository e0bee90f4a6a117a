"""What goes wrong on real machines: after each fault inputs are untouched, nothing half-written counts as a result,
and a rerun gives what an undisturbed run gives. ``docs/faults.md`` is the table that these tests make.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pytest
from damage import FULLRES, MATRIX, truncate
from harness import ROOT, command, environment, results_of, run_workflow, write_overlay

from spadework.simulation import simulate

SAMPLE = "small"
OVERLAY: dict[str, dict] = {"calibration": {"n_fields": 2}, "latents": {"n_latents": 2, "n_embed": 5}}
ENCODER = "dummy"
# By hand: the section of the demo and its network.
FULL_SIZE = bool(os.environ.get("SPADEWORK_FULL_SIZE"))
if FULL_SIZE:
    ENCODER = "vgg16"
    OVERLAY = {"encoder": {"names": [ENCODER], "weights": "seeded"}, "patch": {"output_px": 64}}
# What a fault does, and what a rerun gives: filled by the tests, in order.
ROWS: list[tuple[str, str, str]] = []
SAME = "the same results"
# Far enough for most faults: read, checked, clustered, cut, encoded, and the latents fitted.
LATENTS = f"results/{SAMPLE}/{ENCODER}/latents.h5ad"


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A section of some 60 spots."""
    if FULL_SIZE:
        return simulate(tmp_path_factory.mktemp("faults"), seed=1)
    return simulate(tmp_path_factory.mktemp("faults"), seed=5, spot_rows=9, spot_columns=9, um_per_px=4.0, n_bulk=300)


@pytest.fixture(scope="module")
def undisturbed(outs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without faults."""
    folder = tmp_path_factory.mktemp("undisturbed")
    setup(folder, outs)
    done = run_workflow(folder)
    assert done.code == 0, done.output
    return folder


def setup(folder: Path, outs: Path) -> None:
    """Write sample sheet and configuration of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples.tsv").write_text(f"sample\tpath\tspecies\n{SAMPLE}\t{outs}\thuman\n")
    write_overlay(folder, OVERLAY)


def digests(folder: Path) -> dict[str, str]:
    """Digest the contents of all files below a folder."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # The header of a gzip file holds the time it was written.
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def results(folder: Path) -> dict[str, str]:
    """Digest all results but those that tell when and where they were made, and those that are not kept."""
    return {
        name: digest
        for name, digest in digests(folder / "results").items()
        if not name.endswith(("manifest.json", "methods.md", "patches/patches.h5"))
    }


def assert_same(found: dict[str, str], undisturbed: Path) -> None:
    """Check that results are among those of the undisturbed run, and equal."""
    expected = results(undisturbed)
    different = {name for name, digest in found.items() if expected.get(name) != digest}
    assert not different


@contextmanager
def fault(
    name: str, outcome: str, outs: Path, folder: Path, undisturbed: Path, target: str = LATENTS
) -> Iterator[None]:
    """Check what must hold after every fault, rerun to the target, compare, and note the row of the table."""
    setup(folder, outs)
    inputs = digests(outs)
    yield
    assert digests(outs) == inputs, "inputs were changed"
    finished = {name: digest for name, digest in results(folder).items() if not Path(name).name.startswith(".")}
    assert_same(finished, undisturbed)
    unlock = run_workflow(folder, None, None, "--unlock")
    assert unlock.code == 0, unlock.output
    again = run_workflow(folder, None, None, target, "--rerun-incomplete")
    assert again.code == 0, again.output
    assert (folder / target).is_file() or target == "all"
    assert_same({name: digest for name, digest in results(folder).items() if ".partial" not in name}, undisturbed)
    ROWS.append((name, outcome, SAME))


def start(folder: Path, *arguments: object) -> subprocess.Popen:
    """Start the workflow in a process group of its own."""
    log = (folder / "output.txt").open("a")
    return subprocess.Popen(
        command(folder, "--rerun-incomplete", *arguments, cores=1),
        env=environment(),
        stdout=log,
        stderr=log,
        cwd=folder,
        start_new_session=True,
        # What runs in the background of a shell ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def job_of(process: subprocess.Popen, known: set[str]) -> tuple[str, psutil.Process] | None:
    """Find the running job of a rule whose script is not among the known."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        for child in children:
            script = re.search(r"\.snakemake/scripts/\w+\.(\w+)\.py", " ".join(child.cmdline()))
            if script and script[1] not in known:
                return script[1], child
    except psutil.NoSuchProcess:
        pass
    return None


def scripts_of_the_run(folder: Path) -> set[str]:
    """Name the scripts that a run has used, by their logs."""
    return {path.stem for path in (folder / "logs").rglob("*.log")}


def kill_in_every_rule(folder: Path, kill: Callable[[subprocess.Popen, psutil.Process], None]) -> list[str]:
    """Run to the end, over and over, killing once in each rule shortly after its job has begun."""
    killed: list[str] = []
    for _ in range(40):
        process = start(folder)
        while process.poll() is None:
            job = job_of(process, set(killed))
            if job:
                time.sleep(0.4)
                killed.append(job[0])
                kill(process, job[1])
                break
            time.sleep(0.02)
        code = process.wait(120)
        unlock = subprocess.run(command(folder, "--unlock"), env=environment(), capture_output=True, cwd=folder)
        assert unlock.returncode == 0
        if code == 0:
            return killed
    raise AssertionError(f"no end after {killed}")


def all_scripts() -> set[str]:
    """Name the scripts that the undisturbed run needs."""
    return {"read_section", "cluster_expression", "cut_patches", "encode_patches"} | {
        "embed_latents",
        "associate_genes",
        "assess_association",
        "collect_section",
        "draw_section",
        "write_report",
    }


def test_a_job_of_each_rule_is_killed(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    def kill(process: subprocess.Popen, job: psutil.Process) -> None:
        with_children = [job, *job.children(recursive=True)]
        for part in with_children:
            part.kill()

    outcome = "the run ends with an error; nothing of the job is left"
    with fault("a job is killed (kill -9), in each rule in turn", outcome, outs, tmp_path, undisturbed, "all"):
        assert set(kill_in_every_rule(tmp_path, kill)) >= all_scripts()


def test_snakemake_is_killed_in_each_rule(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Its job lives on, and meets the job that the next run starts for the same files."""

    def kill(process: subprocess.Popen, job: psutil.Process) -> None:
        process.kill()

    outcome = "its job lives on; the next run asks for --unlock and makes the job's files anew"
    with fault("Snakemake is killed (kill -9), in each rule in turn", outcome, outs, tmp_path, undisturbed, "all"):
        assert set(kill_in_every_rule(tmp_path, kill)) >= all_scripts()


def test_everything_is_killed_at_once(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    with fault("power cut", "no file looks whole that is not", outs, tmp_path, undisturbed):
        process = start(tmp_path)
        while job_of(process, {"read_section"}) is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_user_stops_the_run(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    with fault("Ctrl-C", "the run stops; unfinished files are removed", outs, tmp_path, undisturbed):
        process = start(tmp_path)
        while job_of(process, {"read_section"}) is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
        assert not [p for p in results_of(tmp_path) if ".partial" in p]


@pytest.mark.parametrize(
    ("kind", "file", "found"),
    [
        ("h5", MATRIX, "truncated"),
        ("TIFF", FULLRES, "incomplete"),
        ("PNG", "spatial/tissue_hires_image.png", "truncated"),
        ("parquet", "spatial/tissue_positions.parquet", "parquet"),
    ],
)
def test_an_input_is_truncated(
    kind: str, file: str, found: str, outs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    copy, folder, csv = tmp_path / "data" / outs.name, tmp_path / "run", "spatial/tissue_positions.csv"
    shutil.copytree(outs, copy)
    setup(folder, copy)
    if kind == "parquet":  # positions of Visium HD
        pd.read_csv(copy / csv).to_parquet(copy / file)
        (copy / csv).unlink()
    truncate(copy / file)
    broken = run_workflow(folder, None, None, LATENTS)
    assert broken.code != 0
    text = broken.output + broken.log(f"{SAMPLE}/read_section.log")
    message = re.search(r"spadework stopped at .*?found: +([^\n]*)", text, re.DOTALL)
    assert message, text
    assert found in text.lower(), text
    assert file.rsplit("/", 1)[-1] in text
    (copy / file).unlink()
    mended = csv if kind == "parquet" else file
    shutil.copy2(outs / mended, copy / mended)
    again = run_workflow(folder, None, None, LATENTS)
    assert again.code == 0, again.output
    assert_same(results(folder), undisturbed)
    assert (folder / LATENTS).is_file()
    ROWS.append((f"truncated {kind} input", "an error that names file and remedy", SAME))


def test_two_runs_in_one_folder(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    with fault("two runs in one folder", "the second is refused; the first goes on", outs, tmp_path, undisturbed):
        first = start(tmp_path, LATENTS)
        while job_of(first, set()) is None:
            time.sleep(0.02)
        second = run_workflow(tmp_path)
        assert second.code != 0
        assert "lock" in second.output.lower()
        assert first.wait(300) == 0


def test_a_job_runs_out_of_memory(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    with fault(
        "no memory left for a job", "the run ends with an error; its log says why", outs, tmp_path, undisturbed
    ):
        process = start(tmp_path)
        while (job := job_of(process, {"read_section"})) is None:
            time.sleep(0.02)
        name, python = job
        while python.memory_info().rss < 100e6:  # past the start of Python
            time.sleep(0.02)
        used = python.memory_info().vms
        python.rlimit(psutil.RLIMIT_AS, (used + 5_000_000, used + 5_000_000))
        assert process.wait(120) == 1
        log = "".join(path.read_text() for path in (tmp_path / "logs").rglob(f"{name}.log"))
        assert re.search("memory|allocate|map segment", log, re.IGNORECASE), log[-2000:]


@contextmanager
def mounted(kind: str, target: Path, *options: str) -> Iterator[None]:
    """Mount something on a folder, where this user may."""
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(target)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount {kind}: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def test_the_disk_is_full(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    folder, outcome = tmp_path / "disk", "the run ends with an error; nothing half-written counts"
    with (
        mounted("a small disk", folder, "-t", "tmpfs", "-o", "size=3m", "tmpfs"),
        fault("full disk", outcome, outs, folder, undisturbed),
    ):
        full = run_workflow(folder)
        assert full.code != 0
        text = full.output + "".join(p.read_text() for p in (folder / "logs").rglob("*.log"))
        assert re.search(r"No space left|(unable to|can.t|cannot) .*write", text, re.IGNORECASE), text[-3000:]
        subprocess.run(["mount", "-o", "remount,size=300m", str(folder)], check=True)


def test_the_input_folder_is_read_only(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with mounted("read-only", tmp_path / "locked", "--bind", str(outs)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path / "locked")], check=True)
        with fault("read-only input folder", "the run ends well", tmp_path / "locked", folder, undisturbed):
            with pytest.raises(OSError, match="Read-only"):
                (tmp_path / "locked/x").write_text("")
            done = run_workflow(folder, None, None, LATENTS)
            assert done.code == 0, done.output


def test_the_network_is_dead(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    outcome = "the download ends with an error that names the remedies; all else is made"
    with fault("dead network in a download", outcome, outs, tmp_path, undisturbed):
        dead = {**OVERLAY, "encoder": {"names": ["dummy", "vgg16"], "mirror": "http://127.0.0.1:9"}}
        targets = [LATENTS, LATENTS.replace("dummy", "vgg16")]
        run = run_workflow(tmp_path, None, dead, *targets, "--keep-going")
        assert run.code != 0
        log = "".join(path.read_text() for path in (tmp_path / "logs/weights").rglob("*.log"))
        assert "encoder.weights" in log
        assert not list((tmp_path / "resources").rglob("*.h5"))
        write_overlay(tmp_path, OVERLAY)


def test_a_result_is_damaged_afterwards(outs: Path, undisturbed: Path, tmp_path: Path) -> None:
    name = "a result is cut short afterwards"
    outcome = "what reads it ends with an error that names the file; deleting it mends"
    setup(tmp_path, outs)
    shutil.copytree(undisturbed / "results", tmp_path / "results", copy_function=shutil.copy2)
    shutil.copytree(undisturbed / ".snakemake", tmp_path / ".snakemake", copy_function=shutil.copy2)
    latents = tmp_path / f"results/{SAMPLE}/dummy/latents.h5ad"
    truncate(latents)
    broken = run_workflow(tmp_path, None, None, "--rerun-incomplete")
    assert broken.code != 0
    assert "latents.h5ad" in broken.output + broken.log(f"{SAMPLE}/dummy/associate_genes.log")
    latents.unlink()
    assert run_workflow(tmp_path, None, None, "--rerun-incomplete").code == 0
    assert_same(results(tmp_path), undisturbed)
    ROWS.append((name, outcome, SAME))


def test_the_page_shows_what_was_found() -> None:
    """``docs/faults.md`` has a row for every fault above, as it came out."""
    page = (ROOT / "docs/faults.md").read_text()
    assert ROWS
    for row in ROWS:
        assert f"| {' | '.join(row)} |" in page, row
    assert page.count(f"| {SAME} |") >= 12

"""Which volumes there are to be, of which sections: what the workflow makes of sample sheet and configuration.

Imported where the workflow starts, which may hold nothing but Snakemake and what that brings (yaml, jsonschema).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from spadework.errors import InputError, SpadeworkError
from spadework.samples import STAINED, Sample
from spadework.volume.pair_table import read_pair_table

# The network that has seen the spots of all sections; the others are named after the section they have not seen.
ALL = "all"
# Volume pairs that are no sections, and the folder of their network.
PAIRS = "vox2vox"
_PLACED = ("stack.h5", "spots.csv", "registration.csv", "figures/registration.png")
_WHOLE = ("domains.csv", "volumes.h5", "volume.ome.zarr", "nifti", "figures/cuts.png", "figures/view.png")
_SCORED = (
    *("scores.csv", "verdict.txt", "predicted_spots.csv"),
    *("figures/scores.png", "figures/sections.png", "figures/history.png"),
)
_FOLD = ("model.h5", "last.h5", "history.csv", "steps.csv", "samples.png", "prediction.h5")
_PAIR_RESULTS = ("scores.csv", "predictions", "figures/scores.png", "figures/history.png")


def blocks(samples: Mapping[str, Sample], config: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the sections of every block that is to be a volume, in the order of their depth.

    Without ``volume.target`` there is none.
    """
    members: dict[str, list[str]] = {}
    if config["volume"]["target"]:
        for name, sample in samples.items():
            if sample.block:
                members.setdefault(sample.block, []).append(name)
    return {block: sorted(names, key=lambda n: samples[n].z_um or 0.0) for block, names in members.items()}


def sequenced(names: list[str], samples: Mapping[str, Sample]) -> list[str]:
    """Return those of the sections that have counts."""
    return [name for name in names if samples[name].sequenced]


def left_out(names: list[str], samples: Mapping[str, Sample], config: Mapping[str, Any]) -> list[str]:
    """List the sections of a block that are predicted by a network that has not seen their spots."""
    chosen = config["volume"]["left_out"]
    return [name for name in sequenced(names, samples) if chosen == "each" or name in chosen]


def to_register(names: list[str], samples: Mapping[str, Sample], images: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Describe the sections of a block for their registration, in the order in which they are named.

    Parameters
    ----------
    images
        Whether a section that was sequenced has a full-resolution image, by name.
    """
    return [
        {
            "name": name,
            "z_um": sample.z_um,
            "flip": sample.flip,
            "channels": list(sample.channels),
            "image": sample.sequenced and images[name],
            "um_per_px": sample.um_per_px,
            "sequenced": sample.sequenced,
        }
        for name, sample in ((name, samples[name]) for name in names)
    ]


def volume_files(samples: Mapping[str, Sample], config: Mapping[str, Any]) -> list[str]:
    """List all that there is of volumes: nothing without ``volume.target``."""
    files = []
    for block, names in blocks(samples, config).items():
        tested = left_out(names, samples, config)
        made = [*_PLACED, *_WHOLE, *_SCORED * bool(tested)]
        made += [f"{fold}/{name}" for fold in [ALL, *tested] for name in _FOLD]
        files += [f"results/blocks/{block}/{name}" for name in made]
    return files


def volume_outputs(samples: Mapping[str, Sample], config: Mapping[str, Any]) -> list[str]:
    """List what ``snakemake volume`` makes.

    Raises
    ------
    InputError
        If the configuration asks for no volume.
    """
    if not config["volume"]["target"]:
        raise InputError(
            "config",
            None,
            found="volume.target: null",
            expected="what a volume is to show",
            remedy="set volume.target: domains, or latents (docs/volume.md)",
        )
    return volume_files(samples, config)


def placed_files(sample: Sample, config: Mapping[str, Any]) -> list[str]:
    """Name the table of the spots' places in the block, for a section that is part of a volume."""
    asked_for = config["volume"]["target"] and sample.block
    return [f"results/blocks/{sample.block}/spots.csv"] if asked_for else []


def benchmarks(samples: Mapping[str, Sample], config: Mapping[str, Any]) -> list[str]:
    """List patterns of the benchmark files of volumes."""
    patterns = []
    for block, names in blocks(samples, config).items():
        folds = [ALL, *left_out(names, samples, config)]
        patterns += [f"blocks/{block}/*.tsv", *(f"blocks/{block}/{fold}/*.tsv" for fold in folds)]
    return patterns


def pair_outputs(config: Mapping[str, Any]) -> list[str]:
    """List what ``snakemake vox2vox`` makes.

    Raises
    ------
    InputError
        If the configuration names no pairs of volumes.
    """
    if not config["volume"]["pairs"]:
        raise InputError(
            "config",
            None,
            found="volume.pairs: null",
            expected="a table of pairs of volumes, with the columns name, input, target, set",
            remedy="set volume.pairs to its path (docs/volume.md#volumes-that-are-no-sections)",
        )
    made = ["volumes.h5", *(f"{ALL}/{name}" for name in _FOLD), *_PAIR_RESULTS]
    return [f"results/{PAIRS}/{name}" for name in made]


def pair_files(config: Mapping[str, Any]) -> list[str]:
    """List the table of pairs of volumes, and the volumes in it, so that Snakemake sees when one changes.

    Raises
    ------
    InputError
        If the table is not right, or a volume is not there.
    """
    table = config["volume"]["pairs"]
    if not table:
        return []
    files = [str(file) for row in read_pair_table(table) for file in row.files]
    return list(dict.fromkeys([str(table), *files]))


def check_volume(samples: Mapping[str, Sample], config: Mapping[str, Any]) -> None:
    """Check that the sheet has the sections a volume needs, where there is to be one.

    Raises
    ------
    SpadeworkError
        With one message per block or setting that cannot be as it is.
    """
    volume = config["volume"]
    if not volume["target"]:
        return
    found = blocks(samples, config)
    problems = [] if found else [_no_block(volume["target"], bool(samples))]
    for block, names in found.items():
        problems += filter(
            None, [_unplaced(block, names, samples, config["samples"]) or _unlearnable(block, names, samples, config)]
        )
    problems += _unknown_left_out(found, samples, config)
    most = config["expression"]["n_pcs"]
    if volume["target"] == "latents" and volume["n_latents"] > most:
        problems.append(
            InputError(
                "config",
                None,
                found=f"volume.n_latents: {volume['n_latents']}",
                expected=f"at most expression.n_pcs: {most}",
                remedy="lower volume.n_latents, or raise expression.n_pcs",
            )
        )
    if problems:
        raise SpadeworkError("\n".join(map(str, problems)))


def _no_block(target: str, sections: bool) -> InputError:
    return InputError(
        "config",
        None,
        found=f"volume.target: {target} and no block in the sample sheet"
        if sections
        else f"volume.target: {target} with samples: null",
        expected="serial sections of a block, each with its depth",
        remedy="fill in the columns `block` and `z_um` (docs/volume.md), or set volume.target: null",
    )


def _unplaced(block: str, names: list[str], samples: Mapping[str, Sample], sheet: str) -> InputError | None:
    """Say what keeps the sections of a block from being put in order."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", block):
        return InputError(
            "sample sheet",
            sheet,
            found=f"the block {block!r}",
            expected="letters, digits, '_', '-' or '.': it names a folder",
            remedy="rename the block",
        )
    if ALL in names:
        return InputError(
            ALL,
            sheet,
            found=f"a section of that name in block {block}",
            expected="another name: that of the network of all sections",
            remedy="rename the sample",
        )
    nowhere = [name for name in names if samples[name].z_um is None]
    if nowhere:
        return InputError(
            ", ".join(nowhere),
            sheet,
            found=f"block {block}, but no depth",
            expected="its depth in the block, µm: 0, 16, 32, ...",
            remedy="fill in `z_um`, or empty `block`",
        )
    for first, second in pairwise(names):
        if samples[first].z_um == samples[second].z_um:
            return InputError(
                second,
                None,
                found=f"z_um {samples[second].z_um:g} in block {block}, as {first} has it",
                expected=f"{len(names)} sections at {len(names)} depths",
                remedy="correct `z_um` of one of the two, or empty its `block`",
            )
    return None


def _unlearnable(
    block: str, names: list[str], samples: Mapping[str, Sample], config: Mapping[str, Any]
) -> InputError | None:
    """Say what keeps a block from being learnt from, or what it cannot be scored for."""
    sheet, with_spots = config["samples"], sequenced(names, samples)
    if len(names) < 2:
        return InputError(
            names[0],
            sheet,
            found=f"the only section of block {block}",
            expected="at least two sections: a volume is made of several",
            remedy="add the rows of the others, or empty `block`",
        )
    if not with_spots:
        return InputError(
            names[0],
            sheet,
            found=f"a block, {block}, of which no section was sequenced",
            expected="a section with spots, to learn from",
            remedy=f"add its row, or correct `platform` ({STAINED}: the image alone)",
        )
    labelled = [name for name in with_spots if samples[name].clusters]
    if config["volume"]["target"] == "domains" and labelled and len(labelled) < len(with_spots):
        return InputError(
            ", ".join(name for name in with_spots if name not in labelled),
            sheet,
            found=f"no clusters, where other sections of block {block} have some ({', '.join(labelled)})",
            expected="clusters that mean the same in all sections of the block, or in none",
            remedy="fill in `clusters`, or empty it for all: spots of the block are then clustered together",
        )
    tested = left_out(names, samples, config)
    if tested and len(with_spots) < 2:
        return InputError(
            with_spots[0],
            sheet,
            found=f"the only section of block {block} that was sequenced, which volume.left_out leaves out",
            expected="another one to learn from while this one is left out",
            remedy="set volume.left_out: [] for a volume without scores: nothing will say then how good it is",
        )
    return None


def _unknown_left_out(
    found: Mapping[str, list[str]], samples: Mapping[str, Sample], config: Mapping[str, Any]
) -> list[InputError]:
    chosen = config["volume"]["left_out"]
    known = [name for names in found.values() for name in sequenced(names, samples)]
    return [
        InputError(
            "config",
            None,
            found=f"volume.left_out: {name}",
            expected=f"sections of a block that were sequenced: {', '.join(known) or 'there is none'}",
            remedy="correct volume.left_out, or set it to each",
        )
        for name in chosen
        if chosen != "each" and name not in known
    ]

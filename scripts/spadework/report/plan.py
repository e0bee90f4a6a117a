"""Which pages there are to be, and what of a run's results each of them carries.

Imported where the workflow starts, which may hold nothing but Snakemake and what that brings (yaml, jsonschema).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spadework.samples import Sample, groups
from spadework.volume.plan import blocks, left_out

# Figures by name, with their titles; charts are there as SVG.
_NUCLEI = {"outlines.png": "Nuclei in four spots", "spots.png": "Nuclei by spot"}
_PROTOTYPES = {"accuracy.svg": "Can clusters be told from the image?", "history.svg": "Training"}
_EXPLAINED = {"explanations.png": "Why spots look like their class", "map.png": "Prototypes over the tissue"}
_VOLUME = {
    "registration.png": "Sections laid on top of each other",
    "cuts.png": "Cuts through the volume",
    "view.png": "The stack of sections",
}
_VOLUME_SCORED = {"scores.svg": "Scores on sections left out", "sections.png": "Sections left out, predicted"}
_EVIDENCE = {
    "calibration": ("quality", "Are the p-values to be believed?"),
    "cluster_comparison": ("quality", "Clusters compared"),
    "terms": ("latents", "Gene sets that go with a latent"),
    "beyond_composition": ("latents", "What the image adds to depth, tissue content and clusters"),
}


class Shown(NamedTuple):
    """A result of a run that a page carries.

    Attributes
    ----------
    tab
        View of the page it is shown in.
    caption
        Name of its caption in ``report/``; empty for a text.
    wildcards
        What the caption speaks of.
    """

    tab: str
    title: str
    file: str
    caption: str = ""
    wildcards: dict[str, str] = {}  # noqa: RUF012  (never changed)


def reports(samples: Mapping[str, Sample]) -> list[str]:
    """List the pages: one for every section, and for every group of replicates."""
    units = [*samples, *(f"cohort/{group}" for group in groups(samples))]
    return [f"results/{unit}/report.html" for unit in units]


def section_results(
    sample: str,
    samples: Mapping[str, Sample],
    config: Mapping[str, Any],
    evidence: Iterable[str],
    prototypes: str,
) -> list[Shown]:
    """List the figures and texts in the page of a section, in the order in which they are shown.

    Parameters
    ----------
    evidence
        Pages of :func:`spadework.targets.evidence`.
    prototypes
        Folder, below results, of the prototypes of this section (``C3``, or ``cohort/C`` where they are shared).
    """
    of = {"sample": sample}
    overlay = f"results/{sample}/preflight/overlay.png"
    shown = [Shown("quality", "Preflight: spots over the image", overlay, "overlay", of)]
    for encoder, suffix in _encoders(config):
        for name in evidence:
            tab, title = _EVIDENCE[name]
            chart = f"results/{sample}/{encoder}/figures/{name}.svg"
            shown.append(Shown(tab, title + suffix, chart, name, of | {"encoder": encoder}))
    if config["nuclei"]["engine"]:
        shown += _figures("nuclei", _NUCLEI, f"results/{sample}/nuclei", of)
    if config["prototypes"]["classes"]:
        model = f"results/{prototypes}/prototypes"
        shown.append(Shown("prototypes", "What the prototypes show", f"{model}/verdict.txt"))
        shown += _figures("prototypes", _PROTOTYPES, model, {"model": prototypes})
        shown += _figures("prototypes", _EXPLAINED, f"results/{sample}/prototypes", of)
    return shown + _of_block(samples[sample].block, samples, config)


def group_results(group: str, config: Mapping[str, Any]) -> list[Shown]:
    """List the figures in the page of a group of replicates."""
    return [
        Shown(
            "replication",
            f"What holds from section to section{suffix}",
            f"results/cohort/{group}/{encoder}/replication.svg",
            "replication",
            {"group": group, "encoder": encoder},
        )
        for encoder, suffix in _encoders(config)
    ]


def _encoders(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the encoders, and what tells their figures apart where there are several."""
    names = config["encoder"]["names"]
    return [(name, f" ({name})" if len(names) > 1 else "") for name in names]


def _of_block(block: str, samples: Mapping[str, Sample], config: Mapping[str, Any]) -> list[Shown]:
    members = blocks(samples, config).get(block)
    if not members:
        return []
    folder, of = f"results/blocks/{block}", {"block": block}
    if not left_out(members, samples, config):
        return _figures("volume", _VOLUME, folder, of)
    verdict = Shown("volume", "What the volume shows", f"{folder}/verdict.txt")
    return [verdict, *_figures("volume", _VOLUME | _VOLUME_SCORED, folder, of)]


def _figures(tab: str, titles: Mapping[str, str], folder: str, of: dict[str, str]) -> list[Shown]:
    return [
        Shown(tab, title, f"{folder}/figures/{name}", f"{tab}_{name.partition('.')[0]}", of)
        for name, title in titles.items()
    ]

"""The methods paragraph: facts of the run, of every kind of run, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from spadework.methods import methods

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4
VGG = {"name": "vgg16", "dim": 512, "pixel_range": "0-255", "weights_digest": DIGEST, "keras": "3.15.1"}
NETWORK = VGG | {"weights": "vgg16_notop.h5"}
COLOUR = {"name": "colour_texture", "dim": 30, "same_units": False}
SECTION = {
    "platform": "visium",
    "spots": 3005,
    "left_out": {"failed_qc": 12},
    "genes": 15012,
    "patch": {"image": "fullres", "width_px": 240, "width_um": 120.0},
    "preflight": "ok",
}


def written(
    overlay: Mapping[str, Any] | str = "",
    encoders: Mapping[str, Mapping[str, Any]] | None = None,
    rows: Mapping[str, Mapping[str, str]] | None = None,
    blocks: Mapping[str, Any] | None = None,
    **section: object,
) -> str:
    """Write the methods of a made-up run: the default configuration and what differs from it."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    if isinstance(overlay, str):
        overlay = yaml.safe_load((ROOT / "config" / overlay).read_text()) if overlay else {}
    update_config(config, overlay)
    encoders = encoders or {"vgg16": NETWORK}
    rows = rows or {"tumour": {"path": "data/tumour"}}
    in_r = {"Seurat": "4.3.0", "limma": "3.54.1", "R": "4.2.2"} if config["expression"]["engine"] == "seurat" else {}
    tested = {name: 9876 for name in encoders}
    facts = {**SECTION, "genes_tested": tested, "genes_tested_spatially": tested, **section}
    return methods(
        {
            "deterministic": {
                "workflow": {"version": "0.1.0", "commit": "c0ffee1234" * 4, "changed": [], "reason": ""},
                "software": {"scanpy": "1.11.5", "openTSNE": "1.0.4"} | in_r,
                "configuration": config,
                "samples": rows,
                "inputs": {name: {"image.tif": DIGEST} for name in rows},
                "other_inputs": {path: DIGEST for path in config["terms"]["gene_sets"]},
                "encoders": {name: [encoder] for name, encoder in encoders.items()},
                "sections": {name: facts for name in rows},
                "blocks": blocks or {},
            },
            "measured": {},
        }
    )


def says(text: str, *facts: str) -> None:
    """Check that every fact is said, wherever."""
    assert [fact for fact in facts if fact not in text] == []


def says_nothing_of(text: str, *facts: str) -> None:
    assert [fact for fact in facts if fact in text] == []


def references(text: str) -> list[str]:
    return re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE)


def test_the_default_run() -> None:
    text = written()
    says(text, "One section (10x Visium) was analysed", "3,005; 12 spots left out", "15,012", "at least 100 counts")
    says(
        text,
        "2,000 most variable genes",
        "resolution 1)",
        "120 µm (240 pixels)",
        "224 × 224",
        "VGG16",
        "512 features",
    )
    says(text, "weights trained on ImageNet", "each latent", "(9,876)", "10 % of the spots")
    says(
        text, "Clifford, Richardson and Hémon", "Dutilleul", "Benjamini and Hochberg", "not for the number of latents"
    )
    says(
        text,
        "below 0.05 by the modified t-test",
        "24 random fields",
        "200 genes",
        "openTSNE 1.0.4",
        "commit c0ffee1234",
    )
    says(text, "Bae S, Choi H, Lee DS", "Nucleic Acids Res 2021; 49:e55", "Simonyan K, Zisserman A", "Squidpy")
    says(text, "| tumour | `image.tif` | `0123456789abcdef", "| vgg16 | weights of `vgg16_notop.h5` (the values) |")
    says_nothing_of(
        text,
        "random (drawn",
        "Seurat",
        "limma 3",
        "R 4.2.2",
        "Gene sets",
        "group",
        "permutations",
        "Louvain algorithm",
    )


def test_the_published_method() -> None:
    text = written("spade2021.yaml", {"vgg16": NETWORK | {"pixel_range": "0-1"}})
    says(text, "SCTransform", "Seurat 4.3.0", "Louvain", "1,000 variable genes", "20 shared nearest neighbours")
    says(text, "resolution 0.8", "32 pixels (120 µm)", "scaled to 0-1", "limma 3.54.1", "the first 2 latents")
    says(
        text, "all of these latents together", "corrected by SCTransform (scaled to unit variance and cut off at 10)"
    )
    says(text, "All genes that SCTransform models", "rank genes", "random seed 10", "settings of 2021")
    says(text, "Ritchie ME", "Hafemeister C", "R 4.2.2", "below 0.05 by the moderated t-test", "at least 1 count and")
    says_nothing_of(text, "most variable genes, and embedded", "openTSNE", "by the modified t-test were called")


@pytest.mark.parametrize(
    ("scope", "fact"),
    [
        (
            "section",
            "latents were fitted anew to all sections of a group together except for section c, projected only",
        ),
        ("group", "for all sections of a group together (gut: a, b and c; section c was projected and not fitted)"),
    ],
)
def test_a_cohort(scope: str, fact: str) -> None:
    rows = {name: {"path": name, "group": "gut"} for name in "abc"}
    rows["c"]["held_out"] = "yes"
    text = written({"latents": {"scope": scope}}, rows=rows)
    says(
        text, "Three sections (10x Visium) were analysed", "taken as replicates (gut: a, b and c)", "Fisher's z", fact
    )
    says(text, "3,005 per section", "within each section and latent")


def test_a_section_without_a_group_stays_alone() -> None:
    rows = {"a": {"path": "a", "group": "gut"}, "b": {"path": "b", "group": "gut"}, "c": {"path": "c"}}
    text = written({"latents": {"scope": "group"}}, rows=rows)
    says(text, "of a group together (gut: a and b), and for every other section separately")


def test_several_encoders_and_random_weights() -> None:
    text = written(encoders={"vgg16": VGG | {"weights": "seeded"}, "colour_texture": COLOUR})
    says(text, "**The weights of VGG16 were random (drawn with a fixed seed), not trained on ImageNet", "must not be")
    says(text, "also described by 30 measures of colour and texture", "Ruifrok AC", "Ojala T", "encoder and latent")
    says(text, "| vgg16 | random weights (the values) |", "features of each encoder separately")
    says_nothing_of(text, "weights trained on ImageNet [", "Russakovsky")


def test_weights_of_a_file_are_not_called_imagenet() -> None:
    text = written({"encoder": {"weights": "my.h5"}}, {"vgg16": VGG | {"weights": "my.h5"}})
    says(text, "the weights of the file `my.h5`")
    says_nothing_of(text, "ImageNet")


def test_an_encoder_of_another_workflow_goes_by_its_own_name() -> None:
    text = written(encoders={"vgg16": {"name": "virchow", "dim": 1280}})
    says(text, "described by 1,280 features of the encoder `virchow`.")
    says_nothing_of(text, "VGG16", "ImageNet", "for tests")


def test_an_encoder_without_a_network_brings_no_network_library() -> None:
    text = written(encoders={"colour_texture": COLOUR})
    says_nothing_of(text, "VGG16", "Keras", "TensorFlow", "weights")


def test_everything_on_demand() -> None:
    overlay = {
        "terms": {"gene_sets": ["sets/go.gmt"]},
        "association": {"permutations": 200, "covariates": ["log10_umi", "cluster"], "residuals": "pearson"},
        "calibration": {"n_fields": 0},
        "expression": {"max_pct_mt": 25},
    }
    text = written(overlay, rows={"a": {"path": "a", "clusters": "c.csv"}})
    says(text, "200 permutations", "the logarithm of the total counts and the expression cluster", "analytic Pearson")
    says(text, "`go.gmt`", "10 to 500 tested genes", "at most 25 % mitochondrial", "clusters made elsewhere")
    says(text, "| all | `sets/go.gmt` |")
    says_nothing_of(text, "random fields", "negative binomial")


def test_a_section_without_a_spatial_test_says_so() -> None:
    text = written(genes_tested_spatially={"vgg16": 0}, spots=25)
    says(text, "As the section allowed no spatial test (no lattice, or fewer than 30 spots)")
    says_nothing_of(text, "random fields")


@pytest.mark.parametrize("headline", ["spatial", "depth", "published"])
def test_the_headline_decides_what_is_called(headline: str) -> None:
    text = written({"association": {"headline": headline, "fdr": 0.01}})
    by = {"spatial": "modified t-test", "depth": "moderated t-test given depth", "published": "moderated t-test"}
    says(text, f"below 0.01 by the {by[headline]} were called")
    assert ("rank genes" in text) == (headline != "spatial")


@pytest.mark.parametrize("overlay", ["", "spade2021.yaml", "preview.yaml"])
def test_references_are_numbered_as_they_come(overlay: str) -> None:
    text = written(overlay)
    body, _, listed = text.partition("## References")
    cited = [int(n) for group in re.findall(r"\[([\d, ]+)\]", body) for n in group.split(", ")]
    first_uses = list(dict.fromkeys(cited))
    assert first_uses == list(range(1, len(first_uses) + 1))
    assert len(references(listed)) == len(first_uses)


def test_sentences_are_whole() -> None:
    text = written().partition("## References")[0]
    assert not re.search(r"  |\s[.,;:)]|\(\s|\.\.|None|\{|\}", text)


NUCLEI = {
    "um_per_px": [0.43, 0.43],
    "nuclei": 36381,
    "image": "fullres",
    "largest_um": 40.0,
    "left_out": {"too_large_share": 0.074},
}


def test_nuclei_are_named_where_they_were_found():
    origin = {"images": {"train": 51, "validation": 0, "held_out": 16}, "digest": DIGEST}
    text = written(nuclei=NUCLEI | {"segmenter": {"engine": "unet", "origin": origin}})
    assert "resampled to 0.43 µm per pixel, by a U-Net [" in text
    assert "trained on 51 labelled images (digest" in text
    simulated = {"engine": "unet", "origin": origin | {"source": "simulated tissue"}}
    assert "51 labelled images (simulated tissue; digest" in written(nuclei=NUCLEI | {"segmenter": simulated})
    assert "left out (the wide ones: 7 % of the area of nuclei and clumps), and 36,381 nuclei stayed" in text
    assert "Ronneberger" in text
    text = written(nuclei=NUCLEI | {"segmenter": {"engine": "stardist", "model": "he"}})
    assert "by StarDist [" in text
    assert "Nuclei were" not in written()


PROTOTYPES = {
    **{"backbone": "small", "px": 64, "field_px": 36, "top_cells": 12, "n_prototypes": 14, "n_classes": 5},
    **{"verdict": "These classes can in part be told.", "sections": ["tumour"]},
}


def test_prototypes_are_named_where_there_are_some() -> None:
    on = {"prototypes": {"classes": "cluster"}}
    text = written(on, prototypes=PROTOTYPES)
    says(
        text, "classes of spots (`cluster`)", "ProtoPNets [", "14 prototypes", "for 5 classes", "This looks like that"
    )
    says(text, "36 × 36 pixels", "The result: These classes can in part be told.", "whole regions of tissue were")
    says_nothing_of(text, "random weights (drawn", "VGG16 [2, 2]")
    says_nothing_of(written(), "ProtoPNet", "This looks like that")
    seeded = PROTOTYPES | {"backbone": "vgg16", "weights": "seeded"}
    says(written(on, prototypes=seeded), "the first layers of VGG16", "must not be interpreted")


SERIES = [
    {"sample": "a", "registered_to": "b", "mirrored": "no", "overlap": 0.931, "correlation": 0.712},
    {"sample": "b", "registered_to": "", "mirrored": "no", "overlap": None, "correlation": None},
    {"sample": "s", "registered_to": "b", "mirrored": "yes", "overlap": 0.974, "correlation": 0.655},
]


def test_volumes_are_named_where_there_are_some() -> None:
    rows = {name: {"path": name, "block": "B1"} for name in "ab"}
    blocks = {"B1": {"sections": SERIES, "verdict": "It beats copying the neighbour."}}
    text = written({"volume": {"target": "domains"}}, rows=rows, blocks=blocks)
    says(text, "(B1: a, b and s)", "0.93 to 0.97", "r = 0.66 to 0.71", "s lay mirrored.", "s was stained and not")
    says(text, "A Vox2Vox [", "map of the domains", "Reinhard E", "Isola P", "20 epochs of 20 steps")
    says(text, "The result: It beats copying the neighbour.")
    says_nothing_of(text, "optical flow", "latents of expression", "TV-L1")
    says_nothing_of(written(), "Vox2Vox", "Serial sections", "Reinhard")


def test_a_volume_without_scores_says_so() -> None:
    settings = {"target": "latents", "registration": {"nonrigid": True}, "stain_normalisation": False}
    blocks = {name: {"sections": SERIES, "verdict": None} for name in ("B1", "B2")}
    text = written({"volume": settings}, blocks=blocks)
    says(text, "No section was left out (block B2): how good the predictions are was not tested.", "optical flow [")
    says(text, "map of the first 3 latents of expression")
    says_nothing_of(text, "The colours of all", "Reinhard")


def test_prototypes_of_a_group_are_tested_on_the_section_held_out() -> None:
    rows = {"a": {"path": "a", "group": "g"}, "b": {"path": "b", "group": "g", "held_out": "yes"}}
    on = {"prototypes": {"classes": "cluster", "scope": "group"}}
    together = PROTOTYPES | {"sections": ["a", "b"]}
    says(written(on, rows=rows, prototypes=together), "For the test, section b was set aside")
    # The only section of another group gives regions.
    says(written(on, rows=rows, prototypes=PROTOTYPES), "section b and whole regions of tissue were set aside")

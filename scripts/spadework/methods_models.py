"""What a paper says of the image models of a run: nuclei, prototypes and volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spadework.references import Citations
from spadework.wording import (
    IMAGES,
    counted,
    enumerated,
    groups_listed,
    names_held_out,
    per_section,
    range_of,
    sections_named,
    span,
    was_or_were,
)


def nuclei(run: Mapping[str, Any], cite: Citations) -> str:
    """Write how nuclei were found."""
    found = [section["nuclei"] for section in run["sections"].values() if "nuclei" in section]
    if not found:
        return ""
    segmenter, settings = found[0]["segmenter"], run["configuration"]["nuclei"]
    um_per_px = span({round(um, 3) for section in found for um in section["um_per_px"]})
    sections = range_of({str(i): section for i, section in enumerate(found)}, "nuclei")
    clumped = span({round(100 * section["left_out"]["too_large_share"]) for section in found})
    if segmenter["engine"] == "stardist":
        how = f"StarDist {cite('stardist')} (model `{segmenter['model']}`)"
    else:
        origin = segmenter["origin"]
        said = "; ".join(
            filter(None, [origin.get("source"), f"digest of their pixels and labels `{origin['digest'][:19]}`"])
        )
        images = counted(origin["images"]["train"], "labelled image")
        how = f"a U-Net {cite('unet')} trained on {images} ({said})"
    return f"""
        Nuclei were segmented in the {enumerated(dict.fromkeys(IMAGES[section["image"]] for section in found), "or")}
        images, resampled to {um_per_px} µm per pixel, by {how}; objects smaller than {settings["min_area_um2"]:g} µm²
        or wider than {found[0]["largest_um"]:g} µm were left out (the wide ones: {clumped} % of the area of
        nuclei and clumps), and {sections} nuclei{per_section(found)} stayed. Nuclei were
        counted per spot, and their area, eccentricity, haematoxylin (by colour deconvolution {cite("ruifrok")}) and
        distance to the nearest other nucleus averaged."""


def prototypes(run: Mapping[str, Any], cite: Citations) -> str:
    """Write what prototypes are, and what they are worth."""
    # Sections that share a model say the same of it.
    said = [section["prototypes"] for section in run["sections"].values() if "prototypes" in section]
    models = {json.dumps(made, sort_keys=True): made for made in said}
    if not models:
        return ""
    p, settings = said[0], run["configuration"]["prototypes"]
    grouped = settings["scope"] == "group"
    tested = [name for name in names_held_out(run) if grouped and "group" in run["samples"][name]]
    regions = any(not set(tested) & set(made["sections"]) for made in models.values())
    ways = [sections_named(tested, run)] * bool(tested) + ["whole regions of tissue"] * regions
    apart = f"{enumerated(ways)} {was_or_were(range(len(tested) + 2 * regions))} set aside"
    backbone = f"the first layers of VGG16 {cite('vgg')}" if p["backbone"] == "vgg16" else "a small network"
    sizes = [span({made[key] for made in models.values()}) for key in ("n_classes", "n_prototypes")]
    text = f"""
        To see what in the image tells classes of spots (`{settings["classes"]}`) apart, ProtoPNets
        {cite("protopnet")} were trained on patches of {settings["um"]:g} µm ({p["px"]} × {p["px"]} pixels):
        convolutional layers ({backbone}; a cell of the last one sees {p["field_px"]} × {p["field_px"]} pixels), and
        {sizes[1]} prototypes, each a part of a training patch, for {sizes[0]} classes; those with fewer than
        {settings["min_spots"]} spots were taken together. A patch is as similar to a prototype as its
        {p["top_cells"]} most similar cells are on average. For the test, {apart}, and training spots were left out
        whose patches overlap those of the test. Balanced accuracy was compared with that of the same network trained
        on shuffled classes and of {settings["neighbours"]} nearest neighbours by other features; 95 % intervals come
        from a bootstrap of regions."""
    for made in models.values():
        of = f" ({enumerated(made['sections'])})" if len(models) > 1 else ""
        text += f" The result{of}: {made['verdict']}"
    if p.get("weights") == "seeded":
        text += """ **The network of the prototypes began with random weights (drawn with a fixed seed), not with
            those of a network trained on images: these results serve to try the workflow out and must not be
            interpreted.**"""
    return text


def volumes(run: Mapping[str, Any], cite: Citations) -> str:
    """Write what was made of blocks of serial sections."""
    blocks = run["blocks"]
    if not blocks:
        return ""
    v = run["configuration"]["volume"]
    rows = [row for block in blocks.values() for row in block["sections"]]
    fitted = [row for row in rows if row["registered_to"]]
    members = {block: [row["sample"] for row in made["sections"]] for block, made in blocks.items()}
    stained = [row["sample"] for row in rows if row["sample"] not in run["sections"]]
    mirrored = [row["sample"] for row in rows if row["mirrored"] == "yes"]
    text = f"""
        Serial sections were taken together as volumes ({groups_listed(members)}). Each was turned and shifted onto
        its neighbour towards the middle of the block (all angles, refined by Powell's method {cite("powell")} on the
        correlation of stain density at {v["registration"]["um_per_px"]:g} µm per pixel); neighbours overlap with a
        Dice coefficient of {_to_two_digits(fitted, "overlap")} and correlate with r =
        {_to_two_digits(fitted, "correlation")}."""
    if mirrored:
        text += f" {enumerated(mirrored)} lay mirrored."
    if v["registration"]["nonrigid"]:
        text += f" Sections were then bent by optical flow {cite('tvl1')}."
    if stained:
        text += f" {enumerated(stained)} {was_or_were(stained)} stained and not sequenced."
    if v["stain_normalisation"]:
        text += f" The colours of all were made those of the middle section {cite('reinhard')}."
    n, training = v["n_latents"], v["training"]
    whose = f"of the first {counted(n, 'latent')}" if v["target"] == "latents" else "of the domains"
    given = ", starting from what was measured on the other sections of its block," if v["network"]["given"] else ""
    text += f"""
        A Vox2Vox {cite("vox2vox")}, a conditional adversarial network {cite("pix2pix")} with {v["network"]["width"]}
        channels after its first convolution, was trained to translate the stain (voxels of {v["voxel_um"]:g} µm, a
        plane per section){given} into a map {whose} of expression that sections of a block have in common, measured
        at spots only ({training["epochs"]} epochs of {counted(training["steps_per_epoch"], "step")})."""
    for block, made in blocks.items():
        of = f" (block {block})" if len(blocks) > 1 else ""
        if made["verdict"]:
            text += f" The result{of}: {made['verdict']}"
        else:
            text += f" No section was left out{of}: how good the predictions are was not tested."
    return text


def _to_two_digits(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    return span({round(float(row[key]), 2) for row in rows})

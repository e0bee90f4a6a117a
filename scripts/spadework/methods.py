"""What a paper says of a run: paragraphs, references and digests, from the manifest and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from spadework.latents import OPENTSNE_FROM
from spadework.methods_models import nuclei, prototypes, volumes
from spadework.references import Citations
from spadework.wording import (
    IMAGES,
    counted,
    enumerated,
    groups_listed,
    groups_of,
    in_words,
    names_held_out,
    network_name,
    one_line,
    per_section,
    plural,
    range_of,
    sections_named,
    span,
    version_of,
    was_or_were,
)

PLATFORMS = {
    "visium": "10x Visium",
    "visium_hd": "10x Visium HD",
    "visium_hd_cells": "10x Visium HD (segmented cells)",
    "legacy_st": "Spatial Transcriptomics",
    "h5ad": "AnnData input",
}
_TITLES = {
    **{"python": "Python", "scanpy": "Scanpy", "anndata": "anndata", "numpy": "NumPy", "scipy": "SciPy"},
    **{"scikit-learn": "scikit-learn", "openTSNE": "openTSNE", "keras": "Keras", "tensorflow": "TensorFlow"},
    **{"squidpy": "Squidpy", "R": "R", "Seurat": "Seurat", "sctransform": "sctransform", "limma": "limma"},
}
_COVARIATES = {
    "log10_umi": "the logarithm of the total counts",
    "patch_tissue_fraction": "the share of tissue in the patch",
    "cluster": "the expression cluster",
    "pct_counts_mt": "the mitochondrial percentage",
    "tissue_piece": "the piece of tissue",
}
_HEADLINES = {
    "spatial": "the modified t-test",
    "depth": "the moderated t-test given depth",
    "published": "the moderated t-test",
}


def methods(manifest: Mapping[str, Any]) -> str:
    """Write the methods of a run in Markdown.

    Parameters
    ----------
    manifest
        Of :func:`spadework.provenance.manifest`. Only steps that ran are named.
    """
    run, cite = manifest["deterministic"], Citations()
    steps = (
        _data,
        _expression,
        _images,
        nuclei,
        _latents,
        _association,
        _evidence,
        prototypes,
        volumes,
        _cohorts,
        _software,
    )
    paragraphs = [one_line(step(run, cite)) for step in steps]
    parts = ["# Methods", *filter(None, paragraphs), "## References", "\n".join(cite.listed())]
    parts += ["## Sections and digests", "\n".join(_sections_table(run)), "\n".join(_digests_table(run))]
    return "\n\n".join(parts) + "\n"


def _data(run: Mapping[str, Any], cite: Citations) -> str:
    sections, e, workflow = run["sections"], run["configuration"]["expression"], run["workflow"]
    kinds = Counter(PLATFORMS.get(section["platform"], section["platform"]) for section in sections.values())
    what = enumerated(f"{n} {kind}" if len(kinds) > 1 else kind for kind, n in kinds.items())
    failed = sum(section["left_out"].get("failed_qc", 0) for section in sections.values())
    filters = [counted(e["min_counts"], "count"), counted(e["min_genes"], "detected gene")]
    most = f", and at most {e['max_pct_mt']:g} % mitochondrial counts," if e["max_pct_mt"] < 100 else ""
    changed = " with local changes" if workflow["changed"] else ""
    version = workflow["version"] + (f", commit {workflow['commit'][:10]}{changed}" if workflow["commit"] else "")
    return f"""
        Tissue morphology was linked to gene expression by SPADE {cite("spade")} as implemented in spadework (version
        {version}). {in_words(len(sections))} section{plural(sections)} ({what}) {was_or_were(sections)} analysed.
        Spots on tissue with at least {enumerated(filters)}{most} were kept
        ({range_of(sections, "spots")}{per_section(sections)}; {counted(failed, "spot") if failed else "no spot"} left
        out), and so were genes detected in at least {counted(e["min_spots"], "spot")}
        ({range_of(sections, "genes")}{per_section(sections)})."""


def _expression(run: Mapping[str, Any], cite: Citations) -> str:
    e, software = run["configuration"]["expression"], run["software"]
    text = f"""
        Counts were normalised to 10,000 per spot and log-transformed, log(1 + x), with
        Scanpy{version_of(software, "scanpy")} {cite("scanpy")}."""
    if e["engine"] == "seurat":
        text += f"""
            For clusters of expression, they were normalised by SCTransform {cite("sctransform")} (first flavour,
            Poisson regression, {e["n_top_genes"]:,} variable genes) in Seurat{version_of(software, "Seurat")}
            {cite("seurat")}; spots were clustered by the Louvain algorithm {cite("louvain")} (resolution
            {e["resolution"]:g}) on the graph of {e["n_neighbors"]} shared nearest neighbours in up to {e["n_pcs"]}
            principal components and embedded by t-SNE {cite("tsne")}, with Seurat's own fixed random seeds."""
    else:
        text += f"""
            Spots were clustered by the Leiden algorithm {cite("leiden")} (resolution {e["resolution"]:g}) on the
            graph of {e["n_neighbors"]} nearest neighbours in up to {e["n_pcs"]} principal components of the
            {e["n_top_genes"]:,} most variable genes, and embedded by UMAP {cite("umap")}."""
    given = [name for name, row in run["samples"].items() if "clusters" in row]
    if given:
        text += f" For {sections_named(given, run)}, clusters made elsewhere took their place."
    return text


def _images(run: Mapping[str, Any], cite: Citations) -> str:
    patch, sections = run["configuration"]["patch"], run["sections"].values()
    in_px = span({section["patch"]["width_px"] for section in sections})
    in_um = span({section["patch"]["width_um"] for section in sections})
    size = f"{patch['um']:g} µm ({in_px} pixels)" if patch["um"] else f"{patch['px']} pixels ({in_um} µm)"
    kinds = enumerated(dict.fromkeys(IMAGES[section["patch"]["image"]] for section in sections), "or")
    text = f"""
        Square patches with an edge of {size} were cut around the centre of every spot from the {kinds} image, filled
        by reflection beyond its borders, and resized to {patch["output_px"]} × {patch["output_px"]} pixels."""
    encoders = [several[0] for several in run["encoders"].values()]
    for i, described in enumerate(encoders):
        text += f" {'They were also' if i else 'They were'} {_encoder(described, run, cite)}."
    seeded = [network_name(encoder["name"]) for encoder in encoders if encoder.get("weights") == "seeded"]
    if seeded:
        text += f"""
            **The weights of {enumerated(seeded)} were random (drawn with a fixed seed), not trained on ImageNet or on
            anything else: results made with them serve to try the workflow out and must not be interpreted.**"""
    if len(encoders) > 1:
        text += " All that follows was done for the features of each encoder separately."
    return text


def _encoder(described: Mapping[str, Any], run: Mapping[str, Any], cite: Citations) -> str:
    name = described["name"]  # that of a rule that took the encoder's place, where one did
    if name == "colour_texture":
        return f"""
            described by {described["dim"]} measures of colour and texture (`colour_texture`): densities of the
            stains by colour deconvolution {cite("ruifrok")}, their detail at several scales, gradients, and local
            binary patterns {cite("ojala")}"""
    if "weights" not in described:
        tests = ", which is for tests only" if name == "dummy" else ""
        return f"described by {described['dim']:,} features of the encoder `{name}`{tests}"
    text = f"""
        encoded by the convolutional network {network_name(name)} {cite(*["vgg"] * name.startswith("vgg"), "keras")}
        without its classifier, with global average pooling ({described["dim"]:,} features)"""
    if described["weights"] != "seeded":
        imagenet = run["configuration"]["encoder"]["weights"] == "imagenet"
        text += f" and weights trained on ImageNet {cite('imagenet')}" if imagenet else ""
        text += "" if imagenet else f" and the weights of the file `{described['weights']}`"
    if described.get("pixel_range") == "0-1":
        text += """, their pixel values scaled to 0-1 before the network's own preprocessing, which expects 0-255 (as
            in the published script)"""
    return text


def _latents(run: Mapping[str, Any], cite: Citations) -> str:
    c = run["configuration"]["latents"]
    scaling = {True: "scaled to unit variance", False: "centred, not scaled"}.get(
        c["standardize"], "centred, and scaled to unit variance if they differ in unit"
    )
    members, where = groups_of(run), ""
    if c["scope"] == "group" and members:
        held_out = names_held_out(run)
        apart = (
            f"; {sections_named(held_out, run)} {was_or_were(held_out)} projected and not fitted" if held_out else ""
        )
        where = f" for all sections of a group together ({groups_listed(members)}{apart})"
        alone = len(run["sections"]) - sum(map(len, members.values()))
        where += ", and for every other section separately" if alone else ""
    elif len(run["sections"]) > 1:
        where = " for every section separately"
    text = f"""
        Principal components of the features ({scaling}) were computed by full singular value decomposition{where}.
        The first {c["n_latents"]} are the image latents. Spots were clustered in up to
        {max(c["n_embed"], c["n_latents"])} components by the Leiden algorithm {cite("leiden")} ({c["n_neighbors"]}
        nearest neighbours, resolution {c["resolution"]:g}), and embedded by UMAP {cite("umap")} and t-SNE
        {cite("tsne")} (perplexity {c["perplexity"]:g},"""
    # Spots that then fail the quality control of expression are embedded, too.
    spots = [s["spots"] + s["left_out"].get("failed_qc", 0) for s in run["sections"].values()]
    if c["tsne"] == "published":
        return f"{text} scikit-learn {cite('sklearn')}, of the features themselves and with the settings of 2021)."
    if max(spots) < OPENTSNE_FROM:
        return f"{text} scikit-learn {cite('sklearn')})."
    if min(spots) >= OPENTSNE_FROM:
        return f"{text} openTSNE {cite('opentsne')})."
    return f"""{text} scikit-learn {cite("sklearn")}, from {OPENTSNE_FROM:,} spots on openTSNE {cite("opentsne")})."""


def _association(run: Mapping[str, Any], cite: Citations) -> str:
    c, sections = run["configuration"], run["sections"]
    a = c["association"]
    n = a["n_latents"] or c["latents"]["n_latents"]
    which = (
        f"genes detected in at least {a['min_spots_fraction']:.0%} of the spots"
        if a["min_spots_fraction"]
        else "genes"
    )
    which = which.replace("%", " %") + (" that SCTransform models" if a["values"] == "sct" else "")
    counts = span({tested for s in sections.values() for tested in s["genes_tested"].values()})
    latents = (
        "the first latent" if n == 1 else f"the first {n} latents" if n < c["latents"]["n_latents"] else "each latent"
    )
    text = f"All {which} ({counts}{per_section(sections)}) were tested for association with {latents}."
    if a["headline"] == "published":
        return f"""{text} For this, {_unadjusted(run, cite)} These tests take spots as independent and do not adjust
            for sequencing depth; their p-values serve to rank genes. {_correction(run, cite)} The tables of results
            also have tests that are adjusted: {_adjusted(run, cite)}"""
    adjusted = _adjusted(run, cite)
    text += f" {adjusted[0].upper()}{adjusted[1:]}"
    if a["headline"] == "depth":
        text += f""" Genes were called by the same correlation's moderated t-test {cite("smyth")} at the full number
            of spots, which takes spots as independent; its p-values serve to rank genes."""
    without = [name for name, s in sections.items() if not any(s["genes_tested_spatially"].values())]
    if a["headline"] == "spatial" and without:
        text += f""" As {sections_named(without, run)} allowed no spatial test (no lattice, or fewer than 30 spots),
            genes there were called by a moderated t-test {cite("smyth")} that takes spots as independent."""
    return f"{text} {_correction(run, cite)} For comparison only, {_unadjusted(run, cite)}"


def _adjusted(run: Mapping[str, Any], cite: Citations) -> str:
    a = run["configuration"]["association"]
    residuals = "the Pearson residuals of a negative binomial regression on the logarithm of the spots' total counts"
    if a["residuals"] == "pearson":
        residuals = f"their analytic Pearson residuals {cite('lause')}"
    held = enumerated(_COVARIATES.get(name, f"`{name}`") for name in a["covariates"])
    correlation = f"partial correlation with each latent, given {held}," if held else "correlation with each latent"
    text = f"""to take out sequencing depth, the counts of a gene were replaced by {residuals}; their {correlation}
        was tested by the modified t-test of Clifford, Richardson and Hémon {cite("clifford")} with the traces of
        Dutilleul {cite("dutilleul")}, at an effective number of spots that allows for the spatial autocorrelation of
        gene and latent."""
    if a["mixed_model"]:
        text += f""" As a second opinion, a linear mixed model gave every gene a spatial pattern of its own (low-rank
            random effect of exponential covariance) {cite("emmax", "solin")}."""
    if a["permutations"]:
        text += f""" As a further one, correlations were compared with those of {a["permutations"]} permutations of
            the latent that keep its spatial autocorrelation {cite("burt")}."""
    return text


def _unadjusted(run: Mapping[str, Any], cite: Citations) -> str:
    a, software = run["configuration"]["association"], run["software"]
    values = "log-transformed counts as corrected by SCTransform" if a["values"] == "sct" else "log-normalised counts"
    if a["zscore"]:
        values += " (scaled to unit variance and cut off at 10)"
    n = a["n_latents"] or run["configuration"]["latents"]["n_latents"]
    design = "all of these latents together" if a["design"] == "joint" and n > 1 else "one latent at a time"
    if a["engine"] == "limma":
        tool = f"limma{version_of(software, 'limma')} {cite('limma', 'smyth')}"
    else:
        tool = f"empirical Bayes as in limma {cite('smyth')}"
    return f"linear models of {values} on {design} were fitted, and their t-statistics moderated by {tool}."


def _correction(run: Mapping[str, Any], cite: Citations) -> str:
    a = run["configuration"]["association"]
    families = ["section"] * (len(run["sections"]) > 1) + ["encoder"] * (len(run["encoders"]) > 1) + ["latent"]
    return f"""P-values were corrected by the method of Benjamini and Hochberg {cite("bh")} for the number of genes,
        within each {enumerated(families)}, and not for the number of latents; genes with a false discovery rate below
        {a["fdr"]:g} by {_HEADLINES[a["headline"]]} were called."""


def _evidence(run: Mapping[str, Any], cite: Citations) -> str:
    c, text = run["configuration"], ""
    spatial = any(
        tested for section in run["sections"].values() for tested in section["genes_tested_spatially"].values()
    )
    if c["calibration"]["n_fields"] and spatial:
        but = " except permutations" if c["association"]["permutations"] else ""
        text += f"""
            To check the calibration of p-values, all tests{but} were repeated in each section on
            {c["calibration"]["n_fields"]} random fields that have the spatial autocorrelation of the latents but
            nothing to do with any gene."""
    text += f"""
        What the latents add to sequencing depth, share of tissue and expression cluster of a spot was measured by
        nested linear models of each gene's residuals, also by cross-validation over five compact parts of the
        section. Spots were also clustered on the {c["spade_clusters"]["n_genes"]:,} genes most surely associated
        with the latents, the first of every latent in turn (principal components and Leiden algorithm
        {cite("leiden")}); this clustering was compared with those by all expression, by the image, and by random
        genes of like expression (adjusted Rand index, silhouettes, share of neighbouring spots in the same
        cluster)."""
    sets = c["terms"]["gene_sets"]
    if sets:
        text += f"""
            Gene sets with {c["terms"]["min_size"]} to {c["terms"]["max_size"]} tested genes
            ({enumerated(f"`{PurePath(path).name}`" for path in sets)}) were tested for high or low ranks among the
            adjusted effects of a latent, in comparison with permutations of the latent that keep its spatial
            autocorrelation {cite("burt")}, and for over-representation among the genes called (hypergeometric test),
            always with the genes tested as background and corrected by Benjamini and Hochberg {cite("bh")} for the
            number of sets of a file."""
    squidpy = f"Squidpy{version_of(run['software'], 'squidpy')} {cite('squidpy')}"
    return f"{text} Moran's I of the latents was computed with {squidpy}."


def _cohorts(run: Mapping[str, Any], cite: Citations) -> str:
    members = {group: names for group, names in groups_of(run).items() if len(names) > 1}
    if not members:
        return ""
    fit = ""
    if run["configuration"]["latents"]["scope"] != "group":
        held_out = names_held_out(run)
        apart = f" except for {sections_named(held_out, run)}, projected only" if held_out else ""
        fit = f"For this, latents were fitted anew to all sections of a group together{apart}."
    return f"""
        Sections of a group were taken as replicates ({groups_listed(members)}). {fit} Genes called in one section
        were looked for in the others, and effects were pooled over sections by a random effects meta-analysis of
        Fisher's z at the effective number of spots, with weights from the variance between sections over all genes
        and the scatter of each gene moderated by empirical Bayes {cite("smyth")}, and corrected by Benjamini and
        Hochberg {cite("bh")} for the number of genes, within each latent."""


def _software(run: Mapping[str, Any], cite: Citations) -> str:
    used = dict(run["software"])
    networks = any("keras" in one for several in run["encoders"].values() for one in several) or bool(run["blocks"])
    idle = {"keras", "tensorflow"} if not networks else set()
    idle |= {"openTSNE"} if "opentsne" not in cite else set()
    listed = enumerated(f"{t} {used[name]}" for name, t in _TITLES.items() if used.get(name) and name not in idle)
    return f"""
        All steps were run by Snakemake{version_of(used, "snakemake")} {cite("snakemake")} with the random seed
        {run["configuration"]["seed"]}, and with {listed}."""


def _sections_table(run: Mapping[str, Any]) -> list[str]:
    lines = [
        "| section | platform | spots | genes | genes tested | patch | preflight |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for name, s in run["sections"].items():
        patch = s["patch"]
        edge = f"{patch['width_um']:g} µm, {patch['width_px']} px of {patch['image']}"
        kind = PLATFORMS.get(s["platform"], s["platform"])
        cells = (name, kind, f"{s['spots']:,}", f"{s['genes']:,}", span(set(s["genes_tested"].values())), edge)
        lines.append(f"| {' | '.join(cells)} | {s['preflight']} |")
    return lines


def _digests_table(run: Mapping[str, Any]) -> list[str]:
    rows = [(name, f"`{file}`", digest) for name, files in run["inputs"].items() for file, digest in files.items()]
    rows += [("all", f"`{path}`", digest) for path, digest in run["other_inputs"].items()]
    for encoder, several in run["encoders"].items():
        for one in several:
            if "weights_digest" in one:
                what = "random weights" if one["weights"] == "seeded" else f"weights of `{one['weights']}`"
                rows.append((encoder, f"{what} (the values)", one["weights_digest"]))
    lines = [f"| {of} | {what} | `{digest.removeprefix('sha256:')}` |" for of, what, digest in rows]
    return ["| of | input | SHA-256 |", "|---|---|---|", *lines]

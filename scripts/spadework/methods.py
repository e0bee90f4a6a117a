"""What a paper says of a run: paragraphs, references and digests, from the manifest and from nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from pathlib import PurePath
from typing import Any

from spadework.latents import OPENTSNE_FROM

_REFERENCES = {
    "spade": "Bae S, Choi H, Lee DS. Discovery of molecular features underlying the morphological landscape by "
    "integrating spatial transcriptomic data with deep features of tissue images. Nucleic Acids Res 2021; 49:e55.",
    "snakemake": "Mölder F, et al. Sustainable data analysis with Snakemake. F1000Research 2021; 10:33.",
    "scanpy": "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. Genome "
    "Biol 2018; 19:15.",
    "squidpy": "Palla G, et al. Squidpy: a scalable framework for spatial omics analysis. Nat Methods 2022; "
    "19:171-178.",
    "leiden": "Traag VA, Waltman L, van Eck NJ. From Louvain to Leiden: guaranteeing well-connected communities. "
    "Sci Rep 2019; 9:5233.",
    "louvain": "Blondel VD, et al. Fast unfolding of communities in large networks. J Stat Mech 2008; P10008.",
    "umap": "McInnes L, Healy J, Melville J. UMAP: Uniform Manifold Approximation and Projection for dimension "
    "reduction. arXiv 2018; 1802.03426.",
    "tsne": "van der Maaten L, Hinton G. Visualizing data using t-SNE. J Mach Learn Res 2008; 9:2579-2605.",
    "opentsne": "Poličar PG, Stražar M, Zupan B. openTSNE: a modular Python library for t-SNE dimensionality "
    "reduction and embedding. J Stat Softw 2024; 109(3).",
    "sklearn": "Pedregosa F, et al. Scikit-learn: machine learning in Python. J Mach Learn Res 2011; 12:2825-2830.",
    "seurat": "Hao Y, et al. Integrated analysis of multimodal single-cell data. Cell 2021; 184:3573-3587.",
    "sctransform": "Hafemeister C, Satija R. Normalization and variance stabilization of single-cell RNA-seq data "
    "using regularized negative binomial regression. Genome Biol 2019; 20:296.",
    "vgg": "Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image recognition. ICLR 2015.",
    "imagenet": "Russakovsky O, et al. ImageNet Large Scale Visual Recognition Challenge. Int J Comput Vis 2015; "
    "115:211-252.",
    "keras": "Chollet F, et al. Keras. https://keras.io, 2015.",
    "unet": "Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image segmentation. "
    "MICCAI 2015; 234-241.",
    "stardist": "Schmidt U, et al. Cell detection with star-convex polygons. MICCAI 2018; 265-273.",
    "protopnet": "Chen C, Li O, Tao D, Barnett A, Rudin C, Su JK. This looks like that: deep learning for "
    "interpretable image recognition. NeurIPS 2019; 32:8930-8941.",
    "ruifrok": "Ruifrok AC, Johnston DA. Quantification of histochemical staining by color deconvolution. Anal "
    "Quant Cytol Histol 2001; 23:291-299.",
    "ojala": "Ojala T, Pietikäinen M, Mäenpää T. Multiresolution gray-scale and rotation invariant texture "
    "classification with local binary patterns. IEEE Trans Pattern Anal Mach Intell 2002; 24:971-987.",
    "clifford": "Clifford P, Richardson S, Hémon D. Assessing the significance of the correlation between two "
    "spatial processes. Biometrics 1989; 45:123-134.",
    "dutilleul": "Dutilleul P. Modifying the t test for assessing the correlation between two spatial processes. "
    "Biometrics 1993; 49:305-314.",
    "bh": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. J R Stat Soc B 1995; 57:289-300.",
    "lause": "Lause J, Berens P, Kobak D. Analytic Pearson residuals for normalization of single-cell RNA-seq UMI "
    "data. Genome Biol 2021; 22:258.",
    "emmax": "Kang HM, et al. Variance component model to account for sample structure in genome-wide association "
    "studies. Nat Genet 2010; 42:348-354.",
    "solin": "Solin A, Särkkä S. Hilbert space methods for reduced-rank Gaussian process regression. Stat Comput "
    "2020; 30:419-446.",
    "burt": "Burt JB, et al. Generative modeling of brain maps with spatial autocorrelation. NeuroImage 2020; "
    "220:117038.",
    "smyth": "Smyth GK. Linear models and empirical Bayes methods for assessing differential expression in "
    "microarray experiments. Stat Appl Genet Mol Biol 2004; 3:3.",
    "limma": "Ritchie ME, et al. limma powers differential expression analyses for RNA-sequencing and microarray "
    "studies. Nucleic Acids Res 2015; 43:e47.",
}
_PLATFORMS = {
    "visium": "10x Visium",
    "visium_hd": "10x Visium HD",
    "visium_hd_cells": "10x Visium HD (segmented cells)",
    "legacy_st": "Spatial Transcriptomics",
    "h5ad": "AnnData input",
}
_IMAGES = {
    "fullres": "full-resolution",
    "hires": "`hires` (down-sampled)",
    "lowres": "`lowres` (down-sampled)",
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


class _Citations:
    """Numbers references in the order in which a text first names them."""

    def __init__(self) -> None:
        self._keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        for key in keys:
            if key not in self._keys:
                self._keys.append(key)
        return f"[{', '.join(str(self._keys.index(key) + 1) for key in keys)}]"

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def listed(self) -> list[str]:
        """Return the numbered list."""
        return [f"{i}. {_REFERENCES[key]}" for i, key in enumerate(self._keys, 1)]


def methods(manifest: Mapping[str, Any]) -> str:
    """Write the methods of a run in Markdown.

    Parameters
    ----------
    manifest
        Of :func:`spadework.provenance.manifest`. Only steps that ran are named.
    """
    run, cite = manifest["deterministic"], _Citations()
    steps = (
        _data,
        _expression,
        _images,
        _nuclei,
        _latents,
        _association,
        _evidence,
        _prototypes,
        _cohorts,
        _software,
    )
    paragraphs = [_one_line(step(run, cite)) for step in steps]
    parts = ["# Methods", *filter(None, paragraphs), "## References", "\n".join(cite.listed())]
    parts += ["## Sections and digests", "\n".join(_sections_table(run)), "\n".join(_digests_table(run))]
    return "\n\n".join(parts) + "\n"


def _data(run: Mapping[str, Any], cite: _Citations) -> str:
    sections, e, workflow = run["sections"], run["configuration"]["expression"], run["workflow"]
    kinds = Counter(_PLATFORMS.get(section["platform"], section["platform"]) for section in sections.values())
    what = _list(f"{n} {kind}" if len(kinds) > 1 else kind for kind, n in kinds.items())
    failed = sum(section["left_out"].get("failed_qc", 0) for section in sections.values())
    filters = [_count(e["min_counts"], "count"), _count(e["min_genes"], "detected gene")]
    most = f", and at most {e['max_pct_mt']:g} % mitochondrial counts," if e["max_pct_mt"] < 100 else ""
    changed = " with local changes" if workflow["changed"] else ""
    version = workflow["version"] + (f", commit {workflow['commit'][:10]}{changed}" if workflow["commit"] else "")
    return f"""
        Tissue morphology was linked to gene expression by SPADE {cite("spade")} as implemented in spadework (version
        {version}). {_few(len(sections))} section{_s(sections)} ({what}) {_was(sections)} analysed. Spots on tissue
        with at least {_list(filters)}{most} were kept ({_range(sections, "spots")}{_each(sections)};
        {_count(failed, "spot") if failed else "no spot"} left out), and so were genes detected in at least
        {_count(e["min_spots"], "spot")} ({_range(sections, "genes")}{_each(sections)})."""


def _expression(run: Mapping[str, Any], cite: _Citations) -> str:
    e, software = run["configuration"]["expression"], run["software"]
    text = f"""
        Counts were normalised to 10,000 per spot and log-transformed, log(1 + x), with
        Scanpy{_version(software, "scanpy")} {cite("scanpy")}."""
    if e["engine"] == "seurat":
        text += f"""
            For clusters of expression, they were normalised by SCTransform {cite("sctransform")} (first flavour,
            Poisson regression, {e["n_top_genes"]:,} variable genes) in Seurat{_version(software, "Seurat")}
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
        text += f" For {_names(given, run)}, clusters made elsewhere took their place."
    return text


def _images(run: Mapping[str, Any], cite: _Citations) -> str:
    patch, sections = run["configuration"]["patch"], run["sections"].values()
    in_px = _span({section["patch"]["width_px"] for section in sections})
    in_um = _span({section["patch"]["width_um"] for section in sections})
    size = f"{patch['um']:g} µm ({in_px} pixels)" if patch["um"] else f"{patch['px']} pixels ({in_um} µm)"
    kinds = _list(dict.fromkeys(_IMAGES[section["patch"]["image"]] for section in sections), "or")
    text = f"""
        Square patches with an edge of {size} were cut around the centre of every spot from the {kinds} image, filled
        by reflection beyond its borders, and resized to {patch["output_px"]} × {patch["output_px"]} pixels."""
    encoders = [several[0] for several in run["encoders"].values()]
    for i, described in enumerate(encoders):
        text += f" {'They were also' if i else 'They were'} {_encoder(described, run, cite)}."
    seeded = [_network(encoder["name"]) for encoder in encoders if encoder.get("weights") == "seeded"]
    if seeded:
        text += f"""
            **The weights of {_list(seeded)} were random (drawn with a fixed seed), not trained on ImageNet or on
            anything else: results made with them serve to try the workflow out and must not be interpreted.**"""
    if len(encoders) > 1:
        text += " All that follows was done for the features of each encoder separately."
    return text


def _encoder(described: Mapping[str, Any], run: Mapping[str, Any], cite: _Citations) -> str:
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
        encoded by the convolutional network {_network(name)} {cite(*["vgg"] * name.startswith("vgg"), "keras")}
        without its classifier, with global average pooling ({described["dim"]:,} features)"""
    if described["weights"] != "seeded":
        imagenet = run["configuration"]["encoder"]["weights"] == "imagenet"
        text += f" and weights trained on ImageNet {cite('imagenet')}" if imagenet else ""
        text += "" if imagenet else f" and the weights of the file `{described['weights']}`"
    if described.get("pixel_range") == "0-1":
        text += """, their pixel values scaled to 0-1 before the network's own preprocessing, which expects 0-255 (as
            in the published script)"""
    return text


def _nuclei(run: Mapping[str, Any], cite: _Citations) -> str:
    found = [section["nuclei"] for section in run["sections"].values() if "nuclei" in section]
    if not found:
        return ""
    segmenter, settings = found[0]["segmenter"], run["configuration"]["nuclei"]
    um_per_px = _span({round(um, 3) for section in found for um in section["um_per_px"]})
    sections = _range({str(i): section for i, section in enumerate(found)}, "nuclei")
    clumped = _span({round(100 * section["left_out"]["too_large_share"]) for section in found})
    if segmenter["engine"] == "stardist":
        how = f"StarDist {cite('stardist')} (model `{segmenter['model']}`)"
    else:
        origin = segmenter["origin"]
        said = "; ".join(
            filter(None, [origin.get("source"), f"digest of their pixels and labels `{origin['digest'][:19]}`"])
        )
        images = _count(origin["images"]["train"], "labelled image")
        how = f"a U-Net {cite('unet')} trained on {images} ({said})"
    return f"""
        Nuclei were segmented in the {_list(dict.fromkeys(_IMAGES[section["image"]] for section in found), "or")}
        images, resampled to {um_per_px} µm per pixel, by {how}; objects smaller than {settings["min_area_um2"]:g} µm²
        or wider than {found[0]["largest_um"]:g} µm were left out (the wide ones: {clumped} % of the area of
        nuclei and clumps), and {sections} nuclei{_each(found)} stayed. Nuclei were
        counted per spot, and their area, eccentricity, haematoxylin (by colour deconvolution {cite("ruifrok")}) and
        distance to the nearest other nucleus averaged."""


def _latents(run: Mapping[str, Any], cite: _Citations) -> str:
    c = run["configuration"]["latents"]
    scaling = {True: "scaled to unit variance", False: "centred, not scaled"}.get(
        c["standardize"], "centred, and scaled to unit variance if they differ in unit"
    )
    members, where = _groups(run), ""
    if c["scope"] == "group" and members:
        held_out = _held_out(run)
        apart = f"; {_names(held_out, run)} {_was(held_out)} projected and not fitted" if held_out else ""
        where = f" for all sections of a group together ({_listed(members)}{apart})"
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


def _association(run: Mapping[str, Any], cite: _Citations) -> str:
    c, sections = run["configuration"], run["sections"]
    a = c["association"]
    n = a["n_latents"] or c["latents"]["n_latents"]
    which = (
        f"genes detected in at least {a['min_spots_fraction']:.0%} of the spots"
        if a["min_spots_fraction"]
        else "genes"
    )
    which = which.replace("%", " %") + (" that SCTransform models" if a["values"] == "sct" else "")
    counts = _span({tested for s in sections.values() for tested in s["genes_tested"].values()})
    latents = (
        "the first latent" if n == 1 else f"the first {n} latents" if n < c["latents"]["n_latents"] else "each latent"
    )
    text = f"All {which} ({counts}{_each(sections)}) were tested for association with {latents}."
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
        text += f""" As {_names(without, run)} allowed no spatial test (no lattice, or fewer than 30 spots), genes
            there were called by a moderated t-test {cite("smyth")} that takes spots as independent."""
    return f"{text} {_correction(run, cite)} For comparison only, {_unadjusted(run, cite)}"


def _adjusted(run: Mapping[str, Any], cite: _Citations) -> str:
    a = run["configuration"]["association"]
    residuals = "the Pearson residuals of a negative binomial regression on the logarithm of the spots' total counts"
    if a["residuals"] == "pearson":
        residuals = f"their analytic Pearson residuals {cite('lause')}"
    held = _list(_COVARIATES.get(name, f"`{name}`") for name in a["covariates"])
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


def _unadjusted(run: Mapping[str, Any], cite: _Citations) -> str:
    a, software = run["configuration"]["association"], run["software"]
    values = "log-transformed counts as corrected by SCTransform" if a["values"] == "sct" else "log-normalised counts"
    if a["zscore"]:
        values += " (scaled to unit variance and cut off at 10)"
    n = a["n_latents"] or run["configuration"]["latents"]["n_latents"]
    design = "all of these latents together" if a["design"] == "joint" and n > 1 else "one latent at a time"
    if a["engine"] == "limma":
        tool = f"limma{_version(software, 'limma')} {cite('limma', 'smyth')}"
    else:
        tool = f"empirical Bayes as in limma {cite('smyth')}"
    return f"linear models of {values} on {design} were fitted, and their t-statistics moderated by {tool}."


def _correction(run: Mapping[str, Any], cite: _Citations) -> str:
    a = run["configuration"]["association"]
    families = ["section"] * (len(run["sections"]) > 1) + ["encoder"] * (len(run["encoders"]) > 1) + ["latent"]
    return f"""P-values were corrected by the method of Benjamini and Hochberg {cite("bh")} for the number of genes,
        within each {_list(families)}, and not for the number of latents; genes with a false discovery rate below
        {a["fdr"]:g} by {_HEADLINES[a["headline"]]} were called."""


def _evidence(run: Mapping[str, Any], cite: _Citations) -> str:
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
            ({_list(f"`{PurePath(path).name}`" for path in sets)}) were tested for high or low ranks among the
            adjusted effects of a latent, in comparison with permutations of the latent that keep its spatial
            autocorrelation {cite("burt")}, and for over-representation among the genes called (hypergeometric test),
            always with the genes tested as background and corrected by Benjamini and Hochberg {cite("bh")} for the
            number of sets of a file."""
    squidpy = f"Squidpy{_version(run['software'], 'squidpy')} {cite('squidpy')}"
    return f"{text} Moran's I of the latents was computed with {squidpy}."


def _prototypes(run: Mapping[str, Any], cite: _Citations) -> str:
    # Sections that share a model say the same of it.
    said = [section["prototypes"] for section in run["sections"].values() if "prototypes" in section]
    models = {json.dumps(made, sort_keys=True): made for made in said}
    if not models:
        return ""
    p, settings = said[0], run["configuration"]["prototypes"]
    grouped = settings["scope"] == "group"
    tested = [name for name in _held_out(run) if grouped and "group" in run["samples"][name]]
    regions = any(not set(tested) & set(made["sections"]) for made in models.values())
    ways = [_names(tested, run)] * bool(tested) + ["whole regions of tissue"] * regions
    apart = f"{_list(ways)} {_was(range(len(tested) + 2 * regions))} set aside"
    backbone = f"the first layers of VGG16 {cite('vgg')}" if p["backbone"] == "vgg16" else "a small network"
    sizes = [_span({made[key] for made in models.values()}) for key in ("n_classes", "n_prototypes")]
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
        of = f" ({_list(made['sections'])})" if len(models) > 1 else ""
        text += f" The result{of}: {made['verdict']}"
    if p.get("weights") == "seeded":
        text += """ **The network of the prototypes began with random weights (drawn with a fixed seed), not with
            those of a network trained on images: these results serve to try the workflow out and must not be
            interpreted.**"""
    return text


def _cohorts(run: Mapping[str, Any], cite: _Citations) -> str:
    members = {group: names for group, names in _groups(run).items() if len(names) > 1}
    if not members:
        return ""
    fit = ""
    if run["configuration"]["latents"]["scope"] != "group":
        held_out = _held_out(run)
        apart = f" except for {_names(held_out, run)}, projected only" if held_out else ""
        fit = f"For this, latents were fitted anew to all sections of a group together{apart}."
    return f"""
        Sections of a group were taken as replicates ({_listed(members)}). {fit} Genes called in one section were
        looked for in the others, and effects were pooled over sections by a random effects meta-analysis of Fisher's
        z at the effective number of spots, with weights from the variance between sections over all genes and the
        scatter of each gene moderated by empirical Bayes {cite("smyth")}, and corrected by Benjamini and Hochberg
        {cite("bh")} for the number of genes, within each latent."""


def _software(run: Mapping[str, Any], cite: _Citations) -> str:
    used = dict(run["software"])
    networks = any("keras" in one for several in run["encoders"].values() for one in several)
    idle = {"keras", "tensorflow"} if not networks else set()
    idle |= {"openTSNE"} if "opentsne" not in cite else set()
    listed = _list(f"{t} {used[name]}" for name, t in _TITLES.items() if used.get(name) and name not in idle)
    return f"""
        All steps were run by Snakemake{_version(used, "snakemake")} {cite("snakemake")} with the random seed
        {run["configuration"]["seed"]}, and with {listed}."""


def _sections_table(run: Mapping[str, Any]) -> list[str]:
    lines = [
        "| section | platform | spots | genes | genes tested | patch | preflight |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for name, s in run["sections"].items():
        patch = s["patch"]
        edge = f"{patch['width_um']:g} µm, {patch['width_px']} px of {patch['image']}"
        kind = _PLATFORMS.get(s["platform"], s["platform"])
        cells = (name, kind, f"{s['spots']:,}", f"{s['genes']:,}", _span(set(s["genes_tested"].values())), edge)
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


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _network(name: str) -> str:
    return {"vgg16": "VGG16", "vgg19": "VGG19"}.get(name, name)


def _groups(run: Mapping[str, Any]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name, row in run["samples"].items():
        if "group" in row:
            members.setdefault(row["group"], []).append(name)
    return members


def _held_out(run: Mapping[str, Any]) -> list[str]:
    return [name for name, row in run["samples"].items() if row.get("held_out") == "yes"]


def _listed(groups: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{group}: {_list(names)}" for group, names in groups.items())


def _version(software: Mapping[str, str], name: str) -> str:
    return f" {software[name]}" if name in software else ""


def _few(n: int) -> str:
    words = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]
    return words[n] if n < len(words) else f"{n:,}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _range(sections: Mapping[str, Mapping[str, Any]], key: str) -> str:
    return _span({section[key] for section in sections.values()})


def _span(values: set[float]) -> str:
    """Write numbers as one, or as the range they span."""
    ends = dict.fromkeys((min(values), max(values)))
    return " to ".join(f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" for value in ends)


def _list(items: Iterable[str], last: str = "and") -> str:
    items = list(items)
    if len(items) < 3:
        return f" {last} ".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def _names(names: list[str], run: Mapping[str, Any]) -> str:
    if len(run["sections"]) == 1:
        return "the section"
    return f"section{_s(names)} {_list(names)}"


def _s(things: Sized) -> str:
    return "" if len(things) == 1 else "s"


def _each(sections: Sized) -> str:
    return "" if len(sections) == 1 else " per section"


def _was(things: Sized) -> str:
    return "was" if len(things) == 1 else "were"

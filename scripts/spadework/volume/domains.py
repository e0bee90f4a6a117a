"""Domains and expression latents that mean the same in all sections of a block."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spadework.clustering import cluster
from spadework.errors import InputError
from spadework.job import without_tensorflow
from spadework.keys import Keys
from spadework.labels import UNLABELLED
from spadework.latents import LatentModel, fit_latents

log = logging.getLogger("spadework")

_FEWEST_GENES = 50  # in common: below, latents are those of a handful of genes
_CLIP = 10.0  # standard deviations: one spot with a rare gene is no domain (Seurat's ScaleData has the same)


def share_domains(
    sections: Mapping[str, ad.AnnData], *, given: bool, n_latents: int, settings: Mapping[str, Any], seed: int
) -> pd.DataFrame:
    """Give every spot of a block a domain and latents that mean the same in all its sections.

    Domains are those of the sample sheet, if it has clusters for every section; else Leiden clusters of all spots
    together. Latents are the first principal components of all spots together.

    Every gene is centred and scaled within its section first. So what differs between sections as a whole goes:
    depth, batch, the day of the staining. Serial sections are some micrometres apart and hold nearly the same tissue,
    so that this takes hardly anything of interest. What it hides is a true change from section to section (a gene
    that rises everywhere, a tumour that grows from a tenth to half of the tissue): a domain is then relative to its
    section.

    Parameters
    ----------
    sections
        Name -> AnnData of the expression stage, of the sequenced sections of a block.
    given
        The sample sheet gives clusters for every section; ``obs["cluster"]`` holds them.
    n_latents
        Latents to keep.
    settings
        ``n_top_genes``, ``n_pcs``, ``n_neighbors`` and ``resolution`` of the expression clusters.

    Returns
    -------
    pandas.DataFrame
        ``sample``, ``barcode``, ``domain`` (text; ``unlabelled`` where there is none) and ``latent_1`` and so on
        (float64, mean 0 and standard deviation 1 over the block).

    Raises
    ------
    InputError
        If the sections have too few genes in common, or vary in fewer directions than latents are wanted; if all
        spots of a section are unlabelled, no other section has its domains, or there are fewer than two domains.
    """
    values = _common_genes(sections, settings["n_top_genes"])
    model = _fit(values, n_latents, settings["n_pcs"], sections)
    pcs = model.project(values)
    table = pd.DataFrame(
        {
            "sample": np.repeat(list(sections), [a.n_obs for a in sections.values()]),
            "barcode": np.concatenate([a.obs_names.to_numpy(str) for a in sections.values()]),
        }
    )
    if given:
        table["domain"] = np.concatenate([a.obs[Keys.CLUSTER].to_numpy(str) for a in sections.values()])
        _check_given(table)
    else:
        table["domain"] = cluster(
            pcs, n_neighbors=settings["n_neighbors"], resolution=settings["resolution"], seed=seed
        )
    named = table[table["domain"] != UNLABELLED]
    if named["domain"].nunique() < 2:
        raise InputError(
            _of(sections),
            None,
            found=f"{named['domain'].nunique()} domain in {len(table)} spots",
            expected="at least two domains: there is nothing to tell apart otherwise",
            remedy="raise expression.resolution, give clusters in the sample sheet, or set volume.target: latents",
        )
    for name, n in named.groupby("domain")["sample"].nunique().items():
        if n == 1 and len(sections) > 1:
            log.warning("domain %s is in one section only: nothing can learn it when that section is left out", name)
    for k in range(n_latents):
        table[f"latent_{k + 1}"] = (pcs[:, k] - pcs[:, k].mean()) / pcs[:, k].std()
    return table


def _common_genes(sections: Mapping[str, ad.AnnData], n_top_genes: int) -> NDArray[np.float32]:
    """Return the most variable genes all sections have, centred and scaled within each section, (spots, genes)."""
    with without_tensorflow():
        import scanpy as sc

    joint = ad.concat(
        # layers and embeddings are not wanted, and need not be in every section
        {name: ad.AnnData(a.X, pd.DataFrame(index=a.obs_names), a.var[[]]) for name, a in sections.items()},
        label="sample",
        index_unique="/",
        join="inner",
    )
    if joint.n_vars < _FEWEST_GENES:
        sizes = ", ".join(f"{name} {a.n_vars}" for name, a in sections.items())
        raise InputError(
            _of(sections),
            None,
            found=f"{joint.n_vars} genes in all sections of the block (genes: {sizes})",
            expected=f"at least {_FEWEST_GENES} in common",
            remedy="check that the sections are of one species and name genes alike, or lower expression.min_spots",
        )
    if joint.n_vars > n_top_genes:
        sc.pp.highly_variable_genes(joint, n_top_genes=n_top_genes, flavor="seurat", batch_key="sample")
        joint = joint[:, joint.var["highly_variable"]]
    log.info("latents of %d genes, of spots in %s", joint.n_vars, _of(sections))
    values = joint.X.toarray() if sparse.issparse(joint.X) else np.array(joint.X)
    for name in sections:
        of_section = (joint.obs["sample"] == name).to_numpy()
        part = values[of_section].astype(np.float64)
        spread = part.std(axis=0)
        # a gene that is constant in a section says nothing there
        scaled = (part - part.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        values[of_section] = np.clip(scaled, -_CLIP, _CLIP)
    return values


def _fit(values: NDArray[np.float32], n_latents: int, n_pcs: int, sections: Mapping[str, ad.AnnData]) -> LatentModel:
    n = min(max(n_pcs, n_latents), len(values) - 1, values.shape[1])
    model = fit_latents(values, n, standardize=False)
    if len(model.variance) < n_latents:
        raise InputError(
            _of(sections),
            None,
            found=f"expression that varies in {len(model.variance)} directions ({len(values)} spots)",
            expected=f"at least {n_latents} (volume.n_latents)",
            remedy="lower volume.n_latents",
        )
    return model


def _check_given(table: pd.DataFrame) -> None:
    """Refuse clusters of the sample sheet from which nothing carries over between sections."""
    domains = {name: set(rows["domain"]) - {UNLABELLED} for name, rows in table.groupby("sample", sort=False)}
    for name, own in domains.items():
        if not own:
            raise InputError(
                str(name),
                None,
                found="clusters in the sample sheet that leave every spot unlabelled",
                expected="labels for the spots of this section",
                remedy="check the file in the column clusters, or leave it out for all sections of the block",
            )
    for name, own in domains.items():
        others = set().union(*(d for other, d in domains.items() if other != name))
        if len(domains) > 1 and not own & others:
            raise InputError(
                str(name),
                None,
                found=f"clusters {', '.join(sorted(own)[:5])}; the other sections of the block have "
                f"{', '.join(sorted(others)[:5])}",
                expected="names of clusters that mean the same in all sections of a block",
                remedy="cluster the sections together, or leave the column clusters empty for the block",
            )


def _of(sections: Mapping[str, ad.AnnData]) -> str:
    return ", ".join(sections)

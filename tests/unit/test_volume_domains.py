"""Domains and latents of several sections mean the same in all of them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from spadework.errors import InputError
from spadework.volume.domains import share_domains

SETTINGS = {"n_top_genes": 150, "n_pcs": 10, "n_neighbors": 10, "resolution": 0.3}


def section(seed: int, n: int = 90, genes: int = 300, depth: float = 1.0, batch: float = 0.0) -> ad.AnnData:
    """Three kinds of spots that differ in thirty genes each; a batch shifts a third of all genes."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    values = rng.normal(1.0, 0.4, (n, genes))
    for k in range(3):
        values[kind == k, 30 * k : 30 * (k + 1)] += 1.2
    values[:, 100:200] += batch
    adata = ad.AnnData(
        sparse.csr_matrix(np.maximum(values * depth, 0).astype(np.float32)),
        pd.DataFrame({"kind": kind.astype(str)}, [f"{k}x1" for k in range(n)]),
        pd.DataFrame(index=[f"G{g}" for g in range(genes)]),
    )
    adata.obs["cluster"] = pd.Categorical(np.array(["stroma", "tumour", "fat"])[kind])
    return adata


def shared(sections: dict[str, ad.AnnData], given: bool = False, n_latents: int = 2, **settings) -> pd.DataFrame:
    return share_domains(sections, given=given, n_latents=n_latents, settings=SETTINGS | settings, seed=0)


def test_domains_are_kinds_of_spots_not_sections():
    sections = {"a": section(0), "b": section(1, n=60, depth=0.5, batch=3.0)}
    table = shared(sections)
    kinds = np.concatenate([s.obs["kind"] for s in sections.values()])
    assert adjusted_rand_score(kinds, table["domain"]) > 0.95
    assert list(table["sample"]) == ["a"] * 90 + ["b"] * 60
    assert list(table["barcode"][:2]) == ["0x1", "1x1"]
    by_kind = table.groupby([table["sample"], kinds])[["latent_1", "latent_2"]].mean()
    assert np.abs(by_kind.loc["a"] - by_kind.loc["b"]).to_numpy().max() < 0.2


def test_without_scaling_within_sections_the_batch_would_be_the_first_latent():
    """The test above can fail: the same counts, centred over the block, split by section."""
    from spadework.latents import fit_latents

    sections = [section(0), section(1, n=60, batch=3.0)]
    values = np.vstack([s.X.toarray() for s in sections])
    latent = fit_latents(values, 1, standardize=True).project(values)[:, 0]
    assert np.ptp([latent[:90].mean(), latent[90:].mean()]) > 4 * latent[:90].std()


def test_latents_are_standardised_over_the_block():
    latents = shared({"a": section(0), "b": section(1)}, n_latents=3).filter(like="latent_")
    assert list(latents) == ["latent_1", "latent_2", "latent_3"]
    np.testing.assert_allclose(latents.mean(), 0, atol=1e-9)
    np.testing.assert_allclose(latents.std(ddof=0), 1)


def test_given_domains_are_kept_as_they_are():
    a, b = section(0), section(1)
    b.obs["cluster"] = b.obs["cluster"].cat.add_categories("unlabelled")
    b.obs.loc["0x1", "cluster"] = "unlabelled"
    table = shared({"a": a, "b": b}, given=True)
    np.testing.assert_array_equal(table["domain"], [*a.obs["cluster"], *b.obs["cluster"]])


def test_only_genes_of_all_sections_count():
    a, b = section(0), section(1)
    table = shared({"a": a, "b": b[:, :250].copy()})
    pd.testing.assert_frame_equal(table, shared({"a": a[:, :250].copy(), "b": b[:, :250].copy()}))


def test_sections_without_genes_in_common_are_refused():
    b = section(1)
    b.var_names = [f"other{g}" for g in range(b.n_vars)]
    with pytest.raises(InputError, match="0 genes in all sections"):
        shared({"a": section(0), "b": b})


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["unlabelled"] * 90, "every spot unlabelled"),
        ([f"own {k % 3}" for k in range(90)], "of the block have own 0, own 1, own 2"),
    ],
)
def test_given_domains_from_which_nothing_carries_over_are_refused(labels: list[str], found: str):
    b = section(1)
    b.obs["cluster"] = labels
    with pytest.raises(InputError, match=found) as error:
        shared({"a": section(0), "b": b}, given=True)
    assert error.value.sample == ("b" if "every" in found else "a")


def test_one_domain_is_none():
    a, b = section(0), section(1)
    for s in (a, b):
        s.obs["cluster"] = "all"
    with pytest.raises(InputError, match="1 domain in 180 spots"):
        shared({"a": a, "b": b}, given=True)


def test_more_latents_than_directions_are_refused():
    a, b = section(0, n=4), section(1, n=4)
    with pytest.raises(InputError, match="varies in"):
        shared({"a": a, "b": b}, n_latents=9)

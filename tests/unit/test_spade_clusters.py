"""SPADE genes, clusters of them, and measures of clusterings against their definitions."""

from __future__ import annotations

from itertools import combinations, permutations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from spadework import spade_clusters
from spadework.clustering import cluster_and_embed
from spadework.figures.clusters import cluster_comparison
from spadework.headline import Headline
from spadework.lattice import array_to_um
from spadework.spade_clusters import cluster_spade, compare_clusters, random_genes, spade_genes

BY = Headline("r", "correlation", "log10_p", "fdr", "")
SETTINGS = {"n_pcs": 30, "n_neighbors": 15, "resolution": 0.5, "seed": 0}


def association(
    log10_p: dict[int, dict[str, float]], fdr: dict[tuple[int, str], float] | None = None
) -> pd.DataFrame:
    """Lay out log10 p by latent and gene; false discovery rates are 1 where none is given."""
    rows = [
        {"latent": latent, "gene": gene, "r": 0.5, "log10_p": p, "fdr": (fdr or {}).get((latent, gene), 1.0)}
        for latent, genes in log10_p.items()
        for gene, p in genes.items()
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_latents_take_turns_by_p():
    table = association(
        {
            1: {"a": -90, "b": -80, "c": -70, "d": -60, "e": -50},
            2: {"a": -3, "b": -1, "c": -2, "d": -4, "e": -0.5},
            3: {"a": -0.1, "b": -0.2, "c": -0.3, "d": -0.4, "e": -0.5},
        }
    )
    # First: a, d, e; second: b, a again, d again; third: c.
    expected = ["a", "d", "e", "b", "c"]
    for n in range(1, 6):
        assert spade_genes(table, BY, n_genes=n, fdr=0.05)[0] == expected[:n]
    assert spade_genes(table, BY, n_genes=200, fdr=0.05)[0] == expected


def test_genes_of_another_latent_do_not_depend_on_how_strong_the_first_is():
    weak = {f"w{i}": -0.1 * (9 - i) for i in range(8)}
    strong = {f"s{i}": -300.0 + i for i in range(8)}
    none = dict.fromkeys([*weak, *strong], 0.0)
    genes, _ = spade_genes(association({1: none | strong, 2: none | weak}), BY, n_genes=8, fdr=0.05)
    assert genes == ["s0", "w0", "s1", "w1", "s2", "w2", "s3", "w3"]


def test_chosen_genes_count_as_significant_if_any_latent_says_so():
    table = association(
        {1: {"a": -9, "b": -8, "c": -1}, 2: {"a": -2, "b": -1, "c": -1.5}},
        {(1, "a"): 0.001, (2, "a"): 0.01, (2, "c"): 0.049, (1, "b"): 0.05},
    )
    assert spade_genes(table, BY, n_genes=3, fdr=0.05) == (["a", "b", "c"], 2)
    assert spade_genes(table, BY, n_genes=2, fdr=0.05) == (["a", "b"], 1)
    assert spade_genes(table, BY, n_genes=3, fdr=0.0005)[1] == 0


def test_genes_without_a_test_are_not_chosen():
    table = association({1: {"a": -1, "b": np.nan, "c": -2}, 2: {"a": np.nan, "b": np.nan, "c": np.nan}})
    assert spade_genes(table, BY, n_genes=5, fdr=0.05)[0] == ["c", "a"]
    assert spade_genes(table.assign(log10_p=np.nan), BY, n_genes=5, fdr=0.05) == ([], 0)


def lattice(kind: str, rows: int, columns: int, *, missing: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Array positions and µm of a section with holes."""
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    used = (row + column) % 2 == 0 if kind in {"hexagonal", "checkerboard"} else row >= 0
    cells = np.column_stack([row, column])[used]
    cells = cells[np.sort(np.random.default_rng(0).permutation(len(cells))[missing:])]
    return cells, array_to_um(kind, 100.0, cells[:, 0], cells[:, 1])


@pytest.fixture(scope="module")
def tissue() -> tuple[ad.AnnData, np.ndarray, np.ndarray, np.ndarray]:
    """Section of three domains seen in the image and of two stronger states that are not; domains, states, latents.

    Genes m* follow the domains, s* the states, n* nothing.
    """
    rng = np.random.default_rng(5)
    _, um = lattice("hexagonal", 18, 36)
    domain = np.digitize(um[:, 0], np.quantile(um[:, 0], [1 / 3, 2 / 3]))
    state = rng.integers(0, 2, len(um))
    kinds = {
        "m": rng.normal(0, 1, (3, 40))[domain],
        "s": rng.normal(0, 1.5, (2, 150))[state],
        "n": np.zeros((len(um), 30)),
    }
    counts = np.hstack([rng.poisson(np.exp(1 + values)) for values in kinds.values()])
    names = [f"{kind}{i}" for kind, values in kinds.items() for i in range(values.shape[1])]
    X = sparse.csr_matrix(np.log1p(counts).astype(np.float32))
    latents = np.column_stack([domain == 0, domain == 1]) + 0.2 * rng.normal(size=(len(um), 2))
    return ad.AnnData(X, var=pd.DataFrame(index=names)), domain, state, latents


def test_clusters_of_planted_genes_are_the_domains_and_those_of_noise_are_not(tissue):
    section, domain, _, _ = tissue
    planted = cluster_spade(section, [g for g in section.var_names if g[0] == "m"], **SETTINGS)
    assert planted.shape == domain.shape
    assert adjusted_rand_score(domain, planted) > 0.8
    noise = cluster_spade(section, [g for g in section.var_names if g[0] == "n"], **SETTINGS)
    assert abs(adjusted_rand_score(domain, noise)) < 0.1


def test_genes_chosen_by_the_image_find_domains_that_stronger_genes_split(tissue):
    section, domain, state, latents = tissue
    p = stats.pearsonr(section.X.toarray()[:, :, None], latents[:, None, :], axis=0).pvalue
    table = association(
        {j + 1: dict(zip(section.var_names, np.log10(p[:, j]), strict=True)) for j in range(latents.shape[1])}
    )
    genes, _ = spade_genes(table, BY, n_genes=30, fdr=0.05)
    assert {gene[0] for gene in genes} == {"m"}
    chosen = cluster_spade(section, genes, **SETTINGS)
    assert adjusted_rand_score(domain, chosen) > 0.8
    assert abs(adjusted_rand_score(state, chosen)) < 0.1
    everything = cluster_spade(section, list(section.var_names), **SETTINGS)
    assert adjusted_rand_score(2 * domain + state, everything) > 0.9
    assert adjusted_rand_score(domain, everything) < 0.65


@pytest.mark.parametrize("n_pcs", [2, 5, 30])
def test_clusters_are_those_of_the_principal_components_of_centred_genes(tissue, n_pcs):
    section = tissue[0]
    genes = ["n3", "m0", "s8", "m5", "n1", "s2", "m17", "m2"]
    values = section.to_df()[genes].to_numpy(float)
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    expected, _ = cluster_and_embed((u * s)[:, :n_pcs], n_neighbors=10, resolution=1.2, seed=4)
    for storage in (sparse.csr_matrix, sparse.csc_matrix, np.asarray):
        stored = ad.AnnData(storage(section.X.toarray()), var=section.var)
        found = cluster_spade(stored, genes, n_pcs=n_pcs, n_neighbors=10, resolution=1.2, seed=4)
        assert len(np.unique(found)) > 2
        assert adjusted_rand_score(expected, found) == 1


@pytest.mark.parametrize(("n_spots", "n_genes"), [(4, 60), (12, 60), (60, 2), (60, 1)])
def test_few_spots_and_few_genes_have_fewer_components(tissue, n_spots, n_genes):
    section = tissue[0][:n_spots]
    labels = cluster_spade(section, [f"m{i}" for i in range(min(n_genes, 40))], **SETTINGS)
    assert labels.shape == (n_spots,)
    assert labels.dtype.kind == "U"


def test_impossible_clusters_are_refused(tissue):
    section = tissue[0]
    constant = ad.AnnData(sparse.csr_matrix(np.ones((9, 3), np.float32)), var=pd.DataFrame(index=list("abc")))
    with pytest.raises(ValueError, match="none of 2 genes varies over 9 spots"):
        cluster_spade(constant, ["a", "c"], **SETTINGS)
    with pytest.raises(ValueError, match="none of 0 genes"):
        cluster_spade(section, [], **SETTINGS)
    with pytest.raises(ValueError, match="3 spots"):
        cluster_spade(section[:3], ["m0", "m1"], **SETTINGS)
    with pytest.raises(KeyError, match="missing"):
        cluster_spade(section, ["m0", "missing"], **SETTINGS)


def silhouette(values: np.ndarray, labels: np.ndarray) -> float:
    """The definition, spot by spot; a spot alone in its cluster has 0."""
    distance = cdist(values, values)
    out = []
    for i, own in enumerate(labels):
        mates = (labels == own) & (np.arange(len(labels)) != i)
        if not mates.any():
            out.append(0.0)
            continue
        a = distance[i, mates].mean()
        b = min(distance[i, labels == other].mean() for other in set(labels) - {own})
        out.append((b - a) / max(a, b))
    return float(np.mean(out))


def rand_index(one: np.ndarray, other: np.ndarray) -> float:
    """The definition, pair by pair of spots, adjusted for chance."""
    pairs = list(combinations(range(len(one)), 2))
    first = np.array([one[i] == one[j] for i, j in pairs])
    second = np.array([other[i] == other[j] for i, j in pairs])
    chance = first.sum() * second.sum() / len(pairs)
    return ((first & second).sum() - chance) / ((first.sum() + second.sum()) / 2 - chance)


STEPS = {
    "hexagonal": [(0, 2), (0, -2), (1, 1), (1, -1), (-1, 1), (-1, -1)],
    "square": [(0, 1), (0, -1), (1, 0), (-1, 0)],
    "checkerboard": [(1, 1), (1, -1), (-1, 1), (-1, -1)],
}


def coherence(cells: np.ndarray, kind: str, labels: np.ndarray) -> float:
    """The definition, on array positions; spots without neighbours say nothing, nor do those without a label."""
    at = {tuple(cell): label for cell, label in zip(cells, labels, strict=True) if label is not None}
    shares = []
    for (row, column), label in at.items():
        near = [at[row + dr, column + dc] for dr, dc in STEPS[kind] if (row + dr, column + dc) in at]
        if near:
            shares.append(np.mean([other == label for other in near]))
    return float(np.mean(shares))


def compared(labelings: dict, um: np.ndarray, kind: str = "hexagonal", *, seed: int = 0) -> pd.DataFrame:
    """Compare on random principal components and latents that are functions of nothing but the number of spots."""
    values = np.random.default_rng(1).normal(size=(len(um), 5))
    table = compare_clusters(labelings, values[:, :3], values[:, 3:], um, lattice_kind=kind, seed=seed)
    return table.set_index("labelling")


def test_indices_equal_their_definitions():
    rng = np.random.default_rng(2)
    _, um = lattice("hexagonal", 8, 16)
    centres = rng.normal(0, 2, (4, 7))
    truth = rng.integers(0, 4, len(um))
    values = centres[truth] + rng.normal(size=(len(um), 7))
    labelings = {
        "truth": truth.astype(str),
        "blurred": np.where(rng.random(len(um)) < 0.3, rng.integers(0, 4, len(um)), truth),
        "coarse": pd.Categorical(np.where(truth < 2, "low", "high")),
        "random": rng.integers(0, 3, len(um)),
    }
    table = compare_clusters(labelings, values[:, :4], values[:, 4:], um, lattice_kind="hexagonal", seed=0)
    assert list(table["labelling"]) == list(labelings)
    assert list(table["n_clusters"]) == [4, 4, 2, 3]
    for row, (name, labels) in zip(table.itertuples(), labelings.items(), strict=True):
        own = np.asarray(labels)
        assert row.silhouette_expression == pytest.approx(silhouette(values[:, :4], own))
        assert row.silhouette_image == pytest.approx(silhouette(values[:, 4:], own))
        for other, theirs in labelings.items():
            expected = 1.0 if name == other else rand_index(own, np.asarray(theirs))
            assert getattr(row, f"ari_{other}") == pytest.approx(expected)


@pytest.mark.parametrize("jitter_um", [0, 6])
@pytest.mark.parametrize("kind", STEPS)
def test_coherence_is_the_share_of_lattice_neighbours_alike(kind, jitter_um):
    rng = np.random.default_rng(3)
    cells, um = lattice(kind, 11, 12, missing=25)
    domain = (cells[:, 1] > 5) + (cells[:, 0] > 3)
    labels = np.where(rng.random(len(um)) < 0.3, 0, domain).astype(object)
    gaps = labels.copy()
    gaps[rng.permutation(len(um))[:15]] = None
    moved = um + rng.uniform(-jitter_um, jitter_um, um.shape)
    table = compared({"all": labels, "gaps": gaps}, moved, kind)
    assert table.loc["all", "coherence"] == pytest.approx(coherence(cells, kind, labels))
    assert table.loc["gaps", "coherence"] == pytest.approx(coherence(cells, kind, gaps))


def test_coherence_of_cells_is_taken_over_the_six_nearest():
    rng = np.random.default_rng(4)
    um = rng.gamma(0.5, 100, (80, 2))
    labels = (um[:, 0] > 40).astype(int)
    nearest = np.argsort(cdist(um, um), axis=1)[:, 1:7]
    expected = np.mean(labels[nearest] == labels[:, None])
    assert compared({"a": labels}, um, "none").loc["a", "coherence"] == pytest.approx(expected)


def test_coherence_by_chance_is_the_mean_over_all_orders_of_the_labels():
    _, um = lattice("hexagonal", 2, 5)
    orders = {f"order {i}": order for i, order in enumerate(sorted(set(permutations([0, 0, 1, 1, 2]))))}
    assert len(orders) == 30
    table = compared(orders, um)
    assert table["coherence"].std() > 0.1
    np.testing.assert_allclose(table["coherence_by_chance"], table["coherence"].mean())


def test_shuffled_labels_are_as_coherent_as_chance():
    rng = np.random.default_rng(6)
    cells, um = lattice("hexagonal", 14, 28, missing=40)
    domain = (cells[:, 1] > 9).astype(int) + (cells[:, 1] > 20)
    table = compared({"domain": domain} | {f"shuffled {i}": rng.permutation(domain) for i in range(16)}, um)
    shuffled = table["coherence"][1:]
    chance = table.loc["domain", "coherence_by_chance"]
    assert abs(shuffled.mean() - chance) < 3 * shuffled.std() / np.sqrt(len(shuffled))
    assert table.loc["domain", "coherence"] > chance + 10 * shuffled.std()


def test_one_cluster_or_a_cluster_per_spot_has_no_silhouette():
    _, um = lattice("square", 5, 6)
    table = compared({"one": np.ones(30), "each": np.arange(30), "some": np.arange(30) // 10}, um, "square")
    assert list(table["n_clusters"]) == [1, 30, 3]
    for column in ("silhouette_expression", "silhouette_image"):
        assert list(table[column].isna()) == [True, True, False]
    np.testing.assert_allclose(table.loc["one", ["coherence", "coherence_by_chance"]].to_numpy(float), 1)
    np.testing.assert_allclose(table.loc["each", ["coherence", "coherence_by_chance"]].to_numpy(float), 0)
    assert table.loc["one", "ari_some"] == 0


def test_spots_without_a_label_do_not_count_where_they_have_none():
    rng = np.random.default_rng(7)
    cells, um = lattice("hexagonal", 8, 16)
    labels = rng.integers(0, 3, len(um)).astype(str).astype(object)
    known = np.where(rng.random(len(um)) < 0.8, labels, "2")
    here = np.arange(len(um)) % 5 > 0
    values = rng.normal(size=(len(um), 4))
    for missing in ("unlabelled", np.nan, None):
        partly = pd.Categorical(np.where(here, known, missing))
        table = compare_clusters(
            {"all": labels, "partly": partly}, values, values, um, lattice_kind="hexagonal", seed=0
        ).set_index("labelling")
        assert table.loc["partly", "n_clusters"] == 3
        assert table.loc["partly", "silhouette_image"] == pytest.approx(silhouette(values[here], known[here]))
        assert table.loc["all", "silhouette_image"] == pytest.approx(silhouette(values, labels))
        assert table.loc["partly", "coherence"] == pytest.approx(
            coherence(cells, "hexagonal", np.where(here, known, None))
        )
        size = np.unique(known[here], return_counts=True)[1]
        expected = (size * (size - 1)).sum() / (here.sum() * (here.sum() - 1))
        assert table.loc["partly", "coherence_by_chance"] == pytest.approx(expected)
        expected = rand_index(labels[here], known[here])
        assert table.loc["all", "ari_partly"] == pytest.approx(expected)
        assert table.loc["partly", "ari_all"] == pytest.approx(expected)


def test_labellings_without_a_spot_in_common_have_no_index():
    _, um = lattice("square", 5, 6)
    half = np.arange(30) < 15
    a, b = np.where(half, "x", None), np.where(half, None, "y")
    table = compared({"a": a, "b": b, "nothing": np.full(30, None)}, um, "square")
    assert np.isnan(table.loc["a", "ari_b"])
    assert table.loc["nothing", "n_clusters"] == 0
    assert table.loc["nothing"].drop("n_clusters").isna().all()


def test_silhouettes_of_many_spots_are_taken_on_one_sample_of_them(monkeypatch):
    rng = np.random.default_rng(8)
    _, um = lattice("square", 20, 20)
    labels = rng.integers(0, 3, 400)
    values = rng.normal(size=(400, 3)) + labels[:, None]

    def run(seed: int) -> pd.Series:
        labelings = {"a": labels, "again": labels}
        return compare_clusters(labelings, values, values, um, lattice_kind="square", seed=seed)["silhouette_image"]

    full = run(0)
    assert full[0] == pytest.approx(silhouette(values, labels))
    monkeypatch.setattr(spade_clusters, "_MAX_SILHOUETTE_SPOTS", 200)
    sampled = run(0)
    assert sampled[0] == sampled[1] == run(0)[0]
    assert sampled[0] != full[0]
    assert sampled[0] != run(1)[0]
    assert sampled[0] == pytest.approx(full[0], abs=0.05)
    monkeypatch.setattr(spade_clusters, "_MAX_SILHOUETTE_SPOTS", 2)
    assert run(0).isna().all()


def test_arrays_of_different_length_are_refused():
    _, um = lattice("square", 4, 4)
    values, labels = np.ones((16, 2)), np.arange(16) % 2
    for labelings, pcs, latents, message in (
        ({"mine": labels[1:]}, values, values, "mine has 15 rows for 16 positions"),
        ({"mine": labels}, values[2:], values, "expression has 14 rows"),
        ({"mine": labels}, values, values[:3], "latents has 3 rows"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_clusters(labelings, pcs, latents, um, lattice_kind="square", seed=0)


def test_the_figure_shows_the_numbers_of_the_table():
    rng = np.random.default_rng(9)
    cells, um = lattice("hexagonal", 8, 16)
    domain = cells[:, 1] // 6
    labelings = {"expression": domain, "SPADE genes": np.where(rng.random(64) < 0.3, 0, domain), "one": np.ones(64)}
    table = compared(labelings, um).reset_index()
    table.loc[0, "ari_SPADE genes"] = -0.04
    table.loc[0, "ari_one"] = np.nan
    figure = cluster_comparison(table, "heading")
    figure.canvas.draw()
    left, middle, right = figure.axes
    ari = table.filter(like="ari_").to_numpy()
    shown = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in left.texts}
    assert shown[0, 1] == "−0.04"
    assert (0, 2) not in shown
    assert shown[1, 0] == f"{ari[1, 0]:.2f}"
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["expression\n3 clusters", "SPADE genes\n3 clusters", "one\n1 cluster"]
    assert left.get_ylim() == right.get_ylim() == (2.5, -0.5)
    bars = [bar.get_width() for bar in middle.patches]
    expected = [*table["silhouette_expression"], *table["silhouette_image"]]
    np.testing.assert_allclose(bars, expected)
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], table["coherence"])
    marks = right.collections[0].get_segments()
    np.testing.assert_allclose([mark[0, 0] for mark in marks], table["coherence_by_chance"])
    np.testing.assert_allclose([mark[:, 1].mean() for mark in marks], [0, 1, 2])
    plt.close(figure)


def test_random_genes_are_other_tested_genes_of_like_expression():
    names = [f"g{i:03}" for i in range(200)]
    level = np.repeat(np.arange(10), 20)
    table = pd.DataFrame({"latent": np.repeat([1, 2], 200), "gene": names * 2, "mean_expression": np.tile(level, 2)})
    chosen = [*names[:6], *names[80:83], names[199]]
    drawn = random_genes(table, chosen, seed=0)
    assert not set(drawn) & set(chosen)
    assert sorted(level[int(g[1:])] for g in drawn) == [0] * 6 + [4] * 3 + [9]
    assert random_genes(table, chosen, seed=0) == drawn
    assert random_genes(table, chosen, seed=1) != drawn
    assert len(random_genes(table, names[:15], seed=0)) == 5  # no more of that level are left
    assert random_genes(table, names, seed=0) == []

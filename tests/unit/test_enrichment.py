"""Gene sets: reading and matching them, both tests against independent references, and the page that shows them."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse, stats
from statsmodels.stats.multitest import multipletests

from spadework.enrichment import (
    OVER_REPRESENTATION,
    RANK,
    enrich,
    match_genes,
    over_representation,
    rank_test,
)
from spadework.errors import InputError
from spadework.figures.style import finish
from spadework.figures.terms import MAX_LETTERS, N_BEST, terms_page
from spadework.gene_sets import read_gmt
from spadework.headline import Headline
from spadework.keys import Keys
from spadework.null_fields import FieldModel, simulate_fields
from spadework.section_association import (
    Adjustment,
    ModelInput,
    associate_section,
    permuted_correlations,
    select,
)
from spadework.spatial_null import STEPS, orthonormal_basis
from spadework.surrogates import PermutedLatents

EXAMPLE = Path(__file__).parents[2] / "resources" / "gene_sets" / "example.gmt"
BY = Headline("r", "correlation", "log10_p", "q", "")
GENES, LATENTS, PERMUTATIONS = 400, 3, 200


def members_of(sets: list[np.ndarray], n_genes: int) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.array([np.isin(np.arange(n_genes), s) for s in sets]).astype(np.int64))


def ensembl(i: int) -> str:
    return f"ENSG{i:011d}"


def association(
    seed: int = 0, *, n_latents: int = LATENTS, n_genes: int = GENES, n_planted: int = 20
) -> pd.DataFrame:
    """Genes with noise for every latent; the first ``n_planted`` go up with latent 1 and down with latent 2."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_latents, n_genes))
    z[0, :n_planted] += 4
    if n_latents > 1:
        z[1, :n_planted] -= 4
    p = 2 * stats.norm.sf(np.abs(z))
    frames = [
        pd.DataFrame(
            {
                "latent": j + 1,
                "gene": [f"GENE{i}" for i in range(n_genes)],
                "gene_id": [f"{ensembl(i)}.{1 + i % 7}" for i in range(n_genes)],
                "r": np.tanh(z[j] / 10),
                "r_depth": np.tanh(z[j] / 10),
                "ess": 102.0,
                "log10_p": np.log10(p[j]),
                "q": stats.false_discovery_control(p[j]),
            }
        )
        for j in range(n_latents)
    ]
    return pd.concat(frames, ignore_index=True)


def collection(n_sets: int = 30, seed: int = 1, n_genes: int = GENES) -> dict[str, frozenset[str]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 60, n_sets)
    sets = {f"SET{i}": rng.choice(n_genes, size, replace=False) for i, size in enumerate(sizes)}
    return {"PLANTED": frozenset(f"GENE{i}" for i in range(20))} | {
        name: frozenset(f"GENE{i}" for i in s) for name, s in sets.items()
    }


def noise(table: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Permuted latents, as the genes of :func:`association` see them: the same of a gene whatever its name."""
    genes = table.drop_duplicates("gene_id").sort_values("gene_id")["gene"]
    rng = np.random.default_rng(9)
    z = rng.normal(size=(table["latent"].max(), len(genes), PERMUTATIONS))
    return {j: pd.DataFrame(np.tanh(of_latent / 10), index=genes) for j, of_latent in enumerate(z, 1)}


def enriched(table: pd.DataFrame, sets: dict[str, frozenset[str]], **options: int) -> pd.DataFrame:
    return enrich(table, BY, sets, noise(table), collection="made up", fdr=0.05, **options)


# Reading


def test_sets_are_read_whatever_the_line_ends_and_the_compression(tmp_path):
    text = "A\tabout a\tX\tY\tX\n\nB\t\tZ\t\n  \t\nC\thttp://c\tX\tHLA-A\tZ\n"
    expected = {"A": {"X", "Y"}, "B": {"Z"}, "C": {"X", "HLA-A", "Z"}}
    for name, content in {
        "unix.gmt": text.encode(),
        "windows.gmt": b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        "old_mac.gmt": text.replace("\n", "\r").encode(),
        "no_end.gmt": text.rstrip("\n").encode(),
        "packed.gmt.gz": gzip.compress(text.encode()),
        "packed_unsaid.gmt": gzip.compress(text.encode()),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_gmt(tmp_path / name) == expected, name
        assert list(read_gmt(tmp_path / name)) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\n \t \n", "an empty file"),
        (b"A\tabout a\tX\nB\tabout b\n", r"no genes in line 2 \(2 cells\): 'B"),
        (b"A\tabout a\t\t\n", "no genes in line 1"),
        (b"A,about a,X,Y\n", r"in line 1 \(1 cells\)"),
        (b"\tabout a\tX\n", "no name or no genes in line 1"),
        (b"A\ta\tX\nB\tb\tY\n\nA\ta\tZ\n", "the set 'A' twice, again in line 4"),
        ("A\ta\tX\n".encode("utf-16"), "cannot be read"),
        (gzip.compress(b"A\ta\tX\n" * 99)[:-12], "cannot be read"),
        (b"\x1f\x8b not gzip at all", "cannot be read"),
    ],
)
def test_files_that_are_not_gene_sets_say_why(tmp_path, content, message):
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_gmt(path)
    assert error.value.file == str(path)
    assert error.value.sample == "config"


def test_a_missing_file_says_so(tmp_path):
    for path in (tmp_path / "none.gmt", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_gmt(path)


def test_the_example_is_gmt():
    sets = read_gmt(EXAMPLE)
    assert len(sets) == 12
    assert {8 <= len(genes) <= 20 for genes in sets.values()} == {True}
    rows = [line.split("\t") for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    assert {row[1] for row in rows} == {"spadework example set, for tests and demonstration only"}
    assert {len(row) - 2 - len(sets[row[0]]) for row in rows} == {0}
    assert all(gene == gene.upper() and gene == gene.strip() for row in rows for gene in row[2:])


# Matching


def named(symbols: list[str], ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"gene_id": ids}, index=symbols)


def test_symbols_and_ensembl_ids_of_any_version_find_the_same_genes():
    table, sets = association(), collection()
    by_id = {name: frozenset(ensembl(int(gene[4:])) for gene in genes) for name, genes in sets.items()}
    # Two versions of an id are one gene.
    versioned = {name: frozenset(f"{i}.{v}" for i in genes for v in (2, 11)) for name, genes in by_id.items()}
    expected = enriched(table, sets)
    assert len(expected) == 31 * LATENTS * 3
    pd.testing.assert_frame_equal(enriched(table, by_id), expected)
    pd.testing.assert_frame_equal(enriched(table, versioned), expected)
    bare = table.assign(gene_id=table["gene_id"].str.replace(r"\.\d+$", "", regex=True))
    pd.testing.assert_frame_equal(enriched(bare, versioned), expected)
    # Sections without symbols.
    nameless = enriched(table.assign(gene=table["gene_id"]), versioned)
    pd.testing.assert_frame_equal(nameless.drop(columns="genes"), expected.drop(columns="genes"))


def test_the_identifier_that_finds_more_genes_is_used():
    genes = named([f"G{i}" for i in range(30)], [ensembl(i) for i in range(30)])
    sets = {"few": frozenset(f"G{i}" for i in range(12)), "more": frozenset(ensembl(i) for i in range(10, 25))}
    members = match_genes(sets, genes, "x").toarray()
    np.testing.assert_array_equal(members.sum(axis=1), [0, 15])
    np.testing.assert_array_equal(np.flatnonzero(members[1]), np.arange(10, 25))


def test_numbers_at_the_end_of_a_symbol_are_no_version():
    # Clones of legacy sections, whose ids are their symbols.
    clones = [f"RP11-{i}.{j}" for i in range(10) for j in (1, 2)]
    members = match_genes({"A": frozenset(clones[::2])}, named(clones, clones), "x").toarray()
    np.testing.assert_array_equal(members[0], np.tile([1, 0], 10))


def test_genes_that_share_a_symbol_are_all_members():
    symbols = [f"G{i}" for i in range(20)]
    ids = [ensembl(i) for i in range(20)]
    symbols[3], symbols[4] = f"TWIN_{ids[3]}", f"TWIN_{ids[4]}"
    members = match_genes({"A": frozenset({"TWIN", *symbols[5:]})}, named(symbols, ids), "x").toarray()
    np.testing.assert_array_equal(members[0], [0, 0, 0, *[1] * 17])


def test_sets_of_another_species_do_not_match_by_chance_of_spelling():
    human = read_gmt(EXAMPLE)
    mouse = sorted({gene.capitalize() for genes in human.values() for gene in genes})
    genes = named(mouse, [f"ENSMUSG{i:011d}" for i in range(len(mouse))])
    with pytest.raises(InputError) as error:
        match_genes(human, genes, "example.gmt")
    message = str(error.value)
    assert message.startswith("config: example.gmt")
    assert f"0 of {len(mouse)} tested genes" in message
    assert "Acacb (ENSMUSG00000000000), Acta2 (ENSMUSG00000000001)" in message
    assert "the sets have ACACB, ACTA2, ACTG2, ..." in message
    assert "same species" in message


@pytest.mark.parametrize(("n_tested", "n_in_sets", "needed"), [(500, 30, 10), (5000, 3000, 30), (3000, 5000, 30)])
def test_few_genes_in_common_are_an_error(n_tested, n_in_sets, needed):
    def match(shared: int) -> sparse.csr_matrix:
        symbols = [f"G{i}" for i in range(shared)] + [f"other{i}" for i in range(n_tested - shared)]
        genes = frozenset(f"G{i}" for i in range(shared)) | {f"set{i}" for i in range(n_in_sets - shared)}
        return match_genes({"A": genes}, named(symbols, symbols), "x")

    assert match(needed).sum() == needed
    with pytest.raises(InputError, match=f"{needed - 1} of {n_tested:,} tested genes") as error:
        match(needed - 1)
    assert f"at least {needed} genes in common" in error.value.expected


# Over-representation


def test_over_representation_is_fishers_exact_test():
    rng = np.random.default_rng(2)
    sets = [rng.choice(300, size, replace=False) for size in (1, 5, 40, 150, 299)]
    for n_found in (0, 1, 30, 299, 300):
        found = np.isin(np.arange(300), rng.choice(300, n_found, replace=False))
        result = over_representation(members_of(sets, 300), found)
        for row, genes in zip(result.itertuples(), sets, strict=True):
            k, m = int(found[genes].sum()), len(genes)
            two_by_two = [[k, m - k], [n_found - k, 300 - m - n_found + k]]
            assert row.p == pytest.approx(stats.fisher_exact(two_by_two, alternative="greater").pvalue, rel=1e-9)
            assert (row.n_found, row.n_overlap) == (n_found, k)
            assert row.expected == pytest.approx(m * n_found / 300)
            assert row.ratio == pytest.approx(k / (m * n_found / 300) if n_found else np.nan, nan_ok=True)


def test_over_representation_counts_all_ways_to_draw():
    found = np.isin(np.arange(11), [0, 3, 4, 9])
    genes = np.array([0, 3, 4, 5, 7])
    overlaps = [len(set(draw) & set(genes.tolist())) for draw in itertools.combinations(range(11), 4)]
    result = over_representation(members_of([genes], 11), found)
    assert result["p"][0] == pytest.approx(np.mean([k >= 3 for k in overlaps]), rel=1e-12)


# Ranks


@pytest.fixture(scope="module")
def ranked() -> tuple[np.ndarray, list[np.ndarray]]:
    """Statistics with ties, and sets of one gene to all but one."""
    rng = np.random.default_rng(3)
    statistic = np.round(rng.normal(size=200), 1)
    sets = [rng.choice(200, size, replace=False) for size in (1, 2, 10, 60, 120, 199)]
    sets.append(np.argsort(statistic)[:25])
    sets.append(np.argsort(statistic)[-25:])
    return statistic, sets


def by_definition(statistics: np.ndarray, genes: np.ndarray) -> tuple[float, float]:
    """AUC and p of one set, from statistics of the latent, first column, and of its permutations."""
    others = np.delete(statistics, genes, axis=0)
    pairs = len(genes) * len(others)
    # A set that is on top altogether counts half a pair less.
    wins = [np.clip(stats.mannwhitneyu(x, y).statistic, 0.5, pairs - 0.5) for x, y in
            zip(statistics[genes].T, others.T, strict=True)]  # fmt: skip
    z = stats.norm.ppf(np.array(wins) / pairs)
    t = z[0] / np.sqrt(np.mean(z[1:] ** 2))
    return wins[0] / pairs, 2 * stats.t.sf(abs(t), len(z) - 1)


def test_auc_is_the_share_of_pairs_in_which_the_sets_gene_is_higher(ranked):
    statistic, sets = ranked
    result = rank_test(members_of(sets, 200), statistic, np.random.default_rng(0).normal(size=(200, 20)))
    for row, genes in zip(result.itertuples(), sets, strict=True):
        difference = statistic[genes][:, None] - np.delete(statistic, genes)
        auc = np.mean(0.5 * (difference == 0) + (difference > 0))
        assert row.auc == pytest.approx(auc, rel=1e-12)
        assert row.direction == ("down" if auc < 0.5 else "up")


def test_p_is_students_t_of_the_auc_among_those_of_the_permutations(ranked):
    statistic, sets = ranked
    permuted = np.round(np.random.default_rng(4).normal(0.1, 1, size=(200, 30)), 1)
    permuted[sets[3]] += np.random.default_rng(5).normal(0, 0.5, 30)
    result = rank_test(members_of(sets, 200), statistic, permuted)
    for p, genes in zip(result["p"], sets, strict=True):
        assert p == pytest.approx(by_definition(np.column_stack([statistic, permuted]), genes)[1], rel=1e-9)


def test_among_independent_genes_it_is_the_wilcoxon_test():
    rng = np.random.default_rng(6)
    statistic = rng.normal(size=600)
    sets = [rng.choice(600, size, replace=False) for size in (20, 60, 300, 500)]
    sets += [np.argsort(statistic + rng.normal(0, 4, 600))[:60] for _ in range(3)]
    result = rank_test(members_of(sets, 600), statistic, rng.normal(size=(600, 3000)))
    for row, genes in zip(result.itertuples(), sets, strict=True):
        expected = stats.mannwhitneyu(statistic[genes], np.delete(statistic, genes), use_continuity=False).pvalue
        # The null SD is known to 1.3 %.
        assert stats.norm.isf(row.p / 2) == pytest.approx(stats.norm.isf(expected / 2), rel=0.045)
    assert result["p"].min() < 0.01


def correlated(rng: np.random.Generator, columns: int, correlation: float) -> np.ndarray:
    """Statistics (400, columns) of 20 sets of 20 genes, correlated within sets."""
    common = np.repeat(rng.normal(size=(20, columns)), 20, axis=0)
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=(400, columns))


@pytest.mark.parametrize("correlation", [0.05, 0.4])
def test_sets_of_correlated_genes_are_found_as_often_as_chance_allows(correlation):
    rng = np.random.default_rng(7)
    sets = np.arange(400).reshape(20, 20)
    p, naive = [], []
    for _ in range(150):
        z = correlated(rng, 61, correlation)
        p.extend(rank_test(members_of(sets, 400), z[:, 0], z[:, 1:])["p"])
        naive += [stats.mannwhitneyu(z[genes, 0], np.delete(z[:, 0], genes)).pvalue for genes in sets]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.038 < np.mean(np.array(p) < 0.05) < 0.062
    assert np.mean(np.array(p) < 0.001) < 0.003
    assert np.mean(np.array(naive) < 0.05) > (0.15 if correlation < 0.1 else 0.45)


def test_a_set_of_correlated_genes_on_top_is_found_though_its_auc_scatters_widely():
    rng = np.random.default_rng(8)
    z = correlated(rng, 201, 0.6)
    members = members_of([np.arange(20)], 400)
    z[:20, 0] += 6
    result = rank_test(members, z[:, 0], z[:, 1:])
    scatter = [rank_test(members, column, z[:, :1])["auc"][0] for column in z[:, 1:].T]
    # Straight from its SD, an AUC of 1 would have p > 0.02.
    assert 0.5 / np.std(scatter) < 2.3
    assert result["auc"][0] == 1
    assert 1e-12 < result["p"][0] < 1e-6


def test_statistics_that_are_all_alike_have_p_1():
    result = rank_test(members_of([np.arange(3)], 9), np.ones(9), np.ones((9, 5)))
    assert (result["p"][0], result["auc"][0]) == (1, 0.5)


def test_impossible_ranks_are_refused():
    members, null = members_of([np.array([0, 1])], 4), np.ones((4, 3))
    with pytest.raises(ValueError, match="1 of 4 genes have statistics that are NaN"):
        rank_test(members, np.array([1.0, 2, np.nan, 3]), null)
    with pytest.raises(ValueError, match="2 of 4 genes have statistics that are NaN"):
        rank_test(members, np.arange(4.0), np.where(np.eye(4)[:, :3] * [1, 0, 1], np.nan, null))
    for genes in (np.arange(4), np.array([], int)):
        with pytest.raises(ValueError, match="nothing to compare"):
            rank_test(members_of([genes], 4), np.arange(4.0), null)


# On a section


SIDE, PROGRAMS, N_NULL = 20, 10, 80


@pytest.fixture(scope="module")
def smooth_section() -> tuple[ad.AnnData, ModelInput, dict[str, frozenset[str]]]:
    """Ten sets of 15 genes that share a smooth pattern, 50 genes that do not, and latents: the first is a set's."""
    rng = np.random.default_rng(11)
    cells = np.column_stack([index.ravel() for index in np.indices((SIDE, SIDE))])
    fields = simulate_fields(cells, STEPS["square"], FieldModel("exponential", 3.0, 0.1), PROGRAMS + N_NULL + 51, rng)
    shared, latents, own = np.split(fields, [PROGRAMS, PROGRAMS + N_NULL], axis=1)
    depth = np.exp(rng.normal(0, 0.3, SIDE**2) + 0.3 * own[:, -1])
    rate = np.hstack([np.repeat(shared, 15, axis=1), own[:, :-1]])
    drawn = rng.poisson(2 * np.exp(0.5 * rate) * depth[:, None])
    # One gene is in too few spots to be tested.
    counts = sparse.csr_matrix(np.insert(drawn, 30, np.arange(SIDE**2) == 7, axis=1).astype(np.int32))
    total = np.asarray(counts.sum(axis=1)).ravel()
    names = [f"g{i}" for i in range(drawn.shape[1])]
    obs = pd.DataFrame(
        {Keys.ARRAY_ROW: cells[:, 0], Keys.ARRAY_COL: cells[:, 1], Keys.TOTAL_COUNTS: total},
        index=[f"b{i}" for i in range(len(cells))],
    )
    var = pd.DataFrame(index=np.insert(np.array(names, object), 30, "rare"))
    var[Keys.GENE_IDS] = var.index
    lognorm = sparse.csr_matrix(np.log1p(counts.toarray() / total[:, None] * 1e4))
    section = ad.AnnData(lognorm, obs=obs, var=var, layers={Keys.COUNTS: counts})
    section.uns[Keys.SPADE] = {"lattice": {"kind": "square"}}
    latents[:, 0] = shared[:, 0] + 0.5 * rng.normal(size=len(latents))
    sets = {f"P{i}": frozenset(names[15 * i : 15 * i + 15]) for i in range(PROGRAMS)}
    return section, chosen(section, latents), sets


def chosen(section: ad.AnnData, latents: np.ndarray) -> ModelInput:
    of_section = ad.AnnData(obs=section.obs[[]], obsm={"pca": latents})
    return select(section, of_section, "s", values="lognorm", zscore=False, min_spots_fraction=0.1, n_latents=None)


def section_terms(
    section: ad.AnnData, tested: ModelInput, sets: dict[str, frozenset[str]], by: Headline
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Association and its rank tests."""
    table = associate_section(section, tested, "s", design="marginal", adjustment=Adjustment())
    permuted = permuted_correlations(section, tested, "s", Adjustment(), 200)
    result = enrich(table, by, sets, permuted, collection="programs", fdr=0.05)
    return table, result[result["test"] == RANK]


SPATIAL = Headline("r_depth", "", "log10_p_spatial", "fdr_spatial", "")


def test_smooth_latents_do_not_fool_sets_of_genes_that_share_a_pattern(smooth_section):
    section, tested, sets = smooth_section
    table, ranked = section_terms(section, tested, sets, SPATIAL)
    planted = ranked[(ranked["latent"] == 1) & (ranked["set"] == "P0")].iloc[0]
    assert planted["fdr"] < 0.001
    assert planted["direction"] == "up"
    assert ranked.loc[(ranked["latent"] == 1) & (ranked["set"] != "P0"), "fdr"].min() > 0.05
    null = ranked[ranked["latent"] > 1]
    assert len(null) == (N_NULL - 1) * PROGRAMS
    assert 0.03 < (null["p"] < 0.05).mean() < 0.07
    assert (null.groupby("latent")["fdr"].min() < 0.05).mean() < 0.1
    naive = []
    for _, rows in table[table["latent"] > 1].groupby("latent"):
        inside = [rows["gene"].isin(genes) for genes in sets.values()]
        naive += [stats.mannwhitneyu(rows["t_spatial"][s], rows["t_spatial"][~s]).pvalue for s in inside]
    assert np.mean(np.array(naive) < 0.05) > 0.5


def test_genes_meet_the_permutations_of_the_test_by_permutation(smooth_section):
    section, tested, _ = smooth_section
    tested = chosen(section, tested.latents[:, :3])
    adjustment = Adjustment(permutations=40, seed=5)
    table = associate_section(section, tested, "s", design="marginal", adjustment=adjustment)
    permuted = permuted_correlations(section, tested, "s", adjustment, 40)
    assert list(permuted) == [1, 2, 3]
    for latent, r in permuted.items():
        assert r.shape == (tested.expression.shape[1], 40)
        assert (r.dtypes == np.float32).all()
        ess = table[table["latent"] == latent].set_index("gene")["ess_permuted"].loc[r.index]
        of_permutations = np.clip(1 + 1 / (r**2).mean(axis=1), 3, 1 + SIDE**2 - 2)
        np.testing.assert_allclose(of_permutations, ess, rtol=1e-4)
    again, other = (permuted_correlations(section, tested, "s", Adjustment(seed=seed), 40)[2] for seed in (5, 6))
    pd.testing.assert_frame_equal(again, permuted[2])
    assert np.abs(other - again).to_numpy().max() > 0.1


@pytest.mark.parametrize("reason", ["no lattice", "29 spots"])
def test_without_a_spatial_test_latents_are_permuted_at_random(smooth_section, reason):
    section, tested, sets = smooth_section
    latents = tested.latents[:, :2]
    if reason == "no lattice":
        section = section.copy()
        section.uns[Keys.SPADE] = {"lattice": {"kind": "none"}}
    else:
        section, latents = section[:29].copy(), latents[:29]
    tested = chosen(section, latents)
    r = permuted_correlations(section, tested, "s", Adjustment(), 200)[2]
    # Of n - 2 degrees of freedom beside intercept and depth.
    assert (r**2).to_numpy().mean() == pytest.approx(1 / (len(latents) - 2), rel=0.04)
    table, ranked = section_terms(section, tested, sets, Headline("r_depth", "", "log10_p_depth", "fdr_depth", ""))
    assert table["ess"].isna().all()
    assert ranked["p"].between(0, 1).all()
    assert ranked.loc[(ranked["latent"] == 1) & (ranked["set"] == "P0"), "auc"].item() > 0.7


def test_random_permutations_are_of_the_latents_own_values():
    latents = np.random.default_rng(0).gamma(1, size=(30, 2))
    permuted = PermutedLatents.shuffle(latents, orthonormal_basis(30, None), 25, seed=1)
    unit = latents - latents.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=0)
    assert permuted.fields.shape == (2, 30, 25)
    for field, values in zip(permuted.fields, unit.T, strict=True):
        expected = np.repeat(np.sort(values)[:, None], 25, axis=1)
        np.testing.assert_allclose(np.sort(field, axis=0), expected, atol=1e-12)
        assert len(np.unique(field.round(9), axis=1).T) == 25
    twins = PermutedLatents.shuffle(latents[:, [0, 0]], orthonormal_basis(30, None), 25, seed=1)
    assert not np.isclose(*twins.fields).all(axis=0).any()


def test_genes_that_the_covariates_explain_do_not_correlate_with_permutations():
    rng = np.random.default_rng(2)
    covariate, latents = rng.normal(size=(40, 1)), rng.normal(size=(40, 1))
    permuted = PermutedLatents.shuffle(latents, orthonormal_basis(40, covariate), 10, seed=1)
    r = permuted.correlations(np.column_stack([np.ones(40), 3 * covariate + 1, rng.normal(size=40)]))
    assert (r[0, :2] == 0).all()
    assert (r[0, 2] != 0).all()


# Both, on association tables


def test_a_planted_set_is_found_in_its_latents_and_directions():
    result = enriched(association(), collection())
    planted = result[result["set"] == "PLANTED"].set_index(["latent", "test", "direction"])
    for latent, direction, other in ((1, "up", "down"), (2, "down", "up")):
        for test in (RANK, OVER_REPRESENTATION):
            row = planted.loc[(latent, test, direction)]
            assert row["fdr"] < 1e-6
            assert row["n_overlap"] > 15
            assert result[(result["latent"] == latent) & (result["test"] == test)].iloc[0]["set"] == "PLANTED"
        assert planted.loc[(latent, OVER_REPRESENTATION, other), "p"] > 0.5
    assert planted.loc[(1, RANK, "up"), "auc"] > 0.98
    assert planted.loc[(2, RANK, "down"), "auc"] < 0.02
    assert planted.loc[3, "p"].min() > 0.01
    others = result[(result["set"] != "PLANTED") & (result["test"] == RANK)]
    assert (others["fdr"] < 0.05).mean() < 0.05


def test_the_overlap_is_the_genes_found_surest_first():
    table, sets = association(), collection()
    result = enriched(table, sets)
    rows = result[(result["n_overlap"] > 1)]
    assert (rows["test"] == RANK).any()
    for row in rows.itertuples():
        of_latent = table[table["latent"] == row.latent]
        found = of_latent[(of_latent["q"] < 0.05) & ((of_latent["r"] > 0) == (row.direction == "up"))]
        assert row.n_found == len(found)
        overlap = found[found["gene"].isin(sets[row.set])].sort_values("log10_p")
        assert row.genes == ";".join(overlap["gene"])
        assert row.n_overlap == len(overlap)
        assert row.expected == pytest.approx(len(sets[row.set]) * len(found) / GENES)
    assert (result.loc[result["n_overlap"] == 0, "genes"] == "").all()


def test_false_discovery_rates_are_within_latent_test_and_direction():
    result = enriched(association(), collection())
    for (_, test), rows in result.groupby(["latent", "test"]):
        parts = [rows] if test == RANK else [part for _, part in rows.groupby("direction")]
        assert [len(part) for part in parts] == [31] * len(parts)
        for part in parts:
            np.testing.assert_allclose(part["fdr"], multipletests(part["p"], method="fdr_bh")[1], rtol=1e-12)


def test_rows_are_surest_first_within_latent_and_test():
    result = enriched(association(), collection())
    keys = list(zip(result["latent"], result["test"], result["p"], strict=True))
    assert keys == sorted(keys)
    assert set(result["collection"]) == {"made up"}


def test_the_order_of_genes_changes_nothing():
    table, sets = association(), collection()
    # Ties would let the order in.
    table["log10_p"], table["r_depth"] = table["log10_p"].round(1), table["r_depth"].round(2)
    shuffled = table.sample(frac=1, random_state=7)
    pd.testing.assert_frame_equal(enriched(shuffled, sets), enriched(table, sets))
    backwards = dict(reversed(sets.items()))
    pd.testing.assert_frame_equal(enriched(table, backwards), enriched(table, sets))


def test_genes_without_a_result_are_no_background():
    table, sets = association(), collection()
    missing = (table["latent"] == 2) & table["gene"].isin([f"GENE{i}" for i in range(15, 90)])
    expected = enriched(table[~missing], sets)
    counts = expected.groupby("latent")["n_tested"].unique()
    assert [list(n) for n in counts] == [[GENES], [GENES - 75], [GENES]]
    for column in ("r", "log10_p", "q", "r_depth", "ess"):
        gaps = table.assign(**{column: table[column].mask(missing)})
        pd.testing.assert_frame_equal(enriched(gaps, sets), expected)


def test_a_latent_without_tests_has_no_rows():
    table = association()
    table.loc[table["latent"] == 2, ["r", "log10_p", "q"]] = np.nan
    assert set(enriched(table, collection())["latent"]) == {1, 3}
    with pytest.raises(ValueError, match="no gene with r, log10_p, q, r_depth, ess"):
        enriched(table.assign(q=np.nan), collection())


def test_sizes_are_counted_among_tested_genes():
    sets = {
        f"S{n}": frozenset(f"GENE{i}" for i in range(n)) | {f"absent{i}" for i in range(9)} for n in (9, 10, 40, 41)
    }
    result = enriched(association(), sets, max_size=40)
    assert set(zip(result["set"], result["n"], strict=True)) == {("S10", 10), ("S40", 40)}
    # A set of all genes has nothing to be compared with.
    everything = {"ALL": frozenset(f"GENE{i}" for i in range(GENES)), "SOME": sets["S40"]}
    assert set(enriched(association(), everything)["set"]) == {"SOME"}
    with pytest.raises(InputError, match="no set of 100 to 500 tested genes \\(the largest has 41 of 400"):
        enriched(association(), sets, min_size=100)


def test_null_p_values_are_uniform():
    tables = [enriched(association(seed, n_planted=0, n_latents=1), collection(seed=seed)) for seed in range(40)]
    result = pd.concat(tables)
    p = result.loc[(result["test"] == RANK) & (result["set"] != "PLANTED"), "p"]
    assert 0.035 < (p < 0.05).mean() < 0.065
    assert 0.45 < (p < 0.5).mean() < 0.55
    assert (result["fdr"] < 0.05).mean() < 0.01


@pytest.mark.parametrize("known", [True, False])
def test_genes_rank_by_t_at_their_effective_number_of_spots(known):
    rng = np.random.default_rng(12)
    table, sets = association(n_latents=1), collection(5)
    table["ess"] = rng.uniform(3, 60, GENES) if known else np.nan
    permuted = noise(table)
    result = enrich(table, BY, sets, permuted, collection="made up", fdr=0.05)
    r = np.column_stack([table["r_depth"], permuted[1].loc[table["gene"]]])
    # Without one, r orders genes as t at any number common to all.
    df = table[["ess"]].to_numpy() - 2 if known else 40
    statistics = r * np.sqrt(df / (1 - r**2))
    for row in result[result["test"] == RANK].itertuples():
        auc, p = by_definition(statistics, np.flatnonzero(table["gene"].isin(sets[row.set])))
        assert row.auc == pytest.approx(auc, rel=1e-12)
        assert row.p == pytest.approx(p, rel=1e-9)


def test_the_rank_test_goes_by_adjusted_effects_whatever_the_headline():
    table, sets = association(), collection()
    others = table.assign(r=-table["r"], log10_p=table["log10_p"].sample(frac=1, random_state=0).to_numpy())
    columns = ["latent", "set", "direction", "auc", "p", "fdr"]
    ranked = [t[t["test"] == RANK][columns] for t in (enriched(table, sets), enriched(others, sets))]
    pd.testing.assert_frame_equal(*ranked)


def test_genes_that_met_no_permutation_are_refused():
    table = association()
    permuted = noise(table)
    permuted[2] = permuted[2].drop(["GENE3", "GENE70"])
    with pytest.raises(ValueError, match="2 of 400 genes"):
        enrich(table, BY, collection(), permuted, collection="made up", fdr=0.05)


def test_no_gene_found_is_no_over_representation():
    table = association(n_planted=0).assign(q=1.0)
    over = enriched(table, collection()).query("test == @OVER_REPRESENTATION")
    assert (over["p"] == 1).all()
    assert over["ratio"].isna().all()
    assert (over["n_found"] == 0).all()


# The page


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(table: pd.DataFrame, n_latents: int):
    figure = terms_page(table, 0.05, "section: terms")
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert len(panels) == n_latents
    return figure, panels


def markers(ax) -> list:
    return [line for line in ax.lines if line.get_marker() == "o"]


def words(figure) -> str:
    # The title of the legend is wrapped.
    legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
    return " ".join(legend.get_title().get_text().split())


def test_the_page_shows_the_best_sets_at_each_side_of_each_latent(tmp_path):
    table, sets = association(n_latents=6), collection()
    result = enriched(table, sets)
    # As it is read back.
    result.to_csv(tmp_path / "terms.csv", index=False)
    figure, panels = drawn(pd.read_csv(tmp_path / "terms.csv"), 6)
    for j, ax in enumerate(panels):
        rows = result[(result["latent"] == j + 1) & (result["test"] == RANK)]
        up, down = (rows[rows["direction"] == side].head(N_BEST) for side in ("up", "down"))
        shown = pd.concat([up, down[::-1]])
        assert [label.get_text() for label in ax.get_yticklabels()] == list(shown["set"])
        x = [float(line.get_xdata()[0]) for line in markers(ax)]
        sign = np.where(shown["direction"] == "up", 1, -1)
        np.testing.assert_allclose(x, -sign * np.log10(shown["p"]), atol=1e-12)
        filled = [to_hex(line.get_markerfacecolor()) != "#ffffff" for line in markers(ax)]
        assert filled == list(shown["fdr"] < 0.05)
        assert [text.get_text() for text in ax.texts] == [
            f"{k}/{n}" for k, n in zip(shown["n_overlap"], shown["n"], strict=True)
        ]
        count = (rows["fdr"] < 0.05) & (rows["direction"] == "up")
        assert (f"{count.sum()} up of 31 sets" in panels[j].get_title()) == (rows["fdr"] < 0.05).any()
    assert "up of 31 sets" in panels[0].get_title()
    assert panels[2].get_title() == "latent 3: no set with FDR < 0.05"
    assert "No set goes with any latent" not in words(figure)


def test_the_page_says_when_nothing_is_significant():
    table, sets = association(), collection()
    del sets["PLANTED"]
    result = enriched(table, sets)
    result = result[~result["set"].isin(result.loc[result["fdr"] < 0.05, "set"])]
    figure, panels = drawn(result, 3)
    assert "No set goes with any latent (FDR < 0.05)" in words(figure)
    assert {to_hex(line.get_markerfacecolor()) for ax in panels for line in markers(ax)} == {"#ffffff"}


def test_long_names_are_cut_in_the_middle():
    sets = {f"{name}{'_OF' * 40}_{name}" if i else name: s for i, (name, s) in enumerate(collection().items())}
    _, panels = drawn(enriched(association(), sets), 3)
    labels = [label.get_text() for ax in panels for label in ax.get_yticklabels()]
    assert max(map(len, labels)) == MAX_LETTERS
    assert "PLANTED" in labels
    long = [label for label in labels if label != "PLANTED"]
    assert all("…" in label and label.split("_")[0] == label.split("_")[-1] for label in long)


@pytest.mark.parametrize("n_latents", [1, 2, 6])
def test_nothing_on_the_page_is_cut_off_or_covers_anything(n_latents, tmp_path):
    sets = {f"{name}{'_OF' * 40}_{name}": s for name, s in collection().items()}
    figure, panels = drawn(enriched(association(n_latents=n_latents), sets), n_latents)
    page = figure.bbox
    legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
    boxes = [ax.get_tightbbox() for ax in panels] + [legend.get_window_extent(), figure._suptitle.get_window_extent()]
    for box in boxes:
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    finish(figure, tmp_path / "page.png", "a note")
    assert (tmp_path / "page.png").stat().st_size > 10_000

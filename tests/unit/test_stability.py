"""Latents are matched by the best assignment there is, and genes counted as one would by hand."""

from __future__ import annotations

from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group, pearsonr

from spadework.figures.stability import CONSENSUS, OTHER, SHOWN, stability_page
from spadework.headline import Headline
from spadework.stability import Match, match_latents, stability, summarise

BY = Headline("r_depth", "effect", "log10_p_spatial", "fdr_spatial", "")
FDR = 0.05


def latents(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, k)) * np.arange(k, 0, -1) + 3


# ---- matching ------------------------------------------------------------------------------------------------------


def test_a_permuted_flipped_and_noisy_copy_is_recognised():
    rng = np.random.default_rng(1)
    reference = latents(200, 6)
    order, sign = rng.permutation(6), np.array([1, -1, -1, 1, -1, 1])
    other = 40 * (reference * sign + 0.2 * rng.normal(size=reference.shape))[:, order] - 9
    match = match_latents(reference, other)
    np.testing.assert_array_equal(order[match.index], np.arange(6))
    np.testing.assert_array_equal(np.sign(match.correlation), sign)
    expected = [pearsonr(reference[:, i], other[:, match.index[i]]).statistic for i in range(6)]
    np.testing.assert_allclose(match.correlation, expected, atol=1e-12)
    assert np.abs(match.correlation).min() > 0.9
    assert match.index.dtype == np.int64


@pytest.mark.parametrize(("k", "m"), [(4, 4), (4, 6), (4, 2), (1, 3)])
@pytest.mark.parametrize("seed", range(10))
def test_no_other_assignment_has_a_larger_sum_of_correlations(k, m, seed):
    # The latents are mixed, so that taking the best of each in turn would often not do.
    reference = latents(40, k, seed)
    mixed = np.hstack([reference, latents(40, m, seed + 50)]) @ ortho_group.rvs(k + m, random_state=seed)
    other = mixed[:, :m]
    r = np.array([[pearsonr(x, y).statistic for y in other.T] for x in reference.T])
    if m >= k:
        best = max(sum(abs(r[i, j]) for i, j in enumerate(to)) for to in permutations(range(m), k))
    else:
        best = max(sum(abs(r[i, j]) for j, i in enumerate(to)) for to in permutations(range(k), m))
    match = match_latents(reference, other)
    matched = match.index >= 0
    assert matched.sum() == min(k, m)
    assert len(set(match.index[matched])) == min(k, m)
    assert np.nansum(np.abs(match.correlation)) == pytest.approx(best, abs=1e-12)
    np.testing.assert_allclose(match.correlation[matched], r[matched, match.index[matched]], atol=1e-12)
    np.testing.assert_array_equal(np.isnan(match.correlation), ~matched)
    assert set(match.index[~matched]) <= {-1}


def test_the_best_of_each_in_turn_is_not_the_best_assignment():
    # Both latents look most like the first; only one of them has another to go to.
    basis = np.linalg.qr(latents(30, 3, 5) - latents(30, 3, 5).mean(axis=0))[0]
    reference = np.column_stack([basis[:, 0], basis[:, 0] * 0.8 + basis[:, 1] * 0.6])
    other = np.column_stack([basis[:, 0] * 0.9 + basis[:, 1] * np.sqrt(0.19), basis[:, 0] + 0.5 * basis[:, 2]])
    r = np.abs(np.corrcoef(reference, other, rowvar=False)[:2, 2:])
    assert r.argmax() == 2, "the second has the best of all, the first of the others"
    assert r[0, 0] > r[0, 1]
    np.testing.assert_array_equal(match_latents(reference, other).index, [1, 0])


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ValueError, match="of 20 and of 19 spots"):
        match_latents(latents(20, 2), latents(19, 2))
    flat = np.column_stack([latents(20, 2), np.ones(20)])
    with pytest.raises(ValueError, match="constant"):
        match_latents(latents(20, 2), flat)
    missing = latents(20, 2)
    missing[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        match_latents(missing, latents(20, 2))


# ---- counting ------------------------------------------------------------------------------------------------------


def table(*per_latent: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Association table from gene -> (effect, FDR) per latent; rows are not in the order of latents or genes."""
    rows = [
        {"gene": gene, "latent": j + 1, BY.effect: effect, BY.fdr: fdr, "fdr": 0.9, "n_spots": 7}
        for j, genes in reversed(list(enumerate(per_latent)))
        for gene, (effect, fdr) in genes.items()
    ]
    return pd.DataFrame(rows)


NOTHING = (0.01, 0.9)
REFERENCE = table(
    {"a": (0.5, 0.001), "b": (-0.4, 0.01), "c": (0.1, 0.05), "d": (0.05, 0.8), "e": NOTHING},
    {"a": (0.2, 0.04), "b": NOTHING, "c": NOTHING, "d": NOTHING, "e": (-0.6, 0.0001)},
)
RUNS = {
    # Latents have changed places; the first is upside down.
    "swapped": (
        table(
            {"a": (0.3, 0.01), "b": NOTHING, "c": NOTHING, "d": NOTHING, "e": (0.5, 0.001)},
            {"a": (-0.5, 0.002), "b": (0.4, 0.02), "c": (-0.2, 0.03), "d": (0.3, 0.01), "e": NOTHING},
        ),
        Match(np.array([1, 0]), np.array([-0.9, 0.8])),
    ),
    # b has another sign; e is found with the latent it has nothing to do with.
    "other sign": (
        table(
            {"a": (0.4, 0.01), "b": (0.4, 0.01), "c": NOTHING, "d": NOTHING, "e": (0.3, 0.01)},
            {"a": NOTHING, "b": NOTHING, "c": NOTHING, "d": NOTHING, "e": (-0.5, 0.04999)},
        ),
        Match(np.array([0, 1]), np.array([0.99, 0.7])),
    ),
    # Only one latent; a is exactly at the limit, as c is in the reference; c was not tested.
    "one latent": (
        table({"a": (0.4, 0.05), "b": (-0.4, 0.01), "d": NOTHING, "e": NOTHING}),
        Match(np.array([0, -1]), np.array([0.6, np.nan])),
    ),
    # Everything as in the reference.
    "same": (REFERENCE, Match(np.array([0, 1]), np.array([1.0, 1.0]))),
}


@pytest.fixture(scope="module")
def result() -> tuple[pd.DataFrame, pd.DataFrame]:
    return stability(REFERENCE, RUNS, BY, FDR, threshold=0.75)


def test_selection_frequencies_are_those_counted_by_hand(result):
    expected = pd.DataFrame(
        [
            # latent 1: a in all but "one latent"; b in all but "other sign"; c in "swapped" alone, aligned; d there
            # with the wrong sign, hence not in the table; e with the reference's sign, in "other sign" alone
            (1, "a", 0.5, 0.001, 0.75, True, True),
            (1, "b", -0.4, 0.01, 0.75, True, True),
            (1, "c", 0.1, 0.05, 0.25, False, False),
            (1, "e", 0.01, 0.9, 0.25, False, False),
            # latent 2: a in "swapped" and "same"; e in "other sign" and "same", in "swapped" with the wrong sign;
            # neither where the latent has no match
            (2, "e", -0.6, 0.0001, 0.5, True, False),
            (2, "a", 0.2, 0.04, 0.5, True, False),
        ],
        columns=["latent", "gene", "effect", "fdr", "selection_frequency", "in_reference", "consensus"],
    )
    pd.testing.assert_frame_equal(result[0], expected, check_dtype=False)
    assert result[0]["in_reference"].dtype == result[0]["consensus"].dtype == bool


def test_latents_and_their_overlap_are_those_counted_by_hand(result):
    expected = pd.DataFrame(
        [
            (1, "swapped", 2, 0.9, 2, 4, 2, 2 / 4),  # a, b of a, b, c, d
            (2, "swapped", 1, 0.8, 2, 2, 1, 1 / 3),  # a; e has two signs and counts as two
            (1, "other sign", 1, 0.99, 2, 3, 1, 1 / 4),  # a of a, b up, b down, e
            (2, "other sign", 2, 0.7, 2, 1, 1, 1 / 2),
            (1, "one latent", 1, 0.6, 2, 1, 1, 1 / 2),
            (2, "one latent", None, np.nan, 2, 0, 0, 0.0),
            (1, "same", 1, 1.0, 2, 2, 2, 1.0),
            (2, "same", 2, 1.0, 2, 2, 2, 1.0),
        ],
        columns=["latent", "run", "matched_latent", "abs_r", "found_reference", "found_run", "common", "jaccard"],
    ).astype({"matched_latent": "Int64"})
    pd.testing.assert_frame_equal(result[1], expected)


def test_the_summary_is_over_the_repeats(result):
    summary = summarise(*result).set_index("latent")
    assert summary["min_abs_r"].tolist() == [0.6, 0.7]
    np.testing.assert_allclose(summary["mean_abs_r"], [(0.9 + 0.99 + 0.6 + 1) / 4, (0.8 + 0.7 + 1) / 3])
    assert summary["unmatched"].tolist() == [0, 1]
    np.testing.assert_allclose(summary["mean_jaccard"], [(0.5 + 0.25 + 0.5 + 1) / 4, (1 / 3 + 0.5 + 0 + 1) / 4])
    assert summary["in_reference"].tolist() == [2, 2]
    assert summary["consensus"].tolist() == [2, 0]


def test_a_gene_at_the_threshold_is_consensus():
    # From 0.25 on genes that only a repeat finds are frequent enough, but not of the reference.
    for threshold, consensus in ((0.25, 4), (0.5, 4), (0.75, 2), (0.76, 0)):
        genes, _ = stability(REFERENCE, RUNS, BY, FDR, threshold)
        assert genes["consensus"].sum() == consensus


def test_flipping_and_reordering_the_latents_of_a_repeat_changes_nothing(result):
    name = "other sign"
    flipped = RUNS[name][0].assign(**{BY.effect: -RUNS[name][0][BY.effect], "latent": 3 - RUNS[name][0]["latent"]})
    match = RUNS[name][1]
    genes, matched = stability(
        REFERENCE, RUNS | {name: (flipped, Match(match.index[::-1], -match.correlation))}, BY, FDR, 0.75
    )
    pd.testing.assert_frame_equal(genes, result[0])
    pd.testing.assert_frame_equal(matched.drop(columns="matched_latent"), result[1].drop(columns="matched_latent"))


def test_latents_beyond_those_tested_find_nothing():
    # Five latents were matched, two were tested here, one there; the match of the first is beyond.
    match = Match(np.array([2, 0, 1, 3, 4]), np.full(5, 0.9))
    genes, matched = stability(REFERENCE, {"x": (RUNS["one latent"][0], match)}, BY, FDR)
    assert matched["matched_latent"].tolist() == [3, 1]
    assert matched["found_run"].tolist() == [0, 1]
    assert genes.loc[genes["latent"] == 1, "selection_frequency"].eq(0).all()


def test_nothing_found_anywhere_gives_empty_tables_of_the_same_columns(result):
    genes, matched = stability(REFERENCE, RUNS, BY, 1e-9)
    assert len(genes) == 0
    assert list(genes.columns) == list(result[0].columns)
    assert matched["jaccard"].isna().all()
    assert summarise(genes, matched)["in_reference"].tolist() == [0, 0]


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="no repeat"):
        stability(REFERENCE, {}, BY, FDR)
    short = Match(np.array([0]), np.array([0.9]))
    with pytest.raises(ValueError, match=r"x: latents up to 2 are tested, 1 are matched"):
        stability(REFERENCE, {"x": (REFERENCE, short)}, BY, FDR)


def test_a_gene_of_the_image_is_found_again_and_one_of_chance_is_not():
    """From latents to frequencies: noisy copies of the latents, with the test of a correlation."""
    rng = np.random.default_rng(4)
    n, signal, null = 150, 8, 300
    reference = latents(n, 3)
    genes = np.hstack([reference[:, [1]] / 2 + 1.5 * rng.normal(size=(n, signal)), rng.normal(size=(n, null))])
    names = [f"signal {i}" for i in range(signal)] + [f"null {i}" for i in range(null)]

    def associated(scores: np.ndarray) -> pd.DataFrame:
        tests = [[pearsonr(g, x) for g in genes.T] for x in scores.T]
        return table(*[{g: (t.statistic, t.pvalue) for g, t in zip(names, tests[j], strict=True)} for j in range(3)])

    runs = {}
    for i in range(6):
        other = (reference + rng.normal(size=reference.shape))[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
        runs[f"repeat {i}"] = associated(other), match_latents(reference, other)
    found, _ = stability(associated(reference), runs, BY, 0.01)
    found = found[found["latent"] == 2].set_index("gene")
    assert found["consensus"].sum() == signal
    assert found.loc[names[:signal], "selection_frequency"].eq(1).all()
    nulls = found.drop(index=names[:signal])
    assert len(nulls) > 0, "chance finds some, else nothing is shown"
    assert nulls["selection_frequency"].mean() < 0.7


# ---- the page ------------------------------------------------------------------------------------------------------


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(plt.Text)]


def test_the_page_counts_consensus_genes_and_colours_them(result):
    figure = stability_page(*result, 0.75, "x")
    panels = {ax.get_title().split("\n")[0]: ax for ax in figure.axes if ax.get_title().startswith("latent ")}
    assert set(panels) == {"latent 1", "latent 2"}
    assert panels["latent 1"].get_title().endswith("2 of 2 in ≥ 75%")
    assert panels["latent 2"].get_title().endswith("0 of 2 in ≥ 75%")
    assert [t.get_text() for t in panels["latent 2"].get_yticklabels()] == ["e", "a"]
    for name, share, colour in (("latent 1", 75, CONSENSUS), ("latent 2", 50, OTHER)):
        dots = panels[name].collections[-1]
        np.testing.assert_allclose(dots.get_offsets(), [[share, 0], [share, 1]])
        np.testing.assert_allclose(
            dots.get_facecolors()[:, :3] * 255, [[int(colour[i : i + 2], 16) for i in (1, 3, 5)]] * 2
        )
    heatmap = figure.axes[0]
    np.testing.assert_allclose(
        np.ma.filled(heatmap.images[0].get_array(), np.nan), [[0.9, 0.99, 0.6, 1], [0.8, 0.7, np.nan, 1]]
    )
    assert [t.get_text() for t in heatmap.texts] == ["0.90", "0.99", "0.60", "1.00", "0.80", "0.70", "–", "1.00"]
    assert [t.get_text() for t in heatmap.get_xticklabels()] == list(RUNS)
    plt.close(figure)


def test_the_page_says_so_where_no_gene_is_found(result):
    figure = stability_page(result[0][:0], result[1], 0.8, "x")
    figure.canvas.draw()
    assert "no gene is found with any latent in the reference" in texts(figure)
    plt.close(figure)
    genes = result[0].assign(in_reference=result[0]["in_reference"] & (result[0]["latent"] == 2))
    figure = stability_page(genes, result[1], 0.8, "x")
    assert any("none with latent 1" in text for text in texts(figure))
    plt.close(figure)


def test_the_page_draws_the_most_frequent_genes_only(result):
    many = pd.DataFrame(
        {
            "latent": 1,
            "gene": [f"g{i}" for i in range(SHOWN + 10)],
            "selection_frequency": np.linspace(1, 0, SHOWN + 10),
            "in_reference": True,
            "consensus": np.linspace(1, 0, SHOWN + 10) >= 0.5,
        }
    )
    figure = stability_page(many, result[1], 0.5, "x")
    panel = next(ax for ax in figure.axes if ax.get_title().startswith("latent 1"))
    assert [t.get_text() for t in panel.get_yticklabels()] == [f"g{i}" for i in range(SHOWN)]
    assert panel.get_title().endswith(f"{many['consensus'].sum()} of {SHOWN + 10} in ≥ 50%")
    bottom, top = panel.get_ylim()
    assert bottom > top, "the first gene is on top"
    plt.close(figure)

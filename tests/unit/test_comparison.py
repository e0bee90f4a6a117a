"""The published method against the corrected one on simulated spots whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from moderated import moderated
from scipy import sparse, stats
from scipy.ndimage import gaussian_filter
from statsmodels.stats.multitest import multipletests

from spadework.comparison import Comparison, Material, compare, compare_section, correlations, steps
from spadework.errors import InputError
from spadework.keys import Keys
from spadework.readers.matrix import write_10x_h5
from spadework.spatial_null import STEPS, SpatialNull

SIDE, K, FDR = 18, 3, 0.05
N = SIDE**2
PLANTED, DEPTH, NULL = 10, 12, 40
NAMES = [f"{kind} {i}" for kind, n in (("planted", PLANTED), ("depth", DEPTH), ("null", NULL)) for i in range(n)]
LADDER = steps(K, "120 µm", 0.1)
ORDER = [
    *(
        "published",
        "one model each",
        "more latents",
        "input range",
        "patch",
        "common genes",
        "normalisation",
        "depth",
    ),
    "spatial test",
]
AT = {name: i for i, name in enumerate(ORDER)}


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def simulated_material() -> Material:
    """Spots whose depth and morphology have something in common.

    Planted genes follow the morphology, depth genes the depth and, given depth, nothing else. SCTransform's counts
    stand for log counts with less noise; they hold a gene that the section has left out, and the last gene is rare.
    Features are mixtures of three latents, and a variant's morphology is as clear as the variant is good.
    """
    rng = np.random.default_rng(11)
    cells = np.column_stack([i.ravel() for i in np.indices((SIDE, SIDE))])
    morphology = standard(gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.0).ravel())
    depth = standard(0.6 * morphology + 0.8 * rng.normal(size=N))
    expression = rng.normal(size=(N, len(NAMES)))
    expression[:, :PLANTED] += np.linspace(0.6, 1.5, PLANTED) * morphology[:, None]
    expression[:, PLANTED : PLANTED + DEPTH] += 1.2 * depth[:, None]
    expression = np.maximum(expression + 3, 0)
    features = {}
    for face, noise in (("published", 5), ("input_range", 2), ("patch", 0.1)):
        own = standard(rng.normal(size=(N, 3)))
        own[:, 0] = standard(morphology + noise * own[:, 0])
        features[face] = own * [3, 2, 1] @ rng.normal(size=(3, 9)) + 0.1 * rng.normal(size=(N, 9)) + 7
    return Material(
        features=features,
        expression={
            "sct": sparse.csc_matrix(np.column_stack([np.round(expression, 1), rng.poisson(0.02, N)])),
            "lognorm": sparse.csc_matrix(np.column_stack([expression, np.zeros(N)])),
        },
        counts=sparse.csc_matrix(np.column_stack([rng.poisson(np.exp(expression / 2)), np.zeros(N)]).astype(int)),
        genes=pd.Index([*NAMES, "only in sct"]),
        kept=np.arange(len(NAMES) + 1) < len(NAMES),
        common=np.arange(len(NAMES) + 1) < len(NAMES) - 1,
        log10_umi=4 + 0.3 * depth,
        cells=cells,
        step=STEPS["square"],
    )


@pytest.fixture(scope="module")
def material() -> Material:
    return simulated_material()


@pytest.fixture(scope="module")
def result(material) -> Comparison:
    return compare(material, LADDER, FDR)


def found_in(result: Comparison, step: str) -> set[str]:
    return set(result.genes.index[result.genes[column(step)] < FDR])


def column(step: str) -> str:
    return "fdr_" + step.replace(" ", "_")


def components(features: np.ndarray) -> np.ndarray:
    """Principal components, signs left to chance."""
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return (u * s)[:, :K]


def nb_residuals(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Pearson residuals of a negative binomial regression, by statsmodels."""
    x = sm.add_constant(z)
    mean = sm.GLM(y, x, family=sm.families.NegativeBinomial(alpha=1e-4)).fit(tol=1e-12).mu
    excess = ((y - mean) ** 2 - mean).sum()
    theta = min((mean**2).sum() / excess, 1e4) if excess > 0 else 1e4
    return sm.GLM(y, x, family=sm.families.NegativeBinomial(alpha=1 / theta)).fit(tol=1e-12).resid_pearson


def expected_fdr(material: Material, corrections: set[str]) -> pd.DataFrame:
    """Do a step from scratch: dense, gene by gene. What each correction does is spelled out here a second time."""
    variant = "patch" if "patch" in corrections else "input_range" if "input range" in corrections else "published"
    latents = components(material.features[variant])[:, : K if "more latents" in corrections else 2]
    tested = np.ones(len(material.genes), bool)
    if "common genes" in corrections:
        tested &= material.common
    if corrections & {"normalisation", "depth"}:
        tested &= material.kept
    covariates = material.log10_umi[:, None][:, : int("depth" in corrections)]
    if "depth" in corrections:
        z = standard(material.log10_umi)
        values = np.column_stack([nb_residuals(y, z) for y in material.counts.toarray()[:, tested].T])
    elif "normalisation" in corrections:
        values = material.expression["lognorm"].toarray()[:, tested]
    else:
        values = material.expression["sct"].toarray()[:, tested]
        values = np.minimum((values - values.mean(axis=0)) / values.std(axis=0, ddof=1), 10)
    if "spatial test" in corrections:
        p = (
            SpatialNull(material.cells, (1.0, 1.0), covariates if covariates.size else None)
            .against(latents)
            .test(values)
            .p
        )
        fdr = np.column_stack([multipletests(p[:, j], method="fdr_bh")[1] for j in range(p.shape[1])])
    elif corrections & {"one model each", "depth"}:  # adjusted tests are always of one latent
        columns = [
            moderated(values, np.hstack([covariates, latents[:, [j]]])).fdr[:, -1] for j in range(latents.shape[1])
        ]
        fdr = np.column_stack(columns)
    else:
        fdr = moderated(values, np.hstack([covariates, latents])).fdr[:, covariates.shape[1] :]
    return pd.DataFrame(fdr, index=material.genes[tested])


def test_the_ladder_has_every_correction_once():
    assert [s.name for s in LADDER] == ORDER
    # Each step differs from the one before in one thing.
    fields = [{f: getattr(s, f) for f in s.__dataclass_fields__ if f not in ("name", "change")} for s in LADDER]
    changed = [{f for f in a if a[f] != b[f]} for a, b in pairwise(fields)]
    assert changed == [
        *(
            {"design"},
            {"n_latents"},
            {"variant"},
            {"variant"},
            {"common_genes"},
            {"normalisation"},
            {"depth"},
            {"spatial"},
        )
    ]
    assert (LADDER[0].n_latents, LADDER[0].design, LADDER[0].normalisation) == (2, "joint", "sct")
    assert "120 µm" in LADDER[AT["patch"]].change
    assert "10%" in LADDER[AT["common genes"]].change


@pytest.mark.parametrize("step", ORDER)
def test_every_step_equals_the_same_from_scratch(material, result, step):
    expected = expected_fdr(material, set(ORDER[1 : AT[step] + 1]))
    row = result.steps.set_index("step").loc[step]
    found = set(expected.index[(expected < FDR).any(axis=1)])
    assert found_in(result, step) == found
    assert (row["tested"], row["found"]) == (len(expected), len(found))
    alone = expected_fdr(material, {step} - {"published"})
    assert row["found_alone"] == (alone < FDR).any(axis=1).sum()
    ours = result.genes[column(step)]
    smallest = expected.min(axis=1).reindex(ours.index)
    np.testing.assert_allclose(ours, smallest, rtol=1e-6)
    for j, n in result.latents.loc[result.latents["step"] == step, ["latent", "found"]].itertuples(index=False):
        if j <= expected.shape[1]:
            assert n == (expected[j - 1] < FDR).sum()
        else:
            assert np.isnan(n)


def test_planted_genes_stay_and_depth_genes_leave_at_depth(result):
    genes = result.genes
    planted, depth = (genes.index.str.startswith(kind) for kind in ("planted", "depth"))
    assert planted.sum() == PLANTED
    assert genes.loc[planted, "in_corrected"].all()
    assert depth.sum() == DEPTH
    assert set(genes.index[depth]) <= found_in(result, "normalisation")
    assert len(set(genes.index[depth]) & found_in(result, "depth")) <= 1
    assert (genes.loc[depth, "decided_by"] == "depth").mean() >= 0.9
    assert genes.loc[depth, "in_corrected"].sum() <= 1  # one in twenty of what is found may be chance
    row = result.steps.set_index("step").loc["depth"]
    assert row["left"] >= DEPTH - 1
    nulls = {name for name in found_in(result, "spatial test") if name.startswith("null")}
    assert len(nulls) <= 3


def test_accounts_balance_at_every_step(result):
    before: set[str] = set()
    for row in result.steps.itertuples():
        found = found_in(result, row.step)
        assert row.found == len(found) == row.kept + row.entered
        assert len(before) == row.kept + row.left
        assert (row.kept, row.entered, row.left) == (len(found & before), len(found - before), len(before - found))
        before = found
    # a comparison in which nothing moves would prove nothing
    assert (result.steps["entered"].iloc[1:] > 0).sum() >= 2
    assert (result.steps["left"] > 0).any()


def check_decisions(result: Comparison) -> None:
    for _, row in result.genes.iterrows():
        states = [bool(row[column(step)] < FDR) for step in ORDER]
        assert any(states)
        assert row["in_published"] == states[0]
        assert row["in_corrected"] == states[-1]
        at = ORDER.index(row["decided_by"])
        assert len(set(states[at:])) == 1
        assert at == 0 or states[at - 1] != states[at]


def test_the_deciding_step_follows_from_the_columns(result):
    check_decisions(result)
    assert list(result.genes.columns) == ["in_published", "in_corrected", "decided_by", *map(column, ORDER)]
    assert result.genes.index.name == "gene"
    assert result.genes["decided_by"].nunique() >= 3
    # what ends up found comes first, the published findings first among it
    assert result.genes["in_corrected"].is_monotonic_decreasing
    for _, rows in result.genes.groupby("in_corrected"):
        assert rows["fdr_published"].dropna().is_monotonic_increasing


def test_genes_come_and_go_in_any_pattern(material):
    """Features are noisy and the limit is lax, so that chance makes patterns of all kinds."""
    rng = np.random.default_rng(3)
    noisy = {
        variant: features + rng.normal(0, 4, features.shape) * [[3 if variant == "input_range" else 0.2]]
        for variant, features in material.features.items()
    }
    result = compare(replace(material, features=noisy), LADDER, 0.3)
    states = (result.genes[[column(s) for s in ORDER]] < 0.3).to_numpy()
    assert ((states[:, 1:] != states[:, :-1]).sum(axis=1) >= 3).any()
    for row, state in zip(result.genes["decided_by"], states, strict=True):
        at = ORDER.index(row)
        assert len(set(state[at:].tolist())) == 1
        assert at == 0 or state[at - 1] != state[at]


def test_a_gene_not_tested_has_no_rate(material, result):
    kept = material.kept & (material.genes != "planted 0")
    genes = compare(replace(material, kept=kept), LADDER, FDR).genes
    assert genes.loc["planted 0", [column(s) for s in ORDER[AT["normalisation"] :]]].isna().all()
    assert genes.loc["planted 0", "decided_by"] == "normalisation"
    assert not genes.loc["planted 0", "in_corrected"]
    assert result.genes.loc["planted 0", "in_corrected"]


def test_nothing_found_is_an_empty_table(material):
    result = compare(material, LADDER, 1e-300)
    assert result.steps["found"].eq(0).all()
    assert len(result.genes) == 0
    assert "decided_by" in result.genes


def test_latents_are_told_by_their_correlation(material, result):
    published = components(material.features["published"])
    for at, step in enumerate(ORDER):
        latents = components(material.features["published" if at < 3 else "input_range" if at == 3 else "patch"])
        rows = result.latents[result.latents["step"] == step]
        assert rows["published_latent"].tolist() == [1, 2, 3]
        best = [np.argmax([abs(stats.pearsonr(x, y)[0]) for y in latents.T]) + 1 for x in published.T]
        assert rows["latent"].tolist() == best
        for row in rows.itertuples():
            x, y = published[:, row.published_latent - 1], latents[:, row.latent - 1]
            assert row.abs_r == pytest.approx(abs(stats.pearsonr(x, y)[0]), abs=1e-9)
            assert abs(row.r_log10_umi) == pytest.approx(abs(stats.pearsonr(y, material.log10_umi)[0]), abs=1e-9)
    np.testing.assert_allclose(result.latents["abs_r"].iloc[: 3 * K], 1)
    expected = [[abs(stats.pearsonr(x, y)[0]) for y in latents.T] for x in published.T]
    np.testing.assert_allclose(result.correspondence, expected, atol=1e-9)


def test_correlations_equal_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 2)), rng.normal(size=(30, 4))
    expected = [[abs(stats.pearsonr(x, y)[0]) for y in b.T] for x in a.T]
    np.testing.assert_allclose(correlations(a, b), expected, atol=1e-12)


PATCH = {"um": 120, "px": None, "output_px": 64, "image": "best"}
SETTINGS = {"patch": PATCH, "n_latents": K, "min_spots_fraction": 0.1, "fdr": FDR}


def write_section(material: Material, folder) -> tuple[ad.AnnData, dict[str, ad.AnnData]]:
    """Lay the material out in the workflow's files, rows in three different orders."""
    rng = np.random.default_rng(6)
    barcodes = pd.Index([f"b{i}" for i in range(N)])
    section = ad.AnnData(
        sparse.csr_matrix(material.expression["lognorm"])[:, np.flatnonzero(material.kept)],
        obs=pd.DataFrame(
            {
                Keys.ARRAY_ROW: material.cells[:, 0],
                Keys.ARRAY_COL: material.cells[:, 1],
                Keys.TOTAL_COUNTS: 10**material.log10_umi,
            },
            index=barcodes,
        ),
        layers={Keys.COUNTS: sparse.csr_matrix(material.counts)[:, np.flatnonzero(material.kept)]},
        var=pd.DataFrame(index=material.genes[material.kept]),
    )
    section.uns[Keys.SPADE] = {"lattice": {"kind": "square"}}
    features = {}
    for variant, values in material.features.items():
        features[variant] = ad.AnnData(values, obs=pd.DataFrame(index=barcodes))[rng.permutation(N)].copy()
    order = rng.permutation(N)
    write_10x_h5(folder / "sct.h5", material.expression["sct"].tocsr()[order], barcodes[order], material.genes)
    return section, features


def test_a_section_is_joined_by_barcode(material, tmp_path):
    rng = np.random.default_rng(7)
    counts = sparse.csc_matrix(rng.poisson(np.expm1(material.expression["sct"].toarray() / 2)))
    material = replace(material, expression=material.expression | {"sct": counts}, common=material.kept)
    section, features = write_section(material, tmp_path)
    ours = compare_section(features, section, tmp_path / "sct.h5", "s", **SETTINGS)
    logged = material.expression | {"sct": counts.astype(float).log1p()}
    expected = compare(replace(material, expression=logged), LADDER, FDR)
    pd.testing.assert_frame_equal(ours.genes, expected.genes, rtol=1e-6)
    pd.testing.assert_frame_equal(ours.latents, expected.latents, rtol=1e-6)
    numbers = ["tested", "found", "kept", "entered", "left", "found_alone"]
    pd.testing.assert_frame_equal(ours.steps[numbers], expected.steps[numbers])
    assert "120 µm of the best image at 64 px" in ours.steps.loc[AT["patch"], "change"]


def test_sections_that_cannot_be_compared_say_why(material, tmp_path):
    counts = material.expression | {"sct": material.expression["sct"].rint()}
    section, features = write_section(replace(material, expression=counts), tmp_path)
    arguments = (tmp_path / "sct.h5", "sec")
    with pytest.raises(InputError, match=r"^sec\n(.|\n)*allow at most 9(.|\n)*n_latents"):
        compare_section(features, section, *arguments, **(SETTINGS | {"n_latents": 10}))
    few = section[:3].copy()
    with pytest.raises(InputError, match="3 spots"):
        compare_section(features, few, *arguments, **SETTINGS)
    dull = features | {"patch": ad.AnnData(np.ones((N, 9)), obs=features["patch"].obs)}
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match="vary in 0 directions"):
        compare_section(dull, section, *arguments, **SETTINGS)
    section.uns[Keys.SPADE]["lattice"]["kind"] = "none"
    with pytest.raises(InputError, match=r"spots on no lattice"):
        compare_section(features, section, *arguments, **SETTINGS)

"""Predicted spots against brute force, scores against other libraries, a verdict that follows from the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_blocks import SIDE, VOXEL, PlantedBlock, planted_block
from scipy import stats
from skimage.color import rgb2lab
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, r2_score

from spadework.volume.evaluation import (
    AROUND,
    COLOUR,
    LARGEST,
    MEAN,
    NEIGHBOUR,
    NETWORK,
    Predicted,
    colour_features,
    predict_spots,
    spots_table,
)
from spadework.volume.rasterise import rasterise
from spadework.volume.scores import score_table, verdict

NAMES = ("a", "b", "c")


def truth_everywhere(block: PlantedBlock, shift: float = 0.0) -> np.ndarray:
    """What a network would say that knows the planted domains, (z, y, x, 3)."""
    x = (np.arange(SIDE) + 0.5) * VOXEL
    depth = len(block.stack.samples)
    domain = np.stack([np.digitize(x - k * shift, (600, 1000)) for k in range(depth)])
    return np.repeat(np.eye(3, dtype=np.float32)[domain][:, None], SIDE, axis=1)


def predicted(block: PlantedBlock, target: str = "domains", left_out=("one", "two"), volume=None, k=5) -> Predicted:
    volumes = rasterise(block.stack, block.spots, block.domains, target=target)
    volume = truth_everywhere(block) if volume is None else volume
    predictions = dict.fromkeys(left_out, volume)
    return predict_spots(volumes, block.stack, block.spots, block.domains, predictions, neighbours=k)


def test_each_method_says_what_brute_force_says():
    block = planted_block(z_um=(0, 16, 40), shift=60.0)
    noisy = np.where(np.arange(len(block.domains)) % 3, block.domains["domain"], "a")
    block = PlantedBlock(block.stack, block.spots, block.domains.assign(domain=noisy))
    result = predicted(block)
    spots = result.spots
    assert list(dict.fromkeys(spots["sample"])) == ["one", "two"]
    joined = block.spots.merge(block.domains)
    for section, neighbour in (("one", "two"), ("two", "one")):
        own = (spots["sample"] == section).to_numpy()
        other = joined[joined["sample"] == neighbour]
        rest = joined[joined["sample"] != section]
        for row in np.flatnonzero(own):
            spot = spots.iloc[row]
            away = np.hypot(other["x_um"] - spot["x_um"], other["y_um"] - spot["y_um"])
            assert NAMES[result.says[NEIGHBOUR][row]] == other["domain"].iloc[away.argmin()]
            assert NAMES[result.says[LARGEST][row]] == rest["domain"].mode()[0]
            assert NAMES[result.truth[row]] == spot["domain"]


def test_the_mean_of_other_sections_is_what_brute_force_says():
    block = planted_block(z_um=(0, 16, 40), shift=60.0)
    result = predicted(block, "latents", left_out=("two",), volume=np.zeros((3, SIDE, SIDE, 2)))
    volumes = rasterise(block.stack, block.spots, block.domains, target="latents")
    target = volumes.pairs[0].target
    z, y, x = np.nonzero(~np.isnan(target[..., 0]) & (np.arange(3) != 1)[:, None, None])
    values = target[z, y, x]
    # 0.6 of the distance of the spots, which lie some 150 µm apart; sections 20 µm apart in the median
    um = 0.6 * volumes.pairs[0].origin["spot_distance_um"]
    assert 80 < um < 90
    sd_z, sd = um / 20, um / VOXEL
    under = np.indices((SIDE, SIDE)) + 0.5
    for row in range(0, len(result.spots), 7):
        spot = result.spots.iloc[row]
        centre = np.array([spot["y_um"], spot["x_um"]]) / VOXEL
        disc = np.argwhere(np.hypot(*(under - centre[:, None, None])) <= 100 / 2 / VOXEL)
        means = []
        for i, j in disc:
            weight = np.exp(-((z - 1) ** 2) / (2 * sd_z**2) - ((y - i) ** 2 + (x - j) ** 2) / (2 * sd**2))
            means.append((weight[:, None] * values).sum(axis=0) / weight.sum())
        # the filter ends at four standard deviations
        np.testing.assert_allclose(result.says[AROUND][row], np.mean(means, axis=0), atol=2e-3)


def test_of_two_sections_equally_near_the_nearest_spot_counts():
    block = planted_block(z_um=(0, 16, 32))
    spots = block.spots.copy()
    first = spots.index[spots["sample"] == "one"]
    spots.loc[first, "x_um"] += 40.0  # the first section's spots are all further off than the third's
    domains = block.domains.copy()
    domains.loc[domains["sample"] == "one", "domain"] = "a"
    result = predicted(PlantedBlock(block.stack, spots, domains), left_out=("two",))
    assert (result.says[NEIGHBOUR] == result.truth).mean() > 0.95


def test_sections_that_were_only_stained_have_nothing_to_copy():
    block = planted_block(z_um=(0, 16, 40), stained=("two",))
    result = predicted(block, left_out=("one",))
    assert (result.says[NEIGHBOUR] == result.truth).mean() > 0.9


def test_colour_tells_domains_that_have_colours():
    result = predicted(planted_block(shift=150.0))
    assert (result.says[COLOUR] == result.truth).mean() > 0.9
    assert (result.says[NEIGHBOUR] == result.truth).mean() < 0.9


def test_colour_is_that_of_a_disc_of_two_diameters():
    block = planted_block()
    spots = block.spots.iloc[[10, 70]]
    y, x = (np.indices((SIDE, SIDE)) + 0.5) * VOXEL
    for features, (_, spot) in zip(colour_features(block.stack, spots), spots.iterrows(), strict=True):
        disc = np.hypot(x - spot["x_um"], y - spot["y_um"]) <= spot["spot_um"]
        lab = rgb2lab(block.stack.stain[block.stack.samples.index(spot["sample"])])[disc]
        np.testing.assert_allclose(features, [*lab.mean(axis=0), *lab.std(axis=0)], rtol=1e-5)


def test_the_network_is_read_at_its_spots():
    block = planted_block(shift=150.0)
    result = predicted(block, volume=truth_everywhere(block, 150.0))
    assert (result.says[NETWORK] == result.truth).mean() > 0.97
    wrong = predicted(block, volume=truth_everywhere(block, 150.0)[:, ::-1, ::-1])
    assert (wrong.says[NETWORK] == wrong.truth).mean() < 0.7


def test_latents():
    block = planted_block()
    latent = np.broadcast_to(np.linspace(-1, 1, SIDE)[:, None], (3, SIDE, SIDE))
    volume = np.stack([np.zeros_like(latent), latent], axis=-1)
    result = predicted(block, "latents", volume=volume)
    assert np.corrcoef(result.says[NETWORK][:, 1], result.truth[:, 1])[0, 1] > 0.99
    rest = block.domains[block.domains["sample"] != "one"]
    np.testing.assert_allclose(result.says[MEAN][0], rest[["latent_1", "latent_2"]].mean())
    table = spots_table(result, ("latent_1", "latent_2"))
    np.testing.assert_allclose(table["measured latent_2"], result.truth[:, 1])
    np.testing.assert_allclose(table[f"{NETWORK} latent_2"], result.says[NETWORK][:, 1])


def test_what_was_learnt_from_is_needed():
    block = planted_block(stained=("two", "three"))
    with pytest.raises(ValueError, match="0 in other sections"):
        predicted(block, left_out=("one",))
    with pytest.raises(ValueError, match="no section is left out"):
        predicted(block, left_out=())


# scores -------------------------------------------------------------------------------------------------------------


def made_up(seed: int = 0, shares: dict[str, float] | None = None, n: int = 400, wide: float = 5000.0) -> Predicted:
    """Spots of two sections, of which a share of each method's predictions is right."""
    rng = np.random.default_rng(seed)
    shares = shares or {NETWORK: 0.8, NEIGHBOUR: 0.5, AROUND: 0.5, COLOUR: 0.4, LARGEST: 0.0}
    spots = pd.DataFrame({"sample": np.repeat(["p", "q"], n // 2), "barcode": [f"s{k}" for k in range(n)]})
    spots["x_um"], spots["y_um"], spots["z_um"] = rng.uniform(0, wide, n), rng.uniform(0, wide, n), 0.0
    truth = rng.integers(0, 3, n)
    says = {m: np.where(rng.random(n) < share, truth, rng.integers(0, 3, n)) for m, share in shares.items()}
    return Predicted(spots, truth, says)


def made_up_latents(seed: int = 0, noise: float = 0.5) -> Predicted:
    result = made_up(seed)
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(len(result.spots), 2)) + 3
    says = {m: truth + noise * rng.normal(size=truth.shape) for m in (NETWORK, NEIGHBOUR, AROUND, COLOUR)}
    return Predicted(result.spots, truth, says | {MEAN: np.full(truth.shape, 3.0)})


def of(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_scores_are_those_of_scikit_learn():
    result = made_up()
    table = score_table(result, NAMES, seed=0)
    for section in ("p", "q"):
        rows = (result.spots["sample"] == section).to_numpy()
        for method, said in result.says.items():
            truth, said = result.truth[rows], said[rows]
            for score, value in {
                "dice": f1_score(truth, said, average="macro"),
                "balanced_accuracy": balanced_accuracy_score(truth, said),
                "accuracy": accuracy_score(truth, said),
            }.items():
                row = of(table, section=section, method=method, class_or_latent="mean", score=score)
                assert row["value"] == pytest.approx(value)
                assert row["low"] < row["value"] < row["high"]
            for name, value in zip(NAMES, f1_score(truth, said, average=None), strict=True):
                one = of(table, section=section, method=method, class_or_latent=name, score="dice")
                assert one["value"] == pytest.approx(value)
    row = of(table, section="all", method=NEIGHBOUR, class_or_latent="mean", score="dice")
    summary = {"class_or_latent": "mean", "score": "dice"}
    parts = [of(table, section=s, method=NEIGHBOUR, **summary)["value"] for s in ("p", "q")]
    assert row["value"] == pytest.approx(np.mean(parts))
    own = of(table, section="all", method=NETWORK, **summary)
    assert row["gain"] == pytest.approx(own["value"] - row["value"])
    assert row["n_spots"] == 400
    assert row["n_sections"] == 2


def test_latent_scores_are_those_of_scipy_and_scikit_learn():
    result = made_up_latents()
    table = score_table(result, ("latent_1", "latent_2"), seed=0)
    rows = (result.spots["sample"] == "p").to_numpy()
    truth, said = result.truth[rows], result.says[AROUND][rows]
    for k, name in enumerate(("latent_1", "latent_2")):
        r = of(table, section="p", method=AROUND, class_or_latent=name, score="pearson_r")
        assert r["value"] == pytest.approx(stats.pearsonr(truth[:, k], said[:, k]).statistic)
        r2 = of(table, section="p", method=AROUND, class_or_latent=name, score="r2")
        assert r2["value"] == pytest.approx(r2_score(truth[:, k], said[:, k]))
    constant = table[(table["method"] == MEAN) & (table["score"] == "pearson_r")]
    assert constant["value"].isna().all()
    assert table.loc[(table["method"] == MEAN) & (table["score"] == "r2"), "value"].notna().all()


def test_classes_that_a_section_does_not_have_are_not_scored_there():
    result = made_up()
    q = (result.spots["sample"] == "q").to_numpy()
    truth = np.where(q & (result.truth == 2), 1, result.truth)
    table = score_table(Predicted(result.spots, truth, result.says), NAMES, seed=0)
    rows = table[(table["method"] == NETWORK) & (table["score"] == "dice")]
    assert set(rows.loc[rows["section"] == "q", "class_or_latent"]) == {"a", "b", "mean"}
    everywhere = of(rows, section="all", class_or_latent="c")["value"]
    assert everywhere == pytest.approx(of(rows, section="p", class_or_latent="c")["value"])
    mean = of(rows, section="q", class_or_latent="mean")["value"]
    assert mean == pytest.approx(f1_score(truth[q], result.says[NETWORK][q], average=None, labels=[0, 1]).mean())


def test_intervals_cover_what_is_true_of_the_tissue():
    """Right and wrong in squares of 1 mm: single spots resampled would give intervals half as wide."""
    hits, widths = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        result = made_up(seed, n=400)
        square = (result.spots[["x_um", "y_um"]] // 1000).to_numpy(int)
        share = rng.uniform(0.2, 0.8, (5, 5))[square[:, 0], square[:, 1]]
        right = rng.random(400) < share
        said = np.where(right, result.truth, (result.truth + 1) % 3)
        table = score_table(Predicted(result.spots, result.truth, {NETWORK: said}), NAMES, seed=0)
        row = of(table, section="all", class_or_latent="mean", score="accuracy")
        hits += row["low"] <= 0.5 <= row["high"]
        widths.append(row["high"] - row["low"])
    assert hits >= 53
    assert np.mean(widths) > 1.4 * 2 * 1.96 * np.sqrt(0.25 / 400)


def test_one_square_of_tissue_gives_no_interval():
    table = score_table(made_up(wide=900.0), NAMES, seed=0)
    assert table[["low", "high", "gain_low"]].isna().all(axis=None)
    assert "stays open" in verdict(table, (0.0, 16.0), given=False)


def test_the_same_predictions_gain_nothing():
    result = made_up()
    says = result.says | {NEIGHBOUR: result.says[NETWORK]}
    table = score_table(Predicted(result.spots, result.truth, says), NAMES, seed=0)
    gains = table.loc[table["method"] == NEIGHBOUR, ["gain", "gain_low", "gain_high"]]
    assert (gains == 0).all(axis=None)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({}, "the network adds something"),
        ({NEIGHBOUR: 0.8}, "that the network is needed: copying the neighbouring section is not beaten"),
        ({AROUND: 0.72}, "the mean of what the other sections show around each place is not beaten"),
        ({AROUND: 0.9}, "the mean of what the other sections show around each place is not beaten"),
        (
            {NEIGHBOUR: 0.9, AROUND: 0.8, COLOUR: 0.8},
            "copying the neighbouring section, the mean of what the other sections show around each place and k-NN "
            "on colour are not beaten",
        ),
    ],
)
def test_the_verdict_follows_from_the_numbers(shares: dict[str, float], words: str):
    all_shares = {NETWORK: 0.8, NEIGHBOUR: 0.4, AROUND: 0.5, COLOUR: 0.4, LARGEST: 0.0} | shares
    table = score_table(made_up(shares=all_shares), NAMES, seed=0)
    said = verdict(table, (0.0, 16.0, 40.0), given=True)
    assert "started from the mean of what the other sections show around each place: Dice" in said
    assert "started from" not in verdict(table, (0.0, 16.0, 40.0), given=False)
    alone = verdict(table, (0.0, 16.0), given=True)
    assert "started from" not in alone
    assert "these networks saw the stain alone" in alone
    assert words in said
    assert said.startswith("2 of 3 sections with spots, of 1 block, were left out in turn")
    assert "nothing follows for other blocks" in said
    assert "16 µm apart" in said
    row = of(table, section="all", method=NEIGHBOUR, class_or_latent="mean", score="dice")
    assert f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in said
    if shares.get(AROUND) == 0.72:
        row = of(table, section="all", method=AROUND, class_or_latent="mean", score="dice")
        assert row["gain_low"] < 0 < row["gain"]
        assert "It cannot be told from the mean of what" in said
    if shares.get(AROUND) == 0.9:
        assert "That is worse than the mean of what" in said


def test_the_verdict_on_latents_speaks_of_correlations():
    said = verdict(score_table(made_up_latents(), ("latent_1", "latent_2"), seed=0), (0.0, 16.0), given=False)
    assert "correlation (mean of r over the latents) 0.9" in said
    assert "nan" not in said

"""What is said of a latent: every branch, and the gravest first."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import report_section as made

from spadework.headline import headline
from spadework.report.trust import trust

ROW = {
    **{"latent": 2, "variance_ratio": 0.3, "moran_i": 0.5, "r_log10_umi": 0.1, "r_tissue_fraction": -0.1},
    **{"genes_up": 30.0, "genes_down": 5.0},
}
NO_GENES = {"genes_up": 0.0, "genes_down": 0.0}
PUBLISHED = headline(pd.DataFrame(), "published")


def judged(*, calibration=True, by=None, replication=None, shared=(ROW["latent"], 1.0), seeded=False, **row):
    table = made.calibration() if calibration is True else calibration
    return trust(
        ROW | row, by or made.spatial(), calibration=table, replication=replication, shared=shared, seeded=seeded
    )


def pairs(*spearman: float) -> pd.DataFrame:
    return pd.DataFrame({"latent": [2] * len(spearman) + [1], "spearman": [*spearman, 0.99]})


def test_a_latent_that_nothing_speaks_against_is_good():
    said = judged()
    assert said["level"] == "good"
    assert said["sentence"] == (
        "35 genes go along with it. On 4 random patterns as smooth as this latent, 5.0 % of the genes had p < 0.05 "
        "(5 % expected) and no gene was called on any of them: as it should be."
    )


@pytest.mark.parametrize(
    ("row", "level", "words"),
    [
        ({"r_log10_umi": 0.7}, "poor", "for the most part sequencing depth (r = 0.70)"),
        ({"r_log10_umi": -0.69}, "care", "in part sequencing depth (r = -0.69)"),
        ({"r_log10_umi": 0.4}, "care", "in part sequencing depth (r = 0.40)"),
        ({"r_log10_umi": 0.39}, "good", "35 genes"),
        ({"r_tissue_fraction": -0.8}, "poor", "for the most part how much of a patch is tissue (r = -0.80)"),
        ({"r_tissue_fraction": 0.5}, "care", "in part how much of a patch is tissue (r = 0.50)"),
        (
            {"r_log10_umi": 0.8, "r_tissue_fraction": 0.9},
            "poor",
            "depth (r = 0.80) and how much of a patch is tissue",
        ),
        ({"r_log10_umi": 0.8, "r_tissue_fraction": 0.5}, "poor", "It follows in part how much of a patch is tissue"),
        ({"moran_i": 0.09}, "care", "hardly any pattern in the tissue (Moran's I 0.09)"),
        ({"moran_i": -0.001, **NO_GENES}, "poor", "Moran's I 0.00"),
        (NO_GENES, "care", "No gene goes along with it surely enough to be called."),
        ({"genes_up": 1.0, "genes_down": 0.0}, "good", "1 gene goes along"),
        ({"genes_up": pd.NA, "genes_down": pd.NA}, "care", "not tested for genes"),
        ({"genes_up": np.nan, "genes_down": np.nan, "moran_i": 0.0}, "poor", "hardly any pattern"),
    ],
)
def test_what_the_numbers_of_a_latent_say(row, level, words):
    said = judged(**row)
    assert said["level"] == level
    assert words in said["sentence"]


def test_depth_is_another_matter_where_the_test_does_not_hold_it_constant():
    assert "held constant" in judged(r_log10_umi=0.9)["sentence"]
    published = judged(r_log10_umi=0.9, by=PUBLISHED, calibration=made.calibration("published"))
    assert "genes may go along with depth alone" in published["sentence"]


@pytest.mark.parametrize(
    ("share", "found", "level", "words"),
    [
        (0.05, (0, 0, 0, 0), "good", "no gene was called on any"),
        (0.08, (0, 0, 0, 0), "care", "8.0 % of the genes"),
        (0.15, (0, 0, 0, 0), "poor", "likely to be false"),
        (0.05, (9, 9, 0, 0), "care", "called on 2 of them: some of the genes called here may be false"),
        (0.05, (9, 9, 9, 0), "poor", "called on 3 of them: many"),
    ],
)
def test_what_random_patterns_say(share, found, level, words):
    said = judged(calibration=made.calibration(share=share, found=found))
    assert said["level"] == level
    assert words in said["sentence"]


def test_one_pattern_of_four_may_be_chance_but_one_of_four_for_each_latent_is_not():
    one = made.calibration()
    one.loc[5, "found"] = 3  # the second latent's
    assert judged(calibration=one)["level"] == "good"
    said = judged(calibration=made.calibration(found=(4, 0, 0, 0)))
    assert said["level"] == "care"
    assert "called for 3 of 12" in said["sentence"]


def test_only_the_test_that_counts_is_looked_at():
    table = pd.concat([made.calibration(), made.calibration("published", 0.4, (9, 9, 9, 9))])
    assert judged(calibration=table)["level"] == "good"
    assert judged(calibration=table, by=PUBLISHED)["level"] == "poor"


@pytest.mark.parametrize("table", [None, made.calibration().iloc[:0], made.calibration("depth")])
def test_a_test_that_was_not_tried_asks_for_care(table):
    said = judged(calibration=table)
    assert said["level"] == "care"
    assert "not tried on random patterns" in said["sentence"]


def test_where_no_gene_was_called_random_patterns_say_nothing():
    assert "random" not in judged(calibration=None, **NO_GENES)["sentence"]


def test_a_test_with_a_caveat_asks_for_care():
    said = judged(by=PUBLISHED, calibration=made.calibration("published"))
    assert said["level"] == "care"
    assert "as a ranking" in said["sentence"]


@pytest.mark.parametrize(
    ("values", "level", "words"),
    [
        ((0.5, 0.2, 0.6), "good", "confirm it (rank correlation of all genes' effects 0.50)"),
        ((0.2,), "care", "only weakly"),
        ((-0.4, 0.05), "poor", "do not confirm it"),
        ((np.nan,), "good", "35 genes"),
    ],
)
def test_what_other_sections_say(values, level, words):
    said = judged(replication=pairs(*values), calibration=made.calibration())
    assert said["level"] == level
    assert words in said["sentence"]


def test_random_weights_are_said_first_and_are_never_good():
    said = judged(seeded=True)
    assert said["level"] == "poor"
    assert said["sentence"].startswith("The network's weights are random")
    assert "35 genes" in said["sentence"]


def test_all_is_said_gravest_first():
    said = judged(seeded=True, r_log10_umi=0.5, r_tissue_fraction=0.9, moran_i=0.0)
    assert "weights are random" in said["sentence"]
    assert "how much of a patch is tissue (r = 0.90)" in said["sentence"]
    assert "in part sequencing depth" in said["sentence"]
    words = ("weights are random", "how much of a patch", "sequencing depth", "Moran", "35 genes", "random patterns")
    found = [said["sentence"].index(word) for word in words]
    assert found == sorted(found)


def test_a_latent_of_the_group_that_is_much_the_same_speaks_for_or_against_it():
    confirmed = pairs(0.5, 0.2, 0.6).assign(latent=3)
    said = judged(replication=confirmed, shared=(3, -0.91), calibration=made.calibration())["sentence"]
    assert "Latent 3 of the group is much the same (r = 0.91), and the other sections confirm that one" in said
    assert "confirm" not in judged(replication=confirmed, shared=None, calibration=made.calibration())["sentence"]
    assert "confirm" not in judged(replication=confirmed, shared=(2, 0.9), calibration=made.calibration())["sentence"]


def test_a_latent_that_is_the_same_everywhere_is_poor():
    said = judged(moran_i=np.nan, genes_up=0, genes_down=0)
    assert said["level"] == "poor"
    assert "same in all spots" in said["sentence"]
    assert "nan" not in said["sentence"]

"""Pages of evidence: what they draw of their tables, and that there is a page where there is no evidence."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from spadework.calibration import calibrate
from spadework.figures.calibration import calibration_page, verdict
from spadework.figures.composition import composition_page
from spadework.figures.style import finish

EMPTY = pd.DataFrame(columns=["field", "imitates", "test", "genes", "share_below_05", "found"])


@pytest.fixture
def calibration() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for field in range(12):
        for test, share, found in (("published", 0.3, 400), ("depth", 0.07, 2), ("spatial", 0.05, 0)):
            rows.append((field + 1, 1, test, 5000, share + rng.normal(0, 0.005), found))
    return pd.DataFrame(rows, columns=EMPTY.columns)


@pytest.fixture
def composition() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(300)],
            "r2_composition": rng.uniform(0, 0.4, 300),
            "partial_r2": rng.uniform(0, 0.1, 300),
            "cv_r2_composition": rng.normal(0.05, 0.1, 300),
            "fdr": 1.0,
        }
    )
    table["cv_r2_latents"] = table["cv_r2_composition"] + rng.normal(0, 0.05, 300)
    table["cv_gain"] = table["cv_r2_latents"] - table["cv_r2_composition"]
    table.loc[:2, "fdr"] = 0.001
    return table


def titles(page: Figure) -> list[str]:
    return [ax.get_title() for ax in page.axes]


def test_the_calibration_page_draws_a_dot_per_null_latent_and_says_the_verdict(calibration, tmp_path):
    page = calibration_page(calibration, 0.05, "s")
    left = page.axes[0]
    dots = [collection.get_offsets() for collection in left.collections if len(collection.get_offsets()) > 1]
    assert [len(d) for d in dots] == [12, 12, 12]
    np.testing.assert_allclose(
        np.sort(dots[0][:, 1]), np.sort(calibration[calibration.test == "published"].share_below_05)
    )
    assert len({round(float(x), 6) for x in dots[2][:, 0]}) == 12  # none covers another
    assert page.get_suptitle().replace("\n", " ").endswith(verdict(calibration, 0.05))
    finish(page, tmp_path / "page.png")


def test_without_null_latents_there_is_a_page_that_says_why(tmp_path):
    page = calibration_page(EMPTY, 0.05, "s")
    assert "cannot be shown" in page.get_suptitle()
    finish(page, tmp_path / "page.png")


def test_the_composition_page_colours_what_is_found_and_names_it_once(composition, tmp_path):
    page = composition_page(composition, 0.05, "s")
    assert titles(page)[0] == "3 of 300 genes follow the image\nbeyond composition (FDR < 0.05)"
    share = (composition["cv_gain"] > 0).mean()
    assert titles(page)[1] == f"tissue not fitted on: better with the image for {share:.0%} of genes"
    named = [text.get_text() for text in page.axes[0].texts]
    assert set(named) <= {"g0", "g1", "g2"}
    assert len(named) == len(set(named)) >= 1
    finish(page, tmp_path / "page.png")


def test_where_nothing_was_tested_the_composition_page_says_so(composition):
    page = composition_page(composition.assign(fdr=np.nan), 0.05, "s")
    assert titles(page)[0] == "not tested"
    plt.close(page)


def test_calibrate_and_its_page_agree_on_the_columns():
    assert set(EMPTY.columns) <= set(calibrate.__doc__.replace("``", " ").replace(",", " ").split())

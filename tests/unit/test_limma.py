"""The Python engine against R limma, number by number, on the designs where the two could part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from rscript import R_CODE, needs_r, run_r
from scipy import sparse

from spadework.association import Design, associate
from spadework.section_association import ModelInput, read_limma, write_values, zscored

pytestmark = needs_r("limma", "hdf5r")

SPOTS, GENES = 120, 400
SCRIPT = """
arguments <- commandArgs(TRUE)
suppressPackageStartupMessages(library(limma))
source(arguments[1])
file <- hdf5r::H5File$new(arguments[2], mode = "r")
table <- fit_latents(file[["values"]][, ], t(file[["latents"]][, , drop = FALSE]), arguments[3])
table$engine <- "limma"
write_exactly(table, arguments[4])
"""


def limma(folder: Path, tested: ModelInput, design: Design) -> Path:
    """Fit with the workflow's own R code."""
    values, table = folder / "values.h5", folder / "limma.csv.gz"
    write_values(tested, values)
    run_r(SCRIPT, R_CODE / "limma.R", values, design, table)
    return table


def material_of(
    expression: NDArray[np.floating], latents: NDArray[np.floating], *, zscore: bool = False
) -> ModelInput:
    matrix = sparse.csc_matrix(expression)
    n = matrix.shape[1]
    mean, unit = np.zeros(n), np.ones(n)
    if zscore:
        matrix, mean, unit = zscored(matrix)
    return ModelInput(matrix, mean, unit, latents, pd.DataFrame(index=[f"g{i}" for i in range(n)]), np.ones(n, int))


def counts(rng: np.random.Generator, latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log counts of genes of very different variance, some of which follow the first latent."""
    effect = rng.normal(0, 0.4, GENES) * (rng.uniform(size=GENES) < 0.3)
    rate = np.exp(rng.normal(0, 1.5, GENES) + latents[:, [0]] * effect) * rng.gamma(3, 1 / 3, (SPOTS, GENES))
    return np.log1p(rng.poisson(rate)).astype(float)


def collinear(latents: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.column_stack([latents[:, 0], latents[:, 1], latents[:, 0] - 3 * latents[:, 1] + 2, latents[:, 2]])


def with_constants(expression: NDArray[np.floating], n: int) -> NDArray[np.floating]:
    return np.hstack([expression, np.zeros((SPOTS, n)), np.full((SPOTS, 3), 1.25)])


def unrelated(expression: NDArray[np.floating]) -> NDArray[np.floating]:
    """Common genes that follow no latent: z-scored, their variances scatter less than chance would have them."""
    common = expression[:, (expression > 0).sum(axis=0) > 30]
    return np.random.default_rng(6).permuted(common, axis=0)


def same(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return x


Change = Callable[[NDArray[np.floating]], NDArray[np.floating]]
CASES: dict[str, tuple[Change, Change, bool]] = {
    "unscaled": (same, same, False),
    "z-scored": (same, same, True),
    "z-scored, infinite prior": (unrelated, same, True),
    "rank-deficient": (same, collinear, False),
    "rank-deficient, z-scored": (same, collinear, True),
    "a few constant genes": (lambda x: with_constants(x, 20), same, False),
    "constant genes, z-scored": (lambda x: with_constants(x, 20), same, True),
    "mostly constant genes": (lambda x: with_constants(x, 2 * GENES), same, False),
    "latents far from zero": (same, lambda x: 100 + x, False),
}


@pytest.mark.parametrize("design", ["marginal", "joint"])
@pytest.mark.parametrize("case", CASES)
def test_engines_agree(case: str, design: Design, tmp_path: Path) -> None:
    change_expression, change_latents, zscore = CASES[case]
    rng = np.random.default_rng(5)
    latents = rng.normal(size=(SPOTS, 3)) @ np.array([[2.0, 0.5, 0], [0, 1, 0.2], [0, 0, 0.1]])
    expression = change_expression(counts(rng, latents))
    material = material_of(expression, change_latents(latents), zscore=zscore)
    arguments = {"design": design, "unit": material.unit}
    python = associate(material.expression, material.latents, **arguments)
    fit, _ = read_limma(limma(tmp_path, material, design), design)
    theirs = associate(material.expression, material.latents, fit=fit, **arguments)
    estimable = np.isfinite(theirs.t).any(axis=0)
    expected = [True, True, False, True] if "rank" in case and design == "joint" else [True] * len(estimable)
    assert estimable.tolist() == expected
    assert np.isnan(python.t[:, ~estimable]).all()
    if "infinite" in case:
        assert np.isinf(theirs.df_prior[0])
    for name in ("coef", "t"):
        ours, limmas = (getattr(x, name)[:, estimable] for x in (python, theirs))
        # relative to the size of the numbers, because a constant gene's 0 is 1e-17 in limma
        np.testing.assert_allclose(ours, limmas, rtol=1e-8, atol=1e-10 * np.abs(limmas).max(), err_msg=name)
    np.testing.assert_allclose(python.log10_p[:, estimable], theirs.log10_p[:, estimable], atol=1e-6)
    np.testing.assert_allclose(python.fdr[:, estimable], theirs.fdr[:, estimable], rtol=1e-6)
    np.testing.assert_allclose(python.df_prior, theirs.df_prior, rtol=1e-8)
    np.testing.assert_allclose(python.var_prior, theirs.var_prior, rtol=1e-8)


@pytest.mark.shared
def test_limma_meets_the_published_reference(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "spade_reference" / "C2"
    lognorm = pd.read_csv(folder / "lognorm.csv.gz", index_col=0)
    design = pd.read_csv(folder / "design_pcs_range01.csv", index_col=0).loc[lognorm.columns].iloc[:, :2]
    reference = pd.read_csv(folder / "limma_range01_PC1.csv.gz", index_col=0).loc[lognorm.index]
    material = material_of(lognorm.to_numpy().T, design.to_numpy(), zscore=True)
    fit, _ = read_limma(limma(tmp_path, material, "joint"), "joint")
    ours = associate(material.expression, material.latents, design="joint", unit=material.unit, fit=fit)
    assert np.max(np.abs(ours.t[:, 0] / reference["t"] - 1)) < 1e-8
    assert np.max(np.abs(ours.log10_p[:, 0] - np.log10(reference["P.Value"]))) < 1e-6
    assert np.max(np.abs(ours.fdr[:, 0] - reference["adj.P.Val"])) < 1e-8

"""Columns of the tables, and what stands in them: light to import, where tables are only read."""

from __future__ import annotations

# Statistics of the association table: as published; adjusted for depth, and space (three tests).
PUBLISHED = ("coef", "coef_std", "r", "rho", "t", "p", "fdr")
ADJUSTED = (
    *("r_depth", "t_depth", "p_depth", "fdr_depth"),
    *("t_spatial", "p_spatial", "fdr_spatial", "ess"),
    *("t_mixed", "p_mixed", "fdr_mixed"),
    *("p_permuted", "fdr_permuted", "ess_permuted"),
)

# Of the calibration: what its column share_below_05 is named after.
LEVEL = 0.05

# Of the terms: methods and directions.
OVER_REPRESENTATION, RANK = "over-representation", "rank"
UP, DOWN = "up", "down"

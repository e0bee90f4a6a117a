"""Deterministic simulator of a Visium section: an H&E-like image, counts, and the truth behind both.

Nothing in it is measured. It exists to test whether image-gene association finds what was planted, and
leaves alone what merely varies in space.
"""

from .section import DEFAULT_COLUMNS, DEFAULT_ROWS, Section, simulate, simulate_section

__all__ = ["DEFAULT_COLUMNS", "DEFAULT_ROWS", "Section", "simulate", "simulate_section"]

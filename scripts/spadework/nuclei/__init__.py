"""Nuclei: a whole slide labelled block by block, and what they say per spot."""

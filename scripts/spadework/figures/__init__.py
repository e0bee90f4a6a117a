"""Figures of the workflow; each module draws, none reads files."""

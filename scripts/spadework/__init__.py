"""spadework: link what a tissue looks like to what it expresses."""

__version__ = "0.1.0"

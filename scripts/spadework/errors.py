"""The one error users see: what was found, what was expected, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class SpadeworkError(Exception):
    """Something the user can put right; shown without a traceback."""


class InputError(SpadeworkError):
    """Input that cannot be used as it is.

    Parameters
    ----------
    sample
        Sample id of the sample sheet, or the name of the sheet or configuration itself.
    file
        The file or folder at fault.
    found, expected, remedy
        Full phrases: what is there, what should be there, and what the user can do about it.
    """

    def __init__(self, sample: str, file: str | Path | None, *, found: str, expected: str, remedy: str) -> None:
        self.sample = sample
        self.file = None if file is None else str(file)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        place = f"{sample}: {self.file}" if self.file else sample
        super().__init__(f"{place}\n  found:    {found}\n  expected: {expected}\n  fix:      {remedy}")

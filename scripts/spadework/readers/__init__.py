"""Readers: whatever is on disk, the same :class:`~spadework.section.Section` in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spadework.readers.locate import locate
from spadework.samples import Sample

if TYPE_CHECKING:
    from spadework.section import Section


def read_section(sample: Sample, bin_um: int = 8) -> Section:
    """Read the section a row of the sample sheet points at.

    Parameters
    ----------
    bin_um
        Edge of the Visium HD bins to read, µm.

    Raises
    ------
    spadework.errors.InputError
        If there is nothing that can be read, or it is broken.
    """
    # Here, because the start of the workflow looks for files where there is nothing to read them with.
    from spadework.readers.anndata import read_h5ad
    from spadework.readers.legacy_st import read_legacy_st
    from spadework.readers.spaceranger import read_spaceranger

    files = locate(sample, bin_um)
    if files.platform == "legacy_st":
        return read_legacy_st(sample, files)
    if files.platform == "h5ad":
        return read_h5ad(sample, files)
    return read_spaceranger(sample, files, bin_um)

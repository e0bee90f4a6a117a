"""From files to the AnnData every later stage starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anndata as ad

from spadework.errors import InputError
from spadework.images import SlideImage, open_image
from spadework.job import file_digest
from spadework.keys import Keys
from spadework.lattice import NOMINAL_SPOT_UM
from spadework.readers import locate, read_section
from spadework.samples import Sample
from spadework.section import Section, keep_tissue, to_anndata

log = logging.getLogger("spadework")

HIRES_PX, LOWRES_PX = 2000, 600


def ingest(sample: Sample, bin_um: int, checksums: Mapping[str, str] | None = None) -> ad.AnnData:
    """Read a section, keep the spots on tissue, and make sure there is an image to look at.

    Every barcode of the matrix is accounted for in ``uns["spade"]["left_out"]`` and in the log.

    Parameters
    ----------
    checksums
        What is known of the files of a public dataset: ``sha256:<hex>`` by name.

    Raises
    ------
    spadework.errors.InputError
        If the input cannot be used, or is not the file the registry means.
    """
    found = digests(sample, bin_um)
    for name, wanted in (checksums or {}).items():
        if found.get(name) != wanted:
            raise InputError(
                sample.name,
                sample.path / name,
                found=found.get(name, "no such file"),
                expected=f"{wanted}, as the registry of datasets has it",
                remedy="delete the file, so that it is downloaded again, or put the right one there",
            )
    section = read_section(sample, bin_um)
    n_read = len(section.positions)
    section = keep_tissue(section)
    if "hires" not in section.images and section.fullres is not None:
        add_overviews(section, open_image(section.fullres, sample.name, sample.channels))
    diameter_um = NOMINAL_SPOT_UM if section.lattice.kind == "hexagonal" else section.lattice.spot_um
    section.scalefactors.setdefault("spot_diameter_fullres", diameter_um / section.lattice.um_per_px)
    log.info(
        "%s: %s, %d barcodes with a position, %d on tissue, %d genes",
        sample.name,
        section.platform,
        n_read,
        len(section.positions),
        len(section.genes),
    )
    for reason, n in section.left_out.items():
        log.info("%s: left out: %s: %d", sample.name, reason, n)
    for note in section.notes:
        log.warning("%s: %s", sample.name, note)
    adata = to_anndata(section)
    adata.uns[Keys.SPADE]["digests"] = found
    return adata


def add_overviews(section: Section, image: SlideImage) -> None:
    """Derive ``hires`` and ``lowres`` from the full-resolution image, sized as Space Ranger does."""
    for kind, longest in (("hires", HIRES_PX), ("lowres", LOWRES_PX)):
        if kind not in section.images:
            overview = image.overview(longest)
            section.images[kind] = overview
            section.image_source[kind] = f"derived from {section.fullres.name if section.fullres else 'image'}"
            section.scalefactors[f"tissue_{kind}_scalef"] = overview.shape[1] / image.width


def digests(sample: Sample, bin_um: int) -> dict[str, str]:
    """SHA-256 of every input file, by name."""
    files = locate(sample, bin_um)
    paths = [*files.counts_inputs(), *([files.fullres] if files.fullres else [])]
    return {path.name: file_digest(path) for path in paths}

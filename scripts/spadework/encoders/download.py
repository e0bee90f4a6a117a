"""Get published weights."""

from __future__ import annotations

from pathlib import Path

import pooch
import requests

from spadework.encoders.weights import imagenet_file
from spadework.errors import InputError


def fetch_weights(encoder: str, target: Path, mirror: str | None = None) -> None:
    """Download published weights, verify the checksum, and only then give them their name.

    Parameters
    ----------
    mirror
        Base URL that holds the file under the same name, instead of the publisher's.

    Raises
    ------
    InputError
        If the download fails or the checksum differs.
    """
    known = imagenet_file(encoder)
    url = f"{mirror.rstrip('/')}/{known.filename}" if mirror else known.url
    try:
        pooch.retrieve(
            url,
            known_hash=known.checksum,
            path=target.parent,
            fname=target.name,
            downloader=pooch.HTTPDownloader(timeout=60),
        )
    except (requests.RequestException, ValueError, OSError) as error:
        raise InputError(
            "config",
            target,
            found=f"the weights of {encoder} could not be fetched from {url} ({error})",
            expected=f"a file with {known.checksum}",
            remedy=f"download {known.filename} on another machine and set encoder.weights to its path, or put it at "
            f"{target}; encoder.mirror names another server; encoder.weights: seeded runs without (random) weights",
        ) from error

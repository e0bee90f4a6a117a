"""Fetch a published file: resumed where it was cut, verified, and only then given its name."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from spadework.errors import InputError
from spadework.job import file_digest

log = logging.getLogger("spadework")

TIMEOUT_S = 60.0
# What is lost when a connection is cut: less than this.
CHUNK_BYTES = 1 << 16
# Attempts in a row that bring nothing, until a URL is given up.
ATTEMPTS = 3
PAUSE_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


def download(urls: Iterable[str], target: Path, sha256: str, *, sample: str) -> None:
    """Fetch a file from the first URL that has it. No network is touched if it is there already.

    What has arrived when a transfer is cut stays beside the target as ``.<name>.partial``; the next call goes on
    from there. Proxies are taken from the environment (``HTTPS_PROXY``, ``NO_PROXY``).

    Parameters
    ----------
    sha256
        Hex digest of the file.
    sample
        What messages call the file's owner: the dataset.

    Raises
    ------
    InputError
        If no URL gives a file with this digest, or it cannot be written.
    """
    import requests

    wanted = f"sha256:{sha256}"
    if target.is_file() and file_digest(target) == wanted:
        log.info("%s is there already, with the right checksum", target)
        return
    partial = target.with_name(f".{target.name}.partial")
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                found = _fetch(url, partial, wanted)
            except requests.RequestException as error:
                problems.append(f"{url}: {_in_words(error)}")
                continue
            if found == wanted:
                partial.replace(target)
                log.info("%s: %s bytes, %s", target, f"{target.stat().st_size:,}", wanted)
                return
            problems.append(f"{url}: another file ({found})")
    except OSError as error:
        raise _not_written(sample, target, error) from error
    if partial.is_file():
        problems.append(f"{partial.stat().st_size:,} bytes have arrived; the next run goes on from there")
    raise InputError(
        sample,
        target,
        found="; ".join(problems),
        expected=f"a file with {wanted}",
        remedy="run again when the network is back; or download the file in a browser or on another machine and put "
        "it there; or name a server that has it in datasets.mirror. A proxy is set by HTTPS_PROXY",
    )


def _fetch(url: str, partial: Path, wanted: str) -> str:
    """Complete the partial file and return its digest; a file with the wrong one is removed."""
    for resumed in (partial.exists(), False):
        _transfer(url, partial)
        found = file_digest(partial)
        if found == wanted:
            return found
        partial.unlink()
        if not resumed:
            break
        log.warning("what was left of an earlier download did not belong to this file; once more from the start")
    return found


def _transfer(url: str, partial: Path) -> None:
    """Append what is missing; go on where the connection was cut, as long as that brings anything."""
    import requests

    cut = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    fruitless = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _request(url, partial, before)
            return
        except cut as error:
            gained = (partial.stat().st_size if partial.exists() else 0) > before
            fruitless = 0 if gained else fruitless + 1
            if fruitless == ATTEMPTS:
                raise
            log.warning("%s: %s; trying again", url, _in_words(error))
            time.sleep(PAUSE_S * 2**fruitless)


def _request(url: str, partial: Path, have: int) -> None:
    import requests

    # A text packed for the transfer could not be resumed by byte.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    log.info("fetching %s%s", url, f" from byte {have:,} on" if have else "")
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is missing, or it is another file: the digest tells
        response.raise_for_status()
        goes_on = response.status_code == requests.codes.partial_content
        needed = int(response.headers.get("Content-Length", 0)) - (0 if goes_on else have)
        free = shutil.disk_usage(partial.parent).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free")
        with partial.open("ab" if goes_on else "wb") as handle:
            for chunk in response.iter_content(CHUNK_BYTES):
                handle.write(chunk)


def _in_words(error: Exception) -> str:
    """Say what went wrong: the innermost reason, without the address that the outer ones repeat."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    inner = getattr(inner, "reason", inner)
    return re.sub(r"^\w+\(host=[^)]*\): ", "", ", ".join(map(str, inner.args))) or type(error).__name__


def _not_written(sample: str, target: Path, error: OSError) -> InputError:
    full = error.errno in _FULL
    return InputError(
        sample,
        target,
        found=f"{'a full disk' if full else 'a file that cannot be written'} ({error})",
        expected="a folder with room for the download",
        remedy="make room (the next run goes on with what has arrived), or link resources/cache to a larger disk"
        if full
        else "correct the permissions of the folder",
    )

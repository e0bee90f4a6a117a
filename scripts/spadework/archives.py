"""Unpack downloads, which may hold anything."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from spadework.errors import InputError


def unpack(sample: str, archive: Path, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Unpack a tar archive into a folder, and nowhere else.

    Parameters
    ----------
    wanted
        Says by its name whether a member is unpacked.

    Raises
    ------
    InputError
        If the archive is broken, or a member would leave the folder (a path with ``..``, an absolute path, a link
        that leads out) or is a device.
    """

    def safe(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        if not wanted(member.name):
            return None
        if PurePosixPath(member.name).is_absolute():  # data_filter would only drop the slash
            raise tarfile.AbsolutePathError(member)
        return tarfile.data_filter(member, path)

    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=safe)  # noqa: S202  (the filter ends in the safe one)
    except tarfile.FilterError as error:
        raise InputError(
            sample,
            archive,
            found=f"an archive with the member {error.tarinfo.name!r}, which is refused: {_reason(error)}",
            expected="files and folders that stay where the archive is unpacked",
            remedy="do not use this archive; download it from its publisher and compare its checksum",
        ) from error
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            sample,
            archive,
            found=f"an archive that cannot be unpacked ({error})",
            expected="a complete .tar.gz",
            remedy="download it again; compare its size or checksum",
        ) from error


def _reason(error: tarfile.FilterError) -> str:
    if isinstance(error, tarfile.SpecialFileError):
        return "a device"
    if isinstance(error, tarfile.AbsoluteLinkError | tarfile.LinkOutsideDestinationError):
        return f"a link that leads out of the archive, to {error.tarinfo.linkname}"  # type: ignore[attr-defined]
    return "a path that leads out of the archive"

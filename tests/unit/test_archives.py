"""Archives from elsewhere: what they hold may go nowhere but into their folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spadework.archives import unpack
from spadework.errors import InputError
from spadework.readers import read_section
from spadework.samples import Sample


def file(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def special(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


# Members as a function of a folder outside, and what the message says of the last one.
CLIMBING: dict[str, tuple[Callable[[Path], list[tarfile.TarInfo]], str]] = {
    "dots": (lambda out: [file("../outside/victim")], "a path that leads out"),
    "dots_inside_a_path": (lambda out: [file("spatial/../../outside/victim")], "a path that leads out"),
    "absolute": (lambda out: [file(str(out / "victim"))], "a path that leads out"),
    "absolute_with_two_slashes": (lambda out: [file(f"/{out / 'victim'}")], "a path that leads out"),
    "symlink_out": (lambda out: [special("spatial", tarfile.SYMTYPE, "../outside")], "a link that leads out"),
    "symlink_absolute": (lambda out: [special("spatial", tarfile.SYMTYPE, str(out))], "a link that leads out"),
    "hard_link_out": (lambda out: [special("x", tarfile.LNKTYPE, "../outside/victim")], "a link that leads out"),
    "hard_link_absolute": (lambda out: [special("x", tarfile.LNKTYPE, str(out / "victim"))], "a link that leads out"),
    "through_a_link": (
        lambda out: [special("here", tarfile.SYMTYPE, "."), special("here/up", tarfile.SYMTYPE, "../outside")],
        "a link that leads out",
    ),
    "device": (lambda out: [special("null", tarfile.CHRTYPE)], "a device"),
    "block_device": (lambda out: [special("disk", tarfile.BLKTYPE)], "a device"),
    "pipe": (lambda out: [special("pipe", tarfile.FIFOTYPE)], "a device"),
}


def pack(archive: Path, members: list[tarfile.TarInfo]) -> None:
    """Write an archive whose every file says `evil`."""
    with tarfile.open(archive, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"evil"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the one that archives are unpacked into, with a file worth attacking."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_text("good")
    return folder


def everything(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", CLIMBING)
def test_a_member_that_climbs_out_is_refused_and_nothing_outside_changes(kind, tmp_path, outside):
    members, reason = CLIMBING[kind]
    archive, inside = tmp_path / "spatial.tar.gz", tmp_path / "inside"
    inside.mkdir()
    pack(archive, [file("harmless"), *members(outside)])
    before = everything(outside), sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        unpack("s", archive, inside)
    assert reason in caught.value.found
    assert repr(members(outside)[-1].name) in caught.value.found
    assert (everything(outside), sorted(tmp_path.iterdir())) == before


def test_a_harmless_archive_is_unpacked_with_links_that_stay_inside(tmp_path):
    pack(tmp_path / "a.tar.gz", [file("spatial/a"), special("spatial/b", tarfile.SYMTYPE, "a"), file("./c")])
    unpack("s", tmp_path / "a.tar.gz", tmp_path / "inside")
    assert everything(tmp_path / "inside") == {"spatial/a": "evil", "spatial/b": "evil", "c": "evil"}


def test_members_nobody_wants_stay_packed(tmp_path):
    pack(tmp_path / "a.tar.gz", [file("a"), file("b")])
    unpack("s", tmp_path / "a.tar.gz", tmp_path / "inside", lambda name: name == "b")
    assert everything(tmp_path / "inside") == {"b": "evil"}


def test_a_section_with_a_climbing_archive_is_refused(outs, tmp_path):
    matrix = "filtered_feature_bc_matrix.h5"
    folder = tmp_path / "download"
    folder.mkdir()
    (outs / matrix).rename(folder / matrix)
    pack(folder / "spatial.tar.gz", [file("../evil")])
    with pytest.raises(InputError, match=r"(?s)s: .*spatial\.tar\.gz\n.*'\.\./evil'.*do not use this archive"):
        read_section(Sample("s", folder))

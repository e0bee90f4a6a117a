"""Downloads from a server on loopback: cut, wrong, refused, by proxy, or not needed."""

from __future__ import annotations

import hashlib
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from server import Server, serving

from spadework import download as module
from spadework.download import download
from spadework.errors import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's own proxies away, and the pauses between attempts."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "CHUNK_BYTES", 10_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.bin").write_bytes(CONTENT)
    with serving(tmp_path / "served") as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "set" / "file.bin"


def partial(target: Path) -> Path:
    return target.with_name(".file.bin.partial")


def get(target: Path, *urls: str, sha256: str = SHA256) -> None:
    download(urls, target, sha256, sample="set")


def ranges(server: Server) -> list[str | None]:
    return [asked for _, _, asked in server.requests]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_file_arrives_whole_and_alone(server, target):
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_cut_connection_is_resumed_where_it_was_cut(server, target):
    server.cut_after = [100_000, 50_000]
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_that_ignores_ranges_is_asked_for_all_of_it(server, target):
    server.cut_after, server.ranges = [100_000], False
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_later_run_goes_on_from_an_earlier_one(server, target):
    server.cut_after = [100_000, *[0] * module.ATTEMPTS]
    with pytest.raises(InputError, match=r"100,000 bytes have arrived; the next run goes on"):
        get(target, f"{server.url}/file.bin")
    assert not target.exists()
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=100000-"


def test_a_run_killed_before_the_last_step_needs_no_transfer(server, target):
    target.parent.mkdir(parents=True)
    partial(target).write_bytes(CONTENT)
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]


def test_the_rest_of_another_file_is_thrown_away(server, target):
    target.parent.mkdir(parents=True)
    partial(target).write_bytes(b"something else")
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT
    assert ranges(server) == ["bytes=14-", None]


def test_a_wrong_checksum_leaves_nothing(server, target):
    with pytest.raises(InputError) as caught:
        get(target, f"{server.url}/file.bin", sha256="0" * 64)
    assert f"another file (sha256:{SHA256})" in caught.value.found
    assert caught.value.expected == f"a file with sha256:{'0' * 64}"
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_says_what_the_server_answered_and_the_next_url_is_tried(server, target, status, tmp_path):
    server.status = status
    with pytest.raises(InputError, match=rf"file\.bin: the server answers {status} \w+.*\n.*\n.*datasets\.mirror"):
        get(target, f"{server.url}/file.bin")
    assert list(target.parent.iterdir()) == []
    with serving(tmp_path / "served") as other:
        get(target, f"{server.url}/file.bin", f"{other.url}/file.bin")
    assert target.read_bytes() == CONTENT


def test_a_dead_network_says_how_to_go_on(target):
    with pytest.raises(InputError, match=r"(?s)file\.bin: Failed to establish a .*put it there.*HTTPS_PROXY"):
        get(target, f"http://127.0.0.1:{closed_port()}/file.bin")
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_there_needs_no_network(target):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    get(target, f"http://127.0.0.1:{closed_port()}/file.bin")


def test_the_proxy_of_the_environment_is_used(server, target, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    get(target, "http://data.example/file.bin")  # a name that only a proxy could resolve
    assert server.requests == [("GET", "http://data.example/file.bin", None)]
    assert target.read_bytes() == CONTENT


def test_a_proxy_that_refuses_is_named(server, target, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    with pytest.raises(InputError, match=r"file\.bin: Unable to connect to proxy, .* 403 Forbidden"):
        get(target, "https://data.example/file.bin")
    assert {request[:2] for request in server.requests} == {("CONNECT", "data.example:443")}


def test_a_disk_that_fills_up_leaves_nothing_that_looks_whole(server, target):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    target.parent.mkdir(parents=True)
    partial(target).symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"(?s)set: .*file\.bin\n.*a full disk.*make room"):
        get(target, f"{server.url}/file.bin")
    assert not target.exists()


def test_a_disk_with_too_little_room_is_not_filled_first(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(InputError, match=r"a full disk .*300,000 bytes needed, 1,000 free"):
        get(target, f"{server.url}/file.bin")
    assert list(target.parent.iterdir()) == []


def test_what_is_left_to_fetch_is_what_must_fit(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**6, 0, 1000))
    target.parent.mkdir(parents=True)
    partial(target).write_bytes(CONTENT[:-1000])
    get(target, f"{server.url}/file.bin")
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own(server, target):
    target.parent.parent.mkdir(parents=True)
    target.parent.write_text("a file, not a folder")
    with pytest.raises(InputError, match=r"(?s)a file that cannot be written.*permissions"):
        get(target, f"{server.url}/file.bin")

"""A web server on loopback that behaves badly in the ways real ones do."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes
    ----------
    cut_after
        How many bytes of each answer arrive before the connection breaks, one number per answer; afterwards all do.
    ranges
        Whether it honours Range.
    status
        What it answers to everything, unless 200.
    requests
        Method, target and Range of every request.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.cut_after: list[int] = []
        self.ranges = True
        self.status = 200
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_CONNECT(self) -> None:
        self.server.requests.append((self.command, self.path, None))
        self.send_error(403)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.command, self.path, asked))
        # As a proxy it is asked for a whole URL.
        path = self.server.folder / re.sub(r"^(http://[^/]*)?/", "", self.path)
        if self.server.status != 200 or not path.is_file():
            self.send_error(404 if self.server.status == 200 else self.server.status)
            return
        content = path.read_bytes()
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        arrives = self.server.cut_after.pop(0) if self.server.cut_after else len(content)
        self.wfile.write(content[start : start + arrives])
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Keep the output of the tests clean."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve a folder for the length of the block."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

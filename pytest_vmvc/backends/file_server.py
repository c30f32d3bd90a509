"""Files over HTTP on the loopback: the shelf that boxes and kernels are fetched from."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK_BYTES = 1 << 20
SOCKET_TIMEOUT_S = 30.0
POLL_S = 0.1
"""How often the server looks whether it shall end."""


class FileServer(ThreadingHTTPServer):
    """Serves what it is given, by name, and counts what it sends; made by `serving`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: Mapping[str, Path | bytes] = {}
        self._sent = 0
        self._counting = threading.Lock()

    def url(self, name: str) -> str:
        """Where a file is to be had."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    @property
    def sent_bytes(self) -> int:
        """Bytes of files sent so far, headers left out."""
        with self._counting:
            return self._sent

    def count(self, size_bytes: int) -> None:
        """Note that so much was sent."""
        with self._counting:
            self._sent += size_bytes


@contextmanager
def serving(files: Mapping[str, Path | bytes]) -> Iterator[FileServer]:
    """Serve the files until the end of the context; ``.json`` ones as a catalogue.

    Each is read once before, so that the first one to fetch it does not wait for the disk.
    """
    for content in files.values():
        if isinstance(content, Path):
            with content.open("rb") as file:
                while file.read(CHUNK_BYTES):
                    pass
    with FileServer() as server:
        server.files = dict(files)
        thread = threading.Thread(
            target=server.serve_forever, args=(POLL_S,), name="file server", daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(SOCKET_TIMEOUT_S)


def download(url: str, target: Path, *, timeout_s: float) -> int:
    """Fetch a file from the loopback; returns its bytes.

    Raises OSError, also where less came than was announced, or not all of it in time.
    """
    until = time.monotonic() + timeout_s
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    size_bytes = 0
    with direct.open(url, timeout=timeout_s) as answer, target.open("wb") as file:
        announced = int(answer.headers["Content-Length"])
        while piece := answer.read1(CHUNK_BYTES):
            size_bytes += file.write(piece)
            if time.monotonic() > until:
                raise TimeoutError(
                    f"{url} sent {size_bytes} of {announced} bytes within {timeout_s:g} s"
                )
    if size_bytes != announced:
        raise OSError(f"{url} ended after {size_bytes} of {announced} bytes")
    return size_bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_S
    server: FileServer

    def do_GET(self) -> None:
        content = self._head()
        with suppress(ConnectionError):  # who hangs up has seen enough
            if isinstance(content, Path):
                with content.open("rb") as file:
                    while piece := file.read(CHUNK_BYTES):
                        self._send(piece)
            elif content is not None:
                self._send(content)

    def do_HEAD(self) -> None:
        self._head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the run's output is not ours."""

    def _send(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.server.count(len(piece))

    def _head(self) -> Path | bytes | None:
        name = self.path.partition("?")[0].lstrip("/")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return None
        size_bytes = content.stat().st_size if isinstance(content, Path) else len(content)
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size_bytes))
        self.end_headers()
        return content

"""The raw, multiplexed stream of an attached container or command."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_vmvc.backends.docker_engine import CHUNK_BYTES, Deadline
from pytest_vmvc.errors import Unavailable

if TYPE_CHECKING:
    from pytest_vmvc.backends.docker_call import Call

HANDED_OVER = {"Connection": "Upgrade", "Upgrade": "tcp"}
"""Headers of a call whose connection is to become a `Stream`."""


class Stream:
    """A connection that the engine has handed over; a context manager."""

    def __init__(self, call: Call, *, timeout_s: float) -> None:
        """Send a call with the headers `HANDED_OVER`; raises as that does."""
        # The SDK hands out the bare socket and so loses what came right behind the HTTP header;
        # the reader that has it, and the socket for deadlines, have no public name.
        self._answer = answer = call.send(timeout_s=timeout_s, stream=True)
        hidden: Any = answer
        self._reader = hidden._fp.fp  # noqa: SLF001 - see above
        self._socket = self._reader.raw._sock  # noqa: SLF001 - see above
        self._pending = b""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._answer.close()
        self._answer.release_conn()
        self._socket.close()

    def shut(self) -> None:
        """End it for every thread that still reads or writes; closing alone would not wake them."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> threading.Thread:
        """Write from a thread, then close this half: the far side may fill up meanwhile."""
        import ssl

        if isinstance(self._socket, ssl.SSLSocket):
            raise Unavailable(
                "standard input over TLS cannot be closed on its own",
                hint="use the engine's local socket",
            )

        def write() -> None:
            # A command may end without reading all of it: that is its right.
            with suppress(OSError):
                self._socket.sendall(data)
                self._socket.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def frames(self, deadline: Deadline) -> Iterator[tuple[int, bytes]]:
        """Yield pieces (1: stdout, 2: stderr) to the end; raises TimeoutError at the deadline."""
        number, missing = 0, 0
        while data := self._read(deadline):
            self._pending += data
            while self._pending:
                if not missing:
                    if len(self._pending) < 8:
                        break
                    number, missing = struct.unpack(">BxxxL", self._pending[:8])
                    self._pending = self._pending[8:]
                piece, self._pending = self._pending[:missing], self._pending[missing:]
                missing -= len(piece)
                if piece:
                    yield number, piece

    def _read(self, deadline: Deadline) -> bytes:
        deadline.check()
        # Zero would mean not to wait at all, which is no timeout.
        self._socket.settimeout(max(deadline.left_s, 0.001))
        try:
            return bytes(self._reader.read1(CHUNK_BYTES))
        except ConnectionError:
            return b""

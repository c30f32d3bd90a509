"""A machine's serial console: drained all the time, so that it never makes the guest wait."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress

from pytest_vmvc.backends.base import Stopwatch

KEPT_BYTES = 64 * 1024
CHUNK_BYTES = 1 << 16
OVERLAP_BYTES = 256
"""Longer than any text that is looked for: it may arrive in pieces."""
JOIN_TIMEOUT_S = 10.0
WORDS_KEPT = 300

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)")
_PANIC = re.compile(r"Kernel panic - not syncing: [^/]*[^/ ]")


class Console:
    """Reads ``channel`` in a thread and marks what it looks for the moment it arrives."""

    def __init__(self, channel: socket.socket, *, name: str) -> None:
        self._channel = channel
        self._texts: dict[str, bytes] = {}
        self._last = self._first_byte = ""
        self._window = b""
        self._tail = bytearray()
        self._changed = threading.Condition()
        self._answered = False
        self._ended = False
        self._thread = threading.Thread(target=self._read, name=f"console of {name}", daemon=True)

    def start(self, watch: Stopwatch, *, texts: Mapping[str, bytes], first_byte: str) -> None:
        """Read from now on and set the marks on ``watch``.

        ``texts`` are looked for until the last of them, the answer, is there. ``first_byte`` names
        the mark of the first byte; empty for none.
        """
        self._watch = watch
        self._texts = dict(texts)
        self._last = tuple(texts)[-1]
        self._first_byte = first_byte
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the answer; False when the console ended or the time was up before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._answered or self._ended, timeout_s)
            return self._answered

    @property
    def ended(self) -> bool:
        """Whether the other side is closed: nothing will come any more."""
        with self._changed:
            return self._ended

    def tail(self, limit: int = 1500) -> str:
        """The last readable lines, for people."""
        with self._changed:
            text = bytes(self._tail).decode(errors="replace")
        lines = (
            "".join(c for c in line if c.isprintable()).strip()
            for line in _ESCAPE.sub("", text).splitlines()
        )
        return "\n".join(line for line in lines if line)[-limit:]

    def close(self) -> None:
        """Close this side and let the thread end."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(JOIN_TIMEOUT_S)
        self._channel.close()

    def _read(self) -> None:
        with suppress(OSError):
            while data := self._channel.recv(CHUNK_BYTES):
                self._take(data)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, data: bytes) -> None:
        if self._texts:
            if self._first_byte:
                self._watch.mark(self._first_byte)
            self._look(data)
        with self._changed:
            self._tail += data
            del self._tail[:-KEPT_BYTES]

    def _look(self, data: bytes) -> None:
        self._window += data
        for name, text in tuple(self._texts.items()):
            if text in self._window:
                self._watch.mark(name)
                del self._texts[name]
        self._window = self._window[-OVERLAP_BYTES:]
        if self._last not in self._texts:
            self._texts.clear()
            with self._changed:
                self._answered = True
                self._changed.notify_all()


def one_line(text: str) -> str:
    """The last words of a text, as one line; of a kernel that panicked, why it did."""
    line = " / ".join(line for line in text.splitlines() if line.strip())
    panic = _PANIC.search(line)
    return panic[0][:WORDS_KEPT] if panic else line[-WORDS_KEPT:]

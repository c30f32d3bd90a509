"""One ``vagrant up``, watched from outside: its lines, the hypervisor's call, the first answer."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pytest_vmvc import process
from pytest_vmvc.backends.base import ANSWER, Stopwatch, new_nonce
from pytest_vmvc.backends.vagrant_command import VagrantCommand, meaningful_line
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut

LINES = {
    "Creating domain with the following settings": "cloned",
    "Starting domain": "created",
    "SSH address": "address",
    "Inserting generated public key": "login",
}
"""What a line of ``vagrant up`` says has been reached. ``cloned``: the disk; ``created``: the
domain is defined and about to be started; ``address``: it has a lease; ``login``: ssh lets in."""

READ_BYTES = 65536


class VagrantStart:
    """Runs ``vagrant up`` and takes the times; close it to end what is still going on.

    QEMU dials out to a listener on the loopback, gets the nonce, and the machine's payload sends it
    back: both ways are pushed, nothing is polled.
    """

    def __init__(self, command: VagrantCommand, *, listen: bool) -> None:
        self._command = command
        self._nonce = new_nonce()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0)) if listen else None
        self._calls: list[socket.socket] = []
        self._up: subprocess.Popen[bytes] | None = None
        self._errors = Path(command.root) / "up.stderr"
        self._line = b""
        self._heard = b""
        self.stopwatch = Stopwatch()

    def __enter__(self) -> VagrantStart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where QEMU is to dial; None where the answer comes another way."""
        if self._listener is None:
            return None
        host, port = self._listener.getsockname()
        return host, port

    def run(self, *, provider: str, deadline_s: float, returns: bool = True) -> None:
        """Start the stopwatch and ``vagrant up``; wait for its return and the first answer.

        With ``returns`` false it is left running when the answer is there, until `close` ends it.
        Raises `LaunchFailed` with Vagrant's last word, and `LaunchTimedOut`.
        """
        if self._listener is not None:
            self._watch(self._listener, self._on_call)
        self.stopwatch = Stopwatch()
        self._up = self._command.start_up(provider=provider, errors=self._errors)
        assert self._up.stdout is not None
        self._watch(self._up.stdout, self._on_output)
        ends = time.monotonic() + deadline_s
        while missing := self._missing(returns=returns):
            left_s = ends - time.monotonic()
            ready = self._selector.select(left_s) if left_s > 0 else []
            if not ready:
                raise LaunchTimedOut(
                    f"no {' and no '.join(missing)} within {deadline_s:g} s",
                    hint="see `vmvc doctor`; the box may lack the payload (answers by ssh?)",
                )
            for key, _ in ready:
                key.data()

    def _missing(self, *, returns: bool) -> list[str]:
        marks = self.stopwatch.marks
        wanted = {"up": "return of `vagrant up`"} if returns else {}
        if self._listener is not None:
            wanted["answer"] = "answer of the payload"
        return [words for mark, words in wanted.items() if mark not in marks]

    def _watch(self, source: socket.socket | object, action: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, action)  # type: ignore[arg-type]  # any object with a fileno

    def _on_output(self) -> None:
        up = self._up
        assert up is not None
        assert up.stdout is not None
        data = os.read(up.stdout.fileno(), READ_BYTES)
        self._line += data
        *lines, rest = self._line.replace(b"\r", b"\n").split(b"\n")
        self._line = rest[
            -READ_BYTES:
        ]  # a line without an end is none of those that are looked for
        for line in lines:
            text = line.decode(errors="replace")
            for words, mark in LINES.items():
                if words in text:
                    self.stopwatch.mark(mark)
        if not data:
            self._selector.unregister(up.stdout)
            self._ended(up)

    def _ended(self, up: subprocess.Popen[bytes]) -> None:
        try:
            status = up.wait(process.KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            raise LaunchFailed("`vagrant up` closed its output and did not end") from None
        if status != 0:
            said = self._errors.read_text(errors="replace")
            raise LaunchFailed(
                f"`vagrant up` ended with {status}: {meaningful_line(said)}",
                hint="see `vmvc doctor`",
            )
        self.stopwatch.mark("up")

    def _on_call(self) -> None:
        assert self._listener is not None
        call, _ = self._listener.accept()
        self.stopwatch.mark("process")
        self._calls.append(call)
        call.sendall(f"{self._nonce}\n".encode())
        self._watch(call, lambda: self._on_answer(call))

    def _on_answer(self, call: socket.socket) -> None:
        try:
            data = call.recv(READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(call)
            return
        self._heard = (self._heard + data)[-READ_BYTES:]
        if any(found == self._nonce.encode() for found in ANSWER.findall(self._heard)):
            self.stopwatch.mark("answer")

    def close(self) -> None:
        """End ``vagrant up`` if it still runs, and hang up; idempotent."""
        up, self._up = self._up, None
        if up is not None:
            if up.poll() is None:
                process.end_group(up)
            if up.stdout is not None:
                up.stdout.close()
        self._selector.close()
        for open_socket in (*self._calls, *([self._listener] if self._listener else [])):
            open_socket.close()

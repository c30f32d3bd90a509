"""One ``vagrant up``, watched from outside: its lines, the hypervisor's call, the first answer."""

from __future__ import annotations

import ipaddress
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import IO

from pytest_vmvc import process
from pytest_vmvc.backends import ready as readiness
from pytest_vmvc.backends import vagrant_providers
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

ADDRESS = re.compile(r"SSH address: (\d+\.\d+\.\d+\.\d+):\d+")
READ_BYTES = 65536
STOP_S = 20.0
"""How long Vagrant may take to stop by itself."""
KEPT_BYTES = 65536
"""Of a line, of the errors, and of what a payload says: none of them need ever end."""


class VagrantStart:
    """Runs ``vagrant up`` and takes the times; close it to end what is still going on.

    QEMU dials out to a listener on the loopback, gets the nonce, and the machine's payload sends it
    back: both ways are pushed, nothing is polled. With a `Line` the machine's console comes in by
    that way instead; a port or a page is tried from the moment on that its address is known.

    ``gently``: one that is ended early is asked to stop first, so that its provider takes back what
    Vagrant does not know of yet.
    """

    def __init__(
        self,
        command: VagrantCommand,
        *,
        listen: bool,
        ready: readiness.Ready | None = None,
        gently: bool = False,
    ) -> None:
        self._command = command
        self._gently = gently
        self._nonce = new_nonce()
        self._line_wanted = ready.text.encode() if isinstance(ready, readiness.Line) else b""
        self._service = ready if isinstance(ready, readiness.Port | readiness.Http) else None
        self._probe: threading.Thread | None = None
        self._probed, self._tell = socket.socketpair()
        self._seen: str | None = None
        self._closed = False
        self._ends = 0.0
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0)) if listen else None
        self._calls: list[socket.socket] = []
        self._up: subprocess.Popen[bytes] | None = None
        self._errors = b""
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
            self._listener.settimeout(0)
            self._watch(self._listener, self._on_call)
        self.stopwatch = Stopwatch()
        self._ends = time.monotonic() + deadline_s
        up = self._up = self._command.start_up(provider=provider)
        assert up.stdout is not None
        assert up.stderr is not None
        self._watch(up.stdout, self._on_output)
        self._watch(up.stderr, lambda: self._on_errors(up))
        self._watch(self._probed, self._on_probe)
        while missing := self._missing(returns=returns):
            left_s = self._ends - time.monotonic()
            ready = self._selector.select(left_s) if left_s > 0 else []
            if not ready:
                last = next(reversed(self.stopwatch.marks), None)
                seen = f"its last mark is {last}" if last else "no mark"
                raise LaunchTimedOut(
                    f"no {' and no '.join(missing)} within {deadline_s:g} s; {seen}",
                    hint="see `vmvc doctor`; the box may lack what is waited for",
                )
            for key, _ in ready:
                key.data()

    def _missing(self, *, returns: bool) -> list[str]:
        marks = self.stopwatch.marks
        wanted = {"up": "return of `vagrant up`"} if returns else {}
        if self._listener is not None or self._service is not None:
            seen = f" ({self._service}: {self._seen})" if self._seen else ""
            wanted["answer"] = f"answer of the payload{seen}"
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
        self._line = rest[-KEPT_BYTES:]
        for line in lines:
            text = line.decode(errors="replace")
            for words, mark in LINES.items():
                if words in text:
                    self.stopwatch.mark(mark)
            if self._service is not None and (found := ADDRESS.search(text)):
                self._start_probe(self._service, found[1])
        if not data:
            self._selector.unregister(up.stdout)
            self._ended(up)

    def _on_errors(self, up: subprocess.Popen[bytes]) -> None:
        if not self._take_errors(up.stderr):
            self._selector.unregister(up.stderr)  # type: ignore[arg-type] # it is there

    def _take_errors(self, pipe: IO[bytes] | None) -> bool:
        """Take in what there is, without waiting; false at the end."""
        assert pipe is not None
        if not select.select([pipe], [], [], 0)[0]:
            return False
        data = os.read(pipe.fileno(), READ_BYTES)
        self._errors = (self._errors + data)[-KEPT_BYTES:]
        return bool(data)

    def _ended(self, up: subprocess.Popen[bytes]) -> None:
        try:
            status = up.wait(process.KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            raise LaunchFailed(
                "`vagrant up` closed its output and did not end", hint="it was ended; try again"
            ) from None
        if status != 0:
            # What is left in the pipe now: whoever else holds it may write for ever.
            with suppress(OSError):
                for _ in range(KEPT_BYTES // READ_BYTES + 1):
                    if not self._take_errors(up.stderr):
                        break
            said = self._errors.decode(errors="replace")
            if reason := vagrant_providers.refused(said):
                raise LaunchFailed(reason[0], hint=reason[1])
            raise LaunchFailed(
                f"`vagrant up` ended with {status}: {meaningful_line(said)}",
                hint="see `vmvc doctor`",
            )
        self.stopwatch.mark("up")
        # QEMU dials before it runs anything.
        if self._listener and not self._calls and not select.select([self._listener], [], [], 0)[0]:
            raise LaunchFailed(
                "`vagrant up` ended with 0 and started no machine that calls back",
                hint="is `vagrant` Vagrant, and the box one with the payload (answers by ssh?)",
            )

    def _on_call(self) -> None:
        assert self._listener is not None
        try:
            call, _ = self._listener.accept()
        except BlockingIOError:
            return  # it has hung up already
        call.settimeout(process.KILL_GRACE_S)
        self.stopwatch.mark("process")
        self._calls.append(call)
        if not self._line_wanted:
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
        self._heard = (self._heard + data)[-KEPT_BYTES:]
        if self._line_wanted:
            if self._line_wanted in self._heard:
                self.stopwatch.mark("answer")
        elif any(found == self._nonce.encode() for found in ANSWER.findall(self._heard)):
            self.stopwatch.mark("answer")

    def _start_probe(self, service: readiness.Port | readiness.Http, host: str) -> None:
        if self._probe is not None:
            return
        if ipaddress.ip_address(host).is_loopback:
            raise LaunchFailed(
                f"the machine has no address at which {service} could be asked: Vagrant reaches it "
                f"by a port of the host's {host}",
                hint="leave the ready probe out: a start is then over at the first command by ssh",
            )

        def probe() -> None:
            self._seen = readiness.await_service(
                service, (host, service.port), until=self._ends, over=lambda: self._closed
            )
            if self._seen is None:
                self.stopwatch.mark("answer")
                self._tell.send(b"!")  # wakes who waits for it

        self._probe = threading.Thread(target=probe, name="ready probe", daemon=True)
        self._probe.start()

    def _on_probe(self) -> None:
        self._selector.unregister(self._probed)

    def close(self) -> None:
        """End ``vagrant up`` if it still runs, and hang up; idempotent."""
        self._closed = True
        if self._probe is not None:
            self._probe.join(process.KILL_GRACE_S)
        up, self._up = self._up, None
        if up is not None:
            if up.poll() is None:
                if self._gently:
                    with suppress(subprocess.TimeoutExpired, ProcessLookupError):
                        os.killpg(up.pid, signal.SIGINT)
                        up.wait(STOP_S)
                process.end_group(up)
            process.close_pipes(up)
        self._selector.close()
        listener = [self._listener] if self._listener else []
        for open_socket in (*self._calls, *listener, self._probed, self._tell):
            open_socket.close()

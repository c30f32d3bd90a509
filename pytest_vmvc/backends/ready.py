"""When a start is over: what a payload that is not ours shows by itself, the same on both sides."""

from __future__ import annotations

import ctypes
import os
import re
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_vmvc.errors import UsageError

CLONE_NEWNET = 0x40000000
TICK_S = 0.01
"""Seconds between two looks, and between two attempts to connect."""
NEXT_S = 0.05
"""Seconds after which another attempt is made beside one that nobody accepts or refuses: a machine
whose network is not up yet does neither."""
CONNECT_S = 0.25
"""How long an attempt may take to be accepted."""
RESPONSE_S = 30.0
"""How long a server may take for its first line once it has accepted."""
HEAD_BYTES = 4096
LONGEST_LINE = 200
"""Bytes of a text that is looked for on a console: it may arrive in pieces."""

Address = tuple[str, int]


class Line(msgspec.Struct, frozen=True, tag="line"):
    """A text in its output: the container's streams, the machine's serial console."""

    text: str

    def __str__(self) -> str:
        return f"line:{self.text}"


class Port(msgspec.Struct, frozen=True, tag="port"):
    """A TCP port of its that accepts a connection."""

    port: int

    def __str__(self) -> str:
        return f"port:{self.port}"


class Http(msgspec.Struct, frozen=True, tag="http"):
    """A page on a port of its that answers 200 to 399."""

    port: int
    path: str = "/"

    def __str__(self) -> str:
        return f"http:{self.port}{self.path}"


Ready = Line | Port | Http

SYNTAX = "line:TEXT, port:NUMBER or http:NUMBER/PATH"


def parse(text: str) -> Ready:
    """Read ``line:listening``, ``port:5432`` or ``http:8080/health``; raises `UsageError`."""
    kind, _, rest = text.partition(":")
    if kind == "line" and rest.strip():
        if not rest.isprintable() or len(rest.encode()) > LONGEST_LINE:
            raise UsageError(
                f"the ready probe {text!r:.80} is no line of output",
                hint=f"name a part of it, of {LONGEST_LINE} bytes at most",
            )
        return Line(rest)
    if kind == "port" and (number := _port(rest)):
        return Port(number)
    found = re.fullmatch(r"(\d+)(/[!-~]*)?", rest)
    if kind == "http" and found and (number := _port(found[1])):
        return Http(number, found[2] or "/")
    raise UsageError(f"{text!r:.80} is no ready probe", hint=SYNTAX)


def _port(text: str) -> int:
    number = int(text) if re.fullmatch(r"\d{1,5}", text) else 0
    return number if number < 1 << 16 else 0


def words(ready: Ready) -> str:
    """How the moment is found, for the record."""
    if isinstance(ready, Line):
        return f"{ready.text!r} in its output, pushed to the host; no polling"
    what = "a connection accepted" if isinstance(ready, Port) else "HTTP status 200 to 399"
    where = str(ready.port) if isinstance(ready, Port) else f"{ready.port}{ready.path}"
    return f"{what} at port {where}, tried every {TICK_S * 1000:g} ms"


def await_service(
    ready: Port | Http,
    address: Address,
    *,
    until: float,
    over: Callable[[], bool],
    accepted: Callable[[], bool] = lambda: True,
    namespace: Path | None = None,
) -> str | None:
    """Try until it is ready, which is None; else what was seen last, in words.

    It ends at that moment of the monotonic clock, or when it is ``over``. ``accepted`` tells
    whether the payload itself has accepted a connection, where something on the way to it accepts
    them first. ``namespace``: the network namespace to ask from, another than ours; raises OSError
    where that may not be entered.
    """
    with ThreadPoolExecutor(1) as there:

        def attempt() -> _Attempt:
            made = (
                there.submit(_socket_in, namespace).result(RESPONSE_S)
                if namespace
                else socket.socket()
            )
            return _Attempt(ready, address, made)

        return _await(attempt, until=until, over=over, accepted=accepted)


def _socket_in(namespace: Path) -> socket.socket:
    """Move this thread into a network namespace; what is made there stays there for all threads."""
    with namespace.open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    return socket.socket()


def _await(
    attempt: Callable[[], _Attempt],
    *,
    until: float,
    over: Callable[[], bool],
    accepted: Callable[[], bool],
) -> str | None:
    attempts: list[_Attempt] = []
    seen = ""
    try:
        while time.monotonic() < until and not over():
            if not attempts or attempts[-1].is_late:
                attempts.append(attempt())
            taken = accepted()
            for one in tuple(attempts):
                done = one.look(taken)
                if done:
                    return None
                if done is False:
                    seen = one.seen or seen
                    one.close()
                    attempts.remove(one)
            time.sleep(TICK_S)
        waiting = next((one.seen for one in attempts if one.seen), "")
        return seen or waiting or "nothing accepts a connection"
    finally:
        for one in attempts:
            one.close()


class _Attempt:
    """One connection on its way."""

    def __init__(self, ready: Port | Http, address: Address, made: socket.socket) -> None:
        self._ready = ready
        self._socket = made
        self._socket.settimeout(0)
        self._began = time.monotonic()
        self._ends = self._began + CONNECT_S
        self._head = b""
        self._accepted = False
        self.seen = ""
        """What came of it so far, in words."""
        with suppress(OSError):  # what comes of it is told by `look`
            self._socket.connect(address)

    @property
    def is_late(self) -> bool:
        """Whether another one had better be made beside it."""
        return not self._accepted and time.monotonic() > self._began + NEXT_S

    def look(self, taken: bool) -> bool | None:  # noqa: FBT001 - what is looked at, no switch
        """True: ready; False: nothing will come of it; None: wait."""
        try:
            if not self._accepted:
                if self._refused() or time.monotonic() > self._ends:
                    return False
                if not taken or not self._connected():
                    return None
                self._accepted, self.seen = True, "it accepts a connection and says nothing"
                self._ends = time.monotonic() + RESPONSE_S
                if isinstance(self._ready, Http):
                    self._socket.send(_request(self._ready))
            return self._answer() if isinstance(self._ready, Http) else True
        except OSError:
            return False

    def _refused(self) -> bool:
        """Closed again by whoever took it, before anything was said."""
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        if not select.select([self._socket], [], [], 0)[0]:
            return False
        return self._socket.recv(1, socket.MSG_PEEK) == b""

    def _connected(self) -> bool:
        return bool(select.select([], [self._socket], [], 0)[1])

    def _answer(self) -> bool | None:
        try:
            data = self._socket.recv(HEAD_BYTES)
        except BlockingIOError:
            return None if time.monotonic() < self._ends else False
        self._head = (self._head + data)[:HEAD_BYTES]
        if found := re.match(rb"HTTP/\d\.\d (\d{3})", self._head):
            self.seen = f"it answers with HTTP status {found[1].decode()}"
            return 200 <= int(found[1]) < 400
        if data and len(self._head) < HEAD_BYTES:
            return None
        self.seen = "what it answers is no HTTP"
        return False

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _request(ready: Http) -> bytes:
    return f"GET {ready.path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

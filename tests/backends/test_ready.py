"""What a start that is not ours shows: lines, ports and pages, from the host's side."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_vmvc.backends import ready
from pytest_vmvc.backends.ready import Http, Line, Port, await_service, parse
from pytest_vmvc.errors import UsageError

PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("line:ready to accept: all", Line("ready to accept: all")),
        ("port:5432", Port(5432)),
        ("http:8080", Http(8080)),
        ("http:8080/health?deep=1", Http(8080, "/health?deep=1")),
    ],
)
def test_a_probe_is_read_and_told(text, probe):
    assert parse(text) == probe
    assert parse(str(probe)) == probe
    assert ready.words(probe)


@pytest.mark.parametrize(
    "text",
    [
        "", "line:", "line: ", "line:a\nb", "line:" + "x" * 201, "port:", "port:0", "port:65536",
        "port:80/", "http:", "http:x", "http:80/a b", "http:80/\r\nHost: x", "https:443", "tcp:80",
    ],
)  # fmt: skip
def test_what_is_no_probe_is_refused(text):
    with pytest.raises(UsageError):
        parse(text)


@contextmanager
def served(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """A server on the loopback; None: one that takes nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer is None:
            listener.close()
            yield port
            return
        listener.settimeout(PATIENCE_S)

        def serve() -> None:
            try:
                while True:
                    call, _ = listener.accept()
                    call.settimeout(PATIENCE_S)
                    with call:
                        answer(call)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)


def says(*answers: bytes) -> Callable[[socket.socket], None]:
    """One answer after the other, the last one for ever."""
    left = list(answers)

    def answer(call: socket.socket) -> None:
        call.recv(4096)
        call.sendall(left.pop(0) if len(left) > 1 else left[0])

    return answer


def asked(probe: Port | Http, port: int, *, for_s: float = PATIENCE_S) -> str | None:
    return await_service(
        probe, ("127.0.0.1", port), until=time.monotonic() + for_s, over=lambda: False
    )


def test_a_port_that_is_open():
    with served(lambda _: None) as port:
        assert asked(Port(port), port) is None


def test_a_port_that_nobody_has():
    with served(None) as port:
        assert asked(Port(port), port, for_s=0.1) == "nothing accepts a connection"


def test_it_ends_when_the_payload_has_ended():
    with served(None) as port:
        seen = await_service(
            Port(port), ("127.0.0.1", port), until=time.monotonic() + PATIENCE_S, over=lambda: True
        )
    assert seen == "nothing accepts a connection"


@pytest.mark.parametrize("status", [200, 204, 302, 399])
def test_a_page_that_is_there(status):
    with served(says(b"HTTP/1.1 %d Fine\r\n\r\n" % status)) as port:
        assert asked(Http(port), port) is None


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b"HTTP/1.1 503 Later\r\n\r\n", "it answers with HTTP status 503"),
        (b"HTTP/1.0 404 No\r\n\r\n", "it answers with HTTP status 404"),
        (b"220 mail ready\r\n", "what it answers is no HTTP"),
        (b"x" * 100_000, "what it answers is no HTTP"),
    ],
)
def test_a_page_that_is_not_there(answer, seen):
    with served(says(answer)) as port:
        assert asked(Http(port), port, for_s=0.3) == seen


def test_a_page_that_comes_up_late_is_tried_until_it_does():
    wanting = b"HTTP/1.1 503 Later\r\n\r\n"
    with served(says(wanting, b"", wanting, b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        assert asked(Http(port), port) is None


def test_the_page_is_asked_for_by_its_path():
    heard: list[bytes] = []

    def answer(call: socket.socket) -> None:
        heard.append(call.recv(4096))
        call.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    with served(answer) as port:
        assert asked(Http(port, "/a?b=%20"), port) is None
    assert heard[0].startswith(b"GET /a?b=%20 HTTP/1.0\r\nHost: localhost\r\n")


def test_what_accepts_on_the_way_is_not_the_payload():
    with served(lambda call: call.recv(1)) as port:
        looks = iter([False, False, True])
        seen = await_service(
            Port(port),
            ("127.0.0.1", port),
            until=time.monotonic() + PATIENCE_S,
            over=lambda: False,
            accepted=lambda: next(looks),
        )
    assert seen is None
    assert not list(looks)


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_it_asks_in_another_network_namespace():
    """Where the loopback is down, so that nothing of ours can be reached."""
    with (
        served(lambda _: None) as port,
        subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as child,
    ):
        namespace = Path(f"/proc/{child.pid}/ns/net")
        until = time.monotonic() + PATIENCE_S
        while namespace.readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < until
        seen = await_service(
            Port(port),
            ("127.0.0.1", port),
            until=time.monotonic() + 0.2,
            over=lambda: False,
            namespace=namespace,
        )
        child.communicate(timeout=PATIENCE_S)
        assert asked(Port(port), port) is None
    assert seen == "nothing accepts a connection"

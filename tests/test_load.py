"""Open-loop load against servers of our own on the loopback: what is counted as what."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from pytest_vmvc import load
from pytest_vmvc.errors import UsageError
from pytest_vmvc.load import drive

GOOD = b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nok\n"


@contextmanager
def serving(answer):
    """A server that has ``answer(connection, number)`` deal with each connection, side by side."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    workers = []

    def work(connection, number):
        with connection:
            connection.settimeout(10)
            connection.recv(4096)
            answer(connection, number)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            workers.append(threading.Thread(target=work, args=(connection, len(workers))))
            workers[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for worker in workers:
            worker.join(10)


def good(connection, _number):
    connection.sendall(GOOD)


def many(address, *, timeout_s=5.0):
    return drive(address, "/x", rate_per_s=200, seconds=0.05, timeout_s=timeout_s)


def test_every_answer_is_counted_with_its_latency():
    with serving(good) as address:
        driven = many(address)
    assert (driven.sent, driven.answered, driven.failed) == (10, 10, 0)
    assert len(driven.latencies_s) == 10
    assert all(latency > 0 for latency in driven.latencies_s)


def test_requests_leave_when_they_are_due_though_none_is_answered():
    all_here = threading.Barrier(10)

    def waits(connection, _number):
        all_here.wait(10)  # a closed loop would never get so far
        connection.sendall(GOOD)

    with serving(waits) as address:
        assert many(address).answered == 10


def test_a_slow_servers_latency_counts_from_when_the_request_was_due():
    released = threading.Event()

    def waits(connection, number):
        if number == 9:
            released.set()
        released.wait(10)
        connection.sendall(GOOD)

    with serving(waits) as address:
        driven = drive(address, "/", rate_per_s=50, seconds=0.2, timeout_s=10)
    assert driven.latencies_s[0] > 9 / 50
    assert driven.latencies_s[0] > driven.latencies_s[-1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda connection, _: connection.sendall(b"HTTP/1.0 503 Busy\r\n\r\n"),
        lambda connection, _: None,
        lambda connection, _: connection.sendall(b"\xff\x00 nonsense\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.0 200 OK\n\n" + bytes(2 << 20)),
    ],
    ids=["error", "nothing", "nonsense", "endless"],
)
def test_anything_but_a_good_answer_has_failed(answer):
    def tolerant(connection, number):
        with suppress(OSError):  # the client has hung up on it
            answer(connection, number)

    with serving(tolerant) as address:
        driven = many(address)
    assert (driven.answered, driven.failed) == (0, 10)


def test_a_server_that_is_not_there_has_failed():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    assert many(address).failed == 10


def test_an_answer_that_is_too_late_has_failed():
    over = threading.Event()

    def never(_connection, _number):
        over.wait(10)

    with serving(never) as address:
        started = time.monotonic()
        driven = many(address, timeout_s=0.05)
        over.set()
    assert driven.failed == 10
    assert time.monotonic() - started < 5


def test_a_host_that_sends_too_late_says_so(monkeypatch):
    monkeypatch.setattr(load, "LATE_S", -1.0)
    with serving(good) as address:
        assert many(address).late == 10


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "::"])
def test_only_the_loopback_is_a_target(host):
    with pytest.raises(UsageError, match="loopback"):
        drive((host, 80), "/", rate_per_s=1, seconds=1, timeout_s=1)


@pytest.mark.parametrize(("rate_per_s", "seconds"), [(0, 1), (-1, -1), (1e9, 1), (1, 0.1)])
def test_a_load_without_bounds_is_refused(rate_per_s, seconds):
    with pytest.raises(UsageError, match="requests"):
        drive(("127.0.0.1", 80), "/", rate_per_s=rate_per_s, seconds=seconds, timeout_s=1)

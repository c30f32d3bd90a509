"""ssh that refuses, stalls, lies or breaks off: real servers on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from pytest_vmvc import process
from pytest_vmvc.backends import ssh
from pytest_vmvc.backends.ssh import SshConnection
from pytest_vmvc.backends.ssh_config import SshConfig
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
)
from tests.faults.guests import one_clear_line
from tests.faults.sshd import Server, make_key, serving
from tests.processes import below

LOGIN_S = 20.0
SHORT_S = 0.5
BOOT_S = 60.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "KILL_GRACE_S", SHORT_S)


# --- what answers is no ssh server ---------------------------------------------------------------


@contextmanager
def listener(play: Callable[[socket.socket], object]) -> Iterator[int]:
    """A listener on the loopback that plays to whoever calls; closed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    call, _ = server.accept()
                    calls.append(call)
                    play(call)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            for wire in (*calls, server):
                with suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
            thread.join(BOOT_S)
            for call in calls:
                call.close()


def flood(call: socket.socket) -> None:
    while True:
        call.sendall(os.urandom(1 << 16))


STALLS: dict[str, Callable[[socket.socket], object]] = {
    "never speaks": lambda call: None,
    "says half a banner": lambda call: call.sendall(b"SSH-2.0-Open"),
    "says its banner and no more": lambda call: call.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
REFUSES: dict[str, Callable[[socket.socket], object]] = {
    "hangs up": lambda call: call.shutdown(socket.SHUT_RDWR),
    "speaks something else": lambda call: call.sendall(b"HTTP/1.1 400 Bad\r\n" * 2000),
    "sends noise without end": flood,
    "sends noise behind its banner": lambda call: call.sendall(
        b"SSH-2.0-OpenSSH_9.2\r\n" + os.urandom(1 << 20)
    ),
}


def config(port: int) -> SshConfig:
    return SshConfig(host="127.0.0.1", port=port, user="nobody", identity_files=("/dev/null",))


@pytest.mark.parametrize("play", STALLS)
def test_a_stall_ends_with_the_deadline(tmp_path, play):
    with listener(STALLS[play]) as port:
        connection = SshConnection(config(port), tmp_path)
        with pytest.raises(LaunchTimedOut, match=r"no ssh login within 0\.5 s") as caught:
            connection.open(timeout_s=SHORT_S)
        one_clear_line(caught.value)
        assert not connection.connected()
        assert ssh_children() == []


@pytest.mark.parametrize("play", REFUSES)
def test_what_is_no_ssh_server_is_left_at_once(tmp_path, play):
    with listener(REFUSES[play]) as port:
        connection = SshConnection(config(port), tmp_path)
        with pytest.raises(LaunchFailed, match="ssh login failed") as caught:
            connection.open(timeout_s=LOGIN_S)
        assert not isinstance(caught.value, LaunchTimedOut)
        one_clear_line(caught.value)
        assert ssh_children() == []


def test_nobody_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LaunchFailed, match="Connection refused") as caught:
        SshConnection(config(port), tmp_path).open(timeout_s=LOGIN_S)
    one_clear_line(caught.value)


def ssh_children() -> list[psutil.Process]:
    return below(os.getpid(), "ssh")


# --- a real server that breaks -------------------------------------------------------------------


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(params=["a channel each", "a shell that stays"])
def connection(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[SshConnection]:
    made = SshConnection(server.config, tmp_path)
    made.open(timeout_s=LOGIN_S)
    if request.param == "a shell that stays":
        for _ in range(2):
            assert made.run(["echo", "fine"], timeout_s=LOGIN_S).stdout == b"fine\n"
        assert made._shell._channel is not None
    yield made
    made.close()
    assert ssh_children() == []


def in_a_moment(act: Callable[[], object], connection_ready: Callable[[], bool]) -> None:
    """Act in another thread as soon as a condition holds."""

    def wait() -> None:
        until = time.monotonic() + LOGIN_S
        while not connection_ready() and time.monotonic() < until:
            time.sleep(0.02)
        act()

    threading.Thread(target=wait).start()


@pytest.mark.vagrant
class TestServer:
    def test_a_key_that_is_not_let_in(self, server, tmp_path):
        make_key(server.folder / "login")
        with pytest.raises(LaunchFailed, match="Permission denied") as caught:
            SshConnection(server.config, tmp_path).open(timeout_s=LOGIN_S)
        one_clear_line(caught.value)

    def test_closed_in_mid_command(self, server, connection):
        in_a_moment(lambda: server.send(signal.SIGKILL), lambda: server.runs("sleep"))
        with pytest.raises(EnvironmentDied, match="ended during `sleep 1000`") as caught:
            connection.run(["sleep", "1000"], timeout_s=BOOT_S)
        one_clear_line(caught.value)
        with pytest.raises(EnvironmentDied):
            connection.run(["true"], timeout_s=LOGIN_S)

    def test_stopped_in_mid_command(self, server, connection, monkeypatch):
        monkeypatch.setattr(ssh, "END_TIMEOUT_S", SHORT_S)
        assert connection.run(["echo", "fine"], timeout_s=LOGIN_S).stdout == b"fine\n"
        server.send(signal.SIGSTOP)
        with pytest.raises(CommandTimedOut, match="nor could it be ended there") as caught:
            connection.run(["true"], timeout_s=SHORT_S)
        one_clear_line(caught.value)

    def test_another_host_key_in_mid_run_is_never_believed(self, server, connection, tmp_path):
        assert connection.run(["echo", "fine"], timeout_s=LOGIN_S).stdout == b"fine\n"
        server.stop()
        make_key(server.folder / "host")
        server.start()
        # The old connection is not made anew behind our back ...
        with pytest.raises(EnvironmentDied) as caught:
            connection.run(["true"], timeout_s=LOGIN_S)
        one_clear_line(caught.value)
        # ... and a new login to the same machine notices.
        with pytest.raises(LaunchFailed, match="Host key verification failed") as caught:
            SshConnection(server.config, tmp_path).open(timeout_s=LOGIN_S)
        assert "another machine answers" in one_clear_line(caught.value)

    def test_the_shared_socket_is_deleted(self, connection):
        connection._socket.unlink()
        with pytest.raises(EnvironmentDied, match="somebody has removed its socket") as caught:
            connection.run(["true"], timeout_s=LOGIN_S, stdin=b"by a channel of its own")
        one_clear_line(caught.value)
        with pytest.raises(EnvironmentDied):
            connection.forward(80)

    def test_output_without_end_is_cut_and_its_command_ended(self, server, connection):
        before = psutil.Process().memory_info().rss
        with pytest.raises(InfrastructureError, match="printed more than 64 MiB") as caught:
            connection.run(["yes"], timeout_s=BOOT_S)
        one_clear_line(caught.value)
        assert psutil.Process().memory_info().rss - before < 3 * process.OUTPUT_LIMIT_BYTES
        assert not server.runs("yes")

    def test_a_command_that_does_not_end_is_ended_there(self, server, connection):
        with pytest.raises(CommandTimedOut, match="it was ended there") as caught:
            connection.run(["sh", "-c", "sleep 1000; true"], timeout_s=SHORT_S)
        one_clear_line(caught.value)
        until = time.monotonic() + LOGIN_S
        while server.runs("sleep"):
            assert time.monotonic() < until
        for _ in range(2):
            assert connection.run(["echo", "fine"], timeout_s=LOGIN_S).stdout == b"fine\n"

    def test_a_command_that_ends_its_own_shell(self, server, connection):
        for _ in range(2):
            connection.run(["true"], timeout_s=LOGIN_S)
        [shell] = [one for one in server.sessions() if connection._shell._token in one.cmdline()]
        with pytest.raises(InfrastructureError, match=r"shell for commands .* ended") as caught:
            connection.run(["kill", "-9", str(shell.pid)], timeout_s=LOGIN_S)
        one_clear_line(caught.value)
        assert connection.run(["echo", "fine"], timeout_s=LOGIN_S).stdout == b"fine\n"

    def test_commands_side_by_side(self, connection):
        with ThreadPoolExecutor(4) as pool:
            words = [["sh", "-c", f"echo {number}; echo {number} >&2"] for number in range(24)]
            found = list(pool.map(partial(connection.run, timeout_s=BOOT_S), words))
        for number, done in enumerate(found):
            assert done.stdout == done.stderr == b"%d\n" % number

    def test_input_arrives(self, connection):
        data = os.urandom(1 << 20)
        assert connection.run(["cat"], timeout_s=LOGIN_S, stdin=data).stdout == data

    def test_nobody_else_can_use_the_login(self, connection, tmp_path):
        folder = connection._folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
        connection.close()
        assert not (folder / "s").exists()

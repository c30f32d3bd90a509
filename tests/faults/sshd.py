"""A real ssh server, on the loopback or at another address; from its package, not installed."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pytest_vmvc.backends.ssh_config import SshConfig
from pytest_vmvc.errors import VmvcError
from pytest_vmvc.subjects import debs, store
from tests.processes import below

START_S = 20.0
PACKAGES = ("openssh-server", "libwrap0")
PROGRAM = "sshd"

CONFIGURATION = """Port {port}
ListenAddress {address}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
UseDNS no
"""

# The account and the folder that it takes its privileges off with, for its own eyes only. Of what
# else is in /run it sees the engine's socket.
INSIDE = """set -e
mount --make-rprivate /
mount --bind "$0/passwd" /etc/passwd
exec 9</run
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/sshd
if [ -S /proc/self/fd/9/docker.sock ]; then
    touch /run/docker.sock
    mount --no-canonicalize --bind /proc/self/fd/9/docker.sock /run/docker.sock
fi
exec 9<&-
[ -z "$2" ] || hostname "$2"
exec "$1" -D -e -f "$0/config"
"""


def program() -> Path:
    """The server's program; fetched once into the cache where it is not installed."""
    if found := shutil.which("sshd", path="/usr/sbin:/sbin"):
        return Path(found)

    def build(target: Path) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="sshd-", dir=target) as scratch:
            root, version = debs.unpack(PACKAGES, Path(scratch), lambda *_: None)
            shutil.copy(root / "usr/sbin/sshd", target / PROGRAM)
            for library in root.rglob("libwrap.so*"):
                if not library.is_symlink():
                    shutil.copy(library, target / "libwrap.so.0")
        return {"version": version}

    recipe = {"packages": " ".join(PACKAGES), "architecture": platform.machine()}
    try:
        return store.built("test-sshd", recipe, build).path / PROGRAM
    except VmvcError as gap:
        pytest.skip(str(gap))


def make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=START_S
    )


class Server:
    """One server that can be killed, stopped and started with another key."""

    def __init__(
        self, folder: Path, address: str = "", *, name: str = "", inside: Sequence[str] = ()
    ) -> None:
        """On a free port of the loopback, or on that of ssh at an address.

        ``inside`` are words that start what follows them in other namespaces; ``name`` is the
        host's there.
        """
        self.folder, self.address, self.name = folder, address or "127.0.0.1", name
        self._inside = [*inside, "unshare", "--mount", *(("--uts",) if name else ())]
        self.port = 22
        if not address:
            with socket.create_server((self.address, 0)) as free:
                self.port = free.getsockname()[1]
        make_key(folder / "host")
        make_key(folder / "login")
        shutil.copy(folder / "login.pub", folder / "authorized")
        (folder / "config").write_text(
            CONFIGURATION.format(port=self.port, address=self.address, folder=folder)
        )
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> SshConfig:
        return SshConfig(
            host=self.address,
            port=self.port,
            user="root",
            identity_files=(str(self.folder / "login"),),
        )

    def start(self) -> None:
        """Start it and wait until it listens."""
        where = program()
        users = Path("/etc/passwd").read_text()
        if "\nsshd:" not in users:
            users += "sshd:x:65533:65534::/run/sshd:/bin/false\n"
        (self.folder / "passwd").write_text(users)
        with (self.folder / "log").open("wb") as log:
            self._child = subprocess.Popen(
                [*self._inside, "sh", "-c", INSIDE, self.folder, where, self.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LD_LIBRARY_PATH": str(where.parent)},
            )
        until = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection((self.address, self.port), 1):
                return
            assert self._child.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def sessions(self) -> list[psutil.Process]:
        """Its processes for connections, and what runs in them."""
        assert self._child is not None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._child.pid).children(recursive=True)
        return []

    def runs(self, program: str) -> bool:
        """Whether a connection has a process of that name."""
        assert self._child is not None
        return bool(below(self._child.pid, program))

    def send(self, number: signal.Signals) -> None:
        """Signal the server's processes of all connections, not the commands in them."""
        for session in self.sessions():
            with suppress(psutil.NoSuchProcess):
                if "sshd" in session.name():
                    session.send_signal(number)

    def stop(self) -> None:
        """End it and whatever runs in its connections."""
        if self._child is None:
            return
        for process in (*self.sessions(), psutil.Process(self._child.pid)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._child.wait(START_S)
        self._child = None


@contextmanager
def serving(
    folder: Path, address: str = "", *, name: str = "", inside: Sequence[str] = ()
) -> Iterator[Server]:
    """Run a server."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a server an account of its own")
    server = Server(folder, address, name=name, inside=inside)
    server.start()
    try:
        yield server
    finally:
        server.stop()

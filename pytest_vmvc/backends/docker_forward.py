"""The socket of an engine on another host, forwarded to this one by OpenSSH."""

from __future__ import annotations

import atexit
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.errors import Unavailable
from pytest_vmvc.text import last_line

START_S = 30.0
"""For the login and the first answer from there."""
READ_BYTES = 4096
SOCKET = "/var/run/docker.sock"
"""Where an engine listens if the address does not say."""
READY = "vmvc:ready"

ADDRESS = re.compile(
    r"ssh://(?:(?P<user>\w[\w.+-]*)@)?(?P<host>\w[\w.-]*|\[[\da-fA-F:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?P<socket>/[\w./@+,=-]*)?"
)
FORM = "ssh://[USER@]HOST[:PORT][/PATH/OF/SOCKET], and no password: log in by a key or an agent"

# $0 is the folder. It ends with its standard input, which is ours: whatever has happened to us.
HERE = """exec 3<&0
ssh "$@" <&3 & ssh=$!
(read -r _ <&3; kill "$ssh") & reader=$!
wait "$ssh"
kill "$reader" 2>/dev/null
rm -rf -- "$0"
"""
THERE = f"""if [ ! -S "$0" ]; then echo "there is no socket $0"
elif [ ! -r "$0" ] || [ ! -w "$0" ]; then echo "no permission on $0"
else echo {READY}; exec cat; fi"""

OPTIONS = {
    "BatchMode": "yes",
    "ClearAllForwardings": "no",
    # A connection of its own: a shared one would keep the forwarded socket after our end.
    "ControlMaster": "no",
    "ControlPath": "none",
    "ExitOnForwardFailure": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "5",
    "StreamLocalBindMask": "0177",
}


class Forward:
    """One host's socket; everything else (keys, jumps, known hosts) is by the user's ssh_config."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet; raises ValueError where the address makes no sense."""
        if not (match := ADDRESS.fullmatch(url)):
            raise ValueError(f"write {FORM}")
        self._host = match["host"].strip("[]")
        self._login = (*_option("-l", match["user"]), *_option("-p", match["port"]))
        self._there = match["socket"] or SOCKET
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._path = ""

    def url(self) -> str:
        """The address on this host, ``unix://…``; logs in where that has not been done, or ended.

        Raises `Unavailable`, with what ssh said.
        """
        with self._lock:
            if not self._up():
                self._close()
                self._open()
            return f"unix://{self._path}"

    def _up(self) -> bool:
        # The socket goes a moment before the process does.
        return (
            self._child is not None and self._child.poll() is None and Path(self._path).is_socket()
        )

    def close(self) -> None:
        """End the connection, and remove the socket."""
        with self._lock:
            self._close()

    def _open(self) -> None:
        if shutil.which("ssh") is None:
            raise Unavailable("ssh is not installed", hint="install OpenSSH's client")
        # In no run's name: it ends with this process, and not by whoever tidies up after a run.
        folder = Path(tempfile.mkdtemp(prefix="vmvc-ssh-"))
        self._path = str(folder / "s")
        with tempfile.TemporaryFile() as errors:
            self._child = subprocess.Popen(
                ["sh", "-c", HERE, folder, *self._words()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            atexit.register(self.close)
            reason = self._await_ready()
            if reason is None:
                return
            self._close()
            errors.seek(0)
            said = errors.read()[-READ_BYTES:].decode(errors="replace")
        reason = last_line(reason or said)
        raise Unavailable(
            f"the container engine at {self._host} is not reached by ssh: {reason}",
            hint=f"`ssh {shlex.join([*self._login, self._host])}` must log in without a question, "
            f"and the engine listen there on {self._there}; or write {FORM}",
        )

    def _words(self) -> list[str]:
        words = ["-T", "-L", f"{self._path}:{self._there}", *self._login]
        for name, value in OPTIONS.items():
            words += ["-o", f"{name}={value}"]
        return [*words, "--", self._host, shlex.join(["sh", "-c", THERE, self._there])]

    def _await_ready(self) -> str | None:
        """None, or what came from there in its place, which may be empty."""
        assert self._child is not None
        assert self._child.stdout is not None
        until, said = time.monotonic() + START_S, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            # Whoever never stops talking has a deadline as well.
            while (left_s := until - time.monotonic()) > 0 and selector.select(left_s):
                data = os.read(self._child.stdout.fileno(), READ_BYTES)
                said = (said + data)[-READ_BYTES:]
                text = said.decode(errors="replace")
                if READY in text.split("\n")[:-1]:
                    return None
                if not data:
                    return text.strip()
        return f"no answer within {START_S:g} s"

    def _close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        atexit.unregister(self.close)
        process.end_group(child)
        shutil.rmtree(Path(self._path).parent, ignore_errors=True)


@cache
def forward(url: str) -> Forward:
    """The one of this process; raises ValueError where the address makes no sense."""
    return Forward(url)


def _option(name: str, value: str | None) -> tuple[str, ...]:
    return (name, value) if value else ()

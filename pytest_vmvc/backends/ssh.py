"""Commands in a machine over one OpenSSH connection that is made once and shared."""

from __future__ import annotations

import selectors
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vmvc import process
from pytest_vmvc.backends.ssh_config import SshConfig
from pytest_vmvc.backends.ssh_shell import KeptShell, ShellEnded, Unfinished, leave, new_token
from pytest_vmvc.errors import (
    CommandTimedOut,
    EnvironmentDied,
    InfrastructureError,
    LaunchFailed,
    LaunchTimedOut,
)
from pytest_vmvc.model import Completed
from pytest_vmvc.resources import marked
from pytest_vmvc.text import last_line

SSH_FAILED = 255
"""Exit status by which ssh reports its own failure; a remote command may return it too."""

END_TIMEOUT_S = 20.0
"""Seconds that ending a command on the far side may take."""

CHECK_TIMEOUT_S = 10.0
NOT_ENDED = "nor could it be ended there: the machine or its ssh server may be stopped or hung"

# $0 is the command's token; the shell stays, so that a signal's number comes back as 128 + n and
# the command can be found again by the token. A program is meant, never a word of the shell's.
WRAPPER = '(exec "$@"); exit "$?"'

# The token comes by stdin, so this command line does not match itself. sshd gives each command a
# process group of its own.
END_COMMAND = """read -r token
for file in $(grep -l -- "$token" /proc/[0-9]*/cmdline 2>/dev/null); do
    pid=${file#/proc/}; pid=${pid%/cmdline}
    kill -s KILL -- "-$pid" 2>/dev/null
    kill -s KILL -- "$pid" 2>/dev/null
done
exit 0"""

# By its number, which is that of its process group.
END_GROUP = """read -r pid
kill -s KILL -- "-$pid" 2>/dev/null
kill -s KILL -- "$pid" 2>/dev/null
exit 0"""


class SshConnection:
    """One login; commands run over it as root. Close it when done."""

    def __init__(self, config: SshConfig, folder: Path) -> None:
        """Prepare a login; its socket and known hosts live in ``folder`` (keep its path short)."""
        self._config = config
        self._folder = Path(tempfile.mkdtemp(prefix="ssh-", dir=folder))
        self._socket = self._folder / "s"
        self._known_hosts = folder / "known_hosts"
        self._master: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._shell = KeptShell(self._start)

    def open(self, *, timeout_s: float) -> None:
        """Log in; raises `LaunchTimedOut` or `LaunchFailed` with what ssh said."""
        errors = self._folder / "errors"
        with errors.open("wb") as log:
            master = subprocess.Popen(
                self._login_argv(timeout_s),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=marked(),
                start_new_session=True,
            )
        assert master.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(master.stdout, selectors.EVENT_READ)
            answered = bool(selector.select(timeout_s))
        if answered and master.stdout.read(1):
            self._master = master
            return
        process.end_group(master)
        reason = last_line(errors.read_text(errors="replace"))
        if not answered:
            raise LaunchTimedOut(
                f"no ssh login within {timeout_s:g} s: {reason}",
                hint="the machine accepts a connection and does not go on; see its console",
            )
        hint = "see `vagrant ssh` by hand"
        if "Host key verification failed" in reason:
            hint = "another machine answers at that address than before; start afresh"
        raise LaunchFailed(f"ssh login failed: {reason}", hint=hint)

    def _login_argv(self, timeout_s: float) -> list[str]:
        options = {
            "BatchMode": "yes",
            # Our own deadline comes first: it tells a stall from a refusal.
            "ConnectTimeout": str(int(timeout_s) + 5),
            "ControlMaster": "yes",
            "ControlPath": str(self._socket),
            "ControlPersist": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "PermitLocalCommand": "yes",
            # Runs once the socket accepts commands: readiness is pushed, not polled.
            "LocalCommand": "echo ready",
            "PasswordAuthentication": "no",
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "6",
            "StrictHostKeyChecking": "accept-new",
            # One for all logins to a machine: who answers with another key is not that machine.
            "UserKnownHostsFile": str(self._known_hosts),
        }
        argv = ["ssh", "-F", "none", "-N", "-T"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        for key in self._config.identity_files:
            argv += ["-i", key]
        argv += ["-p", str(self._config.port), "-l", self._config.user]
        return [*argv, "--", self._config.host]

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run a command as root and wait for it; a non-zero exit status is data.

        Raises `CommandTimedOut` (the command is ended on the far side too) and `EnvironmentDied`
        when the connection is gone.
        """
        words = tuple(argv)
        started = time.monotonic()
        try:
            found = None if stdin else self._by_shell(words, timeout_s)
            if found is None:
                left_s = max(0.0, started + timeout_s - time.monotonic())
                found = self._by_channel(words, left_s, stdin)
        except Unfinished as error:
            raise self._given_up(words, error, timeout_s) from None
        exit_status, out, err = found
        return Completed(
            argv=words,
            exit_status=exit_status,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - started,
        )

    def _by_channel(
        self, argv: tuple[str, ...], timeout_s: float, stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        token = new_token()
        child = self._start(["sh", "-c", WRAPPER, token, *argv])
        try:
            out, err = process.communicate(child, stdin, timeout_s=timeout_s)
        except (subprocess.TimeoutExpired, process.OutputTooLong) as error:
            raise Unfinished(error, token) from None
        finally:
            leave(child)
        if child.returncode == SSH_FAILED and not self.connected():
            raise self._died(argv, err)
        return child.returncode, out, err

    def _by_shell(self, argv: tuple[str, ...], timeout_s: float) -> tuple[int, bytes, bytes] | None:
        """None where the command is not for the shell that stays."""
        try:
            reply = self._shell.run(argv, timeout_s=timeout_s)
        except ShellEnded:
            if not self.connected():
                raise self._died(argv) from None
            raise InfrastructureError(
                f"the shell for commands in the machine ended during `{process.shown(argv)}`",
                hint="the command may have ended it, or the machine for want of memory",
            ) from None
        if reply is None:
            return None
        return reply.exit_status, bytes(reply.out), bytes(reply.err)

    def _given_up(
        self, argv: Sequence[str], unfinished: Unfinished, timeout_s: float
    ) -> InfrastructureError:
        """End the command on the far side, and say so."""
        if unfinished.pid is None:
            ended = self._end(END_COMMAND, unfinished.token)
        else:
            ended = self._end(END_GROUP, str(unfinished.pid))
        hint = "it was ended there" if ended else NOT_ENDED
        if isinstance(unfinished.why, process.OutputTooLong):
            return InfrastructureError(
                f"`{process.shown(argv)}` printed more than "
                f"{process.OUTPUT_LIMIT_BYTES >> 20} MiB in the machine",
                hint=hint,
            )
        return CommandTimedOut(
            f"`{process.shown(argv)}` did not end within {timeout_s:g} s in the machine", hint=hint
        )

    def _died(self, argv: Sequence[str], errors: bytes = b"") -> EnvironmentDied:
        hint = last_line(errors.decode(errors="replace"), "its domain may have been destroyed")
        master = self._master
        if master is not None and master.poll() is None and not self._socket.exists():
            hint = f"somebody has removed its socket {self._socket}"
        return EnvironmentDied(
            f"the connection to the machine ended during `{process.shown(argv)}`", hint=hint
        )

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        become_root = () if self._config.user == "root" else ("sudo", "-n", "--")
        command = shlex.join([*become_root, *argv])
        return subprocess.Popen(
            [*self._control, "-T", "--", self._config.host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=marked(),
            start_new_session=True,
        )

    def _end(self, script: str, what: str) -> bool:
        """End a command on the far side; whether that could be reached."""
        child = self._start(["sh", "-c", script])
        try:
            with suppress(subprocess.TimeoutExpired, process.OutputTooLong):
                process.communicate(child, f"{what}\n".encode(), timeout_s=END_TIMEOUT_S)
        finally:
            leave(child)
        return child.returncode == 0

    @property
    def _control(self) -> list[str]:
        # Without the socket ssh would dial by itself: the proxy that fails forbids that.
        return [
            "ssh", "-F", "none", "-o", "ProxyCommand=false", "-o", "LogLevel=ERROR",
            "-e", "none", "-l", self._config.user, "-S", str(self._socket),
        ]  # fmt: skip

    def forward(self, port: int, *, timeout_s: float = CHECK_TIMEOUT_S) -> tuple[str, int]:
        """Reach a TCP port of the machine's loopback from the host's; raises `EnvironmentDied`."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            here: tuple[str, int] = free.getsockname()
        listen = f"{here[0]}:{here[1]}:127.0.0.1:{port}"
        done = process.run(
            [*self._control, "-O", "forward", "-L", listen, "--", self._config.host],
            timeout_s=timeout_s,
            check=False,
        )
        if done.exit_status != 0:
            raise EnvironmentDied(
                f"the connection to the machine forwards no port {port}",
                hint=done.stderr.decode(errors="replace").strip(),
            )
        return here

    def connected(self) -> bool:
        """Whether the shared connection is up."""
        if self._master is None or self._master.poll() is not None:
            return False
        try:
            done = process.run(
                [*self._control, "-O", "check", "--", self._config.host],
                timeout_s=CHECK_TIMEOUT_S,
                check=False,
            )
        except CommandTimedOut:
            return False
        return done.exit_status == 0

    def close(self) -> None:
        """End the connection and whatever runs over it; idempotent, from any thread."""
        with self._lock:
            master, self._master = self._master, None
            if master is not None:
                process.end_group(master)
                self._socket.unlink(missing_ok=True)
        # Who runs a command in it has been told by the connection's end.
        self._shell.close()

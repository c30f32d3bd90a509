"""The login to a machine that ``vagrant up`` has brought up, and its first answer by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vmvc.backends.base import ANSWER, Stopwatch, new_nonce
from pytest_vmvc.backends.ssh import SshConnection
from pytest_vmvc.backends.ssh_config import parse_ssh_config
from pytest_vmvc.errors import CommandFailed, CommandTimedOut, LaunchFailed, LaunchTimedOut

if TYPE_CHECKING:
    from pytest_vmvc.backends.vagrant_command import VagrantCommand

LOGIN_TIMEOUT_S = 60.0
READINESS = (
    "nonce echoed over ssh after `vagrant up` returned and `vagrant ssh-config` was read; "
    "pushed, no poll of ours"
)


@contextmanager
def login(command: VagrantCommand, folder: Path, stopwatch: Stopwatch) -> Iterator[SshConnection]:
    """Log in as `vagrant ssh-config` says, and have an answer if there was none before.

    Raises `LaunchFailed` and `LaunchTimedOut`.
    """
    try:
        config = parse_ssh_config(command.ssh_config())  # type: ignore[no-untyped-call] # library
    except CommandTimedOut as error:
        raise LaunchTimedOut(
            f"`vagrant ssh-config` did not answer: {error.message}", hint="see `vmvc doctor`"
        ) from error
    except CommandFailed as error:
        raise LaunchFailed(
            f"`vagrant ssh-config` failed: {error.message}", hint=error.hint or "see `vmvc doctor`"
        ) from error
    connection = SshConnection(config, folder)
    try:
        connection.open(timeout_s=LOGIN_TIMEOUT_S)
        if "answer" not in stopwatch.marks:
            _answer(connection, stopwatch)
        yield connection
    finally:
        connection.close()


def _answer(connection: SshConnection, stopwatch: Stopwatch) -> None:
    """Have a nonce echoed, and mark it as the answer."""
    nonce = new_nonce()
    done = connection.run(["echo", f"vmvc:nonce {nonce}"], timeout_s=LOGIN_TIMEOUT_S)
    if nonce.encode() not in ANSWER.findall(done.stdout):
        raise LaunchFailed("the machine did not echo the nonce over ssh")
    stopwatch.mark("answer")

"""Commands that change the system: as root, or through sudo in the foreground."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable

GRACE_S = 15.0
"""Seconds that a command gets to end after its deadline."""
TAIL_LINES = 12


def prefix() -> tuple[str, ...]:
    """Words before a privileged command; sudo asks for a password on a terminal only."""
    if os.geteuid() == 0:
        return ()
    return ("sudo",) if sys.stdin.isatty() else ("sudo", "-n")


def command(argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
    """The whole argv; the environment is passed by ``env``, since sudo drops it."""
    settings = ["env", *(f"{key}={value}" for key, value in env.items())] if env else []
    return [*prefix(), *settings, *argv]


def shown(argv: Sequence[str]) -> str:
    """A command as a person would type it."""
    return shlex.join(argv)


def run(
    argv: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> int:
    """Run a privileged command, its output appended to ``log``, and return its exit status.

    It stays in the terminal's foreground group, unlike every other command of ours: sudo must be
    able to ask for a password, and Ctrl-C must reach the package manager. A daemon started by it
    holds the log file and none of our pipes. Raises `Unavailable` where sudo is missing or
    refuses, `CommandTimedOut`, and `CommandFailed` with the end of the output.
    """
    words = command(argv, env)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"\n$ {shown(words)}\n".encode())
        output.flush()
        start = output.tell()
        try:
            child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except (FileNotFoundError, PermissionError) as error:
            raise Unavailable(
                f"{words[0]} is not installed, or not for you",
                hint=f"as root, run: {shown([*argv])}",
            ) from error
        status = _wait(child, timeout_s, words)
    if status != 0 and check:
        text = tail(log, start)
        if words[0] == "sudo" and "sudo:" in text:
            raise Unavailable("sudo refused", hint=f"as root, run: {shown([*argv])}")
        raise CommandFailed(f"`{shown(words[:6])}` ended with {status}", hint=f"{text} (see {log})")
    return status


def tail(log: Path, start: int = 0) -> str:
    """The last lines of a log, from a place on, in one line."""
    try:
        text = log.read_bytes()[start:].decode(errors="replace")
    except OSError as error:
        return str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-TAIL_LINES:])


def _wait(child: subprocess.Popen[bytes], timeout_s: float, words: Sequence[str]) -> int:
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise CommandTimedOut(
            f"`{shown(words[:6])}` did not end within {timeout_s:g} s",
            hint="it was asked to end; look at the log and try again",
        ) from None
    finally:
        for end in (child.terminate, child.kill):  # sudo passes the first one on
            if child.poll() is None:
                with suppress(PermissionError, subprocess.TimeoutExpired):
                    end()
                    child.wait(GRACE_S)

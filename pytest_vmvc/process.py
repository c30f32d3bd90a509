"""The one door to host commands: an argv list, a deadline, captured output, no shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable
from pytest_vmvc.model import Completed

KILL_GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL of a command that outlived its deadline."""
TEXT_KEPT = 200


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run a host command in its own process group and wait for it.

    ``env`` is added to the caller's environment. Raises `Unavailable` when the program does not
    exist, `CommandTimedOut` after ``timeout_s`` seconds (the whole group is ended first) and,
    unless ``check`` is false, `CommandFailed` with the end of its standard error. `CommandFailed`
    also tells why one could not be started.
    """
    words = [str(word) for word in argv]
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise CommandFailed(f"`{shown(words)}` has no folder to run in: {cwd}") from error
        raise Unavailable(
            f"{words[0]} is not installed", hint="run `vmvc setup`, or see `vmvc doctor`"
        ) from error
    except PermissionError as error:
        raise Unavailable(f"{words[0]} may not be run", hint=str(error)) from error
    except OSError as error:
        raise CommandFailed(f"`{shown(words)}` could not be started", hint=str(error)) from error
    try:
        out, err = child.communicate(stdin or None, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        end_group(child)
        raise CommandTimedOut(
            f"`{shown(words)}` did not end within {timeout_s:g} s",
            hint="the host may be overloaded; its processes were ended",
        ) from None
    except BaseException:
        end_group(child)
        raise
    done = Completed(
        argv=tuple(words),
        exit_status=child.returncode,
        stdout=out,
        stderr=err,
        duration_s=time.monotonic() - started,
    )
    if check and done.exit_status != 0:
        tail = (done.stderr or done.stdout).decode(errors="replace").strip()[-800:]
        raise CommandFailed(f"`{shown(words, 6)}` ended with {done.exit_status}", hint=tail)
    return done


def shown(argv: Sequence[str], most: int = 4) -> str:
    """The first words of a command for a message: on one line, printable, not too long."""
    text = "".join(sign if sign.isprintable() else " " for sign in " ".join(argv[:most]))
    return " ".join(text.split())[:TEXT_KEPT]


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child that leads its own process group: SIGTERM, a grace period, SIGKILL."""
    # SIGKILL also when the child has obeyed: others of its group need not have done so. They may
    # be another user's (sudo), or none.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=KILL_GRACE_S)

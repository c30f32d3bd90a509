"""The one door to host commands: an argv list, a deadline, captured output, no shell."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pytest_vmvc.errors import CommandFailed, CommandTimedOut, Unavailable
from pytest_vmvc.model import Completed
from pytest_vmvc.resources import marked
from pytest_vmvc.text import one_line

KILL_GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL of a command that outlived its deadline."""
TEXT_KEPT = 200

OUTPUT_LIMIT_BYTES = 64 << 20
"""Most that a command may print: one that prints without end must not take the host's memory."""

READ_BYTES = 1 << 16

EXIT_STATUS = rb"([01]?\d?\d|2[0-4]\d|25[0-5])"
"""A pattern of the exit statuses that there are, as a guest may write them."""


class OutputTooLong(Exception):
    """A child printed more than `OUTPUT_LIMIT_BYTES`; it still runs."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    stdin: bytes = b"",
    stdout: BinaryIO | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run a host command in its own process group and wait for it.

    ``stdout``: a file to write its output to, as much as there is; without, it is returned.
    ``env`` is added to the caller's environment. Raises `Unavailable` when the program does not
    exist, `CommandTimedOut` after ``timeout_s`` seconds (the whole group is ended first),
    `CommandFailed` when it cannot be started or prints more than `OUTPUT_LIMIT_BYTES` (ended, too)
    and, unless ``check`` is false, `CommandFailed` with the end of its standard error.
    """
    words = [str(word) for word in argv]
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=marked(env),
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
        out, err = communicate(child, stdin, timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        end_group(child)
        raise CommandTimedOut(
            f"`{shown(words)}` did not end within {timeout_s:g} s",
            hint="the host may be overloaded; its processes were ended",
        ) from None
    except OutputTooLong:
        end_group(child)
        raise CommandFailed(
            f"`{shown(words)}` printed more than {OUTPUT_LIMIT_BYTES >> 20} MiB",
            hint=f"it was ended; is {words[0]} the program that it should be?",
        ) from None
    except BaseException:
        end_group(child)
        raise
    finally:
        close_pipes(child)
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
    return one_line(" ".join(argv[:most]), TEXT_KEPT)


def communicate(
    child: subprocess.Popen[bytes], stdin: bytes, *, timeout_s: float
) -> tuple[bytes, bytes]:
    """Write ``stdin``, read both outputs to their ends and wait for the child.

    As `subprocess.Popen.communicate`, but for a bound on what is kept. Raises
    `subprocess.TimeoutExpired` and `OutputTooLong`; the child goes on then.
    """
    until = time.monotonic() + timeout_s
    kept: dict[int, bytearray] = {}
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                kept[pipe.fileno()] = bytearray()
                selector.register(pipe, selectors.EVENT_READ)
        if child.stdin is not None and rest:
            selector.register(child.stdin, selectors.EVENT_WRITE)
        elif child.stdin is not None:
            child.stdin.close()
        while selector.get_map():
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(child.args, timeout_s)
            for key, _ in selector.select(left_s):
                if key.fileobj is child.stdin:
                    # So much never blocks where some of it can be written.
                    written = _written(key.fd, rest[: select.PIPE_BUF])
                    rest = rest[len(rest) if written is None else written :]
                    if not rest:
                        selector.unregister(key.fileobj)
                        child.stdin.close()
                elif data := os.read(key.fd, READ_BYTES):
                    kept[key.fd] += data
                    if sum(map(len, kept.values())) > OUTPUT_LIMIT_BYTES:
                        raise OutputTooLong
                else:
                    selector.unregister(key.fileobj)
    child.wait(max(0.0, until - time.monotonic()))
    out, err = (
        bytes(kept[pipe.fileno()]) if pipe is not None else b""
        for pipe in (child.stdout, child.stderr)
    )
    return out, err


def _written(fd: int, data: memoryview) -> int | None:
    """How many bytes went in; None where nobody reads any more."""
    try:
        return os.write(fd, data)
    except BrokenPipeError:
        return None


def close_pipes(child: subprocess.Popen[bytes]) -> None:
    """Close our ends of a child's pipes."""
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child that leads its own process group: SIGTERM, a grace period, SIGKILL.

    Our ends of its pipes are closed.
    """
    # SIGKILL also when the child has obeyed: others of its group need not have done so. They may
    # be another user's (sudo), or none.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(KILL_GRACE_S)
    close_pipes(child)  # what is in them is not read: it may have no end

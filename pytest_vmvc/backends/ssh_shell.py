r"""A shell that stays in a machine and runs one command after another, over one channel of ssh.

A channel for each command makes the machine start a session, a login shell and sudo each time. The
host writes a request and reads both outputs up to the marks that end them::

    <id> <lines>\n<argv, quoted, on so many lines>\n
    vmvc:begin <id> <pid>\n<stdout>\nvmvc:end <id> <exit status>\n
    <stderr>\nvmvc:end <id>\n

The id is random: nothing that a command prints is taken for a mark.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pytest_vmvc import process

# Its $0 is a token by which it can be found. A command has a process group of its own, so that it
# can be ended with all that it started: by job control, which bash does without a terminal, or as a
# session, which is one program more to start. Its outputs end when the last of these has closed
# them, as with a channel of its own. In the background it would ignore SIGINT: it is not there.
CHOOSE = 'command -v bash >/dev/null && exec bash -c "$1" "$0"; exec sh -c "$1" "$0"'
SCRIPT = r"""exec 3>&2 2>/dev/null  # what the shell itself says of jobs and signals
set -m
case $- in *m*) alone= ;; *) alone=setsid ;; esac
for tool in cat mkfifo mktemp $alone; do command -v $tool >/dev/null || exit; done
dir=$(mktemp -d) && mkfifo "$dir/out" "$dir/err" || exit
while read -r id lines; do
    words=
    while [ "$lines" -gt 0 ] && IFS= read -r line; do
        words="$words$line
"
        lines=$((lines - 1))
    done
    eval "set -- $words"
    cat "$dir/out" &
    cat "$dir/err" >&3 &
    (
        read -r pid rest </proc/self/stat
        echo "vmvc:begin $id $pid"
        exec $alone "$@" </dev/null >"$dir/out" 2>"$dir/err" 3>&-
    )
    status=$?
    wait
    printf '\nvmvc:end %s %s\n' "$id" "$status"
    printf '\nvmvc:end %s\n' "$id" >&3
done
rm -r "$dir"
"""

MARK_BYTES = 80
"""More than any mark."""


class ShellEnded(Exception):
    """The shell has ended while a command ran; what has become of it is not known."""


class Unfinished(Exception):
    """A command has outlived its deadline or printed too much, and goes on."""

    def __init__(self, why: Exception, token: str, pid: int | None = None) -> None:
        """``token``: its own or its shell's; ``pid``: its group, where that is known."""
        super().__init__(why)
        self.why = why
        self.token = token
        self.pid = pid


class Reply:
    """What a shell says of one request, as it arrives; a guest says what it likes."""

    def __init__(self, request_id: bytes) -> None:
        self.out, self.err = bytearray(), bytearray()
        self.pid: int | None = None
        """Of the command and its process group, in the machine; None until it begins."""
        self.exit_status = -1
        self._begin = re.compile(rb"vmvc:begin %s (\d{1,10})\n" % request_id)
        self._end = re.compile(rb"\nvmvc:end %s %s\n\Z" % (request_id, process.EXIT_STATUS))
        self._end_of_errors = re.compile(rb"\nvmvc:end %s\n\Z" % request_id)

    def add_output(self, data: bytes) -> bool:
        """Take in what has arrived; whether that was all of it."""
        self.out += data
        if self.pid is None:
            if found := self._begin.search(self.out):
                self.pid = int(found[1])
            # What a login may say in front of it is nobody's output.
            del self.out[: found.end() if found else -MARK_BYTES]
        if self.pid is None or not (found := self._end.search(self.out[-MARK_BYTES:])):
            return False
        self.exit_status = int(found[1])
        del self.out[-len(found[0]) :]
        return True

    def add_errors(self, data: bytes) -> bool:
        """As `add_output`, for what the command says on its standard error."""
        self.err += data
        if found := self._end_of_errors.search(self.err[-MARK_BYTES:]):
            del self.err[-len(found[0]) :]
        return found is not None


class KeptShell:
    """The host's end: opened for the second command, as a single one has nothing from it."""

    def __init__(self, start: Callable[[Sequence[str]], subprocess.Popen[bytes]]) -> None:
        """``start`` begins a command as root, with all three streams as pipes."""
        self._start = start
        self._lock = threading.Lock()
        self._asked = False
        self._hopeless = False
        self._channel: subprocess.Popen[bytes] | None = None
        self._token = ""

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Reply | None:
        """Run a command to its end; None where it is not for this shell, and was not begun.

        Raises `Unfinished` and `ShellEnded`; the next command has another shell then.
        """
        words = os.fsencode(shlex.join(argv))
        asked, self._asked = self._asked, True
        # A shell reads its requests byte by byte.
        if not asked or self._hopeless or len(words) + MARK_BYTES > select.PIPE_BUF:
            return None
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._run(words, time.monotonic() + timeout_s)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Leave it; what is left of a command ends with the connection."""
        with self._lock:
            self._leave()

    def _run(self, words: bytes, until: float) -> Reply | None:
        opened = self._channel is None
        if self._channel is None:
            self._token = new_token()
            self._channel = self._start(["sh", "-c", CHOOSE, self._token, SCRIPT])
        request_id = secrets.token_hex(8).encode()
        request = b"%s %d\n%s\n" % (request_id, words.count(b"\n") + 1, words)
        reply = Reply(request_id)
        try:
            self._exchange(self._channel, request, reply, until)
        except (subprocess.TimeoutExpired, process.OutputTooLong) as error:
            self._leave()
            raise Unfinished(error, self._token, reply.pid) from None
        except (BrokenPipeError, EOFError):
            self._leave()
            if reply.pid is not None:
                raise ShellEnded from None
            # It lacks a program that it needs, or something has ended it since the last command.
            self._hopeless = opened
            return None
        except BaseException:
            self._leave()
            raise
        return reply

    def _leave(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            leave(channel)

    @staticmethod
    def _exchange(
        channel: subprocess.Popen[bytes], request: bytes, reply: Reply, until: float
    ) -> None:
        assert channel.stdin is not None
        assert channel.stdout is not None
        assert channel.stderr is not None
        os.write(channel.stdin.fileno(), request)
        with selectors.DefaultSelector() as selector:
            selector.register(channel.stdout, selectors.EVENT_READ, reply.add_output)
            selector.register(channel.stderr, selectors.EVENT_READ, reply.add_errors)
            while selector.get_map():
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise subprocess.TimeoutExpired(channel.args, left_s)
                for key, _ in selector.select(left_s):
                    data = os.read(key.fd, process.READ_BYTES)
                    if not data:
                        raise EOFError
                    if key.data(data):
                        selector.unregister(key.fileobj)
                    if len(reply.out) + len(reply.err) > process.OUTPUT_LIMIT_BYTES:
                        raise process.OutputTooLong


def new_token() -> str:
    """A word to find a command by, in the machine's process table."""
    return f"vmvc-{secrets.token_hex(8)}"


def leave(channel: subprocess.Popen[bytes]) -> None:
    """End a channel of a shared connection; no child and no pipe is left.

    The connection holds the channel's pipes too, until the far side ends: so their end is not
    waited for.
    """
    if channel.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(channel.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        channel.wait(process.KILL_GRACE_S)
    process.close_pipes(channel)

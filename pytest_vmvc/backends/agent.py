r"""Commands in a bare machine: the guest's agent (busybox sh) and the host's end of its channel.

Two virtio-serial ports. On the first the host writes one request and reads one reply::

    vmvc:run <id> <stdin bytes> <argv, each word quoted as $'...'>\n<stdin>
    vmvc:done <id> <exit status> <stdout bytes> <stderr bytes>\n<stdout><stderr>

On the second it may write ``vmvc:kill <id>``, which ends the request's process group; standard
input that was on its way then ends with ``vmvc:skipped <id>`` on the first. The id is random, so a
reply that nobody waits for any more is skipped.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from pytest_vmvc import process
from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied, InfrastructureError
from pytest_vmvc.model import Completed

KILL_GRACE_S = 10.0
"""Seconds that the guest has to report a command that it was told to end."""
SKIP_INTERVAL_S = 0.2
CHUNK_BYTES = 1 << 20
HEADER_BYTES = 128
"""More than the first line of any reply."""

GUEST_AGENT = r"""# Sourced by init; `supervise` never returns. $enter: words in front of a command.
work=/run/vmvc

# The first number of a port is that of its device, which other devices shift.
port() { set -- /dev/vport*p"$1"; echo "$1"; }

serve() {
  exec 3<>"$(port 1)" || exit 1
  while :; do
    # Nothing can be read while the host's end is closed.
    read -r verb id size words <&3 || { sleep 0.1; continue; }
    case $verb in
    vmvc:answer) echo "vmvc:nonce $id" ;;
    vmvc:run) request ;;
    esac
  done
}

request() {
  input=/dev/null
  status=0
  : >$work/out
  : >$work/err
  if [ "$size" -gt 0 ]; then
    input=$work/in
    setsid dd of=$input bs=65536 count="$size" iflag=fullblock,count_bytes status=none <&3 &
    await
    # The host gave up while it was sending: skip what is on its way.
    [ $status = 0 ] || grep -q "^vmvc:skipped $id\$" <&3
  fi
  if [ $status = 0 ]; then
    eval "set -- $words"
    setsid -- $enter "$@" <$input >$work/out 2>$work/err 3<&- &
    await
  fi
  if [ -s $work/out ] || [ -s $work/err ]; then
    set -- $(stat -c %s $work/out $work/err)
    echo "vmvc:done $id $status $1 $2" >&3
    # Exactly so much: what the command left in the background may still be writing.
    [ "$1" = 0 ] || dd if=$work/out bs=65536 count="$1" iflag=count_bytes status=none >&3
    [ "$2" = 0 ] || dd if=$work/err bs=65536 count="$2" iflag=count_bytes status=none >&3
  else
    echo "vmvc:done $id $status 0 0" >&3
  fi
}

# Each side writes its own file before it reads the other's, so no order to end is lost.
await() {
  echo "$id $!" >$work/current
  read -r ended <$work/ended
  [ "$ended" != "$id" ] || kill -9 $!
  wait $!
  status=$?
  : >$work/current
}

killer() {
  exec 4<>"$(port 2)" || exit 1
  while :; do
    read -r verb id <&4 || { sleep 0.1; continue; }
    [ "$verb" = vmvc:kill ] || continue
    echo "$id" >$work/ended
    read -r current pid <$work/current
    [ "$current" != "$id" ] || kill -9 "-$pid" || kill -9 "$pid"
  done
}

supervise() {
  mkdir -p $work
  : >$work/current
  : >$work/ended
  until [ -e "$(port 1)" ] && [ -e "$(port 2)" ]; do sleep 0.05; done
  while :; do
    (killer 2>/dev/null) &
    killing=$!
    (serve)
    kill -9 $killing
    sleep 1
  done
}
"""


def quote(words: Sequence[str]) -> bytes:
    r"""Quote words for the guest's shell, on one line: ``$'...'`` with octal escapes."""
    return b" ".join(
        b"$'" + re.sub(rb"[^A-Za-z0-9 _./:,=+@%-]", _octal, os.fsencode(word)) + b"'"
        for word in words
    )


def _octal(match: re.Match[bytes]) -> bytes:
    return b"\\%03o" % match[0][0]


class _Reply:
    """One reply as it arrives; bytes of earlier replies in front of it are skipped."""

    def __init__(self, request_id: bytes) -> None:
        self.id = request_id
        self.exit_status = -1
        # Numbers of a guest: so many digits and no more.
        self._header = re.compile(
            rb"vmvc:done %s %s (\d{1,15}) (\d{1,15})\n" % (request_id, process.EXIT_STATUS)
        )
        self._buffer = bytearray()
        self._sizes: tuple[int, int] | None = None

    def add(self, data: bytes) -> None:
        """Take in what has arrived; raises `InfrastructureError` when it announces too much."""
        self._buffer += data
        if self._sizes is None:
            match = self._header.search(self._buffer)
            if match is None:
                del self._buffer[:-HEADER_BYTES]
                return
            status, out_bytes, err_bytes = (int(number) for number in match.groups())
            if out_bytes + err_bytes > process.OUTPUT_LIMIT_BYTES:
                raise InfrastructureError(
                    f"the guest announces {out_bytes + err_bytes} bytes of output",
                    hint=f"a command may print {process.OUTPUT_LIMIT_BYTES >> 20} MiB; "
                    "write to a file inside instead",
                )
            self.exit_status, self._sizes = status, (out_bytes, err_bytes)
            del self._buffer[: match.end()]

    @property
    def complete(self) -> bool:
        """Whether both streams are there."""
        return self._sizes is not None and len(self._buffer) >= sum(self._sizes)

    @property
    def streams(self) -> tuple[bytes, bytes]:
        """Standard output and standard error."""
        out_bytes, err_bytes = self._sizes or (0, 0)
        return (
            bytes(self._buffer[:out_bytes]),
            bytes(self._buffer[out_bytes : out_bytes + err_bytes]),
        )


class AgentChannel:
    """The host's end of both ports; its calls are made one after the other."""

    def __init__(self, requests: socket.socket, kills: socket.socket, *, name: str) -> None:
        self._requests = requests
        self._kills = kills
        self._name = name
        self._lock = threading.Lock()

    def answer(self, nonce: str) -> None:
        """Have the guest print the nonce on its console, which is where it is waited for."""
        self._requests.settimeout(KILL_GRACE_S)
        with suppress(TimeoutError):  # who waits for the answer will say that there is none
            self._send(b"\nvmvc:answer %s\n" % nonce.encode())

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes) -> Completed:
        """Run a command; raises `CommandTimedOut`, `EnvironmentDied` and ValueError."""
        words = tuple(str(word) for word in argv)
        if not words or any("\0" in word for word in words):
            raise ValueError(f"not a command: {words!r}")
        deadline = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise CommandTimedOut(f"{self._name} was busy with another command for {timeout_s:g} s")
        try:
            return self._run(words, deadline=deadline, timeout_s=timeout_s, stdin=stdin)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close both ports."""
        self._requests.close()
        self._kills.close()

    def _run(
        self, words: tuple[str, ...], *, deadline: float, timeout_s: float, stdin: bytes
    ) -> Completed:
        reply = _Reply(secrets.token_hex(8).encode())
        started = time.monotonic()
        # The newline in front ends whatever a request that was cut short has left behind.
        head = b"\nvmvc:run %s %d %s\n" % (reply.id, len(stdin), quote(words))
        try:
            self._arm(deadline)
            self._send(head + stdin)
            self._fill(reply, deadline)
        except TimeoutError:
            ended = self._end(reply, sent=bool(stdin))
            raise CommandTimedOut(
                f"`{process.shown(words)}` did not end within {timeout_s:g} s in {self._name}",
                hint="it was ended"
                if ended
                else f"nor did the guest say within {KILL_GRACE_S:g} s that it was ended: "
                "it may be stopped or hung",
            ) from None
        out, err = reply.streams
        return Completed(
            argv=words,
            exit_status=reply.exit_status,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - started,
        )

    def _end(self, reply: _Reply, *, sent: bool) -> bool:
        """End the request's process group; whether the guest reported that, or hangs."""
        until = time.monotonic() + KILL_GRACE_S
        try:
            self._kills.settimeout(KILL_GRACE_S)
            self._kills.sendall(b"vmvc:kill %s\n" % reply.id)
            while not reply.complete and time.monotonic() < until:
                if sent:
                    # Said again and again: until the kill arrives it is taken for input, too.
                    self._arm(until)
                    self._send(b"\nvmvc:skipped %s\n" % reply.id)
                with suppress(TimeoutError):
                    self._fill(reply, min(until, time.monotonic() + SKIP_INTERVAL_S))
        except TimeoutError:
            pass
        except OSError as error:
            raise self._died() from error
        return reply.complete

    def _fill(self, reply: _Reply, deadline: float) -> None:
        while not reply.complete:
            reply.add(self._receive(deadline))

    def _receive(self, deadline: float) -> bytes:
        self._arm(deadline)
        try:
            data = self._requests.recv(CHUNK_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._died() from error
        if not data:
            raise self._died()
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._requests.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._died() from error

    def _arm(self, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._requests.settimeout(left_s)

    def _died(self) -> EnvironmentDied:
        return EnvironmentDied(f"{self._name} ended", hint="its console may tell why")

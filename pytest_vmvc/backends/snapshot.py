"""Machines that go on from a snapshot of memory: the same QEMU, no boot."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from pytest_vmvc.backends.base import new_nonce
from pytest_vmvc.backends.machine import QemuMachine, running
from pytest_vmvc.backends.optional import Moved, Shape
from pytest_vmvc.backends.qemu import QemuProvider, answer_text
from pytest_vmvc.errors import (
    BuildFailed,
    CommandTimedOut,
    InfrastructureError,
    LaunchFailed,
    Unavailable,
)
from pytest_vmvc.model import Facts, Kind
from pytest_vmvc.resources import RunScope

BOOT_ID = "/proc/sys/kernel/random/boot_id"
SNAPSHOT_TIMEOUT_S = 300.0
CHUNK_BYTES = 1 << 20


class RestoredProvider:
    """Starts machines from one snapshot, taken of a freshly booted machine of ``source``.

    All of them are the same boot: they share its boot id and what its memory held.
    """

    name = "qemu"
    kind: Kind = "vm"

    def __init__(self, source: QemuProvider, scope: RunScope) -> None:
        self._source = source
        self._scope = scope
        self._state: Path | None = None
        self._state_bytes: int | None = None
        # Machine and snapshot must agree in the length of the kernel's command line.
        self._nonce = new_nonce()

    @property
    def facts(self) -> Facts:
        """Provenance of the machine that the snapshot was taken of, and the snapshot's size."""
        facts = self._source.facts
        return msgspec.structs.replace(
            facts,
            readiness="nonce sent to the agent, seen on the serial console; no polling",
            extra={**facts.extra, "restored": True, "snapshot_bytes": self._state_bytes},
        )

    def probe(self) -> Unavailable | None:
        """Why no machine can be started here."""
        return self._source.probe()

    def prepare(self) -> None:
        """Boot a machine until its agent answers and save its memory; raises `BuildFailed`."""
        self._source.prepare()
        if self._state is not None:
            return
        state = self._scope.workdir / f"{self._scope.new_name()}.snapshot"
        try:
            with self._source.launch(deadline_s=SNAPSHOT_TIMEOUT_S) as machine:
                # Linux makes its boot id up when it is first read: all restored ones share it.
                machine.run(["cat", BOOT_ID], timeout_s=SNAPSHOT_TIMEOUT_S)
                _save(machine, state)
            self._state_bytes = state.stat().st_size
        except (InfrastructureError, OSError) as error:
            state.unlink(missing_ok=True)
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise BuildFailed(
                f"no snapshot of a machine could be taken: {error}",
                hint=f"free some space in {state.parent.parent}" if full else "",
            ) from error
        self._state = state

    def shaped(self, shape: Shape) -> RestoredProvider:
        """From a snapshot of its own, of the same machine in that shape; raises `Unavailable`."""
        return RestoredProvider(self._source.shaped(shape), self._scope)

    def typed(self, machine: str) -> RestoredProvider:
        """From a snapshot of the same as a machine of another type."""
        return RestoredProvider(self._source.typed(machine), self._scope)

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[QemuMachine]:
        """Start QEMU with the saved memory and have the agent in it answer."""
        if self._state is None:
            raise BuildFailed("there is no snapshot to start from", hint="call prepare() first")
        nonce = new_nonce()
        until = time.monotonic() + deadline_s
        with (
            _opened(self._state) as state,
            running(
                self._scope,
                # QEMU reads it by itself: nothing of ours stands between file and memory.
                [*self._source.command(self._nonce), "-incoming", f"fd:{state.fileno()}"],
                texts={"answer": answer_text(nonce)},
                first_byte="",
                facts=lambda: self.facts,
                inherit=[state.fileno()],
            ) as machine,
        ):
            # It waits in the channel until the agent is there to read it.
            machine.answer(nonce)
            machine.await_answer(until, deadline_s=deadline_s)
            _ = machine.monitor  # connects while the caller goes on
            yield machine

    def migrated(
        self, source: QemuMachine, *, deadline_s: float
    ) -> AbstractContextManager[tuple[QemuMachine, Moved]]:
        """Move a restored machine to a QEMU of its own, as any other of its kind."""
        return self._source.migrated(source, deadline_s=deadline_s)


def _opened(state: Path) -> BinaryIO:
    try:
        return state.open("rb")
    except OSError as error:
        raise LaunchFailed(
            f"the snapshot cannot be read: {error}", hint="somebody has removed it; run again"
        ) from error


def _save(machine: QemuMachine, state: Path) -> None:
    """Let QEMU migrate to a socket that we write down.

    It is not stopped before: the saved state is "running", so a restored one runs at once.
    """
    until = time.monotonic() + SNAPSHOT_TIMEOUT_S
    ours, theirs = socket.socketpair()
    with ours, state.open("wb") as file:
        with theirs:
            machine.monitor.give(theirs.fileno(), fd_name="snapshot")
        machine.monitor.execute("migrate", {"uri": "fd:snapshot"})
        while data := _received(ours, until):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    answer = machine.monitor.execute("query-migrate")
    status = answer.get("status") if isinstance(answer, dict) else None
    if status != "completed":
        raise InfrastructureError(f"QEMU did not complete the snapshot: {answer}")


def _received(channel: socket.socket, until: float) -> bytes:
    channel.settimeout(max(0.001, until - time.monotonic()))
    try:
        return channel.recv(CHUNK_BYTES)
    except TimeoutError:
        raise CommandTimedOut(f"it took longer than {SNAPSHOT_TIMEOUT_S:g} s") from None

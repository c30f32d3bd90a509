"""A running machine moves to another QEMU process: its memory goes over, nothing boots."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pytest_vmvc.backends.base import new_nonce
from pytest_vmvc.backends.machine import QemuMachine, running
from pytest_vmvc.backends.optional import Moved
from pytest_vmvc.backends.qemu import answer_text
from pytest_vmvc.backends.qmp import Monitor
from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied, InfrastructureError
from pytest_vmvc.model import Facts
from pytest_vmvc.resources import RunScope

STEPS = ("qemu-system-x86_64 -incoming ...", "migrate")
POLL_S = 0.02
"""Between two questions whether QEMU is done; nothing that is measured waits for it."""


@contextmanager
def migrated(
    scope: RunScope,
    source: QemuMachine,
    argv: Sequence[str],
    *,
    facts: Callable[[], Facts],
    deadline_s: float,
) -> Iterator[tuple[QemuMachine, Moved]]:
    """Move ``source`` to a QEMU of the same command line, over a socket pair between the two.

    The source stays as it is after a move: stopped, for its own context to end. Raises
    `InfrastructureError`, `CommandTimedOut` and `EnvironmentDied`.
    """
    nonce = new_nonce()
    started = time.monotonic()
    until = started + deadline_s
    wire, theirs = socket.socketpair()
    with (
        wire,
        theirs,
        running(
            scope,
            [*argv, "-incoming", f"fd:{theirs.fileno()}"],
            texts={"answer": answer_text(nonce)},
            first_byte="",
            facts=facts,
            inherit=[theirs.fileno()],
        ) as destination,
    ):
        theirs.close()
        try:
            destination.monitor.ready(timeout_s=deadline_s)
            source.monitor.give(wire.fileno(), fd_name="destination")
            wire.close()
            source.monitor.execute("migrate", {"uri": "fd:destination"})
            resumed = destination.monitor.wait_for(
                "RESUME", timeout_s=max(0.0, until - time.monotonic())
            )
        except EnvironmentDied as error:
            # QEMU ends a destination that cannot take what it is sent; both have words for it.
            raise InfrastructureError(
                f"{source.name} was not moved: {error.message}",
                hint=error.hint or "one of the two QEMUs has ended; see `dmesg`",
            ) from error
        if resumed is None:
            raise CommandTimedOut(
                f"{source.name} was not moved within {deadline_s:g} s",
                hint="one of the two QEMUs may be stopped or hung, or the host overloaded",
            )
        destination.answer(nonce)
        destination.await_answer(until, deadline_s=deadline_s)
        moved_s = time.monotonic() - started
        report = _completed(source.monitor, until)
        stopped_at = _moment(source.monitor, "STOP")
        resumed_at = _moment(destination.monitor, "RESUME")
        yield (
            destination,
            Moved(
                move_s=moved_s,
                downtime_s=max(0.0, resumed_at - stopped_at),
                reported_downtime_s=float(str(report["downtime"])) / 1000,
                steps=STEPS,
            ),
        )


def _completed(monitor: Monitor, until: float) -> dict[str, object]:
    """What the source states of the move, once it has finished with it."""
    while True:
        answer = monitor.execute("query-migrate")
        report = answer if isinstance(answer, dict) else {}
        if report.get("status") == "completed":
            return report
        if report.get("status") in ("failed", "cancelled") or time.monotonic() > until:
            raise InfrastructureError(f"QEMU did not complete the move: {answer}")
        time.sleep(POLL_S)


def _moment(monitor: Monitor, event: str) -> float:
    found = monitor.moment(event)
    if found is None:
        raise InfrastructureError(f"QEMU moved a machine without the event {event}")
    return found

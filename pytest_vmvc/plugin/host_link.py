"""A host of its own, seen from there: a worker that sends what it measures as it measures it.

Imported by every pytest: nothing heavy is imported here.

The wire is a channel of execnet beside that of pytest-xdist. It also carries a pulse, so that the
other side can tell a host that is at work from one that is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_vmvc.model import Record

CHANNEL = "vmvc_link"
PULSE = "vmvc_pulse_s"
OPTIONS = "vmvc_options"
PAIRS = "vmvc_pairs"
"""Keys of a worker's input."""


def has_hosts(config: pytest.Config) -> bool:
    """Whether this process is to have hosts measure, and not to measure itself."""
    option = config.option
    return (
        getattr(option, "dist", "no") == "each"
        and bool(getattr(option, "tx", None))
        and not option.collectonly
        and not hasattr(config, "workerinput")
    )


def take_over(config: pytest.Config) -> None:
    """Take what the other side's ini file says: this host has another one, or none."""
    told: dict[str, Any] = getattr(config, "workerinput", {}).get(OPTIONS, {})
    for name, value in told.items():
        if getattr(config.option, name, None) is None:
            setattr(config.option, name, value)


def of(config: pytest.Config) -> Link | None:
    """The wire, where this process is a worker that stands for a host."""
    told: dict[str, Any] = getattr(config, "workerinput", {})
    return Link(told[CHANNEL], told[PULSE]) if CHANNEL in told else None


def without_hosts(arguments: Iterable[object]) -> Iterator[str]:
    """A command line without the list of hosts: a host's results do not name the others."""
    words = iter(map(str, arguments))
    for word in words:
        if word == "--tx":
            next(words, "")
        elif not word.startswith("--tx="):
            yield word


class Link:
    """The worker's end of the wire."""

    def __init__(self, channel: Any, pulse_s: float) -> None:  # noqa: ANN401 - execnet's own
        self._channel = channel
        self._pulse_s = pulse_s
        self._closed = threading.Event()
        self._send("alive", None)
        threading.Thread(target=self._beat, name="vmvc-pulse", daemon=True).start()

    def record(self, record: Record) -> None:
        """Have it written down; raises `LedgerError` for what no file can hold."""
        from pytest_vmvc import ledger

        self._send("record", ledger.encode(record))

    def note(self, what: str, done: int, of: int) -> None:
        """Say how far it is."""
        self._send("note", (what, done, of))

    def say(self, line: str) -> None:
        """Say something about this host."""
        self._send("line", line)

    def problem(self, text: str) -> None:
        """Say what a person should know at the end."""
        self._send("problem", text)

    def unusable(self, gap: str) -> None:
        """Say why nothing will be measured here."""
        self._send("gap", gap)

    def close(self) -> None:
        """End the pulse."""
        self._closed.set()

    def _beat(self) -> None:
        while not self._closed.wait(self._pulse_s):
            self._send("alive", None)

    def _send(self, kind: str, what: object) -> None:
        with suppress(OSError):  # the other side is gone, and this process is told so
            self._channel.send((kind, what))

"""The two protocols that every technology speaks; the optional ones are in `optional`."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pytest_vmvc.errors import Unavailable, VmvcError
from pytest_vmvc.model import Completed, Facts, Kind, Usage
from pytest_vmvc.resources import Resource

Progress = Callable[[str, float | None], None]
"""``progress(step, fraction done or None)``: called by anything that takes long."""

ANSWER = re.compile(rb"vmvc:nonce ([0-9a-f]{32})")
"""What a payload prints as its first answer, on whatever channel."""

PAYLOAD = ("sh", "-c", 'echo "vmvc:nonce $VMVC_NONCE"; exec sleep 2147483647')
"""Ours, where nothing else is to be run: says the nonce and then holds next to nothing."""


def new_nonce() -> str:
    """128 random bits in hex: an answer with it can only come from this very start."""
    return secrets.token_hex(16)


class Stopwatch:
    """Seconds on the host's monotonic clock since the request; the same for both kinds.

    Also what the measuring itself costs: ``cpu_clock`` is that of our own process, all threads.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.marks: dict[str, float] = {}
        self.harness_cpu_s = 0.0
        """CPU seconds of our own process from the request to ``answer``, or to the last mark."""
        self._cpu_start = cpu_clock()
        self._start = clock()

    def mark(self, name: str) -> float:
        """Record ``name`` now (the first time counts) and return its seconds."""
        if name not in self.marks:
            self.marks[name] = self._clock() - self._start
            if name == "answer" or "answer" not in self.marks:
                self.harness_cpu_s = self._cpu_clock() - self._cpu_start
        return self.marks[name]


@contextmanager
def ended_by(end: Callable[[BaseException | None], None]) -> Iterator[None]:
    """Have what was started ended on leaving; ``end`` is told of the error that led there.

    Where it fails as well, the first error tells more and gets the second as a note. The scope then
    still holds what is left, for later nets.
    """
    try:
        yield
    except BaseException as error:
        try:
            end(error)
        except VmvcError as second:
            error.add_note(str(second))
        raise
    end(None)


class Timed:
    """A base of environments: what the stopwatch of their launch says."""

    _stopwatch: Stopwatch

    @property
    def marks(self) -> Mapping[str, float]:
        """Seconds since the request, ascending."""
        return dict(sorted(self._stopwatch.marks.items(), key=lambda mark: mark[1]))

    @property
    def harness_cpu_s(self) -> float:
        """CPU seconds of our own process from the request to the first answer."""
        return self._stopwatch.harness_cpu_s

    def mark(self, name: str) -> float:
        """Add a mark now, on the stopwatch of its launch, and return its seconds."""
        return self._stopwatch.mark(name)


class Environment(Protocol):
    """A started container or machine that has given its first answer."""

    @property
    def name(self) -> str:
        """Its name on the host, ``vmvc-<run id>-<n>``."""

    @property
    def facts(self) -> Facts:
        """Provenance, complete."""

    @property
    def marks(self) -> Mapping[str, float]:
        """Seconds since the request, ascending; always has ``answer``."""

    @property
    def harness_cpu_s(self) -> float:
        """CPU seconds of our own process from the request to the first answer (`Stopwatch`)."""

    def mark(self, name: str) -> float:
        """Add a mark now, on the stopwatch of its launch, and return its seconds."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command inside as root; a non-zero exit status is data, not an error.

        Raises `CommandTimedOut` (the command is ended) and `EnvironmentDied`.
        """

    def usage(self) -> Usage:
        """What it holds of the host now, seen from the host; raises `NoUsage`."""

    def alive(self) -> bool:
        """Whether it still runs, asked of the host and not of the guest."""


class Provider(Protocol):
    """Bound to a specification; starts fresh environments of it."""

    @property
    def name(self) -> str:
        """The backend: ``docker``, ``qemu``, ``vagrant``, ``fake``."""

    @property
    def kind(self) -> Kind:
        """What it starts."""

    @property
    def facts(self) -> Facts:
        """Provenance of what it would start, without what only a running one can tell."""

    def probe(self) -> Unavailable | None:
        """Why it cannot be used on this host, or None; quick, and changes nothing."""

    def prepare(self) -> None:
        """Do everything that stands outside the stopwatch; idempotent.

        Raises `BuildFailed` and `Unavailable`.
        """

    def launch(self, *, deadline_s: float = 300.0) -> AbstractContextManager[Environment]:
        """Start a fresh environment and wait for its first answer.

        The stopwatch starts just before the request. Entering raises `LaunchFailed` or
        `LaunchTimedOut`; leaving destroys it and verifies that (`TeardownFailed`).
        """


class Reaper(Protocol):
    """Finds and destroys what any run has left behind; one per backend."""

    name: str

    def inventory(self) -> Sequence[Resource]:
        """Everything on this host that carries our label; empty where the backend is absent."""

    def destroy(self, resource: Resource) -> None:
        """Destroy it and verify that it is gone; raises `TeardownFailed`."""

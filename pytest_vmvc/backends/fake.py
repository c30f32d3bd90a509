"""A backend without an engine: scripted durations on a virtual clock, failures on demand.

Its inside is a temporary folder, and commands run there as real processes of the host, unless a
script answers for them. No test of anything above the backends needs more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from pytest_vmvc.backends.base import Stopwatch
from pytest_vmvc.backends.fake_environment import (
    USAGE_DEFINITION,
    FakeClock,
    FakeEnvironment,
    FakeLaunch,
    Script,
)
from pytest_vmvc.backends.optional import Shape
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, TeardownFailed, Unavailable
from pytest_vmvc.model import Artefact, Facts, Kind, Scalar, Tier
from pytest_vmvc.resources import RunScope

__all__ = ["FakeClock", "FakeEnvironment", "FakeLaunch", "FakeProvider"]


class FakeProvider:
    """Starts fake environments of either kind, each launch as its script says."""

    def __init__(
        self,
        scope: RunScope,
        *,
        kind: Kind = "container",
        launches: Iterable[FakeLaunch] = (),
        clock: FakeClock | None = None,
        unavailable: Unavailable | None = None,
        script: Script | None = None,
        memory_bytes: int = 1 << 20,
        accelerator: Tier | None = None,
        extra: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Take ``launches`` one by one; when they are used up, a plain `FakeLaunch` each time.

        Two providers that share a ``clock`` live in one time.
        """
        self.kind: Kind = kind
        self.clock = clock or FakeClock()
        self._scope = scope
        self._launches = iter(launches)
        self._unavailable = unavailable
        self._script = script
        self._memory_bytes = memory_bytes
        self._extra = dict(extra or {})
        self._tier: Tier = accelerator or ("none" if kind == "container" else "kvm-hw")
        self.running: dict[str, FakeEnvironment] = {}
        """What was started and not destroyed, by name."""

    @property
    def name(self) -> str:
        """``fake``."""
        return "fake"

    @property
    def facts(self) -> Facts:
        """Provenance, as far as a fake has one."""
        return Facts(
            provider=self.name,
            kind=self.kind,
            version="fake 1",
            accelerator=self._tier,
            artefact="fake:none",
            userland="the host's own",
            vcpus=None,
            memory_bytes=self._memory_bytes,
            readiness="scripted",
            usage_definition=USAGE_DEFINITION,
            extra=self._extra,
        )

    def probe(self) -> Unavailable | None:
        """The scripted reason, or None."""
        return self._unavailable

    def prepare(self) -> None:
        """Do nothing, or raise the scripted `Unavailable`."""
        if self._unavailable is not None:
            raise self._unavailable

    def shaped(self, shape: Shape) -> FakeProvider:
        """The same script; the shape stands in the facts, for the script's author to look at."""
        given = msgspec.to_builtins(shape, enc_hook=str)
        return FakeProvider(
            self._scope,
            kind=self.kind,
            clock=self.clock,
            unavailable=self._unavailable,
            script=self._script,
            memory_bytes=shape.memory_bytes or self._memory_bytes,
            accelerator=self._tier,
            extra={**self._extra, **{key: str(value) for key, value in given.items() if value}},
        )

    def artefact(self) -> Artefact:
        """Sizes out of thin air; the compressed one is half."""
        return Artefact(
            name="fake",
            fetch_bytes=self._memory_bytes // 2,
            kept_bytes=self._memory_bytes,
            virtual_bytes=self._memory_bytes,
            definition="scripted",
        )

    @contextmanager
    def launch(self, *, deadline_s: float = 300.0) -> Iterator[FakeEnvironment]:
        """Start one as scripted, on the virtual clock; no real time passes.

        Raises `LaunchFailed`, `LaunchTimedOut` and, at the end, `TeardownFailed`, as scripted.
        """
        self.prepare()
        plan = next(self._launches, FakeLaunch())
        name = self._scope.new_name()
        resource = self._scope.hold("fake", name)
        try:
            watch = self._start(name, plan, deadline_s)
        except LaunchFailed:
            self._scope.release(resource)
            raise
        environment = FakeEnvironment(
            name=name,
            facts=self.facts,
            watch=watch,
            clock=self.clock,
            plan=plan,
            memory_bytes=self._memory_bytes,
            script=self._script,
        )
        self.running[name] = environment
        try:
            yield environment
        finally:
            environment.destroy()
            self.clock.advance(plan.teardown_s)
            if plan.failure != "teardown":
                del self.running[name]
                self._scope.release(resource)
        if plan.failure == "teardown":
            raise TeardownFailed(f"{name} is still there", hint="the script wanted it")

    def _start(self, name: str, plan: FakeLaunch, deadline_s: float) -> Stopwatch:
        watch, passed_s = Stopwatch(self.clock, lambda: 0.0), 0.0
        for mark, at_s in plan.marks.items():
            if at_s > deadline_s or (mark == "answer" and plan.failure == "timeout"):
                self.clock.advance(max(0.0, deadline_s - passed_s))
                raise LaunchTimedOut(
                    f"{name} gave no answer within {deadline_s:g} s", hint="the script wanted it"
                )
            self.clock.advance(at_s - passed_s)
            passed_s = at_s
            if mark == "answer" and plan.failure == "launch":
                raise LaunchFailed(
                    f"{name} ended before its first answer", hint="the script wanted it"
                )
            watch.mark(mark)
        return watch

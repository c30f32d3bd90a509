"""What stands for a container or a machine: a folder, a virtual clock, failures on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from pytest_vmvc import process
from pytest_vmvc.backends.base import Stopwatch, Timed
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.errors import CommandTimedOut, EnvironmentDied
from pytest_vmvc.model import Completed, Facts, Usage
from pytest_vmvc.resources import mark

Failure = Literal["launch", "timeout", "death", "teardown"]
"""What goes wrong with one launch; ``death``: at its first command; ``timeout``: no answer."""

Script = Callable[[str, tuple[str, ...], bytes], Completed | None]
"""``script(environment's name, argv, stdin)``: its answer, or None to run the command for real."""

USAGE_DEFINITION = "scripted: CPU seconds grow with the virtual clock, memory is constant"


COSTS = Account(payload_bytes=1 << 20, manager_bytes=1 << 20, cpu_s=0.01, manager_cpu_s=0.01)
MEMORY = Memory(configured_bytes=1 << 30, used_bytes=1 << 20, cache_bytes=0)


class FakeClock:
    """Seconds that pass only when somebody says so; give it to a `Stopwatch`."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now_s += seconds


@dataclass(frozen=True, kw_only=True)
class FakeLaunch:
    """How one launch goes."""

    marks: Mapping[str, float] = field(
        default_factory=lambda: {"created": 0.01, "started": 0.2, "answer": 0.25}
    )
    """Seconds since the request, ascending; the last one is ``answer``."""
    failure: Failure | None = None
    command_s: float = 0.01
    """What every command takes on the virtual clock."""
    teardown_s: float = 0.05
    account: Account = COSTS
    """What it costs; CPU time is that of each second of the virtual clock."""
    memory: Memory = MEMORY
    disk_bytes: int = 4096
    inspect_s: float = 0.001
    stop_s: float = 0.02
    death: str = "its kernel panicked"
    """What it is said to have died of."""

    def __post_init__(self) -> None:
        """Refuse marks that no stopwatch could show."""
        values = list(self.marks.values())
        if values != sorted(values) or [*self.marks][-1:] != ["answer"]:
            raise ValueError(f"marks must ascend and end with an answer: {dict(self.marks)}")


class FakeEnvironment(Timed):
    """A folder that stands for a container or a machine; made by `FakeProvider.launch`."""

    def __init__(
        self,
        *,
        name: str,
        facts: Facts,
        watch: Stopwatch,
        clock: FakeClock,
        plan: FakeLaunch,
        memory_bytes: int,
        script: Script | None,
    ) -> None:
        self.name = name
        self.facts = facts
        self._stopwatch = watch
        self._clock = clock
        self._plan = plan
        self._memory_bytes = memory_bytes
        self._script = script
        self._folder = tempfile.TemporaryDirectory(prefix=f"{name}-")
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._dead = False

    @property
    def folder(self) -> Path:
        """Its inside."""
        return Path(self._folder.name)

    def alive(self) -> bool:
        """Whether nobody has ended it."""
        return not self._dead

    def usage(self) -> Usage:
        """As scripted; raises `EnvironmentDied`."""
        self._check()
        return Usage(
            cpu_s=self._clock() / 10 + 0.001,
            memory_bytes=self._memory_bytes,
            definition=USAGE_DEFINITION,
        )

    def account(self) -> Account:
        """As scripted; raises `EnvironmentDied`."""
        self._check()
        costs = self._plan.account
        return msgspec.structs.replace(
            costs,
            cpu_s=costs.cpu_s * self._clock(),
            manager_cpu_s=costs.manager_cpu_s * self._clock(),
            daemons_cpu_s=costs.daemons_cpu_s * self._clock(),
        )

    def memory(self) -> Memory:
        """As scripted; raises `EnvironmentDied`."""
        self._check()
        return self._plan.memory

    def inspect(self) -> str:
        """Always ``running``; raises `EnvironmentDied`."""
        self._check()
        self._clock.advance(self._plan.inspect_s)
        return "running"

    def stop(self, *, timeout_s: float = 30.0) -> None:  # noqa: ARG002 - the protocol's signature
        """End it; raises `EnvironmentDied` where it has ended before."""
        self._check()
        self._clock.advance(self._plan.stop_s)
        self.kill()

    def write(self, data: bytes) -> None:
        """Put data in its folder; raises `EnvironmentDied`."""
        self._check()
        (self.folder / "written").write_bytes(data)

    def disk_bytes(self) -> int:
        """As scripted; raises `EnvironmentDied`."""
        self._check()
        return self._plan.disk_bytes

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Ask the script; without an answer run the command on the host, in the folder.

        Raises `CommandTimedOut` (its process group is ended) and `EnvironmentDied`.
        """
        if self._plan.failure == "death":
            self.kill()
        self._check()
        self._clock.advance(self._plan.command_s)
        answer = self._script(self.name, tuple(argv), stdin) if self._script else None
        return answer or self._run_here(tuple(argv), timeout_s, stdin)

    def await_death(self, *, timeout_s: float) -> str:
        """How it ended, as scripted; raises `CommandTimedOut` while it lives."""
        if self.alive():
            self._clock.advance(timeout_s)
            raise CommandTimedOut(f"{self.name} did not end within {timeout_s:g} s")
        return self._plan.death

    def kill(self) -> None:
        """Make it die now, whatever runs in it."""
        with self._lock:
            self._dead = True
            for child in self._children:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    def destroy(self) -> None:
        """End it and remove its folder."""
        self.kill()
        self._folder.cleanup()

    def _run_here(self, argv: tuple[str, ...], timeout_s: float, stdin: bytes) -> Completed:
        started = time.monotonic()
        with self._child(argv) as child:
            if child is None:
                missing = f"{argv[0]}: not found".encode()
                return Completed(
                    argv=argv, exit_status=127, stdout=b"", stderr=missing, duration_s=0.0
                )
            try:
                out, err = child.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.end_group(child)
                self._check()
                raise CommandTimedOut(
                    f"`{process.shown(argv)}` in {self.name} did not end within {timeout_s:g} s",
                    hint="it was ended",
                ) from None
            except BaseException:
                process.end_group(child)
                raise
        self._check()
        return Completed(
            argv=argv,
            exit_status=child.returncode if child.returncode >= 0 else 128 - child.returncode,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - started,
        )

    @contextmanager
    def _child(self, argv: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes] | None]:
        """Start a command that `kill` can find; None where there is no such program."""
        child: subprocess.Popen[bytes] | None = None
        with self._lock:
            self._check()
            with suppress(FileNotFoundError, PermissionError):
                child = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=self._folder.name,
                    env={"PATH": os.environ.get("PATH", os.defpath), **mark()},
                    start_new_session=True,
                )
                self._children.add(child)
        try:
            yield child
        finally:
            with self._lock:
                if child is not None and not _leads_others(child):
                    self._children.discard(child)

    def _check(self) -> None:
        if self._dead:
            raise EnvironmentDied(f"{self.name} is gone", hint="the script wanted it")


def _leads_others(child: subprocess.Popen[bytes]) -> bool:
    """Whether a command has left something running, which is to end with the environment."""
    try:
        os.killpg(child.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True

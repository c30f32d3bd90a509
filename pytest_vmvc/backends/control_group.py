"""Control groups of the kernel, version 1 or 2: what their processes use, and ones of ours."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import msgspec

from pytest_vmvc.errors import TeardownFailed, Unavailable
from pytest_vmvc.resources import NAME, Resource, RunScope
from pytest_vmvc.vitals import field, number, text

MOUNT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
GONE_TIMEOUT_S = 5.0
# A process enters before it becomes the command, so that all of the command is counted.
ENTER = 'echo $$ >"$1" && echo $$ >"$2" || exit 125; shift 2; exec "$@"'
POLL_S = 0.005


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a control group have used, and hold now."""

    cpu_s: float
    memory_bytes: int


class Cgroup(msgspec.Struct, frozen=True, kw_only=True):
    """One control group; under version 1 a folder for each of the two controllers we read."""

    cpu: Path
    memory: Path

    def held(self) -> Held:
        """CPU seconds of all that ever ran in it, and memory without inactive page cache.

        Raises OSError once it is gone, and KeyError where its kernel does not count that.
        """
        return Held(cpu_s=self._cpu_s(), memory_bytes=self._memory_bytes())

    def _cpu_s(self) -> float:
        if (v1 := self.cpu / "cpuacct.usage").exists():
            return _count(v1) / 1e9
        return _count(self.cpu / "cpu.stat", "usage_usec") / 1e6

    def _memory_bytes(self) -> int:
        if (v1 := self.memory / "memory.usage_in_bytes").exists():
            used, cache = _count(v1), "total_inactive_file"
        else:
            used, cache = _count(self.memory / "memory.current"), "inactive_file"
        return max(0, used - _count(self.memory / "memory.stat", cache))

    def entered(self, *argv: str) -> list[str]:
        """The command line that enters it and then becomes ``argv``."""
        entries = [str(folder / "cgroup.procs") for folder in (self.cpu, self.memory)]
        return ["sh", "-c", ENTER, "sh", *entries, *argv]

    def pids(self) -> set[int]:
        """Processes in it now; one of a namespace that is hidden from us has the number 0 there."""
        words = [text(folder / "cgroup.procs").split() for folder in {self.cpu, self.memory}]
        return {int(pid) for word in itertools.chain(*words) if (pid := number(word))}

    def remove(self) -> None:
        """Kill whatever runs in it, then remove it; raises `TeardownFailed`."""
        until = time.monotonic() + GONE_TIMEOUT_S
        for folder in {self.cpu, self.memory}:
            while folder.exists():
                for pid in self.pids():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with suppress(OSError):
                    folder.rmdir()
                    break
                if time.monotonic() > until:
                    raise TeardownFailed(
                        f"the control group {folder} cannot be removed",
                        hint=f"it still has processes: {sorted(self.pids())}",
                    )
                time.sleep(POLL_S)


def of_process(pid: int, marker: str) -> Cgroup | None:
    """The control group of a process, where its name has ``marker`` in it and the host shows it.

    The pid may be one of another host, which an engine's may be: hence the marker.
    """
    cpu = memory = unified = None
    for line in text(PROC / str(pid) / "cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if marker not in path or ".." in PurePosixPath(path).parts:
            continue
        if hierarchy == "0":
            unified = MOUNT / path.lstrip("/")
        if "cpuacct" in controllers.split(","):
            cpu = MOUNT / "cpuacct" / path.lstrip("/")
        if "memory" in controllers.split(","):
            memory = MOUNT / "memory" / path.lstrip("/")
    cpu, memory = cpu or unified, memory or unified
    return Cgroup(cpu=cpu, memory=memory) if cpu and memory else None


def obstacle() -> Unavailable | None:
    """Why no control group can be made here, or None; changes nothing."""
    for parent in _parents():
        if not os.access(parent, os.W_OK):
            return Unavailable(
                f"no control group can be made in {parent}", hint="run as root, or with delegation"
            )
    if not (MOUNT / "memory").is_dir() and "memory" not in _delegated():
        return Unavailable(
            "memory is not counted per control group here",
            hint=f"enable it in {MOUNT / 'cgroup.subtree_control'}",
        )
    return None


@contextmanager
def made(scope: RunScope, name: str) -> Iterator[Cgroup]:
    """A fresh control group, written down before; leaving ends what is in it and removes it.

    Raises `Unavailable` and, on leaving, `TeardownFailed`.
    """
    if gap := obstacle():
        raise gap
    resource = scope.hold(CgroupReaper.name, name)
    group = _group(name)
    try:
        for folder in {group.cpu, group.memory}:
            folder.mkdir()
        yield group
    finally:
        group.remove()
        scope.release(resource)


class CgroupReaper:
    """Finds control groups that dead runs have left, and ends what still runs in them."""

    name = "cgroup"

    def inventory(self) -> list[Resource]:
        """Every control group that has one of our names."""
        found = {path.name for parent in _parents() for path in parent.glob("vmvc-r*")}
        return [
            Resource(kind=self.name, name=name, run_id=match[1])
            for name in sorted(found)
            if (match := NAME.fullmatch(name))
        ]

    def destroy(self, resource: Resource) -> None:
        """Kill what is in it and remove it; raises `TeardownFailed`."""
        try:
            _group(resource.name).remove()
        except PermissionError as error:
            raise TeardownFailed(
                f"the control group {resource.name} is another user's", hint=str(error)
            ) from error


def _parents() -> tuple[Path, Path]:
    """Where ours are made: version 1 has a hierarchy for each controller."""
    v1 = (MOUNT / "cpuacct", MOUNT / "memory")
    return v1 if all(path.is_dir() for path in v1) else (MOUNT, MOUNT)


def _group(name: str) -> Cgroup:
    cpu, memory = (parent / name for parent in _parents())
    return Cgroup(cpu=cpu, memory=memory)


def _delegated() -> list[str]:
    return text(MOUNT / "cgroup.subtree_control").split()


def _count(path: Path, name: str = "") -> int:
    """The count in a file, or behind a name in it; raises OSError and KeyError."""
    content = path.read_text(errors="replace")
    found = field(content, name) if name else number(content.strip())
    if found is None:
        raise KeyError(name or path.name)
    return int(found)

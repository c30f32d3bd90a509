"""CPU time of the processes that share the host and are no part of the measuring.

Load average and CPU pressure cannot tell a neighbour from the containers and machines that are
being measured, nor from the engine that works for them. So processes are looked at one by one, at
two moments: ours are this process's descendants, the daemons of engines and hypervisors, and
whatever those have started in between. A process that ends in between is found in what its parent
has waited for; one whose parent has ended as well is not seen, so the figure is a lower bound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pytest_vmvc.vitals import ROOT, TICK_S, number, text

DAEMONS = (
    "dockerd", "containerd", "docker-proxy", "podman", "conmon", "runc", "crun", "runsc",
    "rootlesskit", "rootlessport", "slirp4netns", "fuse-overlayfs", "netavark",
    "libvirtd", "virtqemud", "virtlogd", "virtnetworkd", "virtstoraged", "dnsmasq",
    "systemd-udevd", "(udev-worker)",
)  # fmt: skip
"""Begins of the names of processes that work for what is measured: engines, hypervisors, and the
daemon that is told of every network interface they make."""
MACHINE = "qemu-system"
"""Begin of the name of a machine that a daemon has started, with no parent left."""

FIRST = 1
"""Adopts the orphans of everyone, ours too: what it has waited for tells nothing."""
KERNEL = 2
"""Parent of the kernel's own threads, which work for everyone."""
INITIAL_NAMESPACE = "pid:[4026531836]"
"""The kernel's number for the only PID namespace from which every process is seen."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    pid: int
    parent: int
    name: str
    started: int
    """Ticks after boot: with the pid, this very process."""
    cpu_s: float
    """Its own, and that of its children which it has waited for."""


def alive(*, root: Path = ROOT) -> Mapping[int, Process] | None:
    """Every process of the host by its pid; None where not all of them can be seen."""
    namespace = root / "proc/self/ns/pid"
    try:
        if namespace.readlink().name != INITIAL_NAMESPACE:
            return None
        folders = [folder for folder in (root / "proc").iterdir() if folder.name.isdigit()]
    except OSError:
        return None
    found = (_parsed(text(folder / "stat")) for folder in folders)
    processes = {process.pid: process for process in found if process is not None}
    return processes if FIRST in processes else None


def cpu_s(
    before: Mapping[int, Process], after: Mapping[int, Process], *, own: int | None = None
) -> float:
    """CPU seconds that processes which are not ours have used between two moments.

    ``own`` is the pid of the process that measures; its descendants are ours.
    """
    me = os.getpid() if own is None else own
    ended: dict[int, float] = {}
    for process in before.values():
        if not _lives(process, after):
            heir = _heir(process, before, after)
            ended[heir] = ended.get(heir, 0.0) + process.cpu_s
    used = 0.0
    for process in after.values():
        if _is_ours(process, before, after, me):
            continue
        earlier = before[process.pid].cpu_s if _lives(process, before) else 0.0
        used += max(0.0, process.cpu_s - earlier - ended.get(process.pid, 0.0))
    return used


def _lives(process: Process, moment: Mapping[int, Process]) -> bool:
    other = moment.get(process.pid)
    return other is not None and other.started == process.started


def _heir(process: Process, before: Mapping[int, Process], after: Mapping[int, Process]) -> int:
    """Who has been told of its CPU time: the nearest ancestor that lives on."""
    for ancestor in _ancestors(process, before):
        if _lives(ancestor, after):
            return ancestor.pid
    return FIRST


def _is_ours(
    process: Process, before: Mapping[int, Process], after: Mapping[int, Process], me: int
) -> bool:
    """Whether it is part of the measuring, or nobody's: the kernel, or the first process."""
    if process.pid in (FIRST, KERNEL) or process.parent == KERNEL:
        return True
    line = [process, *_ancestors(process, after)]
    if any(one.pid == me for one in line):
        return True
    for one in line:
        if one.name.startswith(DAEMONS):
            return True
        # What ran before us is somebody else's, with all that it starts, also inside an engine.
        if one.pid != FIRST and _lives(one, before):
            return False
    return any(one.name.startswith(MACHINE) for one in line)


def _ancestors(process: Process, moment: Mapping[int, Process]) -> list[Process]:
    found: list[Process] = []
    seen = {process.pid}
    while (parent := moment.get(process.parent)) is not None and parent.pid not in seen:
        seen.add(parent.pid)
        found.append(parent)
        process = parent
    return found


def _parsed(stat: str) -> Process | None:
    """A line of /proc/PID/stat; the name may have anything in it, brackets too."""
    head, _, tail = stat.rpartition(")")
    pid, _, name = head.partition(" (")
    words = tail.split()
    if len(words) < 20:
        return None
    told = [number(word) for word in (pid, words[1], words[19], *words[11:15])]
    known = [count for count in told if count is not None]
    if len(known) < len(told):
        return None
    return Process(
        pid=int(known[0]),
        parent=int(known[1]),
        started=int(known[2]),
        name=name,
        cpu_s=sum(known[3:]) * TICK_S,
    )

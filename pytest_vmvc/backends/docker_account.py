"""Who works for a container on the host: its processes, its shim, the engine's daemons."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from pytest_vmvc.backends import footprint
from pytest_vmvc.backends.docker_engine import PROBE_S
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.errors import EnvironmentDied, Unavailable

ENGINES = ("dockerd", "podman")
CONTAINERD = ("containerd",)
INIT_PID = 1


def shim(pid: int, container_id: str) -> psutil.Process:
    """The process that keeps a container, by its first process; raises `Unavailable`."""
    try:
        keeper = psutil.Process(pid).parent()
        # The pid is one of the engine's host, which need not be this one. A keeper is told what it
        # keeps; the control group, which a rootless engine may not give, would not show it.
        ours = keeper is not None and container_id in keeper.cmdline()
    except (OSError, psutil.Error) as error:
        raise Unavailable(f"the container's processes cannot be seen: {error}") from error
    if keeper is None or not ours:
        raise Unavailable("the engine's processes are not in this host's process table")
    return keeper


def daemons(url: str, keeper: psutil.Process) -> list[psutil.Process]:
    """The engine behind that address, and the containerd that the shim reports to."""
    found = _listening(url.removeprefix("unix://"), ENGINES)
    with suppress(psutil.Error, ValueError, IndexError):
        words = keeper.cmdline()
        found |= _listening(words[words.index("-address") + 1], CONTAINERD)
    return list(found)


def account(keeper: psutil.Process, servants: list[psutil.Process]) -> Account:
    """Figures of a container's whole process set; raises `EnvironmentDied`."""
    try:
        payload = keeper.children(recursive=True)
        manager_bytes, manager_cpu_s = footprint.memory_bytes(keeper), footprint.cpu_s(keeper)
    except psutil.NoSuchProcess:
        raise EnvironmentDied("the container's shim has ended") from None
    if not payload:
        raise EnvironmentDied("the container's processes have ended")
    payload_bytes, payload_cpu_s = footprint.total(payload)
    daemons_bytes, daemons_cpu_s = footprint.total(servants)
    return Account(
        payload_bytes=payload_bytes,
        manager_bytes=manager_bytes,
        daemons_bytes=daemons_bytes,
        cpu_s=payload_cpu_s + manager_cpu_s,
        manager_cpu_s=manager_cpu_s,
        daemons_cpu_s=daemons_cpu_s,
    )


def memory(stats: Mapping[str, Any]) -> Memory:
    """The cgroup's figures out of the engine's ``memory_stats``."""
    pages = stats.get("stats") or {}
    cache = int(pages.get("total_cache", pages.get("file", pages.get("cache", 0))))
    return Memory(
        configured_bytes=min(int(stats["limit"]), psutil.virtual_memory().total),
        used_bytes=max(0, int(stats["usage"]) - cache),
        cache_bytes=cache,
    )


def _listening(path: str, programs: tuple[str, ...]) -> set[psutil.Process]:
    """Who serves a unix socket; by name where init listens for them (socket activation)."""
    with (
        suppress(OSError, psutil.Error),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel,
    ):
        channel.settimeout(PROBE_S)
        channel.connect(path)
        credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = struct.unpack("3i", credentials)[0]
        if pid > INIT_PID:
            return {psutil.Process(pid)}
    return {one for one in psutil.process_iter(["name"]) if one.info["name"] in programs}

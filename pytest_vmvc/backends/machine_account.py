"""What a QEMU process costs the host, and what its guest says of its own memory."""

from __future__ import annotations

import psutil

from pytest_vmvc.backends import footprint
from pytest_vmvc.backends.optional import Account, Memory
from pytest_vmvc.errors import InfrastructureError, Unavailable

KIB = 1024


def account(process: psutil.Process, guest_bytes: int) -> Account:
    """QEMU's figures; the mapping of the guest's memory is known by its size.

    Raises `Unavailable` where the mappings cannot be read, and `psutil.NoSuchProcess`.
    """
    try:
        maps = process.memory_maps(grouped=False)
    except psutil.AccessDenied as error:
        raise Unavailable("the mappings of QEMU may not be read") from error
    if not maps:  # it is ending: the kernel takes its memory first
        raise psutil.NoSuchProcess(process.pid)
    guest = [mapping.pss for mapping in maps if mapping.size == guest_bytes]
    if not guest:
        raise Unavailable(f"QEMU has no mapping of {guest_bytes} bytes, the guest's memory")
    cpu_s = footprint.cpu_s(process)
    return Account(
        payload_bytes=max(guest),
        manager_bytes=sum(mapping.pss for mapping in maps) - max(guest),
        cpu_s=cpu_s,
        manager_cpu_s=cpu_s,
    )


def memory(meminfo: str, configured_bytes: int) -> Memory:
    """The grant without what the guest's kernel has free; raises `InfrastructureError`."""
    try:
        figures = {
            name: int(words.split()[0]) * KIB
            for name, _, words in (line.partition(":") for line in meminfo.splitlines())
        }
        cache = figures["Cached"] + figures["Buffers"]
        free = figures["MemFree"]
    except (KeyError, ValueError, IndexError) as error:
        raise InfrastructureError(f"the guest's /proc/meminfo makes no sense: {error}") from error
    return Memory(
        configured_bytes=configured_bytes,
        used_bytes=configured_bytes - free - cache,
        cache_bytes=cache,
    )

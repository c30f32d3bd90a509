"""Memory and CPU time of the host's processes."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil


def memory_bytes(process: psutil.Process) -> int:
    """PSS, or RSS where PSS may not be read; raises `psutil.NoSuchProcess`."""
    try:
        held = int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        held = int(process.memory_info().rss)
    if not held:  # it is ending: the kernel takes its memory first
        raise psutil.NoSuchProcess(process.pid)
    return held


def cpu_s(process: psutil.Process) -> float:
    """CPU time since its start, of threads that ended too; raises `psutil.NoSuchProcess`.

    Read from the process's CPU-time clock, which counts nanoseconds: an idle process needs less
    than a tick of the table in /proc.
    """
    try:
        # What clock_getcpuclockid(3) makes of a pid.
        return time.clock_gettime((~process.pid << 3) | 2)
    except OSError as gone:
        raise psutil.NoSuchProcess(process.pid) from gone


def total(processes: Iterable[psutil.Process]) -> tuple[int, float]:
    """Memory and CPU time of several; those that have just ended count nothing."""
    memory, cpu = 0, 0.0
    for process in processes:
        try:
            memory, cpu = memory + memory_bytes(process), cpu + cpu_s(process)
        except psutil.NoSuchProcess:
            continue
    return memory, cpu

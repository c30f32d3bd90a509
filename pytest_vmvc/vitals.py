"""The host's vital signs at one moment: cheap reads of clocks, /proc and /sys.

What a host hides, or tells in words that are not the kernel's, is None: never a zero that would
look like quiet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

ROOT = Path("/")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
Clock = Callable[[int], float]
"""``time.clock_gettime``: seconds by the number of a clock."""

_BUSY = (0, 1, 2, 5, 6)
"""Columns of /proc/stat that are work: user with guests, nice, system, both kinds of interrupts."""
_STEAL = 7
_CPU_MOUNTS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
"""Where below /sys/fs/cgroup the CPU controller of version 1 may be."""
_UNIFIED_MOUNTS = ("", "unified")
"""Where version 2 is: alone, or beside version 1."""
_THROTTLED = {"throttled_usec": 1e-6, "throttled_time": 1e-9}
"""Time of a quota's throttling in cpu.stat, with its unit in seconds: version 2 and version 1."""
_LAST_CPU = 36
"""Column of /proc/PID/stat after the name: the CPU that the process ran on last."""


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """Counters, of all that happened since boot, and states. A counter matters by its growth."""

    at_s: float
    """Monotonic clock."""
    real_ahead_s: float
    """By how much the wall clock is ahead of it; steps when somebody sets the time."""
    suspended_s: float
    """Time since boot that the monotonic clock does not know, as it stood still."""
    own_cpu_s: float
    """CPU time of this process."""
    clock_source: str | None
    cpus: int | None
    busy_s: float | None
    """CPU time of everything on the host."""
    steal_s: float | None
    """CPU time that was wanted here and that a hypervisor gave to others."""
    pressure_s: dict[str, float]
    """Stall time by ``resource kind``, as in ``io some``; what is not accounted is not in it."""
    swapped_pages: float | None
    """Pages swapped in or out."""
    available_bytes: float | None
    throttled_s: float | None
    """Time for which the quota of this process's control group, or of one above, held it up."""
    thermal_events: float | None
    """How often a CPU slowed down for its temperature."""
    frequency_hz: float | None
    """Of the CPU that this process runs on."""


def read(*, root: Path = ROOT, clock: Clock = time.clock_gettime) -> Vitals:
    """Read all of it; ``root`` is where /proc and /sys are. Raises nothing."""
    at_s = clock(time.CLOCK_MONOTONIC)
    real_s, boot_s = clock(time.CLOCK_REALTIME), clock(time.CLOCK_BOOTTIME)
    rows = [line.split() for line in text(root / "proc/stat").splitlines()]
    cpu = next((row[1:] for row in rows if row[:1] == ["cpu"]), [])
    cpus = [row for row in rows if row and row[0][:3] == "cpu" and row[0][3:].isdigit()]
    return Vitals(
        at_s=at_s,
        real_ahead_s=real_s - at_s,
        suspended_s=boot_s - at_s,
        own_cpu_s=clock(time.CLOCK_PROCESS_CPUTIME_ID),
        clock_source=text(
            root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        ).strip()
        or None,
        cpus=len(cpus) or None,
        busy_s=_ticks(cpu, *_BUSY),
        steal_s=_ticks(cpu, _STEAL),
        pressure_s=dict(_pressure(root)),
        swapped_pages=total(
            field(text(root / "proc/vmstat"), name) for name in ("pswpin", "pswpout")
        ),
        available_bytes=_kib(field(text(root / "proc/meminfo"), "MemAvailable:")),
        throttled_s=_throttled_s(root),
        thermal_events=_thermal_events(root),
        frequency_hz=_frequency_hz(root),
    )


def text(path: Path) -> str:
    """The file's text, whatever is in it; empty where it is hidden."""
    with suppress(OSError, ValueError):  # a path from another file may have a null byte in it
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def number(word: str) -> float | None:
    """A count as the kernel writes one; anything else is None."""
    return float(word) if word.isascii() and word.isdigit() and len(word) <= 20 else None


def total(parts: Iterator[float | None]) -> float | None:
    """The sum, where every part is known and there is one."""
    known = list(parts)
    return sum(part for part in known if part is not None) if known and None not in known else None


def field(content: str, name: str) -> float | None:
    """The count behind a name, in a file of one name a line."""
    for line in content.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return number(words[1])
    return None


def _ticks(columns: list[str], *places: int) -> float | None:
    known = total(number(columns[place]) if place < len(columns) else None for place in places)
    return None if known is None else known * TICK_S


def _kib(count: float | None) -> float | None:
    return None if count is None else count * 1024


def _pressure(root: Path) -> Iterator[tuple[str, float]]:
    for resource in ("cpu", "io", "memory"):
        for line in text(root / "proc/pressure" / resource).splitlines():
            kind, *words = line.split() or [""]
            told = [number(word[6:]) for word in words if word.startswith("total=")]
            if told and told[0] is not None:
                yield f"{resource} {kind}", told[0] / 1e6


def _throttled_s(root: Path) -> float | None:
    """Of the own group and of all above it: a quota anywhere on the way holds this process up."""
    found: list[float] = []
    for line in text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy != "0" and "cpu" not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        # A path above the own namespace's root cannot be followed; the mount's root is ours then.
        ways = [PurePosixPath()] if ".." in own.parts else [own, *own.parents]
        for mount in _UNIFIED_MOUNTS if hierarchy == "0" else _CPU_MOUNTS:
            files = [text(root / "sys/fs/cgroup" / mount / way / "cpu.stat") for way in ways]
            if told := [held_s for file in files if (held_s := _held_up_s(file)) is not None]:
                found += told
                break  # the others are links to it
    return sum(found) if found else None


def _held_up_s(cpu_stat: str) -> float | None:
    for name, unit_s in _THROTTLED.items():
        if (count := field(cpu_stat, name)) is not None:
            return count * unit_s
    return None


def _thermal_events(root: Path) -> float | None:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    return total(number(text(file).strip()) for file in files)


def _frequency_hz(root: Path) -> float | None:
    columns = text(root / "proc/self/stat").rpartition(")")[2].split()
    if len(columns) <= _LAST_CPU or number(columns[_LAST_CPU]) is None:
        return None
    place = root / "sys/devices/system/cpu" / f"cpu{columns[_LAST_CPU]}"
    khz = number(text(place / "cpufreq/scaling_cur_freq").strip())
    return None if khz is None else khz * 1000

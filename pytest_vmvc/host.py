"""The host that everything runs on: its manifest, its facts, its load. Cheap reads, no daemon."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

from pytest_vmvc.model import Host, Tier
from pytest_vmvc.vitals import number

ROOT = Path("/")
LIBRARIES = ("pytest-vmvc", "pytest", "pytest-benchmark", "docker", "python-vagrant", "qemu.qmp")
"""Distributions whose versions can change a figure or its reading."""


def manifest(tier: Tier, *, root: Path = ROOT) -> Host:
    """What a reader needs to know whether this host is like theirs.

    ``tier`` is the accelerator found by a guest probe; ``root`` is where /proc, /sys and /etc are.
    """
    return Host(
        name=platform.node(),
        os=os_name(root=root),
        kernel=platform.release(),
        boot_id=_read(root / "proc/sys/kernel/random/boot_id"),
        architecture=platform.machine(),
        cpu_model=_cpu_model(root),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=_meminfo(root).get("MemTotal", 0),
        tier=tier,
        clock_source=_read(
            root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        cgroup=cgroup_mode(root=root),
        versions=_versions(),
    )


def host_facts(*, root: Path = ROOT) -> dict[str, str | int]:
    """``kernel_release``, ``boot_id`` and ``boot_time`` (seconds since the epoch) of the host."""
    return {
        "kernel_release": _read(root / "proc/sys/kernel/osrelease"),
        "boot_id": _read(root / "proc/sys/kernel/random/boot_id"),
        "boot_time": _count(_stat(root).get("btime", ["0"])[0]),
    }


def load_snapshot(*, root: Path = ROOT) -> dict[str, float]:
    """How busy the host is now.

    ``load_1m`` (processes), ``steal_ticks`` (since boot), ``mem_available_bytes``,
    ``swap_used_bytes`` and, where the kernel accounts pressure, ``psi_cpu_some_avg10`` (per cent).
    """
    memory = _meminfo(root)
    cpu = _stat(root).get("cpu", [])
    found = {
        "load_1m": _figure((_read(root / "proc/loadavg").split() or ["0"])[0]),
        "steal_ticks": float(_count(cpu[7])) if len(cpu) > 7 else 0.0,
        "mem_available_bytes": float(memory.get("MemAvailable", 0)),
        "swap_used_bytes": float(memory.get("SwapTotal", 0) - memory.get("SwapFree", 0)),
    }
    for line in _read(root / "proc/pressure/cpu").splitlines():
        kind, *fields = line.split() or [""]
        for field in fields:
            if kind == "some" and field.startswith("avg10="):
                found["psi_cpu_some_avg10"] = _figure(field[6:])
    return found


def tsc_khz(*, root: Path = ROOT) -> int | None:
    """Frequency of the time stamp counter; None where it is not constant, or nobody knows it.

    Where the processor does not tell its momentary frequency either (``aperfmperf``), Linux shows
    the counter's in its place: arch/x86/kernel/cpu/proc.c.
    """
    text = _read(root / "proc/cpuinfo")
    flags = set(re.split(r"\s+", _cpuinfo(text, "flags")))
    if not {"constant_tsc", "tsc_known_freq"} <= flags or "aperfmperf" in flags:
        return None
    return round(1000 * _figure(_cpuinfo(text, "cpu MHz"))) or None


def _cpuinfo(text: str, name: str) -> str:
    """A field of the first processor."""
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def os_release(*, root: Path = ROOT) -> dict[str, str]:
    """The fields of os-release, unquoted; empty where there is no such file."""
    text = _read(root / "etc/os-release") or _read(root / "usr/lib/os-release")
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def os_name(*, root: Path = ROOT) -> str:
    """The distribution in words."""
    return os_release(root=root).get("PRETTY_NAME") or platform.system()


def cgroup_mode(*, root: Path = ROOT) -> str:
    """``v2``, ``hybrid`` (v1 controllers beside a v2 tree), ``v1`` or ``none``."""
    kinds = {
        fields[2]
        for line in _read(root / "proc/mounts").splitlines()
        if len(fields := line.split()) > 2 and fields[2] in ("cgroup", "cgroup2")
    }
    match sorted(kinds):
        case ["cgroup", "cgroup2"]:
            return "hybrid"
        case ["cgroup2"]:
            return "v2"
        case ["cgroup"]:
            return "v1"
    return "none"


def _read(path: Path) -> str:
    with suppress(OSError):  # hardened kernels and containers hide some of these files
        return path.read_text(errors="replace").strip()
    return ""


def _stat(root: Path) -> dict[str, list[str]]:
    rows = (line.split() for line in _read(root / "proc/stat").splitlines())
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def _meminfo(root: Path) -> dict[str, int]:
    """Fields of /proc/meminfo, in bytes."""
    rows = (line.replace(":", " ").split() for line in _read(root / "proc/meminfo").splitlines())
    return {row[0]: _count(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _count(word: str) -> int:
    """A count as the kernel writes one; 0 for anything else."""
    return int(number(word) or 0)


def _figure(word: str) -> float:
    """The same with decimals."""
    return float(word) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", word) else 0.0


def _cpu_model(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found

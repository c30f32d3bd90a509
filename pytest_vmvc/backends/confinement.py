"""How a process of this host is confined: what it may ask of the host's kernel. Reads only."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_vmvc.errors import EnvironmentDied, Unavailable

PROC = Path("/proc")
MODES = {"0": "unfiltered", "2": "filtered"}
"""Seccomp in a process's status."""

LETS_THROUGH = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE"})
Profile = Mapping[str, Any]
"""A seccomp profile as the OCI runtime specification has it."""

_SYMBOL = re.compile(rb" [Tt] __(?:x64|arm64|s390x|riscv|powerpc)_sys_(\w+)")
_VARIANT = re.compile(r"^(?:ia32_|_?new|old_?|_)|(?:_time32|_time64|16|32|64)$")


def capabilities(pid: int) -> int:
    """How many effective capabilities a process has towards the host; raises `EnvironmentDied`.

    Those of a process in another user namespace than ours count for nothing outside of it.
    """
    if _read(pid, "uid_map").split() != (PROC / "self/uid_map").read_text().split():
        return 0
    return int(_status(pid, "CapEff"), 16).bit_count()


def system_calls(pid: int, profile: Callable[[], Profile]) -> int:
    """How many of the kernel's system calls a process may make, its filter evaluated offline.

    ``profile`` is asked for where the process has a filter. Raises `Unavailable` where that or
    the kernel's list cannot be had, and `EnvironmentDied`.
    """
    mode = _status(pid, "Seccomp")
    if mode not in MODES:
        raise Unavailable(f"the process's seccomp mode is {mode}, which has no profile")
    calls = kernel_calls()
    return len(calls if MODES[mode] == "unfiltered" else admitted(profile(), calls))


@functools.cache
def kernel_calls() -> frozenset[str]:
    """Names of the system calls that the host's kernel has; raises `Unavailable`.

    Variants of one call (for 16, 32 or 64 bit, old and new) count once.
    """
    with (PROC / "kallsyms").open("rb") as symbols:
        found = {match[1].decode() for line in symbols if (match := _SYMBOL.search(line))}
    if not found:
        raise Unavailable("the host's kernel does not list its system calls in /proc/kallsyms")
    return frozenset(map(_stem, found - {"ni_syscall"}))


def admitted(profile: Profile, calls: frozenset[str]) -> frozenset[str]:
    """The calls that a profile lets through, also where it does so for certain arguments only."""
    rules = profile.get("syscalls") or []
    allowed = {_stem(name) for rule in rules if _allows(rule["action"]) for name in rule["names"]}
    if not _allows(profile["defaultAction"]):
        return calls & allowed
    denied = {
        _stem(name)
        for rule in rules
        if not _allows(rule["action"]) and not rule.get("args")
        for name in rule["names"]
    }
    return calls - (denied - allowed)


def emulators_own() -> Profile:
    """The profile of an emulator that filters itself: it stands in no file; `Unavailable`."""
    raise Unavailable("the emulator has a filter of its own, which cannot be read from outside")


def _allows(action: str) -> bool:
    return action in LETS_THROUGH


def _stem(name: str) -> str:
    return _VARIANT.sub("", name)


def _status(pid: int, field: str) -> str:
    found = re.search(rf"^{field}:\s*(\S+)", _read(pid, "status"), re.MULTILINE)
    if found is None:
        raise Unavailable(f"the host's kernel does not tell {field} of a process")
    return found[1]


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise EnvironmentDied(f"process {pid} is gone from this host") from error

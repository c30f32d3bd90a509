"""A host that was quiet around an experiment of a minute, for tests to make noisy; all invented."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pytest_vmvc.gates import Quiet, Seen
from pytest_vmvc.vitals import Vitals

BEGIN = Vitals(
    at_s=100.0,
    real_ahead_s=1.7e9,
    suspended_s=0.0,
    own_cpu_s=5.0,
    clock_source="tsc",
    cpus=2,
    busy_s=1000.0,
    steal_s=10.0,
    pressure_s={"cpu some": 50.0, "io some": 20.0, "memory full": 1.0},
    swapped_pages=4000.0,
    available_bytes=8e9,
    throttled_s=3.0,
    thermal_events=7.0,
    frequency_hz=3.0e9,
)


def later(vitals: Vitals, seconds: float, **growth: float) -> Vitals:
    """The same host after so many seconds, its counters grown by so much."""
    grown = {name: getattr(vitals, name) + by for name, by in growth.items()}
    return msgspec.structs.replace(vitals, at_s=vitals.at_s + seconds, **grown)


def window(begin: Vitals, *, loop_s: float = 0.05, **growth: float) -> Quiet:
    """A window of 0.15 s in which this process used one CPU."""
    used = {"own_cpu_s": 0.15, "busy_s": 0.15} | growth
    return Quiet(begin=begin, end=later(begin, 0.15, **used), loop_s=loop_s)


def quiet(*, minutes: float = 1.0) -> Seen:
    """An experiment that used 70 CPU seconds a minute beside a neighbour with one."""
    before = window(BEGIN)
    after = window(later(before.end, 60 * minutes, busy_s=70.0 * minutes))
    return Seen(before, after, neighbours_s=1.0 * minutes)


def during(seen: Seen, **changes: object) -> Seen:
    """With other figures from the second window on."""
    begin, end = (
        msgspec.structs.replace(vitals, **changes) for vitals in (seen.after.begin, seen.after.end)
    )
    return seen._replace(after=msgspec.structs.replace(seen.after, begin=begin, end=end))


def both_windows(seen: Seen, **changes: object) -> Seen:
    """With other figures at the end of each window."""
    before, after = (
        msgspec.structs.replace(one, end=msgspec.structs.replace(one.end, **changes))
        for one in (seen.before, seen.after)
    )
    return seen._replace(before=before, after=after)


def plant(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root

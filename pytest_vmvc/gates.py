"""The validity gates on a host: each a figure, its limit, and the reason for that, set beforehand.

Of what happens during an experiment only that is held against the host which the experiment does
not cause, or which spoils its figures whoever caused it. The rest is looked at in two quiet
windows, one before it and one after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from pytest_vmvc.model import Check, Scalar, Spoils
from pytest_vmvc.units import quantity
from pytest_vmvc.vitals import Vitals

SHORTEST_S = 0.5
"""The kernel counts CPU time in hundredths of a second: what is shorter tells nothing."""
SUSPEND = "suspend"
SLOW_CLOCKS = "acpi_pm, hpet, jiffies, pit, refined-jiffies"
"""Clock sources that take microseconds to read, or are as coarse as the kernel's tick."""


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """A window in which this process did nothing but the calibration loop."""

    begin: Vitals
    end: Vitals
    loop_s: float
    """Time of the fastest run of the loop."""


class Seen(NamedTuple):
    """All that the gates are about."""

    before: Quiet
    after: Quiet
    neighbours_s: float | None
    """CPU time that others used during the experiment."""


class Untold(Exception):
    """A gate is not available; its text is the reason."""


class Gate(NamedTuple):
    """A limit that was set beforehand."""

    name: str
    figure: Callable[[Seen], Scalar]
    """Raises `Untold`."""
    op: Literal["<=", ">=", "not"]
    limit: float | str
    unit: str
    what: str
    """What the figure is."""
    why: str
    """Why that is the limit."""
    spoils: Spoils = "time"

    def check(self, seen: Seen) -> Check:
        """Look at it."""
        figure: Scalar
        try:
            figure, note = self.figure(seen), ""
            passed = _keeps(figure, self.op, self.limit)
        except Untold as reason:
            figure, note, passed = None, str(reason), None
        return Check(
            name=self.name,
            figure=figure,
            op=self.op,
            limit=self.limit,
            unit=self.unit,
            passed=passed,
            spoils=self.spoils,
            note=note,
        )


def checks(seen: Seen) -> tuple[Check, ...]:
    """Every gate, also those that this host does not have."""
    return tuple(gate.check(seen) for gate in GATES)


def excused(checks: tuple[Check, ...], void_s: float) -> tuple[Check, ...]:
    """The checks without the time of a suspend that samples have paid for by being void."""
    if not void_s:
        return checks
    return tuple(_excused(check, void_s) if check.name == SUSPEND else check for check in checks)


def _excused(check: Check, void_s: float) -> Check:
    if not isinstance(check.figure, int | float):
        return check
    left_s = max(0.0, check.figure - void_s)
    return msgspec.structs.replace(
        check,
        figure=left_s,
        passed=_keeps(left_s, check.op, check.limit),
        note=f"{quantity(void_s, 's')} more in samples that are void for it",
    )


def figure_words(check: Check) -> str:
    """The figure in the unit a person would choose; empty where there is none."""
    if check.figure is None:
        return ""
    if isinstance(check.figure, str):
        return check.figure
    return quantity(check.figure, check.unit)


def limit_words(check: Check) -> str:
    """The limit, and on which side of it one should be."""
    if isinstance(check.limit, str):
        return f"none of {check.limit}"
    bound = quantity(check.limit, check.unit, exact=True)
    return {"<=": bound, ">=": f"at least {bound}"}.get(check.op, f"a factor of {bound}")


def _keeps(figure: Scalar, op: str, limit: float | str) -> bool:
    if isinstance(limit, str):
        return figure not in limit.split(", ")
    assert isinstance(figure, int | float)
    return figure <= limit if op == "<=" else figure >= limit


# --- figures -------------------------------------------------------------------------------------


def _known(value: float | None) -> float:
    if value is None:
        raise Untold("this host does not tell")
    return value


def _growth(begin: float | None, end: float | None) -> float:
    grown = _known(end) - _known(begin)
    if grown < 0:
        raise Untold("a counter went backwards")
    return grown


def _lasted_s(begin: Vitals, end: Vitals) -> float:
    if end.at_s <= begin.at_s:
        raise Untold("the clock stood still")
    return end.at_s - begin.at_s


def _during_s(seen: Seen) -> float:
    """Seconds between the two windows."""
    lasted = seen.after.begin.at_s - seen.before.end.at_s
    if lasted < SHORTEST_S:
        raise Untold(f"it took less than {SHORTEST_S:g} s")
    return lasted


def _load(seen: Seen) -> float:
    lasted, cpus = _during_s(seen), _known(seen.after.begin.cpus)
    if seen.neighbours_s is None:
        raise Untold("not all processes of the host can be seen from here")
    return 100 * seen.neighbours_s / (lasted * cpus)


def _quieter(share: Callable[[Vitals, Vitals], float]) -> Callable[[Seen], float]:
    """Per cent of a window, the quieter of the two: what has only just ended disturbs one."""

    def figure(seen: Seen) -> float:
        shares = []
        for window in (seen.before, seen.after):
            lasted = _lasted_s(window.begin, window.end)
            shares.append(100 * share(window.begin, window.end) / lasted)
        return min(shares)

    return figure


def _others(begin: Vitals, end: Vitals) -> float:
    used = _growth(begin.busy_s, end.busy_s) - _growth(begin.own_cpu_s, end.own_cpu_s)
    return max(0.0, used) / _known(end.cpus)


def _stalled(kind: str) -> Callable[[Vitals, Vitals], float]:
    return lambda begin, end: _growth(begin.pressure_s.get(kind), end.pressure_s.get(kind))


def _steal(seen: Seen) -> float:
    begin, end = seen.before.end, seen.after.begin
    stolen = _growth(begin.steal_s, end.steal_s)
    wanted = stolen + _growth(begin.busy_s, end.busy_s)
    if wanted < SHORTEST_S:
        raise Untold(f"less than {SHORTEST_S:g} s of CPU time was wanted")
    return 100 * stolen / wanted


def _share(kind: str) -> Callable[[Seen], float]:
    """Per cent of the experiment's time."""
    stalled = _stalled(kind)
    return lambda seen: 100 * stalled(seen.before.end, seen.after.begin) / _during_s(seen)


def _swapping(seen: Seen) -> float:
    begin, end = seen.before.end, seen.after.begin
    return _growth(begin.swapped_pages, end.swapped_pages) / _during_s(seen)


def _throttling(seen: Seen) -> float:
    begin, end = seen.before.begin, seen.after.end
    return 100 * _growth(begin.throttled_s, end.throttled_s) / _lasted_s(begin, end)


def _set_s(vitals: Vitals) -> float:
    """Wall clock ahead of the clock that counts from boot: a suspend moves neither against it."""
    return vitals.real_ahead_s - vitals.suspended_s


def _apart(first: float, second: float) -> float:
    """By how much the larger exceeds the smaller, in per cent."""
    low, high = sorted((first, second))
    if low <= 0:
        raise Untold("the clock stood still")
    return 100 * (high / low - 1)


# --- the limits ----------------------------------------------------------------------------------

_A_TENTH = (
    "shifts a figure by about a tenth at most, less than half of the margin in which two figures "
    "count as equal (25 %)"
)

GATES = (
    Gate(
        "load", _load, "<=", 10, "%",
        what="CPU time of processes that are no part of the measuring, of all CPUs' time; not the "
        "load average, which counts what is measured and what this run did a minute ago",
        why=_A_TENTH,
    ),
    Gate(
        "load around", _quieter(_others), "<=", 25, "%",
        what="all work but the calibration loop, of all CPUs' time, in the quieter window",
        why="the kernel's hundredths of a second make some per cent of a window; a CPU of four",
    ),
    Gate(
        "CPU pressure", _quieter(_stalled("cpu some")), "<=", 20, "%",
        what="part of the quieter window in which somebody waited for a CPU",
        why="one process runs, and still others wait: the CPUs are taken by somebody else",
    ),
    Gate(
        "disk pressure", _quieter(_stalled("io some")), "<=", 20, "%",
        what="part of the quieter window in which somebody waited for a disk; during the "
        "experiment it is what is measured that waits",
        why="nothing of ours reads or writes then: the disk is busy for somebody else",
    ),
    Gate(
        "memory pressure", _share("memory full"), "<=", 1, "%",
        what="part of the experiment in which nothing could run for want of memory",
        why="a host that is too small for what it runs measures its reclaim, whoever caused it",
        spoils="memory",
    ),
    Gate(
        "swapping", _swapping, "<=", 10, "pages/s",
        what="pages swapped in or out during the experiment; swap that only lies there is harmless",
        why="ten accesses to a slow disk take a tenth of a second",
        spoils="memory",
    ),
    Gate(
        "free memory",
        lambda seen: _known(seen.before.end.available_bytes), ">=", 512 * 2**20, "bytes",
        what="MemAvailable before the experiment",
        why="two machines of the usual size; below it page cache is reclaimed during the run",
        spoils="memory",
    ),
    Gate(
        "steal", _steal, "<=", 5, "%",
        what="CPU time that a hypervisor gave to others, of all that was wanted here",
        why="a guest cannot see when it was taken away: half of what a neighbour on the host may",
    ),
    Gate(
        "throttling", _throttling, "<=", 1, "%",
        what="part of the time in which a CPU quota held up this process's own control group",
        why="quotas bite for tens of milliseconds at once, in the middle of a stopwatch's time",
    ),
    Gate(
        "overheating",
        lambda seen: _growth(seen.before.begin.thermal_events, seen.after.end.thermal_events),
        "<=", 0, "events",
        what="how often a CPU has slowed down for its temperature",
        why="each may halve the frequency, and the next start pays for what the last one heated",
    ),
    Gate(
        "frequency",
        lambda seen: _apart(
            _known(seen.before.end.frequency_hz), _known(seen.after.end.frequency_hz)
        ),
        "<=", 10, "%",
        what="how far the frequency of the CPU under the calibration loop differs before and after",
        why=_A_TENTH,
        spoils="speed",
    ),
    Gate(
        "calibration", lambda seen: _apart(seen.before.loop_s, seen.after.loop_s), "<=", 10, "%",
        what="how far the time of a fixed loop (the fastest of five) differs before and after",
        why=_A_TENTH,
        spoils="speed",
    ),
    Gate(
        "clock source", lambda seen: _source(seen.after.end.clock_source), "not", SLOW_CLOCKS, "",
        what="the kernel's clock source after the experiment: an unstable one is replaced",
        why="they take microseconds to read, or are as coarse as the kernel's tick",
    ),
    Gate(
        "clock step", lambda seen: abs(_set_s(seen.after.end) - _set_s(seen.before.begin)),
        "<=", 0.1, "s",
        what="by how much the wall clock was set against the one that counts from the host's boot",
        why="slewing turns both clocks alike; a step tells of a pause that nothing here could see",
    ),
    Gate(
        SUSPEND,
        lambda seen: abs(seen.after.end.suspended_s - seen.before.begin.suspended_s),
        "<=", 0.1, "s",
        what="time for which the monotonic clock stood still, but for samples that are void for it",
        why="the clocks are read one after the other: what came between them is no suspend",
    ),
)  # fmt: skip
"""All of them, in the order in which they are shown."""


def _source(name: str | None) -> str:
    if name is None:
        raise Untold("this host does not tell")
    return name

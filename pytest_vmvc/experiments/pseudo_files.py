"""Files of the host's kernel that tell of the host as a whole, and whether they do so inside."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pytest_vmvc.experiments.vantage import Shell, on_host


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A value that no two kernels share by chance, and how it is read."""

    name: str
    look: str
    """A command of the shell; nothing said: not readable there."""
    counts_up: bool = False
    """It is a number that never falls, so the host's own lies around it; else it stands still."""


def _field(path: str, pattern: str, *, counts_up: bool = False) -> Row:
    return Row(
        name=f"{path} {pattern}",
        look=f"grep -m1 '^{pattern} ' {path} | tr -s ' ' | cut -d' ' -f2",
        counts_up=counts_up,
    )


def _whole(path: str) -> Row:
    return Row(name=path, look=f"head -c 65536 {path}")


ROWS = (
    _whole("/proc/sys/kernel/random/boot_id"),
    _whole("/proc/cmdline"),
    Row(name="/proc/uptime", look="cut -d' ' -f1 /proc/uptime", counts_up=True),
    # An idle host's and an idle guest's load are alike by chance.
    Row(name="/proc/loadavg", look="cut -d' ' -f1-3 /proc/loadavg | grep -v '^0.00 0.00 0.00'"),
    _field("/proc/meminfo", "MemTotal:"),
    _field("/proc/stat", "btime"),
    _field("/proc/stat", "ctxt", counts_up=True),
    _field("/proc/stat", "processes", counts_up=True),
    _field("/proc/vmstat", "pgfault", counts_up=True),
    Row(name="/proc/modules", look="cut -d' ' -f1,2 /proc/modules | head -c 65536"),
    Row(name="/proc/partitions", look="grep '[0-9]' /proc/partitions"),
    Row(
        name="/proc/pressure/cpu",
        look="sed -n 's/^some.*total=//p' /proc/pressure/cpu",
        counts_up=True,
    ),
    Row(
        name="/proc/kallsyms addresses",
        # Without randomisation all kernels start alike, but they do not go on alike.
        look="head -n 4000 /proc/kallsyms | grep -A8 ' T _stext$' | grep -v '^00* '",
    ),
    Row(
        name="/proc/iomem addresses",
        look="grep 'System RAM' /proc/iomem | grep -v '^ *00*-00* '",
    ),
    Row(
        name="/proc/timer_list",
        look="sed -n 's/^now at \\([0-9]*\\) nsecs/\\1/p' /proc/timer_list",
        counts_up=True,
    ),
    _whole("/sys/class/dmi/id/product_uuid"),
    _whole("/sys/kernel/vmcoreinfo"),
    Row(name="/sys/kernel/uevent_seqnum", look="cat /sys/kernel/uevent_seqnum", counts_up=True),
)
"""Fixed before any data. Versions and file systems are left out: two kernels may well share them,
and so is what a hypervisor passes on by design (the model of the CPU)."""

_MARK = "--vmvc--"

Seen = Mapping[str, str]
"""What each row's file says, by the row's name; nothing where it says nothing."""


def script() -> str:
    """Reads every row, each behind a mark."""
    return "".join(f"echo '{_MARK}'\n{{ {row.look}; }} 2>/dev/null\n" for row in ROWS)


def look(shell: Shell) -> Seen:
    """What every row says there."""
    parts = shell(script()).split(f"{_MARK}\n")[1:]
    return {row.name: part.strip() for row, part in zip(ROWS, parts, strict=False) if part.strip()}


class Differential(msgspec.Struct, frozen=True, kw_only=True):
    """Every row inside, against the host just before and just after."""

    equal: frozenset[str]
    """Rows that are readable inside and have the host's value."""
    valid: frozenset[str]
    """Rows whose controls came out right; the others say nothing."""
    void: frozenset[str]
    """Rows that the host can read, but not compare with itself."""


def differential(inside: Shell) -> Differential:
    """Compare inside with the host, with a control of each row.

    The host itself, read in between, must have the host's value; another value must not.
    """
    before, control = look(on_host), look(on_host)
    seen = look(inside)
    after = look(on_host)
    readable = {row for row in ROWS if row.name in before and row.name in after}
    valid = {
        row
        for row in readable
        if _equal(row, before, control, after) and not _equal(row, before, _other(control), after)
    }
    return Differential(
        equal=frozenset(row.name for row in valid if _equal(row, before, seen, after)),
        valid=frozenset(row.name for row in valid),
        void=frozenset(row.name for row in readable - valid),
    )


def _equal(row: Row, before: Seen, seen: Seen, after: Seen) -> bool:
    value, low, high = seen.get(row.name), before[row.name], after[row.name]
    if value is None:
        return False
    if not row.counts_up:
        return value in (low, high)
    try:
        return float(low) <= float(value) <= float(high)
    except ValueError:  # it is the guest that says so
        return False


def _other(seen: Seen) -> Seen:
    """The same with a digit in front: another value in every row."""
    return {name: f"9{value}" for name, value in seen.items()}

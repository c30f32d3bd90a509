"""How much slower emulation may have made a machine: a generous figure, measured in the same run.

A battery of small works is timed in the guest and on the host, and the allowance is a multiple of
its worst slowdown, fixed here and not after a look at the data. It is about slowness, so it is for
times alone: what an emulator adds to a machine's memory is its cache of translated code, of which
no slowdown tells the size.
"""

from __future__ import annotations

import statistics

from pytest_vmvc.model import Allowance, Evidence
from pytest_vmvc.units import number

MARGIN = 2
"""Times the worst slowdown: what a machine does may be worse for an emulator than any one part."""
SUBJECT, METRIC = "vm", "slowdown"
"""The row of the battery's evidence that it is made of; each instance is a part."""


def derived(battery: Evidence) -> Allowance | None:
    """The allowance from a battery's evidence; None where there are no slowdowns in it.

    A part of which a machine was no slower than the host allows nothing.
    """
    seen: dict[str, list[float]] = {}
    for row in battery.row(SUBJECT, METRIC):
        if isinstance(row.value, int | float):
            seen.setdefault(row.instance, []).append(row.value)
    parts = {part: statistics.median(values) for part, values in seen.items()}
    worst = max(parts, key=parts.__getitem__, default="")
    if not worst or parts[worst] <= 1:
        return None
    return Allowance(
        experiment=battery.experiment,
        pair=battery.pair,
        figure=MARGIN * parts[worst],
        worst=worst,
        n=min(map(len, seen.values())),
        parts=parts,
    )


def covers(unit: str) -> bool:
    """Whether it may be applied to a figure of this unit: a time, or a time for each of something.

    Never to bytes, counts and shares.
    """
    return unit.partition("/")[0] == "s"


def words(allowed: Allowance) -> str:
    """The figure with where it comes from, for the reason of a verdict."""
    slowdown = number(allowed.figure / MARGIN)
    return f"the allowance {MARGIN} × {slowdown} (worst: {allowed.worst})"

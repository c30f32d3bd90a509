"""The host around what is timed: looked at just before an experiment and just after it.

Around each look stands a quiet window in which this process does nothing but a fixed loop, so that
whatever else is busy there is not the experiment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pytest_vmvc import gates, neighbours, vitals
from pytest_vmvc.gates import Quiet, Seen
from pytest_vmvc.model import Check
from pytest_vmvc.vitals import ROOT, Clock

LOOPS = 5
"""Runs of the calibration loop in a window. The fastest counts: it was disturbed least, and what
disturbs has gates of its own; what is left is how fast the CPU is."""
LOOP_STEPS = 200_000
"""Steps of the loop: some 25 ms of one CPU."""

IDLE_S = 1.0
"""How long `now` looks at what others do."""

Ended = Callable[[], tuple[Check, ...]]
"""Looks at the host again, and tells whether it was quiet."""
Watch = Callable[[], Ended]
"""Looks at the host before an experiment; what it returns is called after it."""


def watch(*, root: Path = ROOT, clock: Clock = time.clock_gettime) -> Ended:
    """Look at the host now, and again when what this returns is called: that gives the checks."""
    before = quiet(root=root, clock=clock)
    alive = neighbours.alive(root=root)

    def ended() -> tuple[Check, ...]:
        still = neighbours.alive(root=root)
        used_s = None if alive is None or still is None else neighbours.cpu_s(alive, still)
        return gates.checks(Seen(before, quiet(root=root, clock=clock), used_s))

    return ended


def now(*, begin: Watch = watch, pause: Callable[[float], None] = time.sleep) -> tuple[Check, ...]:
    """The checks of an experiment that does nothing for a second."""
    ended = begin()
    pause(IDLE_S)
    return ended()


def quiet(*, root: Path = ROOT, clock: Clock = time.clock_gettime) -> Quiet:
    """A quiet window; takes some 0.15 s."""
    begin = vitals.read(root=root, clock=clock)
    times = [_loop_s(clock) for _ in range(LOOPS)]
    end = vitals.read(root=root, clock=clock)
    return Quiet(begin=begin, end=end, loop_s=min(times))


def _loop_s(clock: Clock) -> float:
    start = clock(time.CLOCK_MONOTONIC)
    state = 1
    for _ in range(LOOP_STEPS):
        state = (state * 69069 + 1) & 0xFFFFFFFF
    return clock(time.CLOCK_MONOTONIC) - start

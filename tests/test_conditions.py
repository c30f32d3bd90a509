"""The look at the host before and after, on planted trees with a planted clock, and on this one."""

from __future__ import annotations

import time

import pytest
from quiet_host import plant

from pytest_vmvc import conditions
from pytest_vmvc.conditions import LOOPS, now, quiet, watch
from pytest_vmvc.gates import GATES

STAT = "cpu  {busy} 0 0 0 0 0 0 {steal} 0 0\ncpu0 1\ncpu1 1\n"


class Clock:
    """Every look at it takes ten milliseconds."""

    def __init__(self):
        self.now = 1000.0
        self.looks = 0

    def __call__(self, which):
        self.looks += 1
        self.now += 0.01
        return 1.0 if which == time.CLOCK_PROCESS_CPUTIME_ID else self.now


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(conditions, "LOOP_STEPS", 1)


def test_a_window_has_the_fastest_of_its_loops(tmp_path, short):
    clock = Clock()
    found = quiet(root=tmp_path, clock=clock)
    assert found.loop_s == pytest.approx(0.01)
    assert clock.looks == 4 + 2 * LOOPS + 4
    assert found.end.at_s > found.begin.at_s


def test_what_happened_between_the_looks_is_what_counts(tmp_path, short):
    clock = Clock()
    plant(tmp_path, {"proc/stat": STAT.format(busy=100_000, steal=9_000)})
    ended = watch(root=tmp_path, clock=clock)
    clock.now += 60
    plant(tmp_path, {"proc/stat": STAT.format(busy=109_000, steal=10_000)})
    found = {check.name: check for check in ended()}
    assert found["steal"].figure == pytest.approx(10)
    assert found["steal"].passed is False
    assert found["load"].passed is None


def test_now_is_an_experiment_that_waits():
    waited = []
    assert now(begin=lambda: lambda: ("told",), pause=waited.append) == ("told",)
    assert waited == [conditions.IDLE_S]


def test_this_host_has_most_of_the_gates(short):
    found = watch()()
    assert [check.name for check in found] == [gate.name for gate in GATES]
    assert all((check.passed is None) == (check.figure is None) for check in found)
    assert all(check.note for check in found if check.passed is None)

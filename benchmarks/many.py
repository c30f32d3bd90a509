"""Eight containers and machines at once against one: how long until all of them have answered.

    python benchmarks/many.py -o benchmarks/many.json

Started side by side, a thread each, through our fixtures. Machines that go on from a snapshot share
the file that they are read from; the machines with a disk have a linked clone each. `busy_s` is the
CPU time of the whole host meanwhile: eight of what keeps one CPU busy for all of its start cannot
be there sooner on two CPUs than after four times that. The least that the CPUs allow is `floor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import contest
import psutil
from contest import Aim

from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Metric
from pytest_vmvc.resources import RunScope
from pytest_vmvc.subjects import catalog

N = 8
MOST = 3.0
BUSY = Metric(name="busy_s", unit="s", definition="CPU time of the whole host until all answered")


def busy_s() -> float:
    """CPU seconds of the host since it was booted, but for idling and waiting for a disk."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def together(provider: Any, n: int) -> Callable[[], Sample]:
    """Seconds until ``n`` of them have answered, and seconds until all have ended."""

    def take() -> Sample:
        with ThreadPoolExecutor(n) as pool, ExitStack() as stack:
            launches = [provider.launch() for _ in range(n)]
            busy, began = busy_s(), time.monotonic()
            for launch, entered in [(one, pool.submit(one.__enter__)) for one in launches]:
                entered.result(300)
                stack.push(launch)
            seconds, busy = time.monotonic() - began, busy_s() - busy
            leaving = time.monotonic()
            ends = [pool.submit(one.__exit__, None, None, None) for one in launches]
            stack.pop_all()
            for end in ends:
                end.result(300)
            end_s = time.monotonic() - leaving
            return Sample(values={"seconds": seconds, "end": end_s, "busy_s": busy})

    return take


def measured(rounds: int) -> dict[str, Any]:
    with RunScope() as scope:
        pair = catalog.load("minimal", scope)
        disk = scope.workdir / "disk.raw"
        with disk.open("wb") as file:
            file.truncate(64 << 20)
        machine = pair.subjects["vm"]
        kinds = {
            "container": pair.subjects["container"],
            "restored machine": pair.subjects["vm-restored"],
            "machine": machine,
            "machine with a linked clone": machine.linked(disk),
        }
        for provider in kinds.values():
            provider.prepare()
        rivals = {
            f"{n} x {name}": together(provider, n)
            for name, provider in kinds.items()
            for n in (1, N)
        }
        aims = [Aim(subject=f"{N} x {name}", over=f"1 x {name}", below=MOST) for name in kinds]
        metrics = (contest.SECONDS, contest.END, BUSY)
        found = contest.run("many", rivals, aims, rounds=rounds, metrics=metrics)
        for aim, name in zip(found["aims"], kinds, strict=True):
            one = found["rivals"][f"1 x {name}"]
            least = N * one["busy_s"]["median"] / one["seconds"]["median"] / psutil.cpu_count()
            aim["floor"] = round(max(1.0, least), 2)
        return found


if __name__ == "__main__":
    contest.main(__doc__, measured, rounds=12)

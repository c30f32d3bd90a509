"""From none to N ready replicas, started side by side: time, bytes, and how far the host goes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from statistics import median

from pytest_vmvc.backends.base import Provider
from pytest_vmvc.backends.optional import HasDisk
from pytest_vmvc.errors import LaunchTimedOut, Unavailable
from pytest_vmvc.experiments.base import WARM, Recorder, Settings
from pytest_vmvc.experiments.replicas import (
    RESERVE_BYTES,
    available_bytes,
    fits,
    offered,
    ready,
    side_by_side,
)
from pytest_vmvc.measure import Plan, Sample, interleave
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

SUBJECTS = ("container", "vm")


class Scaling:
    """Replicas of one image, and of one machine, each of them booted.

    A machine's replica is a linked clone: the same kernel and initramfs, and a qcow2 overlay of its
    own over one disk.
    """

    name = "scaling"
    metrics = (
        Metric(
            name="ready_s",
            label="time until all replicas are ready",
            unit="s",
            definition="from just before the first request until the last of N replicas has "
            "answered its first command; as many are under way at once as the host has CPUs; the "
            "dose is N",
            emulation="inflates",
            state=WARM,
            dose="replicas",
        ),
        Metric(
            name="all_ready",
            label="all replicas became ready",
            unit="",
            definition="each of the N has answered before the deadline",
        ),
        Metric(
            name="replica_bytes",
            label="disk that the replicas take",
            unit="bytes",
            definition="bytes on the host's disk beyond what they share, of all N: writable layers "
            "by the engine, without its own records; blocks of the qcow2 overlays",
            dose="replicas",
        ),
        Metric(
            name="available_bytes",
            label="memory gone from the host",
            unit="bytes",
            definition="MemAvailable before the first request, less what it is when all are ready",
            emulation="inflates",
            dose="replicas",
        ),
        Metric(
            name="efficiency",
            label="weak-scaling efficiency",
            unit="ratio",
            definition="time of one replica (median) over the time of N; 1: N take no longer",
        ),
        Metric(
            name="capacity",
            label="replicas that would fit (predicted)",
            unit="instances",
            definition="MemAvailable without 512 MiB that the host keeps, over what each replica "
            "of the largest step took of it; not tried",
            emulation="inflates",
        ),
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        available: Callable[[], int] = available_bytes,
    ) -> None:
        """``clock`` (seconds) and ``available`` (MemAvailable) replace those of this host."""
        self._clock = clock
        self._available = available

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record every step of the ladder once, the lowest ones twice, in random order."""
        providers = dict(_providers(pair, record, settings))
        ladder = [2**power for power in range(settings.fleet.bit_length())]
        steps = [*ladder, *ladder[:2]]
        random.Random(f"{settings.seed}").shuffle(steps)  # noqa: S311 - an order, no secret
        done: dict[str, list[tuple[int, Sample]]] = {subject: [] for subject in providers}
        gone: set[str] = set()

        def lost(subject: str, gap: Unavailable) -> None:
            gone.add(subject)
            record.lost(subject, gap)

        for block, count in enumerate(steps):
            record.progress(block, len(steps), "step")
            takers = {
                subject: partial(self._take, provider, count, settings.deadline_s)
                for subject, provider in providers.items()
                if subject not in gone and fits(provider, count, self._available())
            }
            plan = Plan(blocks=1, seed=settings.seed + block)
            for taken in interleave(takers, plan=plan, on_retry=record.retry, on_lost=lost):
                done[taken.subject].append((count, taken.sample))
                _observe(record, taken.subject, providers, taken.sample.values, block, count)
        record.progress(len(steps), len(steps), "step")
        for subject, samples in done.items():
            for block, (count, values) in enumerate(_derived(samples, self._available())):
                _observe(record, subject, providers, values, block, count)

    def _take(self, provider: Provider, count: int, deadline_s: float) -> Sample:
        before, started = self._available(), self._clock()
        try:
            with side_by_side(provider, count, deadline_s=deadline_s) as replicas:
                values: dict[str, Scalar] = {
                    "ready_s": self._clock() - started,
                    "all_ready": True,
                    "available_bytes": before - self._available(),
                }
                disks = [replica for replica in replicas if isinstance(replica, HasDisk)]
                if len(disks) == count:
                    values["replica_bytes"] = sum(disk.disk_bytes() for disk in disks)
                return Sample(values=values)
        except LaunchTimedOut:
            return Sample(values={"ready_s": deadline_s, "all_ready": False}, censored=True)


def _providers(pair: Pair, record: Recorder, settings: Settings) -> Iterator[tuple[str, Provider]]:
    """Every kind that this host has, prepared and warm."""
    for subject in SUBJECTS:
        try:
            provider = offered(pair, subject)
            provider.prepare()
        except Unavailable as gap:
            record.missing(subject, str(gap))
            continue
        if not pair.warmed(subject):
            # One that is too late has warmed what it could.
            with (
                suppress(LaunchTimedOut),
                provider.launch(deadline_s=settings.deadline_s) as environment,
            ):
                ready(environment)
        yield subject, provider


def _derived(
    samples: Sequence[tuple[int, Sample]], available: int
) -> Iterator[tuple[int, dict[str, Scalar]]]:
    """What follows from the steps of one subject: efficiency of each, capacity by the largest."""
    times = [(count, _number(one, "ready_s")) for count, one in samples if not one.censored]
    alone = [seconds for count, seconds in times if count == 1]
    for count, seconds in times:
        if alone:
            yield count, {"efficiency": median(alone) / seconds}
    whole = [(count, _number(one, "available_bytes")) for count, one in samples if not one.censored]
    count, taken = max(whole, default=(0, 0.0))
    if taken > 0:
        yield count, {"capacity": int((available - RESERVE_BYTES) * count / taken)}


def _number(sample: Sample, metric: str) -> float:
    return float(sample.values[metric] or 0)


def _observe(
    record: Recorder,
    subject: str,
    providers: Mapping[str, Provider],
    values: Mapping[str, Scalar],
    block: int,
    count: int,
) -> None:
    for metric, value in values.items():
        record.observe(
            subject,
            metric,
            value,
            facts=providers[subject].facts,
            block=block,
            censored=values.get("all_ready") is False and metric == "ready_s",
            dose=float(count),
        )

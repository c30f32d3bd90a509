"""To a new host: what a machine and a container keep of what they had in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.optional import Checkpointable, Migratable
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair

CHECKPOINT = "container-checkpoint"

COUNT = """(read -r life </proc/sys/kernel/random/uuid
count=0
while :; do
    count=$((count + 1))
    echo "$life $count" >/dev/shm/.vmvc-count && mv /dev/shm/.vmvc-count /dev/shm/vmvc-count
    sleep 0.05
done) </dev/null >/dev/null 2>&1 &
until [ -e /dev/shm/vmvc-count ]; do sleep 0.01; done"""
"""A process that counts in its memory, with a name that it drew when it began."""

READ = ["cat", "/dev/shm/vmvc-count"]  # noqa: S108 - the memory of a guest of ours
WATCH = """for round in $(seq 500); do
    [ "$(cat /dev/shm/vmvc-count)" = "$1" ] || break
    sleep 0.01
done
cat /dev/shm/vmvc-count"""
"""Prints the count once it is another one than the one given."""


class Move:
    """A running counter is taken elsewhere: by live migration, and by destroying and re-creating.

    The machine goes from one QEMU process to another one that shares nothing with it but a socket;
    the source is a restored snapshot where there is one, which spares the boot. The container is
    destroyed and created again with the same payload. Where engine and kernel can save a running
    container, that is a third way.
    """

    name = "move"
    metrics = (
        Metric(
            name="counter_goes_on",
            label="what was in memory goes on after the move",
            unit="",
            definition="the counting process is the same one after the move, and goes on counting",
        ),
        Metric(
            name="downtime_s",
            label="time that nothing runs",
            unit="s",
            definition="machine: the hypervisor's STOP event to the other one's RESUME event, on "
            "our clock; container: from the request to destroy it to the new one's first count",
            emulation="inflates",
        ),
        Metric(
            name="reported_downtime_s",
            label="downtime as the hypervisor states it",
            unit="s",
            definition="`downtime` of query-migrate",
            emulation="inflates",
        ),
        Metric(
            name="move_s",
            label="time of the move",
            unit="s",
            definition="from the request to the first answer at the destination",
            emulation="inflates",
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Move a fresh machine and a fresh container in each block."""
        ways = {"vm": _migrate, "container": _recreate}
        takers: dict[str, Callable[[], Sample]] = {}
        facts = {}
        for subject, way in ways.items():
            try:
                provider = _prepared(pair, subject)
            except Unavailable as gap:
                record.missing(subject, str(gap))
                continue
            takers[subject] = partial(way, provider, settings.deadline_s)
            facts[subject] = provider.facts
        if takers:
            record.blocks(takers, facts.get, settings)
        _save_and_restore(pair, record, settings)


def _prepared(pair: Pair, subject: str) -> Provider:
    if gap := pair.missing.get(subject):
        raise gap
    name = "vm-restored" if subject == "vm" and "vm-restored" in pair.subjects else subject
    provider = pair.subjects[name]
    if subject == "vm" and not isinstance(provider, Migratable):
        raise Unavailable(f"{provider.name} cannot migrate a running machine")
    provider.prepare()
    return provider


def _migrate(provider: Provider, deadline_s: float) -> Sample:
    assert isinstance(provider, Migratable)
    with provider.launch(deadline_s=deadline_s) as source:
        before = _begin(source)
        with provider.migrated(source, deadline_s=deadline_s) as (destination, moved):
            return Sample(
                values={
                    "counter_goes_on": _goes_on(destination, before),
                    "downtime_s": moved.downtime_s,
                    "reported_downtime_s": moved.reported_downtime_s,
                    "move_s": moved.move_s,
                },
                instance=source.name,
            )


def _recreate(provider: Provider, deadline_s: float) -> Sample:
    with provider.launch(deadline_s=deadline_s) as source:
        before = _begin(source)
        gone_at = time.monotonic()
    with provider.launch(deadline_s=deadline_s) as again:
        _begin(again)
        down_s = time.monotonic() - gone_at
        return Sample(
            values={
                "counter_goes_on": _goes_on(again, before),
                "downtime_s": down_s,
                "move_s": down_s,
            },
            instance=again.name,
        )


def _save_and_restore(pair: Pair, record: Recorder, settings: Settings) -> None:
    """One container through a checkpoint: where it can be done at all, its counter goes on."""
    if gap := pair.missing.get("container"):
        record.missing(CHECKPOINT, str(gap))
        return
    provider = pair.subjects["container"]
    with provider.launch(deadline_s=settings.deadline_s) as container:
        if not isinstance(container, Checkpointable):
            record.missing(CHECKPOINT, f"{provider.name} knows no checkpoints")
            return
        before = _begin(container)
        try:
            container.checkpoint(timeout_s=settings.deadline_s)
            container.restore(timeout_s=settings.deadline_s)
        except Unavailable as gap:
            record.missing(CHECKPOINT, str(gap))
            return
        goes_on = _goes_on(container, before)
        record.observe(
            CHECKPOINT,
            "counter_goes_on",
            goes_on,
            facts=provider.facts,
            instance=container.name,
        )


def _begin(environment: Environment) -> str:
    """Have it count; returns the life and the count so far."""
    environment.run(["sh", "-c", COUNT])
    return _read(environment, READ)


def _goes_on(environment: Environment, before: str) -> bool:
    """Whether it is the same life that counts, and counts on."""
    (life, count), (old_life, old_count) = (
        text.split() for text in (_read(environment, ["sh", "-c", WATCH, "sh", before]), before)
    )
    return life == old_life and int(count) > int(old_count)


def _read(environment: Environment, argv: list[str]) -> str:
    said = environment.run(argv).stdout.decode(errors="replace").strip()
    life, _, count = said.partition(" ")
    if not life or not count.isdigit():
        raise InfrastructureError(f"{environment.name} does not count: {said[:80]!r}")
    return said

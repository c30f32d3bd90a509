"""The journey of each side: package, carry, import, first start at the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

import msgspec

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.backends.oci import guested
from pytest_vmvc.backends.optional import Arrival, Paddable, Portable
from pytest_vmvc.errors import BuildFailed, LaunchFailed, LaunchTimedOut, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.porting_dose import PADDED, padded_transfers
from pytest_vmvc.experiments.porting_metrics import KERNEL, METRICS
from pytest_vmvc.host import host_facts
from pytest_vmvc.measure import Sample, Taken
from pytest_vmvc.model import Facts
from pytest_vmvc.subjects import Pair

GUEST, GUEST_HOST = "container-guest", "runtime-host"
GUEST_LIMIT_BYTES = 64 * 2**20
"""Largest image that is unpacked in a guest's memory."""


class Porting:
    """Containers go to a second engine, to Podman and into a guest; machines to another folder.

    Engines at the destination are started before the first journey. One journey of the container
    and one start of the machine are thrown away before the first block. Podman and the guest are
    visited once: they show that the image runs there, not how fast.
    """

    name = "porting"
    metrics = METRICS

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record the journeys of both sides, block by block, and those that are made once."""
        for subject, gap in pair.missing.items():
            record.missing(subject, str(gap))
        trips: dict[str, _Trip] = {}
        with ExitStack() as stack:
            for subject, provider in pair.subjects.items():
                if not isinstance(provider, Portable):
                    record.missing(subject, f"{provider.name} does not carry this one anywhere")
                    continue
                provider.prepare()
                for suffix, opening in provider.destinations().items():
                    with _told(record, subject + suffix):
                        place = stack.enter_context(opening())
                        trip = _Trip(
                            provider,
                            partial(provider.ported, place),
                            settings,
                            twice=provider.kind == "container",
                        )
                        if suffix:
                            _once(record, subject + suffix, trip)
                        else:
                            trips[subject] = trip
            for done, subject in enumerate(trips):
                record.progress(done, len(trips), "warm-up")
                _warm_up(pair, record, subject, trips[subject], settings)
            s_per_byte = _padded(pair, record, settings)
            record.blocks(
                {subject: trip.take for subject, trip in trips.items()},
                lambda subject: trips[subject].facts,
                settings,
            )
        if s_per_byte is not None and {"container", "vm"} <= trips.keys():
            _share(record, s_per_byte, trips["container"], trips["vm"])


LOST = Sample(values={"runs_unchanged": False, "content_intact": False})
"""A journey that did not bring the artefact there."""


class _Trip:
    """One journey of a provider's artefact to one place, again and again."""

    def __init__(
        self,
        provider: Provider,
        arrival: Callable[[], AbstractContextManager[Arrival]],
        settings: Settings,
        *,
        twice: bool,
    ) -> None:
        self.arrival = arrival
        """The journey alone."""
        self._provider = provider
        self._deadline_s = settings.deadline_s
        self._twice = twice
        self.taken: list[Sample] = []
        """Every journey, block by block."""
        self.facts: Facts | None = None
        """Of what started at the destination, with the commands that brought it there."""

    def take(self) -> Sample:
        """A whole journey; what does not run at the destination any more is an answer, too."""
        origin_s = self._started(self._provider) if self._twice else None
        try:
            with self.arrival() as arrival:
                sample = self._arrived(arrival, origin_s)
        except BuildFailed:
            sample = LOST
        self.taken.append(sample)
        return sample

    def _arrived(self, arrival: Arrival, origin_s: float | None) -> Sample:
        commands, needed = "; ".join(arrival.commands), ", ".join(arrival.needs)
        if self.facts is None:
            facts = arrival.provider.facts
            extra = {**facts.extra, "commands": commands, "needs": needed}
            self.facts = msgspec.structs.replace(facts, extra=extra)
        transfer_s, censored = arrival.marks["imported"], False
        try:
            first_s = self._started(arrival.provider)
        except LaunchTimedOut:
            first_s, censored = self._deadline_s, True
        except LaunchFailed:
            if arrival.intact:
                raise  # the harness's fault: what arrived is what left
            return LOST
        values: dict[str, float | int | bool | str | None] = {
            "port_s": transfer_s + first_s,
            "transfer_s": transfer_s,
            "first_start_s": first_s,
            "carried_bytes": arrival.archive.stat().st_size,
            "operator_steps": len(arrival.commands),
            "host_prerequisites": len(arrival.needs),
            "content_intact": arrival.intact,
        }
        if not censored:
            values["runs_unchanged"] = arrival.intact
        if origin_s is not None:
            values |= {"origin_start_s": origin_s, "start_ratio": first_s / origin_s}
        marks = {**arrival.marks, "answer": transfer_s + first_s}
        return Sample(values=values, marks=marks, censored=censored)

    def _started(self, provider: Provider) -> float:
        with provider.launch(deadline_s=self._deadline_s) as environment:
            return environment.marks["answer"]


def _once(record: Recorder, subject: str, trip: _Trip) -> None:
    record.take(Taken(subject=subject, block=0, position=0, sample=trip.take()), trip.facts)


def _warm_up(pair: Pair, record: Recorder, subject: str, trip: _Trip, settings: Settings) -> None:
    """Throw a start away; a container's journey takes its archive into a guest as well."""
    if pair.subjects[subject].kind == "container":
        with suppress(LaunchTimedOut, BuildFailed), trip.arrival() as arrival:
            for provider in (arrival.provider, pair.subjects[subject]):
                with provider.launch(deadline_s=settings.deadline_s):
                    pass
            with _told(record, GUEST):
                _into_guest(pair, record, arrival, settings)
    elif not pair.warmed(subject):
        with (
            suppress(LaunchTimedOut),
            pair.subjects[subject].launch(deadline_s=settings.deadline_s),
        ):
            pass


def _into_guest(pair: Pair, record: Recorder, arrival: Arrival, settings: Settings) -> None:
    """The very archive, run by an OCI runtime under the kernel of a machine."""
    if arrival.archive.stat().st_size > GUEST_LIMIT_BYTES:
        raise Unavailable("the image does not fit into the guest's memory")
    host = pair.other(GUEST_HOST)
    host.prepare()
    with host.launch(deadline_s=settings.deadline_s) as machine:
        _look(record, machine, arrival)


def _look(record: Recorder, machine: Environment, arrival: Arrival) -> None:
    with guested(machine, arrival.archive) as seen:
        for metric, value in (
            ("runs_unchanged", seen.answered and seen.intact),
            ("content_intact", seen.intact),
            (KERNEL, seen.kernel_release),
        ):
            record.observe(GUEST, metric, value, facts=machine.facts, instance=machine.name)
    record.observe("host", KERNEL, host_facts()["kernel_release"], facts=None)


def _padded(pair: Pair, record: Recorder, settings: Settings) -> float | None:
    """The dose-response of the machine's transfer; returns seconds per byte."""
    machine: object = pair.subjects.get("vm")
    if not isinstance(machine, Paddable):
        return None
    try:
        return padded_transfers(machine, record, settings)
    except Unavailable as gap:
        record.missing(PADDED, str(gap))
        return None


def _share(record: Recorder, s_per_byte: float, container: _Trip, machine: _Trip) -> None:
    """How much of the machine's extra time its bytes do not explain, in each block."""
    for block, (its, other) in enumerate(zip(machine.taken, container.taken, strict=True)):
        if its is LOST or other is LOST or its.censored or other.censored:
            continue
        extra_s = _figure(its, "port_s") - _figure(other, "port_s")
        if extra_s > 0:  # else there is nothing to be explained
            share = 1 - s_per_byte * _figure(its, "carried_bytes") / extra_s
            record.observe("vm", "unexplained_share", share, facts=machine.facts, block=block)


def _figure(sample: Sample, metric: str) -> float:
    value = sample.values[metric]
    assert isinstance(value, int | float)
    return float(value)


@contextmanager
def _told(record: Recorder, subject: str) -> Iterator[None]:
    """Go on without a subject that this host cannot have, and say why."""
    try:
        yield
    except Unavailable as gap:
        record.missing(subject, str(gap))

"""From packages to something that answers: how long, and whose operating system is installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pytest_vmvc.backends.base import Provider
from pytest_vmvc.backends.optional import Creatable
from pytest_vmvc.errors import LaunchFailed, LaunchTimedOut, Unavailable
from pytest_vmvc.experiments.base import Recorder, Settings
from pytest_vmvc.experiments.creation import CREATE, created
from pytest_vmvc.measure import Sample
from pytest_vmvc.model import Metric
from pytest_vmvc.subjects import Pair
from pytest_vmvc.subjects.builders import Builder, Built

CLONE = "vm-clone"


class Building:
    """Both sides of the minimal pair are made anew, by the very code that set-up makes them with.

    In each block from what stands ready (busybox; the unpacked kernel) to the first answer; beside
    it the linked clone of a machine's disk is created. Once more from nothing but packages, which
    are at hand: fetching them is not counted. And one linked clone is started as it is: it answers,
    or it would need an installation.
    """

    name = "building"
    metrics = (
        Metric(
            name="describe_to_ready_s",
            label="time from its description to its first answer",
            unit="s",
            definition="making image, or kernel and initramfs, and then the start up to the first "
            "answer; from files that stand ready",
            emulation="inflates",
        ),
        CREATE,
        Metric(
            name="from_packages_s",
            label="time to make it from packages",
            unit="s",
            definition="making image, or kernel and initramfs, from packages that were fetched",
        ),
        Metric(
            name="steps",
            label="steps from packages to something that can be started",
            unit="steps",
            definition="steps of its making, counted from those that were carried out",
        ),
        Metric(
            name="system_bytes",
            label="kernel, modules and boot loader in it",
            unit="bytes",
            definition="bytes of the files in what was made that are kernel, module or boot loader",
        ),
        Metric(
            name="answers_uninstalled",
            label="a duplicate answers with nothing installed in it",
            unit="",
            definition="a linked clone is started with no step in between, and runs a command",
        ),
    )

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds; in place of the host's."""
        self._clock = clock

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Once from packages, then block by block from what stands ready; last, the clone."""
        builders: dict[str, Builder] = {}
        for subject in ("container", "vm"):
            try:
                builders[subject] = _ready(pair, subject)
            except Unavailable as gap:
                record.missing(subject, str(gap))
        for subject, builder in builders.items():
            record.progress(0, 1, f"{subject} from packages")
            self._from_packages(subject, builder, record)
        # Else what was unpacked is written back while a container's creation waits for the disk.
        os.sync()
        made = {subject: pair.subjects[subject].facts for subject in builders}
        takers: dict[str, Callable[[], Sample]] = {
            subject: partial(self._to_ready, builder, settings.deadline_s)
            for subject, builder in builders.items()
        }
        clone = _clone(pair, record) if "vm" in builders else None
        if clone is not None:
            made[CLONE] = clone.facts
            takers[CLONE] = partial(_create, clone)
        record.blocks(takers, made.get, settings)
        if clone is not None:
            _start(clone, record, settings.deadline_s)

    def _from_packages(self, subject: str, builder: Builder, record: Recorder) -> None:
        with self._timed(builder, from_packages=True) as (built, seconds):
            values = {
                "from_packages_s": seconds,
                "steps": len(built.steps),
                "system_bytes": built.system_bytes,
            }
            built.provider.prepare()
            for metric, value in values.items():
                record.observe(subject, metric, value, facts=built.provider.facts)

    def _to_ready(self, builder: Builder, deadline_s: float) -> Sample:
        with self._timed(builder, from_packages=False) as (built, seconds):
            built.provider.prepare()
            try:
                with built.provider.launch(deadline_s=deadline_s) as environment:
                    marks = {"built": seconds} | {
                        name: seconds + after for name, after in environment.marks.items()
                    }
                    return Sample(
                        values={
                            "describe_to_ready_s": marks["answer"],
                            **created(environment.marks),
                        },
                        marks=marks,
                        instance=environment.name,
                    )
            except LaunchTimedOut:
                return Sample(values={"describe_to_ready_s": seconds + deadline_s}, censored=True)

    @contextmanager
    def _timed(self, builder: Builder, *, from_packages: bool) -> Iterator[tuple[Built, float]]:
        began = self._clock()
        with builder.built(from_packages=from_packages) as built:
            yield built, self._clock() - began


def _ready(pair: Pair, subject: str) -> Builder:
    if gap := pair.missing.get(subject):
        raise gap
    if subject not in pair.builders:
        raise Unavailable(f"nothing makes the {subject} of the pair {pair.name} in a run")
    pair.builders[subject].prepare()
    return pair.builders[subject]


def _clone(pair: Pair, record: Recorder) -> Provider | None:
    try:
        found = pair.other("vm-linked")
        found.prepare()
    except Unavailable as gap:
        record.missing(CLONE, str(gap))
        return None
    if isinstance(found, Creatable):
        return found
    record.missing(CLONE, f"{found.name} cannot create one without starting it")
    return None


def _create(clone: Provider) -> Sample:
    assert isinstance(clone, Creatable)
    with clone.created() as seconds:
        return Sample(values={"create_s": seconds})


def _start(clone: Provider, record: Recorder, deadline_s: float) -> None:
    """Whether a duplicate answers as it is."""
    try:
        with clone.launch(deadline_s=deadline_s) as environment:
            answers = environment.run(["true"]).exit_status == 0
    except LaunchFailed:
        answers = False
    record.observe(CLONE, "answers_uninstalled", answers, facts=clone.facts)

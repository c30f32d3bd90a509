"""Fresh starts, paired and interleaved, on one stopwatch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import EnvironmentDied, LaunchTimedOut, NoCommands, UsageError
from pytest_vmvc.experiments.base import WARM, Recorder, Settings
from pytest_vmvc.measure import Sample, retried
from pytest_vmvc.model import Metric, Scalar
from pytest_vmvc.subjects import Pair

NO_SUCH_PROGRAM = (126, 127)
"""Exit statuses by which shells and engines say that there is none."""


class ColdStart:
    """One fresh start of every subject in each block.

    Artefacts are present and warm: `Provider.prepare` and one start of each subject that is thrown
    away stand before the first block, on both sides. Experiments that ride with it see each
    environment after it is ready and before it ends.
    """

    name = "cold_start"
    metrics = (
        Metric(
            name="start_s",
            label="time to the first answer",
            unit="s",
            definition="from just before the request to the host receiving the payload's nonce",
            emulation="inflates",
            state=WARM,
        ),
        Metric(
            name="ready_s",
            label="time to the first command",
            unit="s",
            definition="from just before the request to the first command answered inside",
            emulation="inflates",
            state=WARM,
        ),
        Metric(
            name="os_share",
            label="its own system's share of the start",
            unit="%",
            definition="firmware, kernel and init over the time to the first answer; a container "
            "and a restored machine have none of them",
            emulation="inflates",
            state=WARM,
        ),
    )

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Record ``start_s`` and ``ready_s`` of every subject, with the marks on the way."""
        for subject, gap in pair.missing.items():
            record.missing(subject, str(gap))
        for done, (subject, provider) in enumerate(pair.subjects.items()):
            record.progress(done, len(pair.subjects), "warm-up")
            provider.prepare()
            if not pair.warmed(subject):
                retried(
                    partial(_warm_up, pair, subject, settings.deadline_s),
                    partial(record.retry, subject, 0),
                    f"the warm-up of {subject}",
                )
        record.progress(len(pair.subjects), len(pair.subjects), "warm-up")
        started = {**pair.subjects, **record.beside(pair)}
        record.blocks(
            {
                subject: partial(
                    _start if subject in pair.subjects else _ride_only,
                    provider,
                    subject,
                    record,
                    settings.deadline_s,
                )
                for subject, provider in started.items()
            },
            lambda subject: started[subject].facts,
            settings,
        )


def _start(provider: Provider, subject: str, record: Recorder, deadline_s: float) -> Sample:
    try:
        with provider.launch(deadline_s=deadline_s) as environment:
            first = _first_command(environment)
            marks = dict(environment.marks)
            return Sample(
                values={"start_s": marks["answer"], **first, **_os_share(provider, marks)},
                marks=marks,
                harness_cpu_s=environment.harness_cpu_s,
                instance=environment.name,
                riders=record.ride(environment, subject),
            )
    except LaunchTimedOut:
        return Sample(values={"start_s": deadline_s, "ready_s": deadline_s}, censored=True)


def _warm_up(pair: Pair, subject: str, deadline_s: float) -> None:
    try:
        with pair.subjects[subject].launch(deadline_s=deadline_s) as environment:
            _first_command(environment)
    except LaunchTimedOut as late:
        # One of ours that is too late has warmed what it could.
        if pair.source:
            raise UsageError(
                f"{pair.source}: {subject} of the pair {pair.name} is never ready: {late.message}",
                hint="correct its ready probe or its command, or give it time: --vmvc-deadline",
            ) from late


def _ride_only(provider: Provider, subject: str, record: Recorder, deadline_s: float) -> Sample:
    """A start that is no sample of this experiment, only of those that ride in it."""
    with provider.launch(deadline_s=deadline_s) as environment:
        return Sample(
            values={}, instance=environment.name, riders=record.ride(environment, subject)
        )


def _os_share(provider: Provider, marks: Mapping[str, float]) -> dict[str, Scalar]:
    """From the firmware's first word, or else the hypervisor's start, to the answer."""
    begin = marks.get("firmware", marks.get("process"))
    if begin is None or provider.facts.extra.get("restored"):
        return {}
    return {"os_share": 100 * (marks["answer"] - begin) / marks["answer"]}


def _first_command(environment: Environment) -> dict[str, Scalar]:
    """Run one, and take the time; nothing where the environment does not let anybody in."""
    try:
        done = environment.run(["true"])
    except NoCommands:
        return {}
    ready_s = environment.mark("ready")
    if done.exit_status in NO_SUCH_PROGRAM:
        return {}  # an image may hold one program and nothing else
    if done.exit_status != 0:
        raise EnvironmentDied(f"`true` ended with {done.exit_status} in {environment.name}")
    return {"ready_s": ready_s}

"""What every experiment is given and what it gives: a pair, settings, a recorder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

import msgspec

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.looks import declared
from pytest_vmvc.measure import Plan, Sample, Suspended, Taken, interleave
from pytest_vmvc.model import (
    Allowance,
    Check,
    Conditions,
    Evidence,
    Facts,
    Host,
    Metric,
    Missing,
    Observation,
    Record,
    Retry,
    Scalar,
    Series,
)
from pytest_vmvc.subjects import Pair

Note = Callable[[str, int, int], None]
"""``note(what, done, of)``: progress for a person."""

WARM = "warm: artefacts present, caches filled by a start that was thrown away"
"""State of what is timed after a warm-up, for its `Metric.state`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may choose; the readings stay as they were registered."""

    blocks: int = 6
    """Most pairs of a sampled experiment; a declared look may end it earlier."""
    instances: int = 2
    """Instances of each kind where facts are compared."""
    fleet: int = 8
    """Most instances of a kind that live at once."""
    seed: int = 0
    deadline_s: float = 300.0
    """Longest wait for the first answer of one start."""
    online: bool = False
    """Whether public registries and catalogues may be asked."""


class Experiment(Protocol):
    """Provisions the subjects of a pair and records what it sees; decides nothing.

    One of another distribution may also say what the catalogue says of ours: ``timed`` (true unless
    it is false), ``carrier`` (then it is a `Rider`), ``adds``; see `experiments.Entry`.
    """

    name: str
    metrics: tuple[Metric, ...]

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Measure one pair; raises `InfrastructureError` when the harness broke."""


@runtime_checkable
class Rider(Protocol):
    """Takes its sample in an environment that another experiment has started and measured."""

    name: str
    metrics: tuple[Metric, ...]

    def ride(self, environment: Environment, subject: str) -> dict[str, Scalar]:
        """A value for each metric, from an environment that is fresh, ready, and ends after it."""


@runtime_checkable
class Companion(Protocol):
    """A rider that also takes samples of subjects which its carrier does not start."""

    beside: tuple[str, ...]
    """Names of `Pair.other`; each is started for this rider alone, once in every block."""

    def meet(self, subject: str, provider: Provider) -> None:
        """See what will be started for every subject, before the first block."""


class Ended(BaseException):
    """The run is over: thrown into an experiment that works in a thread of its own."""


class Recorder:
    """Takes down what an experiment sees, at once and in order.

    ``riders`` share the environments of this experiment, each with a recorder of its own; once
    ``ended`` is set, every call raises `Ended`, so that the experiment's environments are left.
    ``allowance`` is what emulation may have cost its machines: it is taken down first.
    """

    def __init__(
        self,
        experiment: Experiment | Rider,
        pair: str,
        *,
        sink: Callable[[Record], None],
        note: Note,
        riders: Mapping[str, tuple[Rider, Recorder]] | None = None,
        ended: threading.Event | None = None,
        settled: Callable[[Evidence], bool] | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._riders = dict(riders or {})
        self._beside: dict[str, set[str]] = {}
        self._ended = ended or threading.Event()
        self._settled = settled
        self._experiment = experiment.name
        self._metrics = {metric.name: metric for metric in experiment.metrics}
        self._pair = pair
        self._sink = sink
        self._note = note
        self._series: dict[tuple[str, str], Series] = {}
        self._observations: list[Observation] = []
        self._missing: list[Missing] = []
        self._retries: list[Retry] = []
        self._allowance = allowance
        if allowance is not None:
            sink(allowance)
        self._conditions: list[Conditions] = []
        self.void_s = 0.0
        """Seconds for which the host was suspended, all of them in samples that are void."""

    def observe(
        self,
        subject: str,
        metric: str,
        value: Scalar,
        *,
        facts: Facts | None,
        block: int = 0,
        position: int = 0,
        marks: dict[str, float] | None = None,
        censored: bool = False,
        instance: str = "",
        dose: float | None = None,
        looks: tuple[int, ...] = (),
    ) -> None:
        """One value; the first of a row also writes the row's header with its provenance."""
        self._go_on()
        if (subject, metric) not in self._series:
            series = Series(
                experiment=self._experiment,
                pair=self._pair,
                subject=subject,
                metric=self._metrics[metric],
                facts=facts,
                looks=looks,
            )
            self._series[subject, metric] = series
            self._sink(series)
        observation = Observation(
            experiment=self._experiment,
            pair=self._pair,
            subject=subject,
            metric=metric,
            value=value,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            block=block,
            position=position,
            marks=marks or {},
            censored=censored,
            instance=instance,
            dose=dose,
        )
        self._observations.append(observation)
        self._sink(observation)

    def ride(self, environment: Environment, subject: str) -> dict[str, dict[str, Scalar]]:
        """Let the riders take their samples in an environment that is about to end.

        One that this environment lacks something for rides in this subject no more; the others do.
        """
        found: dict[str, dict[str, Scalar]] = {}
        for name, (rider, recorder) in self._riders.items():
            if name not in self._beside.get(subject, self._riders):
                continue
            try:
                found[name] = rider.ride(environment, subject)
            except Unavailable as gap:
                self._beside[subject] = self._beside.get(subject, set(self._riders)) - {name}
                recorder.missing(subject, str(gap))
        return found

    def beside(self, pair: Pair) -> dict[str, Provider]:
        """Subjects that are started for riders alone, made ready; a rider's gaps are missing."""
        found: dict[str, Provider] = {}
        for name, (rider, recorder) in self._riders.items():
            if not isinstance(rider, Companion):
                continue
            for subject in rider.beside:
                try:
                    found[subject] = pair.other(subject)
                    found[subject].prepare()
                    self._beside.setdefault(subject, set()).add(name)
                except Unavailable as gap:
                    found.pop(subject, None)
                    recorder.missing(subject, str(gap))
            for subject, provider in {**pair.subjects, **found}.items():
                rider.meet(subject, provider)
        return found

    def take(self, taken: Taken, facts: Facts | None, looks: tuple[int, ...] = ()) -> None:
        """All values of one sample, those of the riders too."""
        sample = taken.sample
        own = {metric: (self, value) for metric, value in sample.values.items()}
        for name, values in sample.riders.items():
            own |= {metric: (self._riders[name][1], value) for metric, value in values.items()}
        for metric, (recorder, value) in own.items():
            recorder.observe(
                taken.subject,
                metric,
                value,
                facts=facts,
                block=taken.block,
                position=taken.position,
                marks=sample.marks if recorder is self else None,
                censored=sample.censored,
                instance=sample.instance,
                looks=looks,
            )

    def blocks(
        self,
        takers: Mapping[str, Callable[[], Sample]],
        facts: Callable[[str], Facts | None],
        settings: Settings,
        *,
        down: Callable[[Taken, tuple[int, ...]], None] | None = None,
    ) -> None:
        """Take one fresh sample of each subject a block, interleaved, and take all of it down.

        ``down`` does the latter, with the declared looks, where a sample is not that of the one
        subject. A look ends it where every reading of this experiment, and of its riders, is
        settled.
        """
        looks = declared(settings.blocks)
        for taken in interleave(
            takers,
            plan=Plan(blocks=settings.blocks, seed=settings.seed, looks=looks),
            on_retry=self.retry,
            on_lost=self.lost,
            on_block=self.progress,
            enough=self._enough,
        ):
            if down is None:
                self.take(taken, facts(taken.subject), looks)
            else:
                down(taken, looks)

    def settled(self) -> bool | None:
        """Whether what is asked of this experiment is settled; None where nothing is."""
        return None if self._settled is None else self._settled(self.evidence(None))

    def _enough(self) -> bool:
        everyone = (self, *(recorder for _, recorder in self._riders.values()))
        asked = [recorder.settled() for recorder in everyone]
        return any(asked) and False not in asked

    def missing(self, subject: str, reason: str) -> None:
        """A subject that cannot take part."""
        for _, recorder in self._riders.values():
            recorder.missing(subject, reason)
        gap = Missing(experiment=self._experiment, pair=self._pair, subject=subject, reason=reason)
        self._missing.append(gap)
        self._sink(gap)

    def lost(self, subject: str, gap: Unavailable) -> None:
        """A subject that this host had, and has no more."""
        self.missing(subject, f"lost during the run: {gap}")

    def seen(self, subjects: Collection[str]) -> bool:
        """Whether anything was taken down of one of them."""
        return any(subject in subjects for subject, _ in self._series)

    def retry(self, subject: str, block: int, error: InfrastructureError) -> None:
        """An infrastructure error that is about to be retried."""
        again = Retry(
            experiment=self._experiment,
            pair=self._pair,
            subject=subject,
            block=block,
            error=str(error),
        )
        if isinstance(error, Suspended):
            self.void_s += error.seconds
        self._retries.append(again)
        self._sink(again)

    def conditions(self, checks: tuple[Check, ...]) -> None:
        """The state of the host around this experiment, and so around its riders."""
        for _, recorder in self._riders.values():
            recorder.conditions(checks)
        found = Conditions(experiment=self._experiment, pair=self._pair, checks=checks)
        self._conditions.append(found)
        self._sink(found)

    def progress(self, done: int, of: int, what: str = "block") -> None:
        """Tell a person how far it is."""
        self._go_on()
        self._note(f"{self._experiment} on {self._pair}: {what}", done, of)

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise Ended

    def evidence(self, host: Host | None) -> Evidence:
        """Everything taken down so far."""
        return Evidence(
            experiment=self._experiment,
            pair=self._pair,
            series=tuple(self._series.values()),
            observations=tuple(self._observations),
            missing=tuple(self._missing),
            retries=tuple(self._retries),
            conditions=tuple(self._conditions),
            host=host,
            allowance=self._allowance,
        )

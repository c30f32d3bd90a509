"""What every experiment is given and what it gives: a pair, settings, a recorder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import (
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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may choose; the readings stay as they were registered."""

    blocks: int = 6
    """Pairs of a sampled experiment."""
    instances: int = 2
    """Instances of each kind where facts are compared."""
    seed: int = 0
    deadline_s: float = 300.0
    """Longest wait for the first answer of one start."""


class Experiment(Protocol):
    """Provisions the subjects of a pair and records what it sees; decides nothing."""

    name: str
    metrics: tuple[Metric, ...]

    def run(self, pair: Pair, record: Recorder, settings: Settings) -> None:
        """Measure one pair; raises `InfrastructureError` when the harness broke."""


class Recorder:
    """Takes down what an experiment sees, at once and in order."""

    def __init__(
        self, experiment: Experiment, pair: str, *, sink: Callable[[Record], None], note: Note
    ) -> None:
        self._experiment = experiment.name
        self._metrics = {metric.name: metric for metric in experiment.metrics}
        self._pair = pair
        self._sink = sink
        self._note = note
        self._series: dict[tuple[str, str], Series] = {}
        self._observations: list[Observation] = []
        self._missing: list[Missing] = []
        self._retries: list[Retry] = []

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
    ) -> None:
        """One value; the first of a row also writes the row's header with its provenance."""
        if (subject, metric) not in self._series:
            series = Series(
                experiment=self._experiment,
                pair=self._pair,
                subject=subject,
                metric=self._metrics[metric],
                facts=facts,
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
        )
        self._observations.append(observation)
        self._sink(observation)

    def missing(self, subject: str, reason: str) -> None:
        """A subject that cannot take part."""
        gap = Missing(experiment=self._experiment, pair=self._pair, subject=subject, reason=reason)
        self._missing.append(gap)
        self._sink(gap)

    def retry(self, subject: str, block: int, error: InfrastructureError) -> None:
        """An infrastructure error that is about to be retried."""
        again = Retry(
            experiment=self._experiment,
            pair=self._pair,
            subject=subject,
            block=block,
            error=str(error),
        )
        self._retries.append(again)
        self._sink(again)

    def progress(self, done: int, of: int, what: str = "block") -> None:
        """Tell a person how far it is."""
        self._note(f"{self._experiment} on {self._pair}: {what}", done, of)

    def evidence(self, host: Host) -> Evidence:
        """Everything taken down so far."""
        return Evidence(
            experiment=self._experiment,
            pair=self._pair,
            series=tuple(self._series.values()),
            observations=tuple(self._observations),
            missing=tuple(self._missing),
            retries=tuple(self._retries),
            host=host,
        )

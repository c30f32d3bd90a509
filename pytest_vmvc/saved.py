"""The evidence of a run that has ended, given to claims instead of measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from pytest_vmvc import ledger
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Evidence, Missing, Reading, Record, subjects_of


class SavedBench:
    """Stands where a `Lab` does, and provisions nothing.

    ``sink`` is handed every record that is given out, once, so that the new results file holds all
    that its verdicts rest on. ``readings`` are those that will be judged on an experiment: where
    the saved run did not make it, each of their subjects is missing, with that reason.
    """

    def __init__(
        self,
        log: RunLog,
        *,
        sink: Callable[[Record], None],
        readings: Mapping[str, Sequence[Reading]],
    ) -> None:
        self._saved = ledger.evidence(log)
        self._sink = sink
        self._readings = readings
        self._given: dict[tuple[str, str], Evidence] = {}

    def evidence(self, name: str, pair: str) -> Evidence:
        """What the saved run saw of an experiment on a pair."""
        if (name, pair) not in self._given:
            found = self._saved.get((name, pair)) or self._nothing(name, pair)
            kinds: tuple[tuple[Record, ...], ...] = (
                found.series,
                found.observations,
                found.missing,
                found.retries,
                (found.allowance,) if found.allowance else (),
                found.conditions,
            )
            for record in chain.from_iterable(kinds):
                self._sink(record)
            self._given[name, pair] = found
        return self._given[name, pair]

    def _nothing(self, name: str, pair: str) -> Evidence:
        reason = f"the saved run holds no {name} on pair {pair} — measure it: without --vmvc-from"
        asked = [subjects_of(reading.question) for reading in self._readings.get(name, ())]
        return Evidence(
            experiment=name,
            pair=pair,
            missing=tuple(
                Missing(experiment=name, pair=pair, subject=subject, reason=reason)
                for subject in dict.fromkeys(chain.from_iterable(asked))
            ),
        )

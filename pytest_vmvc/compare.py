"""Two runs beside each other: verdicts that changed, and figures that moved beyond their noise.

A figure is the median of a metric of a subject. Runs share no blocks, so their samples are two
independent ones: the ratio of the new to the old is Hodges and Lehmann's shift of the logarithms,
with the interval that `stats.independent_ratio` gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pytest_vmvc import stats
from pytest_vmvc.digest import place
from pytest_vmvc.ledger import Row, RunLog, by_reading, headers
from pytest_vmvc.model import Estimate, Host, Observation
from pytest_vmvc.units import quantity

LEAST = 6
"""Fewest samples of each side: below, no rank-sum interval of this confidence exists (five: 2/252;
six: 2/924 of the outcomes lie outside of the widest)."""
CONFIDENCE = 0.99
"""Of each figure's interval: of the some hundred figures of a run one moves by chance, not five."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A reading whose verdict is another one now."""

    claim: str
    reading: str
    pair: str
    old: str
    new: str
    redefined: bool
    """The reading itself has changed: the two verdicts are about different questions."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of both runs: the new over the old."""

    experiment: str
    pair: str
    subject: str
    metric: str
    unit: str
    ratio: Estimate
    label: str = ""
    """What a person calls the metric."""

    @property
    def moved(self) -> bool:
        """Whether the interval lies on one side of 1."""
        low, high = self.ratio.low, self.ratio.high
        return (low is not None and low > 1) or (high is not None and high < 1)

    @property
    def words(self) -> tuple[str, str, str]:
        """The ratio, and the lower and the upper end of its interval."""
        effect = "?" if self.ratio.effect is None else quantity(self.ratio.effect, "ratio")
        low, high = (
            "unbounded" if end is None else quantity(end, "ratio")
            for end in (self.ratio.low, self.ratio.high)
        )
        return effect, low, high

    @property
    def far(self) -> bool:
        """Whether it moved by more than the margin in which figures count as equal."""
        least, most = stats.EQUIVALENCE
        return self.moved and (self.ratio.effect is None or not least <= self.ratio.effect <= most)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What is different in the new run."""

    turns: tuple[Turn, ...]
    moves: tuple[Move, ...]
    """Every figure that both runs have enough samples of, moved or not."""
    gone: tuple[str, ...]
    """Readings of the old run that the new one does not have."""
    added: tuple[str, ...]
    caveats: tuple[str, ...]
    """Why figures of the two may differ for another reason than the one that is looked for."""
    elsewhere: str
    """Why figures of the two are no measure for each other: another machine; empty on one host."""


def compare(old: RunLog, new: RunLog) -> Comparison:
    """The new run against the old one."""
    before, after = by_reading(old), by_reading(new)
    return Comparison(
        turns=tuple(
            Turn(
                claim=was.claim,
                reading=was.reading.name,
                pair=was.pair,
                old=was.judgement.verdict.value,
                new=after[key].judgement.verdict.value,
                redefined=was.reading.question != after[key].reading.question,
            )
            for key, was in before.items()
            if key in after and was.judgement.verdict is not after[key].judgement.verdict
        ),
        moves=tuple(_moves(old, new)),
        gone=tuple(" ".join(key) for key in before if key not in after),
        added=tuple(" ".join(key) for key in after if key not in before),
        caveats=tuple(_caveats(old, new)),
        elsewhere=elsewhere(*(log.run.host if log.run else None for log in (old, new))),
    )


def _rows(log: RunLog) -> Mapping[Row, list[Observation]]:
    """Samples by experiment, pair, subject and metric; what was varied on purpose is left out."""
    found: dict[Row, list[Observation]] = {}
    for one in log.observations:
        number = isinstance(one.value, int | float) and not isinstance(one.value, bool)
        if number and one.dose is None:
            row = (one.experiment, one.pair, one.subject, one.metric)
            found.setdefault(row, []).append(one)
    return {row: samples for row, samples in found.items() if len(samples) >= LEAST}


def _moves(old: RunLog, new: RunLog) -> Iterator[Move]:
    before, after = _rows(old), _rows(new)
    units, now = _units(old), _units(new)
    known = headers(new)
    for row, samples in before.items():
        if row not in after or units.get(row) != now.get(row):
            continue
        values, was = _values(after[row]), _values(samples)
        if min(*values, *was) <= 0:
            continue  # no ratio: what is nothing cannot have grown by a factor
        yield Move(
            experiment=row[0],
            pair=row[1],
            subject=row[2],
            metric=row[3],
            unit=units.get(row) or "",
            label=known[row].metric.label if row in known else "",
            ratio=stats.independent_ratio(
                values,
                was,
                confidence=CONFIDENCE,
                censored_over=[one.censored for one in after[row]],
                censored_under=[one.censored for one in samples],
            ),
        )


def _units(log: RunLog) -> dict[Row, str]:
    return {row: series.metric.unit for row, series in headers(log).items()}


def _values(samples: list[Observation]) -> list[float]:
    return [float(one.value) for one in samples if isinstance(one.value, int | float)]


def elsewhere(one: Host | None, other: Host | None) -> str:
    """What makes them two hosts; empty where they are one."""
    if one is None or other is None:
        return "the host of one of them is not known"
    was, now = place(one), place(other)
    return "" if was == now else f"{was}, now {now}"


def _again(old: RunLog, new: RunLog) -> bool:
    """Whether the one is the other, judged again."""
    if old.run is None or new.run is None or old.run.run_id == new.run.run_id:
        return False
    return old.run.measured_by == new.run.measured_by


def _caveats(old: RunLog, new: RunLog) -> Iterator[str]:
    for which, log in (("old", old), ("new", new)):
        yield from (f"the {which} file: {problem}" for problem in log.problems)
    one, other = (log.run.host if log.run else None for log in (old, new))
    if one is None or other is None:
        return
    if _again(old, new):
        yield "the samples of both are those of one run, judged again"
    if one.kernel != other.kernel:
        yield f"kernel {one.kernel}, now {other.kernel}"
    if one.name == other.name and one.boot_id != other.boot_id:
        yield "the host was started again in between"
    for name in sorted(one.versions.keys() & other.versions.keys()):
        if one.versions[name] != other.versions[name]:
            yield f"{name} {one.versions[name]}, now {other.versions[name]}"
    yield from dict.fromkeys(_technologies(old, new))


def _technologies(old: RunLog, new: RunLog) -> Iterator[str]:
    """Subjects whose engine (version, storage driver, runtime) or hypervisor is another one."""
    before, after = headers(old), headers(new)
    for row in sorted(before.keys() & after.keys()):
        was, now = before[row].facts, after[row].facts
        if was is not None and now is not None and was.version != now.version:
            yield f"{row[2]} of {row[1]}: {was.version}, now {now.version}"

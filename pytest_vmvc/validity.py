"""Whether samples may be judged: the gates on their host, and two on the samples themselves.

*Null pairs*: two samples of the same subject in neighbouring blocks, of which one was taken earlier
in its block and one later, as the experiment's coin and its mirror had it. They differ in nothing
but their place, so their ratio must be 1; it is not where one subject's start disturbs the next.
*Drift*: the trend of a row over the order in which it was taken, for a ratio that of its pairs'
ratios, as interleaving cancels what both sides share.

Both are intervals of 99.9 %, which must reach into a factor of 1.1 around 1: many readings are
looked at, and none shall be lost to chance, nor to a trace that no verdict turns on. So a sound row
fails a gate once in a thousand times at most, and a reading, which has three at most, once in 300.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from pytest_vmvc import allowance, stats
from pytest_vmvc.gates import figure_words, limit_words
from pytest_vmvc.model import (
    Bound,
    Check,
    Estimate,
    Evidence,
    Observation,
    Ratio,
    Slope,
)
from pytest_vmvc.units import quantity

CONFIDENCE = 0.999
FACTOR = 1.1
"""Less than half of the margin in which two figures count as equal; a drift of a tenth is one that
interleaved pairs stand, by `vmvc calibrate`."""
NULL_PAIRS = 11
"""Fewest that an interval of 99.9 % exists for: 2 / 2^11 is below a thousandth, 2 / 2^10 is not."""
DRIFT_SAMPLES = 7
"""As with null pairs: 2 / 7! is below a thousandth, 2 / 6! is not."""
DRIFT_LIMIT = 400
"""Most values between all of which slopes are drawn: their number grows with the square."""

SHARES = ("%", "ratio")
"""Units of what may be a quotient of two times."""

Sampled = Bound | Ratio | Slope


def of_samples(question: Sampled, evidence: Evidence) -> tuple[Check, ...]:
    """The gates on a reading's own samples; none where it is exact, or not known to be timed.

    What was varied on purpose has no null pairs, and its trend is the question.
    """
    if question.min_n == 1 or not evidence.conditions or isinstance(question, Slope):
        return ()
    subjects = [question.subject, *([question.over] if isinstance(question, Ratio) else [])]
    rows = {subject: evidence.row(subject, question.metric) for subject in subjects}
    found = [_null(subject, row) for subject, row in rows.items()]
    return (*found, _drift(*rows.values()))


def failed(question: Sampled, evidence: Evidence, own: Sequence[Check]) -> list[Check]:
    """The gates that failed, of those that concern the question; none where it is exact."""
    if question.min_n == 1:
        return []
    unit = next((s.metric.unit for s in evidence.series if s.metric.name == question.metric), "")
    of_host = (check for found in evidence.conditions for check in found.checks)
    concerning = [check for check in of_host if _concerns(check, unit)]
    return [check for check in (*concerning, *own) if check.passed is False]


def _concerns(check: Check, unit: str) -> bool:
    """Whether the gate is about figures of this unit; what is counted has no speed."""
    if check.spoils == "speed":
        return allowance.covers(unit) or unit in SHARES
    return unit != "bytes" or check.spoils == "memory"


def objection(question: Sampled, failures: Sequence[Check]) -> str:
    """Why the samples must not be judged at all; empty where `swing` tells what is at stake."""
    for check in failures:
        if check.spoils != "speed" or isinstance(question, Slope):
            return f"noisy host: {words(check)}"
    return ""


def swing(failures: Sequence[Check]) -> tuple[float, str]:
    """How many times as fast as at its slowest the host was, by the gates on its speed; in words.

    The samples of a ratio, and those of one figure, cannot be further apart for that reason than by
    this factor; a slope's may, as a few samples at its ends turn it.
    """
    speeds = [check for check in failures if check.spoils == "speed"]
    widest = max(speeds, key=_figure, default=None)
    return (1.0, "") if widest is None else (1 + _figure(widest) / 100, words(widest))


def _figure(check: Check) -> float:
    return float(check.figure or 0)


def words(check: Check) -> str:
    """``load 51.0%, limit 10%``."""
    return f"{check.name} {figure_words(check)}, limit {limit_words(check)}"


def null_ratio(row: Sequence[Observation]) -> Estimate:
    """Ratio of a subject's samples that were taken early in their block to their late neighbours.

    Raises ValueError where no two neighbouring blocks have it at different places.
    """
    places = {sample.block: sample for sample in row}
    pairs = [
        sorted((places[block], places[block + 1]), key=lambda sample: sample.position)
        for block in sorted(places)
        if block % 2 == 0
        and block + 1 in places
        and places[block].position != places[block + 1].position
    ]
    if not pairs:
        raise ValueError("it never ran at two places of its blocks")
    early, late = zip(*pairs, strict=True)
    return stats.ratio_interval(_values(early), _values(late), confidence=CONFIDENCE)


def drift_ratio(values: Sequence[float]) -> Estimate:
    """By what factor the values grew from first to last: Theil-Sen on logarithms.

    Of very many values, medians of as many runs of them are taken. Raises ValueError on fewer than
    two values, or ones that are not positive and finite.
    """
    if min(values, default=0) <= 0:
        raise ValueError("it has no logarithms")
    if len(values) > DRIFT_LIMIT:
        cuts = [len(values) * at // DRIFT_LIMIT for at in range(DRIFT_LIMIT + 1)]
        values = [statistics.median(values[a:b]) for a, b in pairwise(cuts)]
    last = len(values) - 1
    logs = [math.log(value) for value in values]
    slope = stats.slope_interval(range(len(values)), logs, unit="log", confidence=CONFIDENCE)

    def grown(per_step: float | None) -> float | None:
        return None if per_step is None else math.exp(per_step * last)

    return msgspec.structs.replace(
        slope,
        effect=grown(slope.effect),
        low=grown(slope.low),
        high=grown(slope.high),
        unit="ratio",
    )


def _null(subject: str, row: Sequence[Observation]) -> Check:
    name = f"null pairs of {subject}"
    try:
        _usable(row)
        return _check(name, null_ratio(row), least=NULL_PAIRS)
    except (ValueError, OverflowError) as reason:
        return _untold(name, str(reason))


def _drift(row: Sequence[Observation], under: Sequence[Observation] = ()) -> Check:
    try:
        _usable(row)
        _usable(under)
        values = list(_ratios(row, under)) if under else _values(row)
        return _check("drift", drift_ratio(values), least=DRIFT_SAMPLES)
    except (ValueError, OverflowError) as reason:
        return _untold("drift", str(reason))


def _ratios(row: Sequence[Observation], under: Sequence[Observation]) -> Iterator[float]:
    below = {sample.block: sample for sample in under}
    for sample in row:
        if sample.block in below:
            over, base = _values((sample, below[sample.block]))
            if base == 0:
                raise ValueError("it has no ratio")
            yield over / base


def _usable(row: Sequence[Observation]) -> None:
    """Raises ValueError unless it is a row of one sample a block, of the same thing each time."""
    if any(sample.censored for sample in row):
        raise ValueError("samples timed out")
    if any(sample.dose is not None for sample in row):
        raise ValueError("it was varied on purpose")
    if any(after.block <= before.block for before, after in pairwise(row)):
        raise ValueError("it was not taken once a block")


def _values(row: Sequence[Observation]) -> list[float]:
    numbers = [sample.value for sample in row if isinstance(sample.value, int | float)]
    if len(numbers) < len(row) or any(isinstance(value, bool) for value in numbers):
        raise ValueError("it is no number")
    return [float(value) for value in numbers]


def _check(name: str, found: Estimate, *, least: int) -> Check:
    if found.n < least or found.low is None or found.high is None:
        return _untold(name, f"{found.n} are too few, {least} are needed")
    interval = f"{quantity(found.low, 'ratio')} to {quantity(found.high, 'ratio')}"
    return Check(
        name=name,
        figure=found.effect,
        op="within",
        limit=FACTOR,
        unit="ratio",
        passed=found.low <= FACTOR and found.high >= 1 / FACTOR,
        note=f"{CONFIDENCE:.1%} interval {interval}, n = {found.n}",
    )


def _untold(name: str, reason: str) -> Check:
    return Check(
        name=name,
        figure=None,
        op="within",
        limit=FACTOR,
        unit="ratio",
        passed=None,
        note=reason,
    )

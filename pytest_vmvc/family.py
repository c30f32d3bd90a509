"""Readings of which any one would do: the more there are, the stricter each one is judged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from pytest_vmvc import stats
from pytest_vmvc.judge import judge
from pytest_vmvc.model import Evidence, Fact, Judgement, Opinion, Reading, Verdict


def judge_among(
    family: Sequence[Reading], reading: Reading, evidence: Evidence, *, seed: int = 0
) -> Judgement:
    """Judge a reading at the confidence that Holm's procedure leaves it among its family.

    The reason then says so. Without a family it is judged alone, as `judge` does. Raises
    `UsageError` where a unit is not the metric's.
    """
    if not family:
        return judge(reading, evidence, seed=seed)
    shares = stats.holm([partial(_decides, one, evidence, seed) for one in family])
    strict = narrowed(reading, shares[family.index(reading)])
    found = judge(strict, evidence, seed=seed)
    if found.estimate is None:
        return found
    note = (
        f"any one of {', '.join(one.name for one in family)} would do: judged with "
        f"{100 * found.estimate.confidence:.4g}% confidence (Holm)"
    )
    return msgspec.structs.replace(found, reason="; ".join(filter(None, [found.reason, note])))


def at_its_strictest(family: Sequence[Reading], reading: Reading) -> Reading:
    """The reading as it is judged where no other of its family is decided."""
    return narrowed(reading, len(family)) if family else reading


def narrowed(reading: Reading, share: int) -> Reading:
    """The reading with a ``share``-th of the error that it may make."""
    question = reading.question
    if isinstance(question, Fact | Opinion):
        return reading
    confidence = 1 - (1 - question.confidence) / share
    return msgspec.structs.replace(
        reading, question=msgspec.structs.replace(question, confidence=confidence)
    )


def _decides(reading: Reading, evidence: Evidence, seed: int, share: int) -> bool:
    """Whether the interval excludes the bound, whatever emulation makes of that."""
    strict = narrowed(reading, share)
    question, estimate = strict.question, judge(strict, evidence, seed=seed).estimate
    if estimate is None or isinstance(question, Fact | Opinion):
        return False
    decided = stats.decide(estimate, question.op, question.threshold) is not Verdict.INCONCLUSIVE
    return decided and estimate.n >= question.min_n

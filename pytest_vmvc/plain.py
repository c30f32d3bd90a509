"""Plain samples and a bound in, a judgement out: for anyone who has two files of numbers."""

from __future__ import annotations

from typing import Final, Literal

from pytest_vmvc import stats
from pytest_vmvc.errors import SamplesError
from pytest_vmvc.model import Bound, Estimate, Judgement, Ratio, Verdict
from pytest_vmvc.report.wording import estimate_words
from pytest_vmvc.samples import Samples, refuse
from pytest_vmvc.text import visible
from pytest_vmvc.units import quantity

NEVER_NEGATIVE: Final = frozenset(
    {"", "s", "ms", "us", "µs", "ns", "min", "h", "bytes", "B", "kB", "MB", "GB", "TB"}
)
"""Units of durations and sizes; figures without a unit are taken for one of them."""
UNKNOWN: Final = "how they were taken is not known here"
WORDS: Final = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}


def judge_bound(a: Samples, op: stats.Op, threshold: float, *, unit: str = "") -> Judgement:
    """The median of samples against a number, in their unit.

    Raises `SamplesError` where units differ, or a duration or size is negative.
    """
    unit = _common_unit(unit, a)
    if unit in NEVER_NEGATIVE:
        refuse(
            a,
            lambda value: value < 0,
            "no duration or size is negative",
            hint="name a unit that may be negative, such as --unit °C",
        )
    question = Bound(metric="sample", subject=a.name, op=op, threshold=threshold, unit=unit)
    try:
        estimate = stats.median_interval(a.values, unit=unit, censored=a.censored)
    except (ValueError, ArithmeticError) as error:
        return _unusable(error, "one sample")
    return _judged(question, estimate, "one sample")


def judge_ratio(
    a: Samples,
    b: Samples,
    op: Literal["<", ">"],
    threshold: float,
    *,
    unit: str = "",
    paired: bool = False,
) -> Judgement:
    """The ratio of two rows of samples, ``a`` over ``b``, above or below a number.

    With ``paired`` line by line, where both have as many; else as two independent samples. Raises
    `SamplesError` where units differ, or a sample is not positive.
    """
    _common_unit(unit, a, b)
    for samples in (a, b):
        refuse(
            samples,
            lambda value: value <= 0,
            "a ratio needs positive samples",
            hint="give durations or sizes that are larger than what the clock resolves",
        )
    question = Ratio(metric="sample", subject=a.name, over=b.name, op=op, threshold=threshold)
    sizes = len(a.values), len(b.values)
    try:
        if paired and sizes[0] == sizes[1]:
            design = f"{sizes[0]} pairs, line by line"
            estimate = stats.ratio_interval(
                a.values, b.values, censored_over=a.censored, censored_under=b.censored
            )
        else:
            design = f"two independent samples of {sizes[0]} and {sizes[1]}"
            design += ", which do not pair" if paired else ""
            estimate = stats.independent_ratio(
                a.values, b.values, censored_over=a.censored, censored_under=b.censored
            )
    except (ValueError, ArithmeticError) as error:
        return _unusable(error, design)
    return _judged(question, estimate, design)


def _judged(question: Bound | Ratio, estimate: Estimate, design: str) -> Judgement:
    verdict, reason = stats.decide(estimate, question.op, question.threshold), ""
    if estimate.n < question.min_n:
        verdict = Verdict.INCONCLUSIVE
        reason = f"too few samples: {estimate.n} of at least {question.min_n}"
    elif verdict is Verdict.INCONCLUSIVE:
        reason = "the interval spans the bound"
    return Judgement(
        verdict=verdict,
        finding=_finding(question, estimate),
        reason=reason,
        estimate=estimate,
        scope=f"{design}, {estimate.method}; {UNKNOWN}",
    )


def _finding(question: Bound | Ratio, estimate: Estimate) -> str:
    effect, interval = estimate_words(estimate, question)
    what, unit = f"{visible(question.subject)}: median", estimate.unit
    if isinstance(question, Ratio):
        what = f"{visible(question.subject)} over {visible(question.over)}: ratio"
    late = f", {estimate.censored} lower bounds" if estimate.censored else ""
    return (
        f"{what} {effect} ({estimate.confidence:.0%} interval {interval}, n = {estimate.n}{late}); "
        f"the bound is {WORDS[question.op]} {quantity(question.threshold, unit, exact=True)}."
    )


def _common_unit(given: str, *rows: Samples) -> str:
    units = dict.fromkeys(filter(None, [given, *(samples.unit for samples in rows)]))
    if len(units) > 1:
        raise SamplesError(
            f"units differ: {', '.join(map(visible, units))}",
            hint="convert one of them; --unit and what stands in a header in brackets must agree",
        )
    return next(iter(units), "")


def _unusable(error: Exception, design: str) -> Judgement:
    reason = f"the samples cannot be used: {error}"
    return Judgement(
        verdict=Verdict.INCONCLUSIVE,
        finding=f"Not decided: {reason}.",
        reason=reason,
        scope=f"{design}; {UNKNOWN}",
    )

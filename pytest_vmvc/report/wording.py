"""Words and numbers for people: verdicts, questions, quantities."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import (
    Bound,
    Estimate,
    Fact,
    Opinion,
    Question,
    Ratio,
    Result,
    Scalar,
    Slope,
    Tier,
    Verdict,
)
from pytest_vmvc.report.texts import changed
from pytest_vmvc.text import visible
from pytest_vmvc.units import NBSP, quantity

VERDICT_CLASS: Final[dict[Verdict, str]] = {
    Verdict.SUPPORTED: "supported",
    Verdict.REFUTED: "refuted",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_TESTABLE: "not-testable",
}
VERDICT_MEANING: Final[dict[Verdict, str]] = {
    Verdict.SUPPORTED: "The whole interval, or every fact, is on the claim’s side.",
    Verdict.REFUTED: "The whole interval is on the other side, or one fact contradicts it.",
    Verdict.INCONCLUSIVE: "The evidence does not decide; the reason is given.",
    Verdict.NOT_TESTABLE: "This host lacks what the test needs; the remedy is given.",
}
TIER_WORDS: Final[dict[Tier, str]] = {
    "kvm-hw": "hardware virtualisation (KVM)",
    "kvm-nested": "nested virtualisation (KVM inside a machine)",
    "kvm-unusable": "emulated CPU (a KVM device is there, but guests do not run on it)",
    "tcg": "emulated CPU (no hardware virtualisation)",
    "other": "not told by the provider; may be emulated, and is judged so",
    "none": "not a machine",
}
_RELATION: Final = {"same": "is the same as", "differs": "differs from", "is": "is"}
_OPERATOR: Final = {"<": "<", "<=": "≤", ">": ">", ">=": "≥"}


def visible_log(log: RunLog) -> RunLog:
    """The run with `visible` applied to every text in it."""
    # A million records name a dozen subjects.
    return changed(log, lru_cache(maxsize=1024)(visible))


def scalar(value: Scalar, unit: str = "") -> str:
    """An observed value; numbers with their unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and unit in ("", "count"):
        return str(value)
    return value if isinstance(value, str) else quantity(value, unit)


def shortened(text: str) -> str:
    """The start of a long identifier; short or spoken text as it is."""
    return f"{text[:8]}…" if re.fullmatch(r"(sha256:)?[0-9A-Fa-f-]{20,}", text) else text


def count(n: int, noun: str) -> str:
    """``1 retry``, ``2 retries``."""
    if n == 1:
        return f"1{NBSP}{noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n}{NBSP}{plural}"


def question_words(question: Question, unit: str) -> str:
    """What exactly was asked, in one line."""
    if isinstance(question, Bound):
        bound = quantity(question.threshold, question.unit, exact=True)
        op = _OPERATOR[question.op]
        what = "" if question.min_n == 1 else "median "
        return f"{what}{question.metric} of {question.subject} {op} {bound}"
    if isinstance(question, Ratio):
        bound = quantity(question.threshold, "×", exact=True)
        return f"{question.metric}: {question.subject} ÷ {question.over} {question.op} {bound}"
    if isinstance(question, Slope):
        bound = quantity(question.threshold, question.unit, exact=True)
        over = f" ÷ that of {question.over}" if question.over else ""
        return f"slope of {question.metric} of {question.subject}{over} {question.op} {bound}"
    if isinstance(question, Opinion):
        return "nothing that could be measured"
    if question.relation == "distinct":
        return f"{question.metric} of every {question.subject} is its own"
    end = question.other or scalar(question.value, unit)
    return f"{question.metric} of {question.subject} {_RELATION[question.relation]} {end}"


def requirement(question: Question) -> str:
    """What was fixed before any data: least n and confidence."""
    if isinstance(question, Opinion):
        return "that it is an opinion"
    n = f"at least {question.min_n} {'observations' if question.min_n > 1 else 'observation'}"
    if isinstance(question, Bound | Ratio | Slope) and question.min_n > 1:
        return f"{n}, {question.confidence * 100:g}{NBSP}% confidence"
    return n


def deciding(question: Question) -> str:
    """What would decide it, and what would change our mind."""
    if isinstance(question, Opinion):
        return f"nothing: {question.reason}"
    if isinstance(question, Fact):
        enough = f"It is supported once {question.min_n} or more hold, and none fails."
        return f"one instance that does not hold refutes it. {enough}"
    unit = "×" if isinstance(question, Ratio) else question.unit
    bound = quantity(question.threshold, unit, exact=True)
    exact = isinstance(question, Bound | Ratio) and question.min_n == 1
    what = "a value" if exact else f"a {question.confidence:.0%} interval that is wholly"
    undecided = "" if exact else "; one that spans it decides nothing"
    op = _OPERATOR[question.op]
    return f"supported by {what} {op} {bound}, refuted by one on the other side{undecided}."


def estimate_words(estimate: Estimate, question: Question) -> tuple[str, str]:
    """The effect and its interval."""
    unit = "×" if isinstance(question, Ratio) else estimate.unit
    low = None if estimate.low is None else quantity(estimate.low, unit)
    high = None if estimate.high is None else quantity(estimate.high, unit)
    effect = "beyond the deadline" if estimate.effect is None else quantity(estimate.effect, unit)
    if low is None or high is None:
        return effect, f"{low} or more" if low else f"{high} or less" if high else "none"
    return effect, f"{low} to {high}"


def agreement(result: Result) -> tuple[str, str]:
    """How the verdict compares with what was expected: a class and its words."""
    verdict, expected = result.judgement.verdict, result.reading.expect
    if verdict == Verdict.NOT_TESTABLE:
        return "open", "not tested"
    if verdict == expected:
        return "expected", "as expected"
    if verdict == Verdict.INCONCLUSIVE:
        return "open", "left open"
    if expected == "INCONCLUSIVE":
        return "news", "news"
    return "contradicts", "contradicts expectation"

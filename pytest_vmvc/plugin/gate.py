"""From a judgement to a test's outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_vmvc.errors import UsageError
from pytest_vmvc.family import judge_among
from pytest_vmvc.model import Claim, Evidence, Opinion, Reading, Result, Verdict
from pytest_vmvc.plugin.baseline import Baseline
from pytest_vmvc.text import visible_line

BUDGETS = Path(__file__).with_name("budget_claims.py")
"""The module whose claims are budgets: nobody wrote an expectation there."""
CHANGE = "change the reading's expect with its reason"
UPDATE = "run with --vmvc-update-baseline"
RAISE = "raise the limit (--vmvc-budget, vmvc_budget in the ini file)"
LEAVE_OPEN = "take more samples (--vmvc-profile=thorough), expect INCONCLUSIVE with its reason"


class Expected(NamedTuple):
    """A verdict, where it comes from, and what to do to have another one."""

    verdict: str
    why: str
    remedy: str


RESULT = pytest.StashKey[Result]()
"""Where a claim's test item carries its result."""


class BoundReading:
    """A reading bound to its test: the only thing that a claim's body needs."""

    def __init__(
        self,
        *,
        claim: Claim,
        reading: Reading,
        item: pytest.Item,
        seed: int,
        pair: str,
        gate: str,
        baseline: Baseline | None,
        sink: Callable[[Result], None],
        results: Path,
    ) -> None:
        self.claim = claim
        self.reading = reading
        self._item = item
        self._seed = seed
        self._pair = pair
        self._gate = gate
        self._baseline = baseline
        self._sink = sink
        self._results = results

    def judge(self, evidence: Evidence | None = None) -> None:
        """Judge, write the result down, and let it decide the test's outcome.

        Only an opinion is judged on nothing.
        """
        __tracebackhide__ = True
        if evidence is None:
            if not isinstance(self.reading.question, Opinion):
                raise UsageError(
                    f"reading {self.reading.name} of {self.claim.id} is judged on nothing",
                    hint="reading.judge(experiment)",
                )
            evidence = Evidence(experiment="", pair=self._pair)
        family = self.claim.family(self.reading)
        result = Result(
            claim=self.claim.id,
            quote=self.claim.quote,
            method=self.claim.method,
            reading=self.reading,
            pair=evidence.pair,
            experiment=evidence.experiment,
            judgement=judge_among(family, self.reading, evidence, seed=self._seed),
            nodeid=self._item.nodeid,
            contradicts=self.claim.contradicts,
            family=family,
            published=self.claim.published,
        )
        self._item.stash[RESULT] = result
        expected = self._expected()
        self._item.user_properties += properties(result, expected)
        self._sink(result)
        _conclude(result, self._gate, expected, self._results)

    def _expected(self) -> Expected:
        """A verdict that a baseline has decided, or else the one that was set beforehand."""
        reading = self.reading
        accepted = self._baseline and self._baseline.of(self.claim.id, reading.name, self._pair)
        if self._baseline and accepted and accepted.judgement.verdict.decided:
            why = f"so it was in the baseline, {self._baseline.name}"
            return Expected(accepted.judgement.verdict.value, why, UPDATE)
        if self._item.path == BUDGETS:
            return Expected(reading.expect, reading.why, RAISE)
        return Expected(reading.expect, reading.why or "the article says so", CHANGE)


def properties(result: Result, expected: Expected) -> list[tuple[str, str | float]]:
    """What a test case carries into JUnit's file and past a worker: builtins, and no empty one."""
    judgement, found = result.judgement, result.judgement.estimate
    told: dict[str, str | float | None] = {
        "claim": result.claim,
        "reading": result.reading.name,
        "pair": result.pair,
        "verdict": judgement.verdict.value,
        "expected": expected.verdict,
        "finding": judgement.finding,
        "reason": judgement.reason or None,
    }
    if found is not None:
        ends = {"effect": found.effect, "low": found.low, "high": found.high}
        told |= {name: None if end is None else float(end) for name, end in ends.items()}
        told |= {"unit": found.unit, "confidence": float(found.confidence), "n": int(found.n)}
    return [(f"vmvc_{name}", value) for name, value in told.items() if value is not None]


def _conclude(result: Result, gate: str, expected: Expected, results: Path) -> None:
    __tracebackhide__ = True
    verdict = result.judgement.verdict
    undecided, open_question = verdict is Verdict.INCONCLUSIVE, expected.verdict == "INCONCLUSIVE"
    if verdict is Verdict.NOT_TESTABLE:
        pytest.skip(visible_line(f"NOT TESTABLE: {result.judgement.reason}"))
    strictly = gate == "strict" and (undecided is not open_question)
    contradicts = not undecided and not open_question and verdict.value != expected.verdict
    if gate != "off" and (strictly or contradicts):
        pytest.fail(message(result, expected, results), pytrace=False)
    if undecided:
        pytest.xfail(visible_line(f"INCONCLUSIVE: {result.judgement.reason}"))


def message(result: Result, expected: Expected, results: Path) -> str:
    """Quote, what was expected and why, what was seen, where its samples are, how to accept it."""
    reading, judgement = result.reading, result.judgement
    undecided = judgement.verdict is Verdict.INCONCLUSIVE
    softer = "contradictions" if undecided or expected.verdict == "INCONCLUSIVE" else "off"
    remedy = LEAVE_OPEN if undecided else expected.remedy
    seen = f"{judgement.finding} {judgement.reason}".rstrip()
    return "\n".join(
        visible_line(line)
        for line in (
            f"{result.claim} [{reading.name}, pair {result.pair}]: “{result.quote}”",
            f"  expected {expected.verdict}: {expected.why}",
            f"  observed {judgement.verdict.value}: {seen}",
            f"  scope: {judgement.scope}",
            f"  samples: experiment {result.experiment}, pair {result.pair}, in {results}",
            f"  to accept: {remedy}, or run with --vmvc-gate={softer}",
        )
    )

"""From a judgement to a test's outcome."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vmvc.errors import UsageError
from pytest_vmvc.family import judge_among
from pytest_vmvc.model import Claim, Evidence, Opinion, Reading, Result, Verdict

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
        sink: Callable[[Result], None],
    ) -> None:
        self.claim = claim
        self.reading = reading
        self._item = item
        self._seed = seed
        self._pair = pair
        self._gate = gate
        self._sink = sink

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
        )
        self._item.stash[RESULT] = result
        self._item.user_properties += [
            ("vmvc_claim", result.claim),
            ("vmvc_reading", result.reading.name),
            ("vmvc_pair", result.pair),
            ("vmvc_verdict", result.judgement.verdict.value),
        ]
        self._sink(result)
        _conclude(result, self._gate)


def _conclude(result: Result, gate: str) -> None:
    __tracebackhide__ = True
    verdict, expected = result.judgement.verdict, result.reading.expect
    undecided, open_question = verdict is Verdict.INCONCLUSIVE, expected == "INCONCLUSIVE"
    if verdict is Verdict.NOT_TESTABLE:
        pytest.skip(f"NOT TESTABLE: {result.judgement.reason}")
    strictly = gate == "strict" and (undecided is not open_question)
    contradicts = result.agrees is False and not open_question
    if gate != "off" and (strictly or contradicts):
        pytest.fail(message(result), pytrace=False)
    if undecided:
        pytest.xfail(f"INCONCLUSIVE: {result.judgement.reason}")


def message(result: Result) -> str:
    """Quote, what was expected and why, what was seen, and how to accept it."""
    reading, judgement = result.reading, result.judgement
    return "\n".join(
        (
            f"{result.claim} [{reading.name}, pair {result.pair}]: “{result.quote}”",
            f"  expected {reading.expect}: {reading.why or 'the article says so'}",
            f"  observed {judgement.verdict.value}: {judgement.finding} {judgement.reason}",
            f"  scope: {judgement.scope}",
            f"  samples: experiment {result.experiment}, pair {result.pair}, in results.jsonl",
            "  to accept: change the reading's expect with its reason, or run with --vmvc-gate=off",
        )
    )

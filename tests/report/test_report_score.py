"""The score counts claims, and the headlines are what lies farthest from its bound."""

from __future__ import annotations

import msgspec
import pytest
from sample_run import sample_log

from pytest_vmvc.model import Verdict
from pytest_vmvc.report.score import headlines, score

LOG = sample_log()
RATIO = next(
    r
    for r in LOG.results
    if r.judgement.estimate is not None and r.judgement.verdict is Verdict.SUPPORTED
)


def given(claim, verdict, *, effect=None, threshold=1.25, n=8):
    """A result with that verdict; where it has an effect, an interval of a tenth about it."""
    estimate = None
    if effect is not None:
        estimate = msgspec.structs.replace(
            RATIO.judgement.estimate, effect=effect, low=0.9 * effect, high=1.1 * effect, n=n
        )
    question = msgspec.structs.replace(RATIO.reading.question, threshold=threshold)
    return msgspec.structs.replace(
        RATIO,
        claim=claim,
        reading=msgspec.structs.replace(RATIO.reading, question=question),
        judgement=msgspec.structs.replace(
            RATIO.judgement, verdict=Verdict(verdict), estimate=estimate
        ),
    )


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["SUPPORTED", "INCONCLUSIVE"], "standing"),
        (["REFUTED", "NOT TESTABLE"], "fallen"),
        (["SUPPORTED", "REFUTED"], "standing in part"),
        (["INCONCLUSIVE", "NOT TESTABLE"], "open"),
        (["NOT TESTABLE"], "not testable"),
    ],
)
def test_a_claim_counts_once(verdicts, words):
    found = score([given("os.one", verdict) for verdict in verdicts])
    assert [(one, number) for one, _, number in found] == [(words, 1)]


def test_every_claim_is_counted():
    assert sum(number for *_, number in score(LOG.results)) == len({r.claim for r in LOG.results})


def test_headlines_are_far_from_their_bound_and_speak_for_both_sides():
    found = headlines(
        [
            given("os.near", "SUPPORTED", effect=1.5),
            given("os.far", "SUPPORTED", effect=90.0),
            given("os.farther", "SUPPORTED", effect=99.0),
            given("perf.against", "REFUTED", effect=0.9),
            given("port.some", "SUPPORTED", effect=4.0),
            given("sec.open", "INCONCLUSIVE", effect=500.0),
            given("table.exact", "SUPPORTED", effect=900.0, n=1),
            given("table.fact", "SUPPORTED"),
        ]
    )
    assert [one.claim for one in found] == ["perf.against", "os.farther", "port.some"]


def test_nothing_decided_has_no_headline():
    assert headlines([given("os.one", "INCONCLUSIVE", effect=9.0)]) == ()

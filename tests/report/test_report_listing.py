"""The table of a terminal: what matters, in lines that fit, closed to hostile texts."""

from __future__ import annotations

import msgspec
import pytest

from pytest_vmvc import ledger
from pytest_vmvc.model import Bound, Estimate, Judgement, Reading, Result, Verdict
from pytest_vmvc.report.listing import MANY, listing
from pytest_vmvc.report.wording import agreement
from tests.recorded import RECORDED


def result(verdict="SUPPORTED", *, expect="SUPPORTED", reason="", name="soon", figure=0.5, **more):
    estimate = None
    if figure is not None:
        low, high = figure * 0.9, figure * 1.1
        estimate = Estimate(
            effect=figure, low=low, high=high, confidence=0.95, n=6, unit="s", method="m"
        )
    question = Bound(metric="start_s", subject="vm", op="<", threshold=1, unit="s")
    judgement = Judgement(
        verdict=Verdict(verdict), finding="It was so.", reason=reason, estimate=estimate
    )
    plain = {"claim": "own.fast", "quote": "q", "method": "", "experiment": "e", "nodeid": "t"}
    return Result(
        **{**plain, "pair": "minimal", **more},
        reading=Reading(name=name, question=question, expect=expect),
        judgement=judgement,
    )


def lines(*results, width=80, sentences=False):
    return [line.text.replace("\xa0", " ") for line in listing(results, width, sentences=sentences)]


def test_a_row_has_verdict_reading_pair_and_figure_with_interval_and_n():
    assert lines(result(), result("REFUTED", expect="REFUTED", name="a-bit-later", figure=2)) == [
        "own.fast: 1 supported, 1 refuted",
        "  SUPPORTED     soon         minimal  500 ms (450 to 550 ms), n = 6",
        "  REFUTED       a-bit-later  minimal  2.00 s (1.80 to 2.20 s), n = 6",
    ]


def test_another_unit_at_each_end_is_said():
    assert "950 ms (855 ms to 1.04 s)" in lines(result(figure=0.95))[1]


@pytest.mark.parametrize(
    ("verdict", "expect", "remark"),
    [
        ("REFUTED", "SUPPORTED", "contradicts the expectation"),
        ("SUPPORTED", "INCONCLUSIVE", "news"),
        ("SUPPORTED", "SUPPORTED", "n = 6"),
    ],
)
def test_what_is_not_as_expected_is_remarked(verdict, expect, remark):
    assert lines(result(verdict, expect=expect), width=100)[1].endswith(remark)


def test_why_it_is_open_is_told_as_far_as_there_is_room():
    reason = "noisy host: load 51%, limit 10%; on one that much faster or slower it would not hold"
    found = result("INCONCLUSIVE", reason=reason)
    assert lines(found, width=200)[1].endswith(reason)
    assert lines(found, width=100)[1].endswith("limit 10%")
    assert lines(found, width=72)[1].endswith("  noisy host")


def test_why_it_is_not_testable_is_shortened_to_a_line():
    reason = "public-images is not available: " + "offline " * 20
    found = lines(result("NOT TESTABLE", reason=reason, figure=None))
    assert len(found) == 3
    assert found[2].startswith(" " * 16 + "public-images is not available: offline")
    assert found[2].endswith("…")


def test_sentences_are_whole():
    reason = "because " + "of this " * 20
    found = lines(result("INCONCLUSIVE", reason=reason), sentences=True)
    said = " ".join(" ".join(found).split())
    assert f"It was so. {reason.strip()}" in said


def test_of_many_what_is_as_expected_is_counted_but_for_the_one_farthest_from_its_bound():
    as_expected = [result(name=f"r{i}", figure=0.9 - i / 100) for i in range(MANY)]
    found = lines(*as_expected, result("INCONCLUSIVE", reason="why", name="open"))
    assert found[0] == f"own.fast: {MANY} supported, 1 inconclusive"
    assert [line.split()[1] for line in found[1:3]] == [f"r{MANY - 1}", "open"]
    assert found[3:] == ["What came out as expected is only counted: -v shows each."]
    assert len(lines(*as_expected)) == MANY + 1


@pytest.mark.parametrize("width", [40, 80, 130])
@pytest.mark.parametrize("sentences", [False, True])
def test_the_recorded_run_fits(width, sentences):
    log = ledger.read(RECORDED)
    found = lines(*log.results, width=width, sentences=sentences)
    assert max(map(len, found)) <= width
    for claim in {one.claim for one in log.results}:
        assert any(line.startswith(claim) for line in found)
    if not sentences and width == 80:
        assert len(found) < len(log.results) * 0.6
        left_open = [one for one in log.results if agreement(one)[1] == "left open"]
        assert sum(line.startswith("  INCONCLUSIVE") for line in found) == len(left_open) > 40


def test_hostile_texts_move_no_cursor_and_end_no_line():
    bad = "a\x1b[2J\r\n\u202eb\x07"
    one = result("NOT TESTABLE", reason=bad, name=bad, pair=bad, claim=bad)
    judgement = msgspec.structs.replace(one.judgement, finding=bad)
    one = msgspec.structs.replace(one, judgement=judgement)
    for sentences in (False, True):
        text = "".join(lines(one, sentences=sentences))
        assert text.isprintable()

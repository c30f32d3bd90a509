"""What is told in the article's order, and beside our own figures."""

from __future__ import annotations

import re

import msgspec
import pytest
from sample_run import sample_log

from pytest_vmvc.model import Estimate, Published, Result, Verdict
from pytest_vmvc.report import render
from pytest_vmvc.report.article import article
from pytest_vmvc.report.cards import SECTIONS, by_claim, cards, section_of

LOG = sample_log()
TIMED = next(r for r in LOG.results if r.reading.question.metric == "start_s")


def given(
    claim: str, reading: str, verdict: Verdict = Verdict.SUPPORTED, scope: str = ""
) -> Result:
    change = msgspec.structs.replace
    return change(
        TIMED,
        claim=claim,
        reading=change(TIMED.reading, name=reading),
        judgement=change(TIMED.judgement, verdict=verdict, finding=f"{reading} found", scope=scope),
    )


def test_cards_come_in_the_order_of_the_article() -> None:
    shown = [card.id for card in cards(LOG)]
    assert sorted(shown) == sorted({result.claim for result in LOG.results})
    order = list(SECTIONS.values())
    places = [order.index(section_of(claim)) for claim in shown]
    assert places == sorted(places)
    assert len(set(places)) > 1


def test_claims_of_another_article_come_after_ours_as_they_were_judged() -> None:
    ids = ("zoo.b", "table.a", "zoo.a", "opinion.a", "os.a")
    found = by_claim([given(one, "r") for one in ids])
    assert list(found) == ["os.a", "table.a", "opinion.a", "zoo.b", "zoo.a"]


def test_the_article_is_annotated_with_the_first_finding_of_each_verdict() -> None:
    log = msgspec.structs.replace(
        LOG,
        results=(
            given("os.a", "first"),
            given("os.a", "second"),
            given("os.a", "third", Verdict.REFUTED),
        ),
    )
    (chapter,) = article(log)
    assert chapter.title == "Operating system"
    (passage,) = chapter.passages
    assert (passage.quote, passage.kind) == (TIMED.quote, "standing in part")
    assert [(note.verdict, note.times, note.words) for note in passage.notes] == [
        ("SUPPORTED", 2, "first found"),
        ("REFUTED", 1, "third found"),
    ]
    page = render(log)
    for note in passage.notes:
        assert f'id="{note.anchor}"' in page


def test_readings_share_what_their_scopes_have_in_common() -> None:
    own = (
        given("os.a", "a", scope="host x; tier y; QEMU 1"),
        given("os.a", "b", scope="host x; tier y; Docker 2"),
    )
    ((pair,),) = (card.pairs for card in cards(msgspec.structs.replace(LOG, results=own)))
    assert pair.scope == "host x; tier y"
    assert [reading.scope for reading in pair.readings] == ["QEMU 1", "Docker 2"]


def test_published_figures_stand_apart_and_are_drawn_where_they_have_a_value() -> None:
    told = (
        Published(name="Other", finding="a <b>", source="c", metric="start_s", value=0.1),
        Published(name="Unlike", finding="d", source="e"),
    )
    own = msgspec.structs.replace(TIMED, published=told)
    page = render(msgspec.structs.replace(LOG, results=(own,)))
    assert "Published by others, not measured here." in page
    assert "<li>Other: a &lt;b&gt; (c)</li><li>Unlike: d (e)</li>" in page
    assert re.search(r'aria-label="All samples[^"]*published: Other 100\u00a0ms', page)
    assert re.search(r">Other 100\u00a0ms</text>", page)
    assert "Unlike" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "Published by others" not in render(msgspec.structs.replace(LOG, results=(TIMED,)))


def test_the_interval_of_a_judged_slope_is_a_band() -> None:
    from pytest_vmvc.report import charts
    from pytest_vmvc.report.layers import Row, Sample

    samples = tuple(Sample(value=1.0 + d, block=d, dose=float(d)) for d in range(5))
    slope = Estimate(effect=1.0, low=0.5, high=2.0, confidence=0.95, n=5, unit="s/byte", method="m")
    row = Row(subject="vm", samples=samples, estimate=slope)
    layers = charts.doses([row], unit="s", dose_unit="bytes")["layer"]
    (band,) = [layer for layer in layers if layer["mark"]["type"] == "area"]
    high = [abs(one["y"] - one["y2"]) for one in band["data"]["values"]]
    # It turns about the middle of the samples: nothing wide there, widest at both ends.
    assert high[2] == 0
    assert high[0] == pytest.approx(high[4])
    assert high[0] > high[1] > 0
    unjudged = Row(subject="vm", samples=samples)
    layers = charts.doses([unjudged], unit="s", dose_unit="bytes")["layer"]
    assert not [layer for layer in layers if layer["mark"]["type"] == "area"]

"""The verdicts as lines of a given width: a table of claims for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pytest_vmvc.model import Result, Verdict
from pytest_vmvc.report.score import farthest
from pytest_vmvc.report.wording import agreement, estimate_words
from pytest_vmvc.text import visible

MANY: Final = 40
"""Above so many readings those that came out as expected are counted, but for one of each claim."""
WORDS: Final = {
    Verdict.SUPPORTED: "supported",
    Verdict.REFUTED: "refuted",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_TESTABLE: "not testable",
}
REMARKS: Final = {"news": "news", "contradicts": "contradicts the expectation"}
_NUMBER: Final = re.compile(r"-?[\d.\u202f]+(e[+-]?\d+)?")
MARGIN: Final = "  "
_INDENT: Final = " " * 16
_GAP: Final = "  "


class Line(NamedTuple):
    """A claim's own line, one that a verdict opens, or the rest of such a one."""

    text: str
    verdict: Verdict | None = None
    """Its word stands first, after `MARGIN`."""
    heading: bool = False


def counted(results: Sequence[Result]) -> str:
    """``2 supported, 1 refuted``; what there is none of is left out."""
    seen = [result.judgement.verdict for result in results]
    return ", ".join(f"{seen.count(one)} {word}" for one, word in WORDS.items() if one in seen)


def listing(results: Sequence[Result], width: int, *, sentences: bool = False) -> Iterator[Line]:
    """Claim by claim its verdicts: reading, pair, figure with interval and n, remark.

    Of many results those as expected are only counted in their claim's line, but for the one that
    lies farthest from its bound; ``sentences``: all of them, and each with its finding and reason
    in full.
    """
    everything = sentences or len(results) <= MANY
    for claim in dict.fromkeys(result.claim for result in results):
        own = [result for result in results if result.claim == claim]
        heading = f"{_clean(claim)}: {counted(own)}"
        yield from (Line(text, heading=True) for text in textwrap.wrap(heading, width))
        shown = own if everything else _notable(own)
        names = max((len(_clean(one.reading.name)) for one in shown), default=0)
        pairs = max((len(_clean(one.pair)) for one in shown), default=0)
        for one in shown:
            label = f"{_clean(one.reading.name):<{names}}{_GAP}{_clean(one.pair):<{pairs}}"
            yield from _rows(one, label, width, sentences=sentences)
    if not everything:
        note = "What came out as expected is only counted: -v shows each."
        yield from (Line(text) for text in textwrap.wrap(note, width))


def _notable(results: Sequence[Result]) -> list[Result]:
    """What is not as expected, and the figure that a person would name."""
    key = farthest(results)
    return [one for one in results if one is key or agreement(one)[0] != "expected"]


def _rows(result: Result, label: str, width: int, *, sentences: bool) -> Iterator[Line]:
    room = max(width - len(_INDENT), 24)
    lines = [label]
    if figure := _figure(result):
        _place(lines, figure, room)
    reason = _clean(result.judgement.reason)
    if remark := REMARKS.get(agreement(result)[0], ""):
        _place(lines, remark, room)
    elif not (result.judgement.verdict.decided or sentences):
        left = room - len(lines[-1]) - len(_GAP)
        _place(lines, _shortest(result, reason, left), room)
    if sentences:
        for text in filter(None, (_clean(result.judgement.finding), reason)):
            lines += textwrap.wrap(text, room)
    verdict = result.judgement.verdict
    head = f"{MARGIN}{verdict.value}".ljust(len(_INDENT))
    yield Line(head + _cut(lines[0].rstrip(), room), verdict)
    yield from (Line(_INDENT + _cut(text, room)) for text in lines[1:])


def _figure(result: Result) -> str:
    estimate = result.judgement.estimate
    if estimate is None:
        return ""
    effect, interval = estimate_words(estimate, result.reading.question)
    if estimate.n == 1:
        return effect
    low, to, high = interval.partition(" to ")
    number, unit = _NUMBER.match(low), _NUMBER.sub("", high)
    if to and number and low == number[0] + unit:
        interval = f"{number[0]}{to}{high}"  # the unit once: 234 to 372 ms
    return f"{effect} ({interval}), n = {estimate.n}"


def _shortest(result: Result, reason: str, left: int) -> str:
    """As much of why it is open as the line has room for; why it is not testable, all of it."""
    if result.judgement.verdict is Verdict.NOT_TESTABLE:
        return reason
    short = (reason, reason.partition("; ")[0], reason.partition(": ")[0])
    return next((text for text in short if len(text) <= left), short[-1])


def _place(lines: list[str], text: str, room: int) -> None:
    """On the last line if it fits there, else on one of its own."""
    if text and len(lines[-1]) + len(_GAP) + len(text) <= room:
        lines[-1] += _GAP + text
    elif text:
        lines.append(text)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1].rstrip()}…"


def _clean(text: str) -> str:
    """The text in one line; nothing in it moves the cursor."""
    return re.sub(r"[ \n\t]+", " ", visible(text)).strip()

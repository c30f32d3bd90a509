"""The article as a text to be read, each passage with what became of it in the margin."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Result, Verdict
from pytest_vmvc.report.cards import by_claim, reading_anchor, section_of
from pytest_vmvc.report.score import kind
from pytest_vmvc.report.wording import VERDICT_CLASS


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One finding in the margin."""

    css: str
    verdict: str
    times: int
    """Readings of the passage that came out so."""
    words: str
    """The finding of the first of them, or why it has none."""
    anchor: str


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One quoted claim."""

    quote: str
    anchor: str
    kind: str
    css: str
    notes: tuple[Note, ...]


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """A section of the article."""

    title: str
    passages: tuple[Passage, ...]


def article(log: RunLog) -> tuple[Chapter, ...]:
    """Its sections in order."""
    chapters: dict[str, list[Passage]] = {}
    for number, (claim, own) in enumerate(by_claim(log.results).items(), 1):
        chapters.setdefault(section_of(claim), []).append(_passage(own, number))
    return tuple(
        Chapter(title=f"{name[:1].upper()}{name[1:]}" or "Claims", passages=tuple(passages))
        for name, passages in chapters.items()
    )


def _passage(own: Sequence[Result], number: int) -> Passage:
    words, css = kind({result.judgement.verdict for result in own})
    return Passage(
        quote=own[0].quote,
        anchor=f"claim-{number}",
        kind=words,
        css=css,
        notes=tuple(
            _note([r for r in own if r.judgement.verdict is verdict], number)
            for verdict in Verdict
            if any(r.judgement.verdict is verdict for r in own)
        ),
    )


def _note(same: Sequence[Result], number: int) -> Note:
    first = same[0]
    verdict = first.judgement.verdict
    untested = verdict is Verdict.NOT_TESTABLE
    return Note(
        css=VERDICT_CLASS[verdict],
        verdict=verdict.value,
        times=len(same),
        words=first.judgement.reason if untested else first.judgement.finding,
        anchor=reading_anchor(number, first.reading.name, first.pair),
    )

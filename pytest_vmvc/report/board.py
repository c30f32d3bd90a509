"""The verdict board: how many of each verdict, and a table of claim, reading and pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Result, Verdict
from pytest_vmvc.report.cards import by_claim, reading_anchor, section_of, title_of
from pytest_vmvc.report.scale import shares
from pytest_vmvc.report.score import headlines, score
from pytest_vmvc.report.wording import VERDICT_CLASS, VERDICT_MEANING, agreement


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How often a verdict was given."""

    verdict: str
    css: str
    meaning: str
    count: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one reading on one pair."""

    verdict: str
    css: str
    agreement: str
    agreement_css: str
    anchor: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One reading; its cells stand in the order of the board's pairs, None where it has none."""

    claim: str
    title: str
    anchor: str
    reading: str
    rows: int
    """Readings of this claim, on its first line; 0 on the others."""
    cells: tuple[Cell | None, ...]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of two claims that cannot both stand, with its verdicts."""

    claim: str
    title: str
    anchor: str
    quote: str
    verdicts: tuple[tuple[str, str, str], ...]
    """Class, verdict and how often it was given."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The whole board."""

    tallies: tuple[Tally, ...]
    shares: tuple[tuple[str, float, float], ...]
    """Class, start and width of each verdict's part of the bar, in per cent."""
    sentence: str
    score: tuple[tuple[str, str, int], ...]
    """Words, class, and how many claims."""
    headlines: tuple[tuple[Result, Cell], ...]
    sections: tuple[str, ...]
    pairs: tuple[str, ...]
    providers: tuple[str, ...]
    lines: tuple[Line, ...]
    conflicts: tuple[tuple[Side, Side], ...]
    """Where the article contradicts itself."""


def board(log: RunLog) -> Board:
    """Count and arrange the results, in their order."""
    pairs = tuple(dict.fromkeys(result.pair for result in log.results))
    lines: list[Line] = []
    groups = by_claim(log.results)
    claims = list(groups)
    for number, (claim, own) in enumerate(groups.items(), 1):
        readings = list(dict.fromkeys(result.reading.name for result in own))
        for index, reading in enumerate(readings):
            found = {r.pair: _cell(r, number) for r in own if r.reading.name == reading}
            lines.append(
                Line(
                    claim=claim,
                    title=title_of(claim),
                    anchor=f"claim-{number}",
                    reading=reading,
                    rows=len(readings) if index == 0 else 0,
                    cells=tuple(found.get(pair) for pair in pairs),
                )
            )
    tallies = _tallies(log.results)
    return Board(
        tallies=tallies,
        shares=shares([(tally.css, tally.count) for tally in tallies]),
        sentence=_sentence(log.results, len(claims)),
        score=score(log.results),
        headlines=tuple(
            (one, _cell(one, claims.index(one.claim) + 1)) for one in headlines(log.results)
        ),
        sections=tuple(dict.fromkeys(section_of(claim) for claim in claims)),
        pairs=pairs,
        providers=tuple(sorted({s.facts.provider for s in log.series if s.facts})),
        lines=tuple(lines),
        conflicts=tuple(_conflicts(log.results, claims)),
    )


def _conflicts(results: tuple[Result, ...], claims: list[str]) -> Iterator[tuple[Side, Side]]:
    against = {(r.claim, other) for r in results for other in r.contradicts if other in claims}
    for one, other in sorted(against, key=lambda pair: claims.index(pair[0])):
        yield _side(results, claims, one), _side(results, claims, other)


def _side(results: tuple[Result, ...], claims: list[str], claim: str) -> Side:
    own = [result for result in results if result.claim == claim]
    given = [result.judgement.verdict for result in own]
    return Side(
        claim=claim,
        title=title_of(claim),
        anchor=f"claim-{claims.index(claim) + 1}",
        quote=own[0].quote,
        verdicts=tuple(
            (VERDICT_CLASS[verdict], verdict.value, f"{given.count(verdict)}×")
            for verdict in Verdict
            if verdict in given
        ),
    )


def _cell(result: Result, number: int) -> Cell:
    css, words = agreement(result)
    return Cell(
        verdict=result.judgement.verdict.value,
        css=VERDICT_CLASS[result.judgement.verdict],
        agreement=words,
        agreement_css=css,
        anchor=reading_anchor(number, result.reading.name, result.pair),
    )


def _tallies(results: tuple[Result, ...]) -> tuple[Tally, ...]:
    given = Counter(result.judgement.verdict for result in results)
    return tuple(
        Tally(
            verdict=verdict.value,
            css=VERDICT_CLASS[verdict],
            meaning=VERDICT_MEANING[verdict],
            count=given[verdict],
        )
        for verdict in Verdict
    )


def _sentence(results: tuple[Result, ...], claims: int) -> str:
    if not results:
        return "No claim was judged before the run ended."
    kinds = [agreement(result)[0] for result in results]
    judged = f"{len(results)} verdict{'s' if len(results) > 1 else ''} on {claims} claim"
    parts = [f"{kinds.count('expected')} as expected"]
    if kinds.count("news"):
        parts.append(f"{kinds.count('news')} news")
    if kinds.count("contradicts"):
        parts.append(f"{kinds.count('contradicts')} against the expectation")
    if kinds.count("open"):
        parts.append(f"{kinds.count('open')} open")
    return f"{judged}{'s' if claims > 1 else ''}: {', '.join(parts)}."

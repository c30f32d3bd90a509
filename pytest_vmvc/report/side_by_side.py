"""A few runs: a column each, what changed its verdict first, and which figures moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pytest_vmvc.compare import Comparison, Move
from pytest_vmvc.digest import Digest, Entry, Key
from pytest_vmvc.fleet import Over, over_hosts
from pytest_vmvc.model import Fact, Verdict
from pytest_vmvc.report.cards import title_of
from pytest_vmvc.report.over_words import DIFFERENT_SETS, HOLDS_CLASS, holds_words
from pytest_vmvc.report.wording import VERDICT_CLASS, estimate_words, question_words
from pytest_vmvc.runs import Runs
from pytest_vmvc.units import quantity

TURNED, OPENED, UNTESTED, ASKED = "turned round", "left open", "not tested", "asked otherwise"
CHANGES: Final = {
    TURNED: "SUPPORTED in one run and REFUTED in another.",
    OPENED: "Decided in one run and left open in another.",
    UNTESTED: "Tested in one run and not testable in another.",
}
HOSTS_FOR_VERDICT: Final = 3
"""Hosts from which the table has a column over all of them."""
SPAN: Final = (math.log(2), math.log(64))
"""Half of the width of the drawn ratios, at least and at most."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one run says."""

    verdict: str
    css: str
    effect: str
    interval: str
    finding: str
    reason: str
    other: bool
    """It asked another question than the first run that has this reading."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One reading on one pair, a cell a run; None where a run does not have it."""

    claim: str
    title: str
    quote: str
    reading: str
    pair: str
    question: str
    change: str
    """One of `CHANGES`, or `ASKED`, or empty."""
    cells: tuple[Cell | None, ...]
    over: tuple[str, str]
    """Class and words of the verdict over hosts; empty where there is no such column."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over that of the first run, and where it is drawn (0 to 100, 50 is 1×)."""

    effect: str
    interval: str
    moved: bool
    way: str
    low: float
    place: float
    high: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, its ratio in each of the runs that are compared; None: not compared."""

    name: str
    subject: str
    experiment: str
    pair: str
    far: bool
    ratios: tuple[Ratio | None, ...]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the runs on the first one's host, or those of the others."""

    here: bool
    columns: tuple[str, ...]
    compared: int
    """How many figures there are to compare."""
    span: str
    """The factor at the end of the drawn scale."""
    far: tuple[Figure, ...]
    near: tuple[Figure, ...]
    """Moved, but by less than what counts as equal."""


class SideBySide(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    columns: tuple[tuple[str, tuple[str, ...]], ...]
    """Label of each run, and what of it differs between them."""
    counts: tuple[tuple[str, str, str], ...]
    """Number, class, words."""
    changed: tuple[tuple[str, tuple[Line, ...]], ...]
    """By how it changed, the plainest change first."""
    claims: tuple[tuple[Line, ...], ...]
    figures: tuple[Figures, ...]
    over: bool
    remarks: tuple[str, ...]


def side_by_side(found: Runs) -> SideBySide:
    """Arrange them."""
    over = {one.key: one for one in over_hosts(found.runs)} if _several_hosts(found) else {}
    quotes = found.quotes
    lines = [_line(found.runs, quotes, key, over.get(key)) for key in _keys(found.runs)]
    changed = [(kind, tuple(line for line in lines if line.change == kind)) for kind in CHANGES]
    claims: dict[str, list[Line]] = {}
    for line in lines:
        claims.setdefault(line.claim, []).append(line)
    figures = tuple(_figures(found))
    return SideBySide(
        columns=tuple(zip((run.label for run in found.runs), _facts(found.runs), strict=True)),
        counts=tuple(_counts(lines, figures)),
        changed=tuple((kind, of) for kind, of in changed if of),
        claims=tuple(map(tuple, claims.values())),
        figures=figures,
        over=bool(over),
        remarks=tuple(_remarks(found, lines)),
    )


def _several_hosts(found: Runs) -> bool:
    return found.hosts >= HOSTS_FOR_VERDICT


def _keys(runs: Sequence[Digest]) -> list[Key]:
    """Claims as they first come; the readings of one are together, whichever run has them."""
    keys = dict.fromkeys(key for run in runs for key in run.entries)
    claims = list(dict.fromkeys(claim for claim, _, _ in keys))
    place = {claim: index for index, claim in enumerate(claims)}
    return sorted(keys, key=lambda key: place[key[0]])


def _line(runs: Sequence[Digest], quotes: Mapping[str, str], key: Key, over: Over | None) -> Line:
    entries = [run.entries.get(key) for run in runs]
    first = next(entry for entry in entries if entry is not None)
    question = first.reading.question
    return Line(
        claim=key[0],
        title=title_of(key[0]),
        quote=quotes[key[0]],
        reading=key[1],
        pair=key[2],
        question=question_words(question, ""),
        change=_change([entry for entry in entries if entry is not None]),
        cells=tuple(_cell(entry, first) for entry in entries),
        over=("", "") if over is None else (HOLDS_CLASS[over.holds], holds_words(over)),
    )


def _cell(entry: Entry | None, first: Entry) -> Cell | None:
    if entry is None:
        return None
    effect, interval = "", ""
    if entry.estimate is not None:
        effect, interval = estimate_words(entry.estimate, entry.reading.question)
        interval = interval if entry.estimate.n > 1 else ""
    return Cell(
        verdict=entry.verdict.value,
        css=VERDICT_CLASS[entry.verdict],
        effect=effect,
        interval=interval,
        finding=entry.finding if isinstance(entry.reading.question, Fact) else "",
        reason=entry.reason,
        other=entry.reading.question != first.reading.question,
    )


def _change(entries: Sequence[Entry]) -> str:
    """What differs between runs that asked the same."""
    if any(entry.reading.question != entries[0].reading.question for entry in entries):
        return ASKED
    verdicts = {entry.verdict for entry in entries}
    if sum(verdict.decided for verdict in verdicts) > 1:
        return TURNED
    if len(verdicts) == 1:
        return ""
    return UNTESTED if Verdict.NOT_TESTABLE in verdicts else OPENED


def _counts(lines: Sequence[Line], figures: Sequence[Figures]) -> Iterator[tuple[str, str, str]]:
    both = [line for line in lines if sum(cell is not None for cell in line.cells) > 1]
    changed = [line for line in both if line.change in CHANGES]
    turned = sum(line.change == TURNED for line in changed)
    yield (
        str(turned),
        "refuted" if turned else "none",
        f"verdicts turned round, of {len(both)} in more than one run",
    )
    rest = len(changed) - turned
    yield (
        str(rest),
        "inconclusive" if rest else "none",
        "decided or tested in some of the runs only",
    )
    for part in figures:
        what = "moved since the first run" if part.here else "differ from host to host"
        yield (
            str(len(part.far)),
            "not-testable",
            f"figures of {part.compared} {what} by a quarter or more, beyond their noise",
        )


def _facts(runs: Sequence[Digest]) -> list[tuple[str, ...]]:
    """What tells the runs apart, a line each: what all have alike is in the table of runs."""
    kinds = [
        [f"tier {run.run.host.tier}" if run.run else "host not known" for run in runs],
        [", ".join(run.engines) for run in runs],
        [f"profile {run.run.profile}" if run.run else "" for run in runs],
        [f"pytest-vmvc {run.run.version}" if run.run else "" for run in runs],
    ]
    telling = [kind for kind in kinds if len(set(kind)) > 1]
    return [tuple(filter(None, facts)) for facts in zip(*telling, strict=True)] or [()] * len(runs)


def _remarks(found: Runs, lines: Sequence[Line]) -> Iterator[str]:
    if asked := sum(line.change == ASKED for line in lines):
        yield (
            f"{asked} readings have the same name and ask another question in some run: their "
            "verdicts are not compared."
        )
    elif not found.one_set:
        yield DIFFERENT_SETS
    missing = sum(None in line.cells for line in lines)
    if missing:
        yield f"{missing} readings are not in all of the runs."
    for run, comparison in zip(found.runs[1:], found.comparisons, strict=False):
        if comparison.caveats:
            told = "; ".join(comparison.caveats)
            yield f"{run.label} against {found.runs[0].label}: {told}."


# --- figures -------------------------------------------------------------------------------------


def _figures(found: Runs) -> Iterator[Figures]:
    compared = list(zip(found.runs[1:], found.comparisons, strict=False))
    for here in (True, False):
        own = [(run, one) for run, one in compared if bool(one.elsewhere) is not here]
        if own:
            yield _table([run.label for run, _ in own], [one for _, one in own], here=here)


def _table(labels: Sequence[str], comparisons: Sequence[Comparison], *, here: bool) -> Figures:
    rows: dict[tuple[str, ...], list[Move | None]] = {}
    for index, comparison in enumerate(comparisons):
        for move in comparison.moves:
            row = (move.experiment, move.pair, move.subject, move.metric)
            rows.setdefault(row, [None] * len(comparisons))[index] = move
    moved = [moves for moves in rows.values() if any(move and move.moved for move in moves)]
    moved.sort(key=_distance, reverse=True)
    span = min(max([SPAN[0], *map(_distance, moved)]), SPAN[1])
    drawn = [_figure(moves, span) for moves in moved]
    return Figures(
        here=here,
        columns=tuple(labels),
        compared=len(rows),
        span=quantity(math.exp(span), "ratio"),
        far=tuple(one for one in drawn if one.far),
        near=tuple(one for one in drawn if not one.far),
    )


def _distance(moves: Sequence[Move | None]) -> float:
    effects = [move.ratio.effect for move in moves if move and move.moved]
    return max(abs(math.log(effect)) if effect else math.inf for effect in effects)


def _figure(moves: Sequence[Move | None], span: float) -> Figure:
    one = next(move for move in moves if move is not None)
    return Figure(
        name=one.label or one.metric.replace("_", " "),
        subject=one.subject,
        experiment=one.experiment,
        pair=one.pair,
        far=any(move.far for move in moves if move is not None),
        ratios=tuple(None if move is None else _ratio(move, span) for move in moves),
    )


def _ratio(move: Move, span: float) -> Ratio:
    low, effect, high = move.ratio.low, move.ratio.effect, move.ratio.high

    def place(value: float | None, otherwise: float) -> float:
        if value is None or value <= 0:
            return otherwise
        return round(50 + 50 * max(-1.0, min(1.0, math.log(value) / span)), 2)

    words = move.words
    centre = place(effect, 50.0)
    return Ratio(
        effect=words[0],
        interval=f"{words[1]} to {words[2]}",
        moved=move.moved,
        way="" if not move.moved else "more" if (low or 0) > 1 else "less",
        low=place(low, 0.0),
        place=centre,
        high=place(high, 100.0),
    )

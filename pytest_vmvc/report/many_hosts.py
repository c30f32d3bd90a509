"""Many runs: each reading's verdict over the hosts, which hosts deviate, and how figures spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pytest_vmvc.digest import Digest
from pytest_vmvc.fleet import Over, Spread, over_hosts
from pytest_vmvc.model import Bound, Question, Slope, Verdict
from pytest_vmvc.model import Ratio as RatioQuestion
from pytest_vmvc.report.cards import title_of
from pytest_vmvc.report.over_words import (
    DIFFERENT_SETS,
    HOLDS_CLASS,
    HOLDS_WORDS,
    holds_words,
    hosts_words,
    share_words,
    tally_words,
)
from pytest_vmvc.report.scale import Scale, shares
from pytest_vmvc.report.wording import estimate_words, question_words
from pytest_vmvc.runs import Runs
from pytest_vmvc.units import quantity

NAMED: Final = 10
"""Hosts that are named where they deviate; the rest is counted."""
REASONS: Final = 3
PARTED: Final = 12
"""Readings on which hosts disagree that are told in full at the top."""
HOSTS_OPEN: Final = 15
"""Rows of the table of hosts that are seen at once: those that deviate most."""


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """Where the hosts' figures lie, in per cent of the drawing's width, and in words."""

    low: float
    quarter: float
    middle: float
    three_quarters: float
    high: float
    bound: float | None
    words: tuple[str, str, str]
    """Least, median and most."""
    hosts: tuple[str, str]
    """Whose the least and the most are."""
    n: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One reading on one pair over all hosts."""

    claim: str
    title: str
    quote: str
    anchor: str
    reading: str
    pair: str
    question: str
    css: str
    holds: str
    share: str
    tally: str
    bar: tuple[tuple[str, float, float], ...]
    """Class, start and width in per cent of the hosts that have a vote."""
    strip: Strip | None
    parted: bool
    """Hosts disagree."""
    odd: tuple[tuple[str, str], ...]
    """Hosts that deviate, each with its figure, where it has one."""
    odd_verdict: str
    odd_more: str
    odd_finding: str
    """What one of them found, where there is no figure to say it."""
    groups: tuple[str, ...]
    """How the hosts of each tier and engine decided, where they disagree."""
    reasons: tuple[tuple[str, str], ...]
    """How many hosts did not decide it, and why."""
    reasons_more: str


class HostRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the table."""

    label: str
    started: str
    tier: str
    engines: str
    profile: str
    processor: str
    counts: tuple[int, ...]
    """By verdict, in the order of `Verdict`."""
    odd: int
    """Readings on which it decides otherwise than most hosts."""
    note: str


class ManyHosts(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    counts: tuple[tuple[str, str, str], ...]
    """Number, class, words: readings by what they are over hosts."""
    shares: tuple[tuple[str, float, float], ...]
    parted: tuple[Line, ...]
    parted_more: int
    claims: tuple[tuple[Line, ...], ...]
    hosts: tuple[HostRow, ...]
    rest: tuple[HostRow, ...]
    verdicts: tuple[str, ...]
    remarks: tuple[str, ...]


def many_hosts(found: Runs) -> ManyHosts:
    """Arrange them."""
    readings, quotes = over_hosts(found.runs), found.quotes
    lines = [_line(found.runs, quotes, over, number) for number, over in enumerate(readings, 1)]
    parted = sorted(
        (line for line in zip(readings, lines, strict=True) if line[1].parted),
        key=lambda one: len(one[0].odd) / one[0].decided,
        reverse=True,
    )
    claims: dict[str, list[Line]] = {}
    for line in lines:
        claims.setdefault(line.claim, []).append(line)
    odd = Counter(index for over in readings if over.parted for index in over.odd)
    hosts = _hosts(found.runs, odd)
    return ManyHosts(
        counts=tuple(_counts(readings)),
        shares=shares([(css, number) for number, css, _ in _sums(readings)]),
        parted=tuple(line for _, line in parted[:PARTED]),
        parted_more=len(parted) - PARTED,
        claims=tuple(map(tuple, claims.values())),
        hosts=tuple(hosts[:HOSTS_OPEN]),
        rest=tuple(sorted(hosts[HOSTS_OPEN:], key=lambda row: row.label)),
        verdicts=tuple(verdict.value for verdict in Verdict),
        remarks=tuple(_remarks(found, readings)),
    )


def _sums(readings: Sequence[Over]) -> Iterator[tuple[int, str, str]]:
    kinds = Counter(over.holds for over in readings)
    for kind, words in HOLDS_WORDS.items():
        if kinds[kind]:
            yield kinds[kind], HOLDS_CLASS[kind], words


def _counts(readings: Sequence[Over]) -> Iterator[tuple[str, str, str]]:
    for number, css, words in _sums(readings):
        yield str(number), css, words


def _line(runs: Sequence[Digest], quotes: Mapping[str, str], over: Over, number: int) -> Line:
    claim, reading, pair = over.key
    odd = over.odd if over.parted else ()
    verdict = Verdict.REFUTED if odd and odd[0] in over.falls else Verdict.SUPPORTED
    return Line(
        claim=claim,
        title=title_of(claim),
        quote=quotes[claim],
        anchor=f"reading-{number}",
        reading=reading,
        pair=pair,
        question=question_words(over.reading.question, ""),
        css=HOLDS_CLASS[over.holds],
        holds=holds_words(over),
        share=share_words(over),
        tally=tally_words(over),
        bar=shares(
            [
                ("supported", len(over.stands)),
                ("refuted", len(over.falls)),
                ("inconclusive", len(over.open)),
                ("not-testable", len(over.untested)),
            ]
        ),
        strip=_strip(over.spread, over.reading.question, runs) if over.spread else None,
        parted=over.parted,
        odd=tuple((runs[index].label, _said(runs[index], over)) for index in odd[:NAMED]),
        odd_verdict=verdict.value,
        odd_finding=_finding(runs[odd[0]], over) if odd else "",
        odd_more=f"and {len(odd) - NAMED} more" if len(odd) > NAMED else "",
        groups=tuple(_groups(runs, over)) if over.parted else (),
        reasons=tuple((hosts_words(n), reason) for reason, n in over.reasons[:REASONS]),
        reasons_more=_rest_of(over),
    )


def _rest_of(over: Over) -> str:
    rest = over.reasons[REASONS:]
    if not rest:
        return ""
    return f"{hosts_words(sum(n for _, n in rest))} for other reasons ({len(rest)} of them)"


def _said(run: Digest, over: Over) -> str:
    entry = run.entries[over.key]
    if entry.estimate is None:
        return ""
    effect, interval = estimate_words(entry.estimate, entry.reading.question)
    return effect if entry.estimate.n == 1 else f"{effect}, {interval}"


def _finding(run: Digest, over: Over) -> str:
    entry = run.entries[over.key]
    return "" if entry.estimate else f"{run.label}: {entry.finding}"


def _groups(runs: Sequence[Digest], over: Over) -> Iterator[str]:
    """Where one tier or engine is all that deviates, that is what a reader looks for."""
    kinds: tuple[tuple[str, Callable[[Digest], str]], ...] = (
        ("tier", lambda run: run.run.host.tier if run.run else "not known"),
        ("engine", lambda run: run.engines[0] if run.engines else "not known"),
    )
    for name, of in kinds:
        stands = Counter(of(runs[index]) for index in over.stands)
        falls = Counter(of(runs[index]) for index in over.falls)
        groups = sorted(stands.keys() | falls.keys())
        if 1 < len(groups) <= NAMED:
            told = (
                f"{group} {stands[group]} of {stands[group] + falls[group]}" for group in groups
            )
            yield f"holds by {name}: {'; '.join(told)}"


def _strip(spread: Spread, question: Question, runs: Sequence[Digest]) -> Strip:
    unit = "×" if isinstance(question, RatioQuestion) else spread.unit
    bound = question.threshold if isinstance(question, Bound | RatioQuestion | Slope) else None
    figures = spread.figures
    scale = Scale([*figures, *([] if bound is None else [bound])], unit=unit)

    def at(value: float) -> float:
        return round(100 * min(1.0, max(0.0, scale.fraction(value))), 2)

    return Strip(
        low=at(spread.low),
        quarter=at(figures[len(figures) // 4]),
        middle=at(spread.middle),
        three_quarters=at(figures[(3 * len(figures)) // 4]),
        high=at(spread.high),
        bound=None if bound is None else at(bound),
        words=(
            quantity(spread.low, unit), quantity(spread.middle, unit), quantity(spread.high, unit),
        ),
        hosts=(runs[spread.lowest].label, runs[spread.highest].label),
        n=len(figures),
    )  # fmt: skip


def _hosts(runs: Sequence[Digest], odd: Counter[int]) -> list[HostRow]:
    """Those that deviate most come first."""
    order = sorted(range(len(runs)), key=lambda index: (-odd[index], runs[index].label))
    return [_host(runs[index], odd[index]) for index in order]


def _host(run: Digest, odd: int) -> HostRow:
    host = run.run.host if run.run else None
    counts = Counter(entry.verdict for entry in run.entries.values())
    notes = [] if run.complete else ["incomplete"]
    notes += ["damaged file"] if run.problems else []
    return HostRow(
        label=run.label,
        started=run.run.started[:10] if run.run else "not known",
        tier=host.tier if host else "not known",
        engines=", ".join(run.engines) or "—",
        profile=run.run.profile if run.run else "—",
        processor=f"{host.cpu_model}, {host.cpus} CPUs" if host else "—",
        counts=tuple(counts[verdict] for verdict in Verdict),
        odd=odd,
        note=", ".join(notes),
    )


def _remarks(found: Runs, readings: Sequence[Over]) -> Iterator[str]:
    if found.hosts < len(found.runs):
        yield (
            f"{len(found.runs)} runs of {hosts_words(found.hosts)}: of each host the latest run "
            "that has a reading counts."
        )
    asked = sum(bool(over.otherwise) for over in readings)
    if asked:
        yield (
            f"{asked} readings ask another question on some hosts: those hosts have no vote there."
        )
    elif not found.one_set:
        yield DIFFERENT_SETS

"""A card for each claim: what was asked, what came out, and every sample behind it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pytest_vmvc.gates import figure_words, limit_words
from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import (
    Check,
    Conditions,
    Fact,
    Metric,
    Observation,
    Result,
    subjects_of,
)
from pytest_vmvc.report.figures import Figure, Table, figures, metric_words
from pytest_vmvc.report.matrix import Matrix, matrices
from pytest_vmvc.report.wording import (
    VERDICT_CLASS,
    agreement,
    count,
    deciding,
    estimate_words,
    question_words,
    requirement,
    scalar,
    shortened,
)
from pytest_vmvc.resources import NAME

_GATES: Final = ("gate", "figure", "limit", "outcome", "remark")

FACTS_SHOWN: Final = 40
"""Rows of a table of observed facts; the rest is in the raw data."""


SECTIONS: Final = {
    "os": "operating system",
    "sec": "security",
    "port": "portability",
    "perf": "performance",
    "table": "table",
    "opinion": "opinions",
}
"""The article's, in its order, by the first word of an id."""


class ReadingView(msgspec.Struct, frozen=True, kw_only=True):
    """One reading on one pair."""

    name: str
    anchor: str
    question: str
    verdict: str
    css: str
    finding: str
    reason: str
    agreement: str
    agreement_css: str
    expected: str
    why: str
    numbers: tuple[tuple[str, str], ...]
    """Label and figure: effect, interval, n."""
    details: tuple[tuple[str, str], ...]
    """How it was judged: method, gates on its samples, what was set beforehand."""
    scope: str
    """What holds for this reading and not for all of the pair's."""
    providers: str
    """Of its subjects, with a space between them."""


class FactRow(msgspec.Struct, frozen=True, kw_only=True):
    """An observed value, how often it was seen, short where it is a long identifier."""

    metric: str
    subject: str
    short: str
    full: str
    times: int
    where: str = ""
    """What was looked at, where that has names and not all of it gave the same value."""


class ConditionsView(msgspec.Struct, frozen=True, kw_only=True):
    """The host during a timed experiment: how its gates came out, in words, and all of them."""

    outcome: str
    failed: bool
    table: Table


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one claim on one pair."""

    name: str
    readings: tuple[ReadingView, ...]
    figures: tuple[Figure, ...]
    matrices: tuple[Matrix, ...]
    facts: tuple[FactRow, ...]
    missing: tuple[tuple[str, str], ...]
    retries: str
    errors: tuple[str, ...]
    conditions: tuple[ConditionsView, ...]
    scope: str


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One claim."""

    id: str
    anchor: str
    title: str
    section: str
    quote: str
    method: str
    reproduce: str
    published: tuple[str, ...]
    pairs: tuple[PairView, ...]


Taken = dict[tuple[str, str], list[Observation]]
"""The observations of each experiment on each pair."""


def cards(log: RunLog) -> tuple[Card, ...]:
    """The cards in the article's order."""
    groups = by_claim(log.results).values()
    taken: Taken = {}
    for one in log.observations:
        taken.setdefault((one.experiment, one.pair), []).append(one)
    return tuple(_card(log, taken, results, number) for number, results in enumerate(groups, 1))


def by_claim(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results of each claim: the article's sections in its order, then all others as they came."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.claim, []).append(result)
    order = list(SECTIONS.values())
    place = {claim: section_of(claim) for claim in groups}
    return dict(
        sorted(
            groups.items(),
            key=lambda one: order.index(place[one[0]]) if place[one[0]] in order else len(order),
        )
    )


def title_of(claim: str) -> str:
    """``table.boot-time`` as a title: Boot time."""
    words = claim.rpartition(".")[2].replace("-", " ").strip() or claim
    words = re.sub(r"\b(vm|os|cpu)(s?)\b", lambda found: found[1].upper() + found[2], words)
    return words[:1].upper() + words[1:]


def section_of(claim: str) -> str:
    """The article's section by the first word of an id; of a claim of one's own that word."""
    first, _, rest = claim.partition(".")
    return SECTIONS.get(first, first) if rest else ""


def reading_anchor(number: int, reading: str, pair: str) -> str:
    """Fragment of one reading on one pair; ``number`` is the card's."""
    safe = re.sub(r"[^A-Za-z0-9]+", "-", f"{pair}-{reading}")
    return f"claim-{number}-{safe}"


def _card(log: RunLog, taken: Taken, results: Sequence[Result], number: int) -> Card:
    first = results[0]
    pairs = dict.fromkeys(result.pair for result in results)
    return Card(
        id=first.claim,
        anchor=f"claim-{number}",
        title=title_of(first.claim),
        section=section_of(first.claim),
        quote=first.quote,
        method=first.method,
        reproduce=_command(first.nodeid),
        published=tuple(str(one) for one in first.published),
        pairs=tuple(
            _pair(log, taken, [r for r in results if r.pair == pair], pair, number)
            for pair in pairs
        ),
    )


def _command(nodeid: str) -> str:
    """The command that runs this claim again."""
    test = nodeid.rpartition("::")[2].partition("[")[0]
    return (
        f'pytest --vmvc -k "{test}"'
        if re.fullmatch(r"\w+", test)
        else (f"pytest --vmvc {shlex.quote(nodeid)}")
    )


def _pair(log: RunLog, taken: Taken, results: Sequence[Result], pair: str, number: int) -> PairView:
    experiments = dict.fromkeys(result.experiment for result in results)
    metrics = {s.metric.name: s.metric for s in log.series if s.experiment in experiments}
    places = dict.fromkeys((pair, ""))
    seen = [o for name in experiments for on in places for o in taken.get((name, on), ())]
    lost = [m for m in log.missing if m.experiment in experiments and m.pair == pair]
    retried = [r for r in log.retries if r.experiment in experiments and r.pair == pair]
    scopes = [_scope(result) for result in results]
    shared = [part for part in scopes[0] if all(part in scope for scope in scopes)]
    providers = {
        s.subject: s.facts.provider
        for s in log.series
        if s.facts and s.experiment in experiments and s.pair == pair
    }
    drawn = dict(matrices(seen, metrics))
    return PairView(
        name=pair,
        readings=tuple(_reading(r, metrics, number, providers, shared) for r in results),
        figures=figures(results, seen, metrics),
        matrices=tuple(drawn.values()),
        facts=_facts(results, [o for o in seen if o.metric not in drawn], metrics),
        missing=tuple(dict.fromkeys((m.subject, m.reason) for m in lost)),
        retries=f"{count(len(retried), 'start')} retried after an infrastructure error"
        if retried
        else "",
        errors=tuple(f"{r.subject}, block {r.block}: {r.error}" for r in retried),
        conditions=tuple(
            _conditions(c) for c in log.conditions if c.experiment in experiments and c.pair == pair
        ),
        scope="; ".join(shared),
    )


def _scope(result: Result) -> list[str]:
    return [part for part in result.judgement.scope.split("; ") if part]


def _reading(
    result: Result,
    metrics: Mapping[str, Metric],
    number: int,
    providers: Mapping[str, str],
    shared: Sequence[str],
) -> ReadingView:
    reading, judgement = result.reading, result.judgement
    metric = metrics.get(reading.question.metric)
    css, words = agreement(result)
    numbers: list[tuple[str, str]] = []
    details: list[tuple[str, str]] = []
    if (estimate := judgement.estimate) is not None:
        effect, interval = estimate_words(estimate, reading.question)
        censored = f" ({estimate.censored} censored)" if estimate.censored else ""
        single = estimate.n == 1 and estimate.low == estimate.high
        spread = (f"{estimate.confidence * 100:g} % interval", interval)
        numbers = [
            ("value" if single else "effect", effect),
            *([] if single else [spread]),
            ("n", f"{estimate.n}{censored}"),
        ]
        details = [("estimate by", estimate.method)]
    details += [
        (name, f"{figure or note} ({state}{f'; limit {limit}; {note}' if figure else ''})")
        for name, figure, limit, state, note in _gates(judgement.checks)
    ]
    details += [
        ("set beforehand", requirement(reading.question)),
        ("would decide", deciding(reading.question)),
    ]
    return ReadingView(
        name=reading.name,
        anchor=reading_anchor(number, reading.name, result.pair),
        question=question_words(reading.question, metric.unit if metric else ""),
        verdict=judgement.verdict.value,
        css=VERDICT_CLASS[judgement.verdict],
        finding=judgement.finding,
        reason=judgement.reason,
        agreement=words,
        agreement_css=css,
        expected=reading.expect,
        why=reading.why,
        numbers=tuple(numbers),
        details=tuple(details),
        scope="; ".join(part for part in _scope(result) if part not in shared),
        providers=" ".join(
            dict.fromkeys(
                providers[subject]
                for subject in subjects_of(reading.question)
                if subject in providers
            )
        ),
    )


def _gates(checks: Sequence[Check]) -> tuple[tuple[str, ...], ...]:
    states = {True: "passed", False: "failed", None: "not available"}
    return tuple(
        (c.name, figure_words(c), limit_words(c), states[c.passed], c.note) for c in checks
    )


def _conditions(found: Conditions) -> ConditionsView:
    states = [check.passed for check in found.checks]
    failed, absent = states.count(False), states.count(None)
    outcome = f"{found.experiment}: {count(states.count(True), 'gate')} passed, {failed} failed"
    return ConditionsView(
        outcome=outcome + (f", {absent} not available" if absent else ""),
        failed=failed > 0,
        table=Table(head=_GATES, rows=_gates(found.checks)),
    )


def _facts(
    results: Sequence[Result], seen: Sequence[Observation], metrics: dict[str, Metric]
) -> tuple[FactRow, ...]:
    wanted: dict[tuple[str, str], None] = {}
    for result in results:
        question = result.reading.question
        if isinstance(question, Fact):
            subjects = [question.subject, *([question.other] if question.other else [])]
            wanted |= dict.fromkeys((question.metric, subject) for subject in subjects)
    rows: list[FactRow] = []
    for name, subject in wanted:
        unit = metrics[name].unit if name in metrics else ""
        own = [o for o in seen if (o.metric, o.subject) == (name, subject)]
        values = [scalar(o.value, unit) for o in own]
        several = len(set(values)) > 1
        rows.extend(
            FactRow(
                metric=metric_words(metrics, name),
                subject=subject,
                short=shortened(value),
                full=value,
                times=values.count(value),
                where=_named([o for o, v in zip(own, values, strict=True) if v == value])
                if several
                else "",
            )
            for value in dict.fromkeys(values)
        )
    return tuple(rows[:FACTS_SHOWN])


def _named(seen: Sequence[Observation]) -> str:
    """What was looked at; the names of containers and machines tell nobody anything."""
    names = dict.fromkeys(o.instance for o in seen if o.instance and not NAME.match(o.instance))
    return ", ".join(names)

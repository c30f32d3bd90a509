"""One self-contained page of several runs: a column each, or a verdict over many hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from pytest_vmvc.digest import Digest
from pytest_vmvc.model import Verdict
from pytest_vmvc.report.html import HERE, environment, policy
from pytest_vmvc.report.many_hosts import many_hosts
from pytest_vmvc.report.over_words import hosts_words
from pytest_vmvc.report.provenance import moment
from pytest_vmvc.report.side_by_side import CHANGES, side_by_side
from pytest_vmvc.report.wording import TIER_WORDS, VERDICT_CLASS, VERDICT_MEANING, count
from pytest_vmvc.runs import Runs
from pytest_vmvc.text import visible

NAMES: Final = 3
"""Kinds of a thing that are named in the head; the rest is counted."""
TROUBLES: Final = 20
"""Lines about files in the banner; the rest is counted."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the table of runs: name and value."""

    label: str
    rows: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, str, int], ...]
    """Class, verdict, how often."""


def title(found: Runs) -> str:
    """What the page is called."""
    if found.few:
        return f"{count(len(found.runs), 'run')} side by side"
    return f"Virtual machines and containers on {hosts_words(found.hosts)}"


def render(found: Runs) -> str:
    """The page as one string. Nothing in the runs is trusted: every text is escaped."""
    from markupsafe import Markup

    styles = [(HERE / name).read_text(encoding="utf-8") for name in ("style.css", "overview.css")]
    style = "\n".join(styles)
    own = environment().overlay(finalize=_shown)
    text: str = own.get_template("overview.html.j2").render(
        title=title(found),
        policy=policy(style),
        style=Markup(style),  # noqa: S704 - files of this package
        head=tuple(head(found)),
        troubles=tuple(troubles(found)),
        few=side_by_side(found) if found.few else None,
        many=None if found.few else many_hosts(found),
        runs=(rows := [run_row(run) for run in found.runs] if found.few else []),
        facts=facts_table(rows),
        changes=CHANGES,
        meanings=[
            (VERDICT_CLASS[verdict], verdict.value, words)
            for verdict, words in VERDICT_MEANING.items()
        ],
    )
    return text


def _shown(value: Any) -> Any:  # noqa: ANN401 - whatever a template prints
    """Every text that is printed has its control and direction characters made visible."""
    return visible(value) if type(value) is str else value


def head(found: Runs) -> Iterator[tuple[str, str]]:
    """The few lines at the top: how many, when, where, with what."""
    known = [run.run for run in found.runs if run.run is not None]
    yield "runs", f"{len(found.runs)} of {hosts_words(found.hosts)}"
    if known:
        dates = sorted(run.started[:10] for run in known)
        yield "measured", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        yield "tier", _kinds(TIER_WORDS[run.host.tier] for run in known)
        yield "operating system", _kinds(run.host.os for run in known)
    yield "engines", _kinds(engine for run in found.runs for engine in run.engines)


def _kinds(values: Iterable[str]) -> str:
    found = Counter(values).most_common()
    if len(found) == 1:
        return found[0][0]
    told = [f"{value} ({number})" for value, number in found[:NAMES]]
    told += [f"{len(found) - NAMES} others"] if len(found) > NAMES else []
    return "; ".join(told) or "—"


def troubles(found: Runs) -> Iterator[str]:
    """What is not in this page, or not all of it, a line a file."""
    lines = [f"{source} {reason}; it is left out" for source, reason in found.refused]
    lines += [f"{one} is the same run as {other}: counted once" for one, other in found.repeated]
    for run in found.runs:
        lines += [f"{run.label}: {problem} ({run.source})" for problem in run.problems]
        if not run.complete:
            lines.append(f"{run.label}: the run ended before its end was written down")
    yield from lines[:TROUBLES]
    if len(lines) > TROUBLES:
        yield f"and {len(lines) - TROUBLES} more of this kind"


def run_row(run: Digest) -> RunRow:
    """What a reader must know of a run to compare it."""
    rows: list[tuple[str, str]] = []
    if run.run is not None:
        host = run.run.host
        rows = [
            ("host", f"{host.name}: {host.cpu_model}, {host.cpus} CPUs"),
            ("system", f"{host.os}, Linux {host.kernel}"),
            ("tier", f"{host.tier}: {TIER_WORDS[host.tier]}"),
            ("engines", ", ".join(run.engines) or "—"),
            ("started", moment(run.run.started)),
            ("profile", run.run.profile),
            ("pytest-vmvc", run.run.version),
            ("readings hash", run.run.readings_hash[:12]),
            ("run id", run.run.run_id),
        ]
    given = Counter(entry.verdict for entry in run.entries.values())
    return RunRow(
        label=run.label,
        rows=(*rows, ("file", run.source)),
        counts=tuple((VERDICT_CLASS[v], v.value, given[v]) for v in Verdict),
    )


def facts_table(runs: Sequence[RunRow]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The rows of all runs beside each other."""
    names = dict.fromkeys(name for run in runs for name, _ in run.rows)
    return tuple((name, tuple(dict(run.rows).get(name, "—") for run in runs)) for name in names)

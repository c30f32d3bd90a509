"""A run without its samples: whose, when, with what, and each verdict with its key figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import Estimate, Facts, Host, Reading, Result, Run, Verdict

Key = tuple[str, str, str]
"""Claim, reading and pair."""

ENGINES_OF: Final = ("container", "vm")
"""Subjects whose providers tell a run from another; the rest are what it compares them with."""
USUAL: Final = "runc"
"""The runtime of an engine that nobody has told another."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a run says of one reading on one pair."""

    reading: Reading
    verdict: Verdict
    finding: str
    reason: str
    estimate: Estimate | None


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """One run beside others."""

    source: str
    """The file it was read from, as it was named."""
    where: str
    """Which host that is, with its tier: alike for runs of one host."""
    run: Run | None
    engines: tuple[str, ...]
    """With their versions, the container's first."""
    entries: dict[Key, Entry]
    quotes: dict[str, str]
    """The article's words by claim."""
    complete: bool
    problems: tuple[str, ...]
    label: str = ""
    """Tells it from every other of the runs beside it."""


class Digester:
    """Makes digests whose equal texts are one object: a thousand runs ask the same readings."""

    def __init__(self) -> None:
        self._readings: dict[Key, Reading] = {}
        self._texts: dict[str, str] = {}
        self._keys: dict[Key, Key] = {}

    def digest(self, log: RunLog, *, source: str) -> Digest:
        """What is kept of a run."""
        return Digest(
            source=source,
            where=place(log.run.host) if log.run else f"the unknown host of {source}",
            run=log.run,
            engines=tuple(self._one(name) for name in dict.fromkeys(_engines(log))),
            entries=dict(map(self._entry, log.results)),
            quotes={one.claim: self._one(one.quote) for one in log.results},
            complete=log.end is not None,
            problems=log.problems,
        )

    def _entry(self, result: Result) -> tuple[Key, Entry]:
        key = (result.claim, result.reading.name, result.pair)
        said, reading = result.judgement, self._readings.get(key)
        if reading is None:
            self._readings[key] = reading = result.reading
        elif reading != result.reading:
            reading = result.reading
        return self._keys.setdefault(key, key), Entry(
            reading=reading,
            verdict=said.verdict,
            finding=said.finding,
            reason=self._one(said.reason),
            estimate=said.estimate,
        )

    def _one(self, text: str) -> str:
        return self._texts.setdefault(text, text)


def place(host: Host) -> str:
    """What tells a host from another, and one host's tiers from each other."""
    return f"{host.name} ({host.cpu_model}, {host.cpus} CPUs, tier {host.tier})"


def _engines(log: RunLog) -> Iterator[str]:
    found = {(one.subject, _engine(one.facts)) for one in log.series if one.facts is not None}
    for subject in ENGINES_OF:
        yield from (engine for _, engine in sorted(one for one in found if one[0] == subject))


def _engine(facts: Facts) -> str:
    """Its name and version, a runtime that is not the usual one, and whether it is rootless."""
    words = [re.split(r"[,(]", facts.version, maxsplit=1)[0].strip()]
    if (runtime := facts.extra.get("runtime", USUAL)) != USUAL:
        words.append(str(runtime))
    if facts.extra.get("rootless"):
        words.append("rootless")
    return ", ".join(words)


def labelled(runs: Iterable[Digest]) -> tuple[Digest, ...]:
    """The runs, each with a label of its own: its host's name, and where that is needed the date.

    Those of several hosts that were measured at once are told by what they were called there. Of
    several that began in one minute on hosts of one name, the run's id tells which.
    """
    same: dict[str, list[Digest]] = {}
    for run in (runs := list(runs)):
        same.setdefault(_NAMES[0](run), []).append(run)
    found: dict[int, str] = {}
    for group in same.values():
        names = next(
            filter(_distinct, ([name(run) for run in group] for name in _NAMES)),
            [run.source for run in group],
        )
        found |= {id(run): name for run, name in zip(group, names, strict=True)}
    return tuple(msgspec.structs.replace(run, label=found[id(run)]) for run in runs)


def _distinct(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _name(run: Digest) -> str:
    return run.run.host.name if run.run else run.source


def _called(run: Digest) -> str:
    return f"{_name(run)} ({run.run.gateway})" if run.run and run.run.gateway else _name(run)


def _dated(length: int) -> Callable[[Digest], str]:
    def name(run: Digest) -> str:
        if run.run is None:
            return run.source
        return f"{_name(run)}, {run.run.started[:length].replace('T', ' ')}"

    return name


def _full(run: Digest) -> str:
    return f"{_dated(16)(run)}, {run.run.run_id}" if run.run else run.source


_NAMES: Final[tuple[Callable[[Digest], str], ...]] = (_name, _called, _dated(10), _dated(16), _full)

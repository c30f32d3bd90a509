"""Provenance: the run, the host, what each subject was, and how each quantity is defined."""

from __future__ import annotations

from statistics import median

import msgspec

from pytest_vmvc.ledger import RunLog
from pytest_vmvc.model import EMULATED, Allowance, Facts, Run, Tier
from pytest_vmvc.report.wording import TIER_WORDS, scalar
from pytest_vmvc.units import number, quantity


class SubjectTable(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of every subject of a pair, a column each."""

    pair: str
    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


class MetricView(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity and its definition."""

    experiment: str
    name: str
    unit: str
    definition: str
    emulation: str


class BatteryView(msgspec.Struct, frozen=True, kw_only=True):
    """The battery of one pair: how much each part was slowed down, and what follows."""

    pair: str
    sentence: str
    rows: tuple[tuple[str, str], ...]
    """Part and median slowdown, the worst first."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a reader needs to compare this run with another."""

    summary: tuple[tuple[str, str], ...]
    """Short list for the head of the page."""
    run: tuple[tuple[str, str], ...]
    host: tuple[tuple[str, str], ...]
    subjects: tuple[SubjectTable, ...]
    metrics: tuple[MetricView, ...]
    emulated: bool
    untold: bool
    """Whether nobody told of a machine if it was emulated."""
    batteries: tuple[BatteryView, ...]
    unallowed: tuple[str, ...]
    """Why a part of a battery, or all of it, was not measured."""
    incomplete: str
    """Why the run is not complete; empty if it is."""


def provenance(log: RunLog) -> Provenance:
    """Arrange what the results file says about its own making."""
    return Provenance(
        summary=_summary(log),
        run=_run(log),
        host=() if log.run is None else _host(log.run),
        subjects=_subjects(log),
        metrics=_metrics(log),
        emulated=bool(_tiers(log) & EMULATED),
        untold="other" in _tiers(log),
        batteries=_batteries(log),
        unallowed=tuple(
            f"{gap.subject} on {gap.pair}: {gap.reason}"
            for gap in log.missing
            if gap.experiment == "battery"
        ),
        incomplete=_incomplete(log),
    )


def _batteries(log: RunLog) -> tuple[BatteryView, ...]:
    """One a pair: every timed experiment on it has the same allowance."""
    found = {allowed.pair: allowed for allowed in log.allowances}
    return tuple(_battery(allowed) for allowed in found.values())


def _battery(allowed: Allowance) -> BatteryView:
    ordered = sorted(allowed.parts.items(), key=lambda item: -item[1])
    return BatteryView(
        pair=allowed.pair,
        sentence=f"Allowance {quantity(allowed.figure, 'ratio')}, from {allowed.worst}, the worst "
        f"of {len(ordered)} parts; medians of {allowed.n} rounds.",
        rows=tuple((part, f"{number(slowdown)}×") for part, slowdown in ordered),
    )


def _tiers(log: RunLog) -> set[Tier]:
    facts = [series.facts for series in log.series if series.facts is not None]
    tiers: set[Tier] = {own.accelerator for own in facts if own.kind == "vm"}
    if log.run is not None and not tiers:
        tiers = {log.run.host.tier}
    return tiers


def _incomplete(log: RunLog) -> str:
    if log.end is None:
        return "The run ended before it could say so: what follows is what it had written by then."
    if log.end.interrupted:
        return "The run was interrupted: what follows is what it had measured by then."
    return ""


def _summary(log: RunLog) -> tuple[tuple[str, str], ...]:
    if log.run is None:
        return ()
    run = log.run
    engines = {s.facts.version: None for s in log.series if s.facts is not None}
    return (
        ("Host", f"{run.host.name}, {run.host.os}"),
        ("Virtualisation", f"{run.host.tier}: {TIER_WORDS[run.host.tier]}"),
        ("Measured", ", ".join(engines) or "nothing"),
        ("Date", moment(run.started)),
        ("Run", f"{run.run_id}, profile {run.profile}, seed {run.seed}"),
        *([("Evidence", f"measured by run {run.evidence_from}")] if run.evidence_from else []),
    )


def _run(log: RunLog) -> tuple[tuple[str, str], ...]:
    if log.run is None:
        return ()
    run = log.run
    rows = [
        ("run id", run.run_id),
        ("started", moment(run.started)),
        ("command", " ".join(run.command)),
        ("profile", run.profile),
        ("seed", str(run.seed)),
        ("pytest-vmvc", run.version),
        ("readings hash", run.readings_hash),
    ]
    if run.evidence_from:
        rows.append(("evidence", f"measured by run {run.evidence_from}, judged again here"))
    if log.end is not None:
        rows += [
            ("ended", moment(log.end.ended)),
            ("duration", quantity(log.end.duration_s, "s")),
            ("exit status", str(log.end.exit_status)),
        ]
    return tuple(rows)


def _host(run: Run) -> tuple[tuple[str, str], ...]:
    host = run.host
    return (
        ("name", host.name),
        ("operating system", host.os),
        ("kernel", host.kernel),
        ("boot id", host.boot_id),
        ("architecture", host.architecture),
        ("processor", f"{host.cpu_model}, {host.cpus} CPUs"),
        ("memory", quantity(host.memory_bytes, "bytes")),
        ("tier", f"{host.tier}: {TIER_WORDS[host.tier]}"),
        ("clock source", host.clock_source),
        ("control groups", host.cgroup),
        *sorted(host.versions.items()),
    )


def _subjects(log: RunLog) -> tuple[SubjectTable, ...]:
    pairs: dict[str, dict[str, list[Facts]]] = {}
    for series in log.series:
        if series.facts is None:
            continue
        known = pairs.setdefault(series.pair, {}).setdefault(series.subject, [])
        if series.facts not in known:
            known.append(series.facts)
    costs = _own_costs(log)
    return tuple(_subject_table(pair, subjects, costs) for pair, subjects in pairs.items())


def _own_costs(log: RunLog) -> dict[tuple[str, str], str]:
    """What the measuring itself cost of each subject's starts."""
    shares: dict[tuple[str, str], list[float]] = {}
    for one in log.observations:
        if one.harness_cpu_s is not None and one.marks.get("answer"):
            share = 100 * one.harness_cpu_s / one.marks["answer"]
            shares.setdefault((one.pair, one.subject), []).append(share)
    return {of: f"{quantity(median(found), '%')} (median)" for of, found in shares.items()}


def _subject_table(
    pair: str, subjects: dict[str, list[Facts]], costs: dict[tuple[str, str], str]
) -> SubjectTable:
    columns = {
        subject if index == 1 else f"{subject} ({index})": _fact_rows(facts)
        for subject, own in subjects.items()
        for index, facts in enumerate(own, 1)
    }
    for subject in subjects:
        if cost := costs.get((pair, subject)):
            columns[subject]["harness's own CPU time in a start"] = cost
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    return SubjectTable(
        pair=pair,
        subjects=tuple(columns),
        rows=tuple(
            (name, tuple(rows.get(name, "—") for rows in columns.values())) for name in names
        ),
    )


def _fact_rows(facts: Facts) -> dict[str, str]:
    memory = facts.memory_bytes
    return {
        "provider": facts.provider,
        "version": facts.version,
        "accelerator": f"{facts.accelerator}: {TIER_WORDS[facts.accelerator]}",
        "artefact": facts.artefact,
        "userland": facts.userland,
        "CPUs granted": "no limit" if facts.vcpus is None else f"{facts.vcpus:g}",
        "memory granted": "no limit" if memory is None else quantity(memory, "bytes"),
        "first answer by": facts.readiness,
        "usage is": facts.usage_definition,
        **{name: scalar(value) for name, value in facts.extra.items()},
    }


def _metrics(log: RunLog) -> tuple[MetricView, ...]:
    seen = {(series.experiment, series.metric): None for series in log.series}
    return tuple(
        MetricView(
            experiment=experiment,
            name=metric.name,
            unit=metric.unit,
            definition=metric.definition,
            emulation="emulation makes it bigger" if metric.emulation == "inflates" else "",
        )
        for experiment, metric in seen
    )


def moment(iso: str) -> str:
    """``2025-01-02T03:04:05Z`` as ``2025-01-02 03:04 UTC``; anything else as it is."""
    date, _, time = iso.partition("T")
    if len(date) != 10 or len(time) < 5:
        return iso
    return f"{date} {time[:5]} UTC" if iso.endswith(("Z", "+00:00")) else f"{date} {time}"

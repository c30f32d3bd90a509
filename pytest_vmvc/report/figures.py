"""The figures of a card: which charts its readings need, each with its numbers as a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec

from pytest_vmvc.model import (
    Bound,
    Estimate,
    Fact,
    Metric,
    Observation,
    Opinion,
    Ratio,
    Result,
    Slope,
)
from pytest_vmvc.report import charts, palette, svg
from pytest_vmvc.report.layers import Row, Sample
from pytest_vmvc.report.wording import estimate_words
from pytest_vmvc.units import quantity


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers behind a chart; the first cell of a row is its header."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    swatches: tuple[int, ...] = ()
    """Colour number of each row, where rows are what the chart's colours stand for."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with its caption and its numbers."""

    title: str
    note: str
    svg: str
    table: Table
    open: bool = False
    """The table is part of the figure (a legend) and not folded away."""


def figures(
    results: Sequence[Result], seen: Sequence[Observation], metrics: Mapping[str, Metric]
) -> tuple[Figure, ...]:
    """Every figure that the readings of one claim on one pair need, without repeats."""
    made: list[Figure] = []
    sampled = [r for r in results if not isinstance(r.reading.question, Fact | Opinion)]
    for name in dict.fromkeys(result.reading.question.metric for result in sampled):
        of_metric = [r for r in sampled if r.reading.question.metric == name]
        unit = metrics[name].unit if name in metrics else ""
        own = _samples(o for o in seen if o.metric == name)
        words = metric_words(metrics, name)
        slopes = any(isinstance(r.reading.question, Slope) for r in of_metric)
        if slopes and name in metrics:  # of what was not measured at all nothing is known
            made += _doses(of_metric, own, words, metrics[name])
        else:
            made += _strip(of_metric, own, words, unit)
        for result in of_metric:
            made += _ratio(result, own, unit)
    # The marks of one start stand with each of its metrics: one is enough, the one with most.
    marked = [
        o for o in seen if o.marks and o.metric in {r.reading.question.metric for r in sampled}
    ]
    first = next((o.metric for o in marked), None)
    made += _phases(sampled, [o for o in marked if o.metric == first])
    return tuple(made)


def metric_words(metrics: Mapping[str, Metric], name: str) -> str:
    """What a person calls a metric."""
    label = metrics[name].label if name in metrics else ""
    return label or name.replace("_", " ")


def median_phases(seen: Sequence[Observation]) -> dict[str, float]:
    """Median seconds of each phase, in order; a phase is named after the mark that ends it."""
    marked = [o.marks for o in seen if o.marks]
    order = charts.phase_names(
        {str(n): dict(sorted(marks.items(), key=itemgetter(1))) for n, marks in enumerate(marked)}
    )
    spans: dict[str, list[float]] = {name: [] for name in order}
    for marks in marked:
        previous = 0.0
        for name in order:
            if name in marks:
                spans[name].append(marks[name] - previous)
                previous = marks[name]
    return {name: max(0.0, statistics.median(of_name)) for name, of_name in spans.items()}


def _samples(seen: Iterable[Observation]) -> dict[str, list[Sample]]:
    """Those of each subject that can be drawn."""
    found: dict[str, list[Sample]] = {}
    for o in seen:
        value = o.value
        if isinstance(value, bool) or not isinstance(value, float | int):
            continue
        if math.isfinite(value):
            sample = Sample(value=float(value), block=o.block, censored=o.censored, dose=o.dose)
            found.setdefault(o.subject, []).append(sample)
    return found


def _subjects(results: Sequence[Result]) -> list[str]:
    """Subjects that the readings name, containers first: the same order in every chart."""
    named: dict[str, None] = {}
    for result in results:
        question = result.reading.question
        named[question.subject] = None
        if isinstance(question, Ratio | Slope) and question.over:
            named[question.over] = None
    known = list(palette.SUBJECTS)
    return sorted(named, key=lambda s: known.index(s) if s in known else len(known))


def _strip(
    results: Sequence[Result], own: Mapping[str, Sequence[Sample]], name: str, unit: str
) -> list[Figure]:
    bounds: dict[float, None] = {}
    estimates: dict[str, Estimate] = {}
    for result in results:
        question, estimate = result.reading.question, result.judgement.estimate
        if isinstance(question, Bound):
            bounds[question.threshold] = None
            if estimate is not None:
                estimates[question.subject] = estimate
    rows = [
        Row(subject=subject, samples=samples, estimate=estimates.get(subject))
        for subject in _subjects(results)
        if (samples := own.get(subject))
    ]
    if not rows:
        return []
    others = {
        one.name: one.value
        for one in results[0].published
        if one.metric == results[0].reading.question.metric and one.value
    }
    said = [
        f"{row.subject}: {_many(len(row.samples))}, median {quantity(row.median, unit)}"
        for row in rows
    ]
    said += [f"published: {name} {quantity(value, unit)}" for name, value in others.items()]
    if bounds:
        said.append("bound " + ", ".join(quantity(bound, unit, exact=True) for bound in bounds))
    signs = ["Each mark is one sample", *(["thick bar: interval"] if estimates else [])]
    note = "; ".join([*signs, *(["dashed line: the bound"] if bounds else [])]) + "."
    if len(rows) > 1 and any(len(row.samples) > 1 for row in rows):
        note = f"{note} Thin lines join the two sides of a block."
    title = f"All samples: {name}"
    drawing = svg.draw(
        charts.strip(rows, unit=unit, bounds=list(bounds), others=others),
        label=f"{title}. {'; '.join(said)}.",
    )
    if others:
        note = f"{note} Hollow: published figures of others, by other stopwatches on other hosts."
    return [
        Figure(title=title, note=_noted(note, rows), svg=drawing, table=_sample_table(rows, unit))
    ]


def _doses(
    results: Sequence[Result], own: Mapping[str, Sequence[Sample]], name: str, metric: Metric
) -> list[Figure]:
    estimates = {
        r.reading.question.subject: r.judgement.estimate
        for r in results
        if isinstance(r.reading.question, Slope) and not r.reading.question.over
    }
    rows = [
        Row(subject=subject, samples=samples, estimate=estimates.get(subject))
        for subject in _subjects(results)
        if (samples := [s for s in own.get(subject, ()) if s.dose is not None])
    ]
    if not rows:
        return []
    steps = sorted({sample.dose for row in rows for sample in row.drawn if sample.dose is not None})
    cells = [
        (
            quantity(step, metric.dose, exact=True),
            *(
                ", ".join(_value(s, metric.unit) for s in row.drawn if s.dose == step) or "—"
                for row in rows
            ),
        )
        for step in steps
    ]
    title = f"Dose and response: {name}"
    note = _noted("Each mark is one sample over its dose; lines join the medians.", rows)
    if any(estimates.values()):
        note = f"{note} Band: the interval of the slope that was judged."
    said = "; ".join(f"{row.subject}: {_many(len(row.samples))}" for row in rows)
    drawing = svg.draw(
        charts.doses(rows, unit=metric.unit, dose_unit=metric.dose), label=f"{title}. {said}."
    )
    return [
        Figure(
            title=title,
            note=note,
            svg=drawing,
            table=Table(
                head=(
                    f"dose, {metric.dose}" if metric.dose else "dose",
                    *(r.subject for r in rows),
                ),
                rows=tuple(cells),
            ),
        )
    ]


def _sample_table(rows: Sequence[Row], unit: str) -> Table:
    blocks = sorted({sample.block for row in rows for sample in row.drawn})
    found: list[dict[int, list[str]]] = []
    for row in rows:
        found.append({})
        for sample in row.drawn:
            found[-1].setdefault(sample.block, []).append(_value(sample, unit))
    cells = [
        (str(block + 1), *(", ".join(of_row.get(block, ())) or "—" for of_row in found))
        for block in blocks
    ]
    return Table(head=("block", *(row.subject for row in rows)), rows=tuple(cells))


def _value(sample: Sample, unit: str) -> str:
    return f"{'≥ ' if sample.censored else ''}{quantity(sample.value, unit)}"


def _ratio(result: Result, own: Mapping[str, Sequence[Sample]], unit: str) -> list[Figure]:
    question = result.reading.question
    if not isinstance(question, Ratio):
        return []
    above = {sample.block: sample for sample in reversed(own.get(question.subject, ()))}
    below = {sample.block: sample for sample in reversed(own.get(question.over, ()))}
    points = tuple(
        Sample(
            value=over.value / under.value, block=block, censored=over.censored or under.censored
        )
        for block in sorted(above.keys() & below.keys())
        if (over := above[block]).value > 0 and (under := below[block]).value > 0
    )
    if not points:
        return []
    words = f"{question.subject} ÷ {question.over}"
    row = Row(subject=words, samples=points, estimate=result.judgement.estimate)
    said = f"{_many(len(points))}, median {quantity(row.median, '×')}"
    if row.estimate is not None:
        said = f"{said}, interval {estimate_words(row.estimate, question)[1]}"
    title = f"Ratio of each pair: {words}"
    drawing = svg.draw(
        charts.ratios(row, threshold=question.threshold, words="pairs"), label=f"{title}. {said}."
    )
    cells = tuple(
        (
            str(point.block + 1),
            _value(above[point.block], unit),
            _value(below[point.block], unit),
            quantity(point.value, "×"),
        )
        for point in row.drawn
    )
    note = "Shaded: 0.8 to 1.25, practically equal; solid line: 1; dashed line: the bound."
    return [
        Figure(
            title=title,
            note=_noted(note, [row]),
            svg=drawing,
            table=Table(head=("block", question.subject, question.over, "ratio"), rows=cells),
        )
    ]


def _phases(results: Sequence[Result], own: Sequence[Observation]) -> list[Figure]:
    parts: dict[str, dict[str, float]] = {}
    for subject in _subjects(results):
        times = median_phases([o for o in own if o.subject == subject and not o.censored])
        if times and sum(times.values()) > 0:
            parts[subject] = times
    if not parts:
        return []
    names = charts.phase_names(parts)
    cells = tuple(
        (name, *(quantity(t[name], "s") if name in t else "—" for t in parts.values()))
        for name in names
    )
    said = "; ".join(
        f"{subject}: " + ", ".join(f"{name} {quantity(t, 's')}" for name, t in times.items())
        for subject, times in parts.items()
    )
    title = "Where the time goes"
    return [
        Figure(
            title=title,
            note="Each bar is the whole of a subject’s own start, to its last mark; median of each "
            "phase, named after the mark that ends it.",
            svg=svg.draw(charts.phases(parts), label=f"{title}. {said}."),
            table=Table(
                head=("phase, until", *parts),
                rows=cells,
                swatches=tuple(index % len(palette.PHASES) for index in range(len(names))),
            ),
            open=True,
        )
    ]


def _many(n: int) -> str:
    return f"{n} sample{'' if n == 1 else 's'}"


def _noted(note: str, rows: Sequence[Row]) -> str:
    """What else a reader must know of a chart."""
    if any(sample.censored for row in rows for sample in row.drawn):
        note = f"{note} Open triangle: cut off at the deadline, the true value lies beyond."
    drawn, of = sum(len(row.drawn) for row in rows), sum(len(row.samples) for row in rows)
    if drawn < of:
        note = (
            f"{note} Drawn and listed: {drawn} of {of}, of blocks at even distances; judged: all."
        )
    return note

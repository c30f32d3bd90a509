"""Every sample as CSV, one a line: for a spreadsheet, or another program's statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from pytest_vmvc.digest import Digest
from pytest_vmvc.ledger import RunLog, headers
from pytest_vmvc.text import visible

HEAD = (
    "experiment", "pair", "subject", "metric", "unit", "value", "censored", "block", "position",
    "dose", "instance", "at", "provider", "harness_cpu_s",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")
"""What makes a spreadsheet calculate a text instead of showing it; some take wide forms, too."""


def table(log: RunLog) -> str:
    """The samples in the order in which they were taken, with a header; times in seconds."""
    return _lines([HEAD, *_rows(log)])


def tables(runs: Iterable[tuple[Digest, RunLog]]) -> Iterator[str]:
    """Those of several runs, a part a run: the run's label and its host stand before each."""
    yield _lines([("run", "host", *HEAD)])
    for run, log in runs:
        own = (run.label, log.run.host.name if log.run else "")
        yield _lines((*own, *row) for row in _rows(log))


def _rows(log: RunLog) -> Iterator[tuple[object, ...]]:
    known = headers(log)
    for one in log.observations:
        series = known.get((one.experiment, one.pair, one.subject, one.metric))
        yield (
            one.experiment, one.pair, one.subject, one.metric,
            series.metric.unit if series else "", one.value,
            one.censored, one.block, one.position, one.dose, one.instance, one.at,
            series.facts.provider if series and series.facts else "", one.harness_cpu_s,
        )  # fmt: skip


def _lines(rows: Iterable[tuple[object, ...]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    shown = visible(value).replace("\n", " ")
    begins = shown.startswith(FORMULA) or shown.lstrip().startswith(FORMULA)
    return f"'{shown}" if begins else shown

"""Every sample as CSV, one a line: for a spreadsheet, or another program's statistics."""

from __future__ import annotations

import csv
import io

from pytest_vmvc.ledger import RunLog, headers
from pytest_vmvc.text import visible

HEAD = (
    "experiment", "pair", "subject", "metric", "unit", "value", "censored", "block", "position",
    "dose", "instance", "at", "provider",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")
"""What makes a spreadsheet calculate a text instead of showing it; some take wide forms, too."""


def table(log: RunLog) -> str:
    """The samples in the order in which they were taken, with a header; times in seconds."""
    known = headers(log)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(HEAD)
    for one in log.observations:
        series = known.get((one.experiment, one.pair, one.subject, one.metric))
        row = (
            one.experiment, one.pair, one.subject, one.metric,
            series.metric.unit if series else "", one.value,
            one.censored, one.block, one.position, one.dose, one.instance, one.at,
            series.facts.provider if series and series.facts else "",
        )  # fmt: skip
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

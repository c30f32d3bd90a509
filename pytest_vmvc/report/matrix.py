"""What is so for which subject, item by item: isolation as a matrix of yes and no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pytest_vmvc.model import Metric, Observation
from pytest_vmvc.resources import NAME

LEAST_ITEMS, LEAST_SUBJECTS = 3, 2


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each item that was looked at, a column for each subject."""

    title: str
    note: str
    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[bool | None, ...]], ...]
    """None: not looked at there."""


def matrices(
    seen: Sequence[Observation], metrics: Mapping[str, Metric]
) -> Iterator[tuple[str, Matrix]]:
    """One for each metric of yes and no that several subjects have of several named items.

    An item that was looked at more than once is so where it was so each time. Where all subjects
    are alike in every item there is nothing to be seen.
    """
    for name, metric in metrics.items():
        cells: dict[str, dict[str, bool]] = {}
        for one in seen:
            if one.metric != name or not isinstance(one.value, bool):
                continue
            if one.instance and not NAME.match(one.instance):
                row = cells.setdefault(one.instance, {})
                row[one.subject] = row.get(one.subject, True) and one.value
        subjects = tuple(dict.fromkeys(subject for row in cells.values() for subject in row))
        differ = any(len(set(row.values())) > 1 for row in cells.values())
        if len(cells) < LEAST_ITEMS or len(subjects) < LEAST_SUBJECTS or not differ:
            continue
        yield (
            name,
            Matrix(
                title=metric.label or name,
                note=metric.definition,
                subjects=subjects,
                rows=tuple(
                    (item, tuple(row.get(subject) for subject in subjects))
                    for item, row in cells.items()
                ),
            ),
        )

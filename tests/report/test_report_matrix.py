"""Isolation as a matrix: what is drawn, and what is no matrix."""

from __future__ import annotations

from pytest_vmvc.model import Metric, Observation
from pytest_vmvc.report.matrix import matrices

KEPT = Metric(name="kept", unit="", definition="it was kept apart", label="kept apart")
METRICS = {"kept": KEPT}


def look(subject: str, item: str, value: object) -> Observation:
    return Observation(
        experiment="e", pair="p", subject=subject, metric="kept", value=value, at="", instance=item
    )


def rows(*seen: Observation) -> dict[str, tuple[bool | None, ...]]:
    [(name, found)] = matrices(seen, METRICS)
    assert (name, found.title, found.note) == ("kept", "kept apart", "it was kept apart")
    return dict(found.rows)


ALIKE = [look(subject, item, True) for subject in ("container", "vm") for item in "abc"]


def test_items_are_rows_and_subjects_are_columns() -> None:
    found = rows(*ALIKE[:-1], look("vm", "c", False))
    assert found == {"a": (True, True), "b": (True, True), "c": (True, False)}


def test_what_was_not_looked_at_is_open_and_what_failed_once_is_not_so() -> None:
    found = rows(*ALIKE, look("container", "d", True), look("vm", "a", False))
    assert found["d"] == (True, None)
    assert found["a"] == (True, False)


def test_what_is_alike_everywhere_or_too_little_is_no_matrix() -> None:
    assert list(matrices(ALIKE, METRICS)) == []
    two = [look("container", "a", True), look("vm", "a", False), look("vm", "b", True)]
    assert list(matrices(two, METRICS)) == []
    alone = [look("container", item, item == "a") for item in "abc"]
    assert list(matrices(alone, METRICS)) == []


def test_numbers_and_names_of_instances_are_no_items() -> None:
    counted = [look(subject, item, 1) for subject in ("container", "vm") for item in "abc"]
    assert list(matrices(counted, METRICS)) == []
    named = [
        look(subject, f"vmvc-r0000000001-{n}", subject == "vm")
        for subject in ("container", "vm")
        for n in range(3)
    ]
    assert list(matrices(named, METRICS)) == []

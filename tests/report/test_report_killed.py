"""A run that was killed at any moment renders with what there is, and says so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_run import sample_records

from pytest_vmvc import ledger, report
from pytest_vmvc.ledger import RunLog, encode
from pytest_vmvc.model import End, Result, Run
from pytest_vmvc.report.badge import badge
from pytest_vmvc.report.samples import table

CLAIMS = ("table.boot-time", "os.shared-kernel")


def _small():
    """A few claims of the made-up run on one pair: what a page of it needs is quickly made."""
    for record in sample_records():
        of_another = isinstance(record, Result) and record.claim not in CLAIMS
        if isinstance(record, Run | End) or (record.pair == "minimal" and not of_another):
            yield record


LINES = [encode(record) + b"\n" for record in _small()]
WHOLE = b"".join(LINES)


def cut(path, size):
    """The file as a run leaves it that is killed when so many bytes are written."""
    path.write_bytes(WHOLE[:size])
    return ledger.read(path)


def check(log: RunLog) -> None:
    page, summary = report.render(log), report.summary(log)
    assert "Incomplete run" in page
    assert "**Incomplete:**" in summary
    assert "(incomplete)" in badge(log)
    assert len(table(log).splitlines()) == 1 + len(log.observations)
    for result in log.results:
        assert f">{result.claim}<" in page
        assert f"| {result.reading.name} |" in summary


@pytest.mark.parametrize("number", range(1, len(LINES)))
def test_between_two_lines(tmp_path, number):
    log = cut(tmp_path / "r.jsonl", sum(map(len, LINES[:number])))
    assert log.problems == ()
    assert len(log.records()) == number
    check(log)


@settings(max_examples=20)
@given(size=st.integers(len(LINES[0]), len(WHOLE) - 2))
def test_in_the_middle_of_a_line(tmp_path_factory, size):
    log = cut(tmp_path_factory.getbasetemp() / "cut.jsonl", size)
    assert log.run is not None
    assert len(log.records()) >= WHOLE[:size].count(b"\n")
    assert all("is cut off and was left out" in problem for problem in log.problems)
    check(log)


def test_a_whole_one_is_not_called_incomplete(tmp_path):
    log = cut(tmp_path / "r.jsonl", len(WHOLE))
    assert "ncomplete" not in report.summary(log) + badge(log)
    assert "Incomplete run" not in report.render(log)

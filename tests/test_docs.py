"""Figures in the README are those of the recorded run, verdicts those that its samples give."""

import importlib
from pathlib import Path

from pytest_vmvc import ledger
from tests.recorded import RECORDED, judged_again, short_table, table

ROOT = Path(__file__).parent.parent


def test_the_tables_are_the_recorded_run():
    results = judged_again(ledger.read(RECORDED))
    assert short_table(results) in (ROOT / "README.md").read_text()
    assert table(results) in (RECORDED.parent / "README.md").read_text()


def test_the_recorded_samples_still_give_verdicts():
    log = ledger.read(RECORDED)
    assert log.problems == ()
    assert log.results
    undecided = {"INCONCLUSIVE", "NOT TESTABLE"}
    for before, after in zip(log.results, judged_again(log), strict=True):
        # A judge may have become more careful since; it never turns a verdict round.
        verdicts = {before.judgement.verdict.value, after.judgement.verdict.value}
        assert len(verdicts - undecided) <= 1, before.nodeid


def test_the_recorded_run_names_no_place_of_the_machine_it_ran_on():
    text = RECORDED.read_text()
    assert str(Path.home()) not in text
    assert str(ROOT) not in text


def test_the_page_on_performance_is_the_recorded_figures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    table = importlib.import_module("table")
    page = table.PAGE.read_text()
    assert table.written(page) == page, "python benchmarks/table.py writes it anew"
    for name, _ in table.parts():
        assert f"<!-- end of {name} -->" in page

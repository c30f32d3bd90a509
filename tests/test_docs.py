"""Figures in the README are those of the recorded run, verdicts those that its samples give."""

import importlib
import re
from pathlib import Path

import msgspec

from pytest_vmvc import ledger, rejudge

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "docs" / "runs" / "2026-11-29-kvm-unusable" / "results.jsonl"


FIGURE = re.compile(r"(median|slope) .*")
FIGURE_ALONE = re.compile(r"[^, ][^,]*$")
SHOWN = (
    ("os.guest-per-vm", "one-kernel-each"),
    ("os.vm-heavy", "os-on-disk"),
    ("os.shared-kernel", "any-userland-kernel-same"),
    ("os.overhead-low", "run-a-command"),
    ("os.many-apps-one-kernel", "all-answer-at-once"),
    ("os.flavours-need-vm", "vm-other-architecture"),
    ("sec.vm-strong-isolation", "host-outlives-guest-crash"),
    ("sec.vm-more-secure", "every-proxy-agrees"),
    ("sec.one-breach-all", "default-gives-the-others"),
    ("sec.one-breach-all", "misconfigured-gives-the-others"),
    ("sec.hypervisor-restricts", "only-a-hypervisor-restricts-memory"),
    ("port.containers-easy", "another-kernel-runs-it"),
    ("port.vm-difficult", "vm-runs-unchanged"),
    ("port.vm-slow-because-size", "a-minute-for-each-gb"),
    ("perf.lightweight", "vm-touches-more"),
    ("perf.startup-faster", "vm-over-container"),
    ("perf.startup-faster", "restored-vm-over-container"),
    ("perf.no-permanent-allocation", "vm-keeps-with-reporting"),
    ("perf.no-os-install", "duplicate-vm-needs-install"),
    ("table.boot-time", "container-in-seconds"),
    ("table.boot-time", "vm-in-minutes"),
    ("table.boot-time", "vm-usable-in-minutes"),
    ("table.size", "container-kept-in-mbs"),
    ("table.size", "vm-kept-in-gbs"),
    ("table.move", "vm-goes-on"),
    ("table.creation-time", "container-in-seconds"),
)
"""What stands in the README; the page beside the recorded run has every reading."""


def cell(result):
    judgement = result.judgement
    said = judgement.finding.partition("; ")[0]
    figure = (FIGURE.search(said) or FIGURE_ALONE.search(said))[0]
    return f"{judgement.verdict.value}: {figure}" if judgement.estimate else judgement.verdict.value


def short_table(results):
    """The README's table: chosen readings, a column for each pair."""
    found = {(r.claim, r.reading.name, r.pair): r for r in results}
    lines = ["| the article says | reading | pair minimal | pair debian |", "|---|---|---|---|"]
    for claim, reading in SHOWN:
        cells = [found.get((claim, reading, pair)) for pair in ("minimal", "debian")]
        lines.append(
            f"| {found[claim, reading, 'minimal'].quote} | `{claim}` {reading} | "
            + " | ".join(cell(result) if result else "—" for result in cells)
            + " |"
        )
    return "\n".join(lines)


def table(results):
    """Every reading, as judged in the run."""
    lines = ["| claim | reading | pair | verdict | finding |", "|---|---|---|---|---|"]
    lines += [
        f"| `{r.claim}` | {r.reading.name} | {r.pair} | {r.judgement.verdict.value} "
        f"| {r.judgement.finding} |"
        for r in results
    ]
    return "\n".join(lines)


def judged_again(log):
    """The recorded samples by today's judge; nothing of a verdict is taken from the file."""
    return [
        msgspec.structs.replace(one.result, judgement=one.judgement)
        for one in rejudge.again(log, log.results)
    ]


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

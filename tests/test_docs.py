"""Figures in the README are those of the recorded run, verdicts those that its samples give."""

from pathlib import Path

from pytest_vmvc import ledger
from pytest_vmvc.judge import judge
from pytest_vmvc.model import Evidence

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "docs" / "runs" / "2026-11-23-kvm-unusable" / "results.jsonl"


SHOWN = (
    ("os.guest-per-vm", "one-kernel-each"),
    ("os.shared-kernel", "any-userland-kernel-same"),
    ("table.boot-time", "container-in-seconds"),
    ("table.boot-time", "vm-in-minutes"),
    ("table.boot-time", "vm-usable-in-minutes"),
    ("perf.startup-faster", "vm-over-container"),
    ("perf.startup-faster", "restored-vm-over-container"),
    ("table.size", "container-kept-in-mbs"),
    ("table.size", "vm-kept-in-gbs"),
)
"""What stands in the README; the page beside the recorded run has every reading."""


def cell(result):
    judgement = result.judgement
    figure = judgement.finding.partition("; ")[0].partition(", ")[2]
    return f"{judgement.verdict.value}: {figure}" if judgement.estimate else judgement.verdict.value


def short_table(log):
    """The README's table: chosen readings, a column for each pair."""
    found = {(r.claim, r.reading.name, r.pair): r for r in log.results}
    lines = ["| the article says | reading | pair minimal | pair debian |", "|---|---|---|---|"]
    for claim, reading in SHOWN:
        cells = [found.get((claim, reading, pair)) for pair in ("minimal", "debian")]
        lines.append(
            f"| {found[claim, reading, 'minimal'].quote} | `{claim}` {reading} | "
            + " | ".join(cell(result) if result else "—" for result in cells)
            + " |"
        )
    return "\n".join(lines)


def table(log):
    """Every reading, as judged in the run."""
    lines = ["| claim | reading | pair | verdict | finding |", "|---|---|---|---|---|"]
    lines += [
        f"| `{r.claim}` | {r.reading.name} | {r.pair} | {r.judgement.verdict.value} "
        f"| {r.judgement.finding} |"
        for r in log.results
    ]
    return "\n".join(lines)


def test_the_tables_are_the_recorded_run():
    log = ledger.read(RECORDED)
    assert short_table(log) in (ROOT / "README.md").read_text()
    assert table(log) in (RECORDED.parent / "README.md").read_text()


def test_the_recorded_samples_still_give_the_recorded_verdicts():
    log = ledger.read(RECORDED)
    assert log.problems == ()
    assert log.results
    for result in log.results:
        key = (result.experiment, result.pair)
        evidence = Evidence(
            experiment=result.experiment,
            pair=result.pair,
            series=tuple(s for s in log.series if (s.experiment, s.pair) == key),
            observations=tuple(o for o in log.observations if (o.experiment, o.pair) == key),
            missing=tuple(m for m in log.missing if (m.experiment, m.pair) == key),
            conditions=tuple(c for c in log.conditions if (c.experiment, c.pair) == key),
            host=log.run.host,
        )
        assert judge(result.reading, evidence, seed=log.run.seed) == result.judgement


def test_the_recorded_run_names_no_place_of_the_machine_it_ran_on():
    text = RECORDED.read_text()
    assert str(Path.home()) not in text
    assert str(ROOT) not in text

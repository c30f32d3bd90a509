"""Figures in the README are those of the recorded run, verdicts those that its samples give."""

from pathlib import Path

from pytest_vmvc import ledger
from pytest_vmvc.judge import judge
from pytest_vmvc.model import Evidence

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "docs" / "runs" / "2026-11-23-kvm-unusable" / "results.jsonl"


def table(log):
    """The README's table: a line for each reading, as judged in the run."""
    lines = ["| claim | reading | pair | verdict | finding |", "|---|---|---|---|---|"]
    lines += [
        f"| `{r.claim}` | {r.reading.name} | {r.pair} | {r.judgement.verdict.value} "
        f"| {r.judgement.finding} |"
        for r in log.results
    ]
    return "\n".join(lines)


def test_the_table_is_the_recorded_run():
    assert table(ledger.read(RECORDED)) in (ROOT / "README.md").read_text()


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
            host=log.run.host,
        )
        assert judge(result.reading, evidence, seed=log.run.seed) == result.judgement


def test_the_recorded_run_names_no_place_of_the_machine_it_ran_on():
    text = RECORDED.read_text()
    assert str(Path.home()) not in text
    assert str(ROOT) not in text

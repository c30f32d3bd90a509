"""Budgets: kept, exceeded, undecided, misspelt; on the command line and in the ini file."""

import pytest

from pytest_vmvc.plugin.budgets import parse

FAST, SLOW, SPREAD = [4.0] * 50, [70.0] * 50, [4.0, 70.0] * 25


def run(bed, *budgets):
    return bed.run(*(f"--vmvc-budget={text}" for text in budgets), "-k", "budget")


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(FAST, "passed"), (SLOW, "failed"), (SPREAD, "xfailed")]
)
def test_a_budget_is_kept_exceeded_or_left_open(bed, seconds, outcome):
    bed.starts(vm_s=seconds)
    done = run(bed, "vm.cold_start<30s")
    done.assert_outcomes(**{outcome: 1}, deselected=3)
    if outcome == "failed":
        done.stdout.fnmatch_lines(
            [
                "budget.cold-start [[]vm-cold-start-below-30s, *“it keeps to our budget”",
                "  expected SUPPORTED: the budget is vm.cold_start<30s",
                "  observed REFUTED: *median 70.0?s (95% interval 70.0?s to 70.0?s, n = 6)*",
                "  samples: experiment cold_start, pair minimal, in */results.jsonl",
                "  to accept: raise the limit (--vmvc-budget, vmvc_budget in the ini file), or *",
            ]
        )


def test_several_are_readings_of_one_experiment_and_are_in_the_results(bed):
    run(bed, "vm.cold_start<30s", "container.cold_start<=500ms").assert_outcomes(
        passed=2, deselected=3
    )
    assert bed.verdicts() == {
        "vm-cold-start-below-30s": "SUPPORTED",
        "container-cold-start-at-most-500ms": "SUPPORTED",
    }
    assert {result.claim for result in bed.log().results} == {"budget.cold-start"}


def test_they_can_stand_in_the_ini_file(bed):
    bed.pytester.makeini("[pytest]\nvmvc_budget =\n    vm.cold_start<30s\n    vm.ready<31s\n")
    bed.run("-k", "budget").assert_outcomes(passed=2, deselected=3)


def test_a_subject_that_was_not_measured_is_not_testable(bed):
    run(bed, "podman.cold_start<1s").assert_outcomes(skipped=1, deselected=3)


@pytest.mark.parametrize(
    ("text", "threshold", "metric"),
    [
        ("container.cold_start<500ms", 0.5, "start_s"),
        ("vm-restored.ready < 1.5 s", 1.5, "ready_s"),
        ("container.size<20MB", 2e7, "kept_bytes"),
        ("vm.memory<=64MiB", 2**26, "idle_memory_bytes"),
        ("vm.fleet.stop_s<1min", 60, "stop_s"),
    ],
)
def test_numbers_are_taken_in_their_units(text, threshold, metric):
    found = parse(text)
    assert (found.threshold, found.metric) == (pytest.approx(threshold), metric)
    assert found.reading().question.unit == ("s" if metric.endswith("_s") else "bytes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("container.cold_start>1s", "SUBJECT.FIGURE<NUMBER"),
        ("cold_start<1s", "SUBJECT.FIGURE<NUMBER"),
        ("container.cold_strat<1s", "no figure is called cold_strat"),
        ("container.nothing.start_s<1s", "no figure is called nothing.start_s"),
        ("container.cold_start.stop_s<1s", "cold_start has no stop_s; it has start_s"),
        ("container.cold_start<1", "measured in s; write s or ms"),
        ("container.cold_start<1MB", "measured in s"),
    ],
)
def test_what_cannot_be_meant_ends_before_anything_is_measured(bed, text, says):
    done = run(bed, text)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert says in done.stderr.str()

"""pytest-benchmark's numbers are the ledger's."""

import json

import pytest

OWN = """
import pytest

@pytest.mark.parametrize("subject", ["container", "vm", "vm-restored"])
def test_start_up(subject, cold_start, record_start_up):
    record_start_up(cold_start, subject)
"""
SECONDS = [4.0, 4.1, 4.9, 4.3, 4.2, 4.05, 4.6]


@pytest.fixture
def own(bed):
    bed.starts(vm_s=SECONDS)
    bed.pytester.makepyfile(test_own=OWN)
    return bed


def test_its_json_holds_the_very_samples(own):
    own.run("--benchmark-json=bench.json").assert_outcomes(passed=2, skipped=1)
    report = json.loads((own.pytester.path / "bench.json").read_text())
    found = {row["params"]["subject"]: row for row in report["benchmarks"]}
    measured = [
        o.value for o in own.log().observations if o.metric == "start_s" and o.subject == "vm"
    ]
    assert found["vm"]["stats"]["data"] == measured
    assert measured == pytest.approx(SECONDS[1:])
    assert found["vm"]["extra_info"]["replayed"].startswith("samples were taken interleaved")
    assert {row["group"] for row in found.values()} == {"start-up: minimal, warm"}


def test_its_table_and_comparison_work(own):
    own.run("--benchmark-autosave").assert_outcomes(passed=2, skipped=1)
    result = own.run("--benchmark-compare", "--benchmark-compare-fail=median:10%")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*benchmark 'start-up: minimal, warm'*"])
    own.starts(vm_s=[s * 2 for s in SECONDS])
    slower = own.run("--benchmark-compare", "--benchmark-compare-fail=median:10%")
    assert slower.ret != 0
    slower.stderr.fnmatch_lines(["*Performance has regressed*"])


def test_the_verdicts_are_told_though_it_found_a_regression(bed):
    bed.pytester.makepyfile(test_start=OWN)
    bed.run("test_start.py", "--benchmark-autosave").assert_outcomes(passed=5, skipped=1)
    bed.starts(vm_s=[8.0] * 50)
    slower = bed.pytester.runpytest_subprocess(
        "--vmvc",
        "--vmvc-pair=minimal",
        "test_own.py",
        "test_start.py",
        "--benchmark-compare",
        "--benchmark-compare-fail=median:10%",
        timeout=60,
    )
    assert slower.ret == pytest.ExitCode.TESTS_FAILED
    slower.stderr.fnmatch_lines(["*Performance has regressed*"])
    slower.stdout.fnmatch_lines(["2 supported, 1 refuted (1 claim)", "report:  *"])


def test_without_it_the_claims_are_judged_all_the_same(bed):
    bed.pytester.makepyfile(test_start=OWN)
    result = bed.run("test_start.py", "-p", "no:benchmark", "-rs")
    result.assert_outcomes(passed=3, skipped=3)
    result.stdout.fnmatch_lines(["*pytest-benchmark is off*"])
    result.stdout.fnmatch_lines(["pytest-benchmark is off: no start-up table"])
    assert len(bed.verdicts()) == 3

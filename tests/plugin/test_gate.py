"""Expected against observed: the table of outcomes, gate by gate."""

import re
from pathlib import Path

import pytest

from pytest_vmvc import ledger

SUPPORTED, REFUTED, SPREAD = [70.0] * 50, [4.0] * 50, [70.0, 4.0] * 25
OWN = """
from pytest_vmvc import claim, at_least

@claim(
    "own.late",
    quote="it is late",
    readings={{"late": at_least("vm", "start_s", 60, "s").expecting("{expected}", why="a test")}},
)
def test_late(reading, cold_start):
    reading.judge(cold_start)
"""


@pytest.mark.parametrize(
    ("gate", "expected", "seconds", "outcome"),
    [
        ("contradictions", "SUPPORTED", SUPPORTED, "passed"),
        ("contradictions", "SUPPORTED", REFUTED, "failed"),
        ("contradictions", "SUPPORTED", SPREAD, "xfailed"),
        ("contradictions", "REFUTED", SUPPORTED, "failed"),
        ("contradictions", "REFUTED", REFUTED, "passed"),
        ("contradictions", "REFUTED", SPREAD, "xfailed"),
        ("contradictions", "INCONCLUSIVE", SUPPORTED, "passed"),
        ("contradictions", "INCONCLUSIVE", REFUTED, "passed"),
        ("contradictions", "INCONCLUSIVE", SPREAD, "xfailed"),
        ("strict", "SUPPORTED", SUPPORTED, "passed"),
        ("strict", "SUPPORTED", SPREAD, "failed"),
        ("strict", "INCONCLUSIVE", SUPPORTED, "failed"),
        ("strict", "INCONCLUSIVE", SPREAD, "xfailed"),
        ("off", "SUPPORTED", REFUTED, "passed"),
        ("off", "REFUTED", SUPPORTED, "passed"),
        ("off", "SUPPORTED", SPREAD, "xfailed"),
    ],
)
def test_outcome(bed, gate, expected, seconds, outcome):
    bed.starts(vm_s=seconds)
    bed.pytester.makepyfile(test_own=OWN.format(expected=expected))
    bed.run(f"--vmvc-gate={gate}").assert_outcomes(**{outcome: 1})


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_contradiction_says_everything(bed, workers):
    bed.pytester.makepyfile(test_own=OWN.format(expected="SUPPORTED"))
    done = bed.run(*workers)
    done.stdout.fnmatch_lines(
        [
            "own.late [[]late, pair minimal]: “it is late”",
            "  expected SUPPORTED: a test",
            "  observed REFUTED: vm: time to the first answer, median 4.00?s "
            "(95% interval 4.00?s to 4.00?s, n = 6)*",
            "  scope: *",
            "  samples: experiment cold_start, pair minimal, in *results.jsonl",
            "  to accept: change the reading's expect with its reason, or run with --vmvc-gate=off",
        ]
    )
    # In a CI system pytest tells it again in its summary.
    [named] = set(re.findall(r"samples: .* in (\S+)", done.stdout.str()))
    assert ledger.read(Path(named)).results == bed.log().results


@pytest.mark.parametrize(
    ("expected", "seconds", "remedy"),
    [
        ("SUPPORTED", SPREAD, "take more samples * expect INCONCLUSIVE with its reason"),
        ("INCONCLUSIVE", REFUTED, "change the reading's expect with its reason"),
    ],
)
def test_what_only_the_strict_gate_minds_can_be_accepted_without_it(bed, expected, seconds, remedy):
    bed.starts(vm_s=seconds)
    bed.pytester.makepyfile(test_own=OWN.format(expected=expected))
    done = bed.run("--vmvc-gate=strict")
    done.stdout.fnmatch_lines([f"  to accept: {remedy}, or run with --vmvc-gate=contradictions"])


@pytest.mark.parametrize("gate", ["contradictions", "strict", "off"])
def test_what_is_not_testable_is_skipped_with_the_remedy(bed, gate):
    bed.starts(lacking=["vm"])
    bed.pytester.makepyfile(test_own=OWN.format(expected="SUPPORTED"))
    result = bed.run(f"--vmvc-gate={gate}", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*NOT TESTABLE: vm is not available: not on this host — install it"]
    )


def test_a_broken_harness_is_an_error_for_all_who_ask_and_measured_once(bed):
    bed.pytester.makeconftest(
        """
        import pytest
        from pytest_vmvc.errors import LaunchFailed

        @pytest.fixture(scope="session")
        def vmvc_load_pair():
            def load(name):
                print("asked once")
                raise LaunchFailed("the hypervisor is broken", hint="mend it")
            return load
        """
    )
    result = bed.run("-s")
    result.assert_outcomes(errors=3)
    assert result.stdout.str().count("asked once") == 1
    result.stdout.fnmatch_lines(
        ["cold_start on minimal: LaunchFailed: the hypervisor is broken — mend it"]
    )
    log = bed.log()
    assert (log.results, log.observations) == ((), ())
    assert log.end.exit_status == pytest.ExitCode.TESTS_FAILED

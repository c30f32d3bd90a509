"""A baseline: written, kept to, left; of this host, and readable."""

import msgspec
import pytest

from pytest_vmvc import ledger

SLOW, FAST, SPREAD = [70.0] * 50, [4.0] * 50, [70.0, 4.0] * 25
OWN = """
from pytest_vmvc import claim, at_least

@claim(
    "own.late",
    quote="it is late",
    readings={"late": at_least("vm", "start_s", 60, "s").because("a test")},
)
def test_late(reading, cold_start):
    reading.judge(cold_start)
"""


@pytest.fixture
def kept(bed):
    """A bed whose machine is fast, against the expectation, and accepted so."""
    bed.pytester.makepyfile(test_own=OWN)
    bed.starts(vm_s=FAST)
    bed.run("--vmvc-baseline=kept/base.jsonl", "--vmvc-update-baseline", "--vmvc-gate=off")
    assert [p.name for p in (bed.pytester.path / "kept").iterdir()] == ["base.jsonl"]
    return bed


def test_what_was_accepted_passes_though_it_was_not_expected(kept):
    kept.run().assert_outcomes(failed=1)
    kept.run("--vmvc-baseline=kept/base.jsonl").assert_outcomes(passed=1)


def test_what_changed_since_fails_and_says_since_when(kept):
    kept.starts(vm_s=SLOW)
    done = kept.run("--vmvc-baseline=kept/base.jsonl")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "  expected REFUTED: so it was in the baseline, run r* of 20*",
            "  observed SUPPORTED: *median 70.0?s (95% interval 70.0?s to 70.0?s, n = 6)*",
            "  samples: experiment cold_start, pair minimal, in */results.jsonl",
            "  to accept: run with --vmvc-update-baseline, or run with --vmvc-gate=off",
        ]
    )
    # Updating is no gate, and accepts it.
    kept.run("--vmvc-baseline=kept/base.jsonl", "--vmvc-update-baseline").assert_outcomes(passed=1)
    kept.run("--vmvc-baseline=kept/base.jsonl").assert_outcomes(passed=1)


def test_noise_is_no_change(kept):
    kept.starts(vm_s=SPREAD)
    kept.run("--vmvc-baseline=kept/base.jsonl").assert_outcomes(xfailed=1)


def test_a_reading_that_is_not_in_it_is_held_against_its_expectation(kept):
    kept.pytester.makepyfile(test_own=OWN.replace('"late"', '"other"'))
    kept.run("--vmvc-baseline=kept/base.jsonl").assert_outcomes(failed=1)


def test_one_of_another_host_is_refused_before_anything_is_measured(kept):
    path = kept.pytester.path / "kept" / "base.jsonl"
    log = ledger.read(path)
    run = msgspec.structs.replace(log.run, host=msgspec.structs.replace(log.run.host, cpus=999))
    elsewhere = msgspec.structs.replace(log, run=run)
    path.write_bytes(b"".join(ledger.encode(record) + b"\n" for record in elsewhere.records()))
    before = kept.log().run.run_id
    done = kept.run("--vmvc-baseline=kept/base.jsonl")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--vmvc-baseline: it is of another host: *999 CPUs*"])
    assert kept.log().run.run_id == before


@pytest.mark.parametrize("content", [None, b"", b"junk\n"])
def test_one_that_cannot_be_read_names_what_to_do(bed, content):
    if content is not None:
        (bed.pytester.path / "base.jsonl").write_bytes(content)
    done = bed.run("--vmvc-baseline=base.jsonl")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--vmvc-baseline: *write one with --vmvc-update-baseline*"])


def test_one_that_is_damaged_would_gate_on_less_and_is_refused(kept):
    path = kept.pytester.path / "kept" / "base.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    done = kept.run("--vmvc-baseline=kept/base.jsonl")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--vmvc-baseline: line *is cut off*write it again with*"])


def test_updating_needs_the_name_of_a_file(bed):
    done = bed.run("--vmvc-update-baseline")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--vmvc-update-baseline: name the file with --vmvc-baseline*"])


def test_a_baseline_that_cannot_be_written_loses_nothing(bed):
    (bed.pytester.path / "blocker").write_text("")
    done = bed.run("--vmvc-baseline=blocker/base.jsonl", "--vmvc-update-baseline")
    done.stdout.fnmatch_lines(["*base.jsonl could not be written: *"])
    assert bed.log().end is not None


def test_the_summary_of_the_job_gets_the_verdicts(bed, monkeypatch):
    target = bed.pytester.path / "summary.md"
    target.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    bed.run()
    text = target.read_text()
    assert text.startswith("before\n# Virtual machines and containers")
    assert "| `" in text

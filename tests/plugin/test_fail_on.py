"""``--vmvc-fail-on``: a figure of this host that has grown since the baseline fails the run."""

import msgspec
import pytest

from pytest_vmvc import ledger

BASE = "--vmvc-baseline=base.jsonl"
NORMAL = [4.0, 4.1, 4.3, 3.9, 4.2, 4.05, 4.15] * 8
SLOWER = [one * 1.5 for one in NORMAL]


@pytest.fixture
def kept(bed):
    """A bed with an accepted run."""
    bed.starts(vm_s=NORMAL)
    bed.run(BASE, "--vmvc-update-baseline").assert_outcomes(passed=3)
    return bed


def test_a_start_that_got_slower_fails_the_run_and_no_verdict(kept, monkeypatch):
    job = kept.pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job))
    kept.starts(vm_s=SLOWER)
    done = kept.run(BASE, "--vmvc-fail-on=startup:10%")
    done.assert_outcomes(passed=3)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        ["FAILED start_s by more than 10%: cold_start vm start_s [[]minimal] new over old 1.5*"]
    )
    assert "**FAILED:** start\\_s by more than 10%" in job.read_text()
    assert kept.log().end.exit_status == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("limits", ["startup:10%", "startup:10%,verdict"])
def test_one_that_did_not_passes(kept, limits):
    kept.starts(vm_s=NORMAL[::-1])
    done = kept.run(BASE, f"--vmvc-fail-on={limits}")
    assert done.ret == pytest.ExitCode.OK
    assert "FAILED" not in done.stdout.str()


def test_it_can_stand_in_the_ini_file_and_updating_is_no_gate(kept):
    kept.pytester.makeini("[pytest]\nvmvc_baseline = base.jsonl\nvmvc_fail_on = startup:10%\n")
    kept.starts(vm_s=SLOWER)
    assert kept.run().ret == pytest.ExitCode.TESTS_FAILED
    assert kept.run("--vmvc-update-baseline").ret == pytest.ExitCode.OK
    assert kept.run().ret == pytest.ExitCode.OK


def test_a_limit_that_cannot_be_looked_at_is_not_kept_to(kept):
    done = kept.run(BASE, "--vmvc-fail-on=pss_bytes:10%")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["FAILED *no samples of pss_bytes*"])


def test_on_another_host_it_is_refused_before_anything_is_measured(kept):
    path = kept.pytester.path / "base.jsonl"
    log = ledger.read(path)
    far = msgspec.structs.replace(log.run, host=msgspec.structs.replace(log.run.host, tier="other"))
    records = msgspec.structs.replace(log, run=far).records()
    path.write_bytes(b"".join(ledger.encode(record) + b"\n" for record in records))
    done = kept.run(BASE, "--vmvc-fail-on=startup:10%")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*it is of another host: *tier other*"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--vmvc-fail-on=startup:10%"], "*--vmvc-fail-on: name a run*--vmvc-baseline*"),
        ([BASE, "--vmvc-fail-on=startup"], "*--vmvc-fail-on: 'startup': say verdict, or METRIC*"),
    ],
)
def test_a_wrong_request_ends_it_at_once(bed, words, says):
    done = bed.run(*words)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([says])

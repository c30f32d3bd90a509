"""A run with and without --vmvc: what is measured, judged, written and said."""

import subprocess
import sys

import pytest

from tests.plugin.conftest import INTERRUPTED_PAGE


def test_without_the_option_nothing_is_measured(bed):
    result = bed.pytester.runpytest("test_own.py", "-rs")
    result.assert_outcomes(skipped=6)
    result.stdout.fnmatch_lines(["*measures containers and machines: run it with --vmvc"])
    assert not (bed.pytester.path / "vmvc-results").exists()


def test_collecting_asks_nobody(bed):
    result = bed.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(
        [f"test_own.py::test_start[[]minimal-{name}]" for name in ("container-soon", "vm-late")]
    )
    assert not (bed.pytester.path / "vmvc-results").exists()
    assert not (bed.pytester.path / "state").exists()


def test_each_reading_is_judged_on_one_measurement(bed):
    result = bed.run()
    result.assert_outcomes(passed=3)
    log = bed.log()
    assert bed.verdicts() == {
        "container-soon": "SUPPORTED",
        "vm-late": "REFUTED",
        "vm-slower": "SUPPORTED",
    }
    starts = [o for o in log.observations if o.metric == "start_s"]
    assert len(starts) == 12
    assert sorted({o.block for o in starts}) == [0, 1, 2, 3, 4, 5]
    assert [o.value for o in starts if o.subject == "vm"] == [pytest.approx(4.0)] * 6
    assert log.end is not None
    assert not log.end.interrupted
    assert log.run.profile == "standard"
    assert len(log.run.readings_hash) == 64


def test_the_end_says_the_score_and_where_the_report_is(bed):
    result = bed.run()
    result.stdout.fnmatch_lines(
        [
            "own.start: 2 supported, 1 refuted",
            "  SUPPORTED     container-soon  minimal  300?ms (300 to 300?ms), n = 6",
            "  REFUTED       vm-late         minimal  4.00?s (4.00 to 4.00?s), n = 6",
            "  SUPPORTED     vm-slower       minimal  13.3× (13.3 to 13.3×), n = 6",
            "",
            "2 supported, 1 refuted (1 claim)",
            "results: *results.jsonl",
            "report:  *report.html",
        ]
    )
    assert (bed.pytester.path / "vmvc-results" / "latest" / "report.html").stat().st_size > 1000


def test_quietly_the_end_is_the_score_and_the_paths_and_it_comes_last(bed):
    lines = bed.run("-q", "-rA").stdout.lines
    end = next(i for i, line in enumerate(lines) if line.strip("= ") == "claims")
    assert [line.partition(":")[0] for line in lines[end + 1 : -1]] == [
        "2 supported, 1 refuted (1 claim)",
        "results",
        "report",
    ]


def test_verbosely_each_verdict_has_its_finding(bed):
    text = bed.run("-v").stdout.str()
    assert text.count("; the bound is ") == 3


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_the_verdicts_words_are_coloured_where_pytest_colours(bed, monkeypatch, no_colour):
    monkeypatch.delenv("PY_COLORS")
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = bed.run().stdout.str()
    assert ("\x1b[31mREFUTED\x1b[0m" in text) is not bool(no_colour)
    assert ("\x1b" in text) is not bool(no_colour)


@pytest.mark.parametrize(("option", "lines"), [("-q", 0), ("-v", 1)])
def test_progress_is_lines_without_a_terminal(bed, option, lines):
    text = bed.run(option).stdout.str()
    assert text.count("vmvc: cold_start on minimal: block 6 of 6, done in") == lines
    assert "\r" not in text


def test_a_missing_side_is_not_testable_and_the_rest_runs(bed):
    bed.starts(lacking=["vm"])
    bed.run("-rs").assert_outcomes(passed=1, skipped=2)
    assert bed.verdicts() == {
        "container-soon": "SUPPORTED",
        "vm-late": "NOT TESTABLE",
        "vm-slower": "NOT TESTABLE",
    }
    reasons = {r.judgement.reason for r in bed.log().results if r.reading.name == "vm-late"}
    assert reasons == {"vm is not available: not on this host — install it"}


def test_a_noisy_host_decides_nothing_and_says_so(bed):
    bed.starts(load=51.0)
    bed.run().assert_outcomes(xfailed=3)
    log = bed.log()
    assert {r.judgement.reason for r in log.results} == {"noisy host: load 51.0%, limit 10%"}
    assert [(c.experiment, c.pair) for c in log.conditions] == [("cold_start", "minimal")]
    report = (bed.pytester.path / "vmvc-results" / "latest" / "report.html").read_text()
    assert "The host during cold_start: 0\u00a0gates passed, 1 failed" in report


def test_without_a_terminal_progress_is_told_rarely(bed):
    """Six blocks of a fake pair take no time: the first line and the last."""
    said = [line for line in bed.run().outlines if "cold_start on minimal: block" in line]
    first, last = said
    assert first == "vmvc: cold_start on minimal: block 1 of 6"
    assert last.startswith("vmvc: cold_start on minimal: block 6 of 6, done in ")


def test_a_late_start_is_a_censored_sample(bed):
    bed.starts(vm_s=[500.0] * 50)
    bed.run("--vmvc-deadline=300").assert_outcomes(passed=2, failed=1)
    late = [o for o in bed.log().observations if o.subject == "vm" and o.metric == "start_s"]
    assert [(o.censored, o.value) for o in late] == [(True, 300.0)] * 6
    assert bed.verdicts()["vm-late"] == "SUPPORTED"


@pytest.mark.parametrize(("order", "judged"), [("test_zz", 3), ("test_aa", 0)])
def test_an_interrupt_keeps_what_was_measured_and_reports(bed, order, judged):
    bed.pytester.makepyfile(**{order: "def test_interrupts(): raise KeyboardInterrupt"})
    files = sorted([f"{order}.py", "test_own.py"])
    result = bed.pytester.runpytest_subprocess("--vmvc", "--vmvc-pair=minimal", *files, timeout=60)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert bed.log().end.interrupted
    assert len(bed.log().results) == judged
    page = (bed.pytester.path / "vmvc-results" / "latest" / "report.html").read_text()
    assert "interrupted" in page


def test_an_interrupt_of_the_report_says_what_writes_it(bed):
    own = bed.pytester.path.joinpath("conftest.py").read_text()
    bed.pytester.makeconftest(own + INTERRUPTED_PAGE)
    words = ("--vmvc", "--vmvc-pair=minimal", "--vmvc-gate=off", "test_own.py")
    result = bed.pytester.runpytest_subprocess(*words, timeout=60)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "vmvc: the report was interrupted; the results are kept, "
            "and `vmvc report *results.jsonl` writes it",
            "2 supported, 1 refuted (1 claim)",
        ]
    )
    assert bed.log().end.exit_status == 0
    assert len(bed.log().results) == 3


@pytest.mark.parametrize(
    ("disposition", "status"),
    [("--default-signal=HUP", pytest.ExitCode.INTERRUPTED), ("--ignore-signal=HUP", 0)],
)
def test_a_hang_up_ends_it_unless_it_was_started_under_nohup(bed, disposition, status):
    bed.pytester.makepyfile(
        test_zz="""
        import os, signal
        def test_hangs_up(): os.kill(os.getpid(), signal.SIGHUP)
        """
    )
    words = [sys.executable, "-m", "pytest", "--vmvc", "--vmvc-pair=minimal", "--vmvc-gate=off"]
    result = bed.pytester.run("env", disposition, *words, "test_own.py", "test_zz.py", timeout=60)
    assert result.ret == status
    assert bed.log().end.interrupted == (status != 0)


def test_the_seed_repeats_the_plan(bed):
    def orders(*args):
        bed.run(*args)
        log = bed.log()
        starts = [o for o in log.observations if o.metric == "start_s"]
        return log.run.seed, [(o.block, o.position, o.subject) for o in starts]

    seed, order = orders()
    assert orders(f"--vmvc-seed={seed}") == (seed, order)


def test_a_claim_that_never_judges_fails(bed):
    bed.pytester.makepyfile(
        test_own="""
        from pytest_vmvc import claim, below

        @claim("own.silent", quote="q", readings={"r": below("vm", "start_s", 1, "s")})
        def test_silent(reading):
            pass
        """
    )
    result = bed.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the claim judged nothing*"])


def test_a_claim_without_a_reading_argument_is_a_collection_error(bed):
    bed.pytester.makepyfile(
        test_own="""
        from pytest_vmvc import claim, below

        @claim("own.wrong", quote="q", readings={"r": below("vm", "start_s", 1, "s")})
        def test_wrong(cold_start):
            pass
        """
    )
    result = bed.run()
    result.stdout.fnmatch_lines(["*claim own.wrong at *test_own.py:* has no `reading` argument*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_two_claims_with_one_id_are_refused(bed):
    again = "from test_own import *\nfrom pytest_vmvc import claim, below\n"
    again += '@claim("own.start", quote="other", readings={"r": below("vm", "start_s", 1, "s")})\n'
    again += "def test_again(reading, cold_start): reading.judge(cold_start)\n"
    bed.pytester.makepyfile(test_again=again)
    result = bed.run("test_again.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two claims are called own.start*"])


def test_the_plugin_alone_imports_nothing_heavy():
    heavy = "docker scipy numpy jinja2 hypothesis msgspec vl_convert rich psutil"
    code = (
        "import sys, pytest_vmvc.plugin, pytest_vmvc.plugin.fixtures\n"
        f"found = set({heavy.split()!r}) & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_machine_that_never_comes_up_is_told_once_with_a_remedy(bed):
    bed.starts(vm_s=(4.0,) * 2, failing=50)
    run = bed.run("-k", "vm-slower")
    run.assert_outcomes(errors=1)
    text = run.stdout.str()
    said, _, _ = text.partition("short test summary")
    assert said.count("ended before its first answer") == 1
    assert "vm in block 2 failed 3 times in a row" in text
    assert "run `vmvc doctor`, mend the cause, and run again" in text

"""``--vmvc-from``: claims on saved series; nothing is provisioned, locked or measured."""

import msgspec
import pytest

from pytest_vmvc import ledger, rejudge, report
from pytest_vmvc.model import Allowance

REFUSES = """
import pytest

@pytest.fixture(scope="session")
def vmvc_load_pair():
    raise AssertionError("something is about to be provisioned")
"""


@pytest.fixture
def saved(bed):
    """A bed with a run behind it, in which measuring anything from now on is a failure."""
    bed.run("--vmvc-seed=11").assert_outcomes(passed=3)
    path = bed.pytester.path / "saved.jsonl"
    path.write_bytes((bed.pytester.path / "vmvc-results" / "latest" / "results.jsonl").read_bytes())
    bed.pytester.makeconftest(REFUSES)
    return bed


def again(bed, *args):
    """A run on the saved file, and what it wrote."""
    before = set((bed.pytester.path / "vmvc-results").glob("2*"))
    result = bed.pytester.runpytest(
        "--vmvc", "--vmvc-from=saved.jsonl", "-p", "no:cacheprovider", *args
    )
    new = set((bed.pytester.path / "vmvc-results").glob("2*")) - before
    return result, ledger.read(new.pop() / "results.jsonl") if new else None


def test_the_claims_get_the_saved_series(saved):
    first = saved.log()
    result, log = again(saved, "test_own.py")
    result.assert_outcomes(passed=3)
    assert [r.judgement for r in log.results] == [r.judgement for r in first.results]
    assert (log.series, log.observations) == (first.series, first.observations)
    result.stdout.fnmatch_lines(
        [f"vmvc: nothing is measured, the evidence is that of run {first.run.run_id}: *seed 11"]
    )


def test_the_new_file_says_whose_evidence_it_holds(saved):
    first = saved.log()
    _, log = again(saved, "test_own.py")
    assert log.run.evidence_from == first.run.run_id
    assert (log.run.host, log.run.seed) == (first.run.host, 11)
    assert all(not one.differs for one in rejudge.again(log, log.results))
    assert f"measured by run {first.run.run_id}" in report.render(log)
    copy = saved.pytester.path / "saved.jsonl"
    copy.write_bytes(b"".join(ledger.encode(record) + b"\n" for record in log.records()))
    _, of_copy = again(saved, "test_own.py")
    assert of_copy.run.evidence_from == first.run.run_id


def test_what_a_verdict_turned_on_is_handed_on(saved):
    path = saved.pytester.path / "saved.jsonl"
    log = ledger.read(path)
    assert log.conditions
    allowed = Allowance(
        experiment="cold_start", pair="minimal", figure=20.0, worst="timer", n=3, parts={}
    )
    log = msgspec.structs.replace(log, allowances=(allowed,))
    path.write_bytes(b"".join(ledger.encode(record) + b"\n" for record in log.records()))
    _, copied = again(saved, "test_own.py")
    assert (copied.conditions, copied.allowances) == (log.conditions, log.allowances)


def test_one_that_was_cut_off_serves_as_far_as_it_goes_and_says_so(saved):
    path = saved.pytester.path / "saved.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    result, _ = again(saved, "test_own.py")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["vmvc: line *, the last, is cut off and was left out"])


def test_nothing_is_made_and_the_latest_measured_run_stays_the_latest(saved, monkeypatch):
    first = saved.log()
    state = saved.pytester.path / "empty"
    monkeypatch.setenv("VMVC_STATE_DIR", str(state))
    again(saved, "test_own.py")
    assert not state.exists()
    assert saved.log().run.run_id == first.run.run_id


def test_an_experiment_that_is_not_in_the_file_is_not_testable(saved):
    saved.pytester.makepyfile(
        test_other="""
        from pytest_vmvc import claim, at_most, ratio

        @claim("own.size", quote="it is small", readings={
            "small": at_most("container", "kept_bytes", 1e9, "bytes", min_n=1),
            "smaller": ratio("container", "kept_bytes", over="vm", below=0.8, min_n=1),
        })
        def test_size(reading, sizes):
            reading.judge(sizes)
        """
    )
    result, log = again(saved, "test_other.py", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        ["*NOT TESTABLE: container is not available: the saved run holds no sizes on pair minimal*"]
    )
    assert {r.judgement.verdict.value for r in log.results} == {"NOT TESTABLE"}
    assert all(not one.differs for one in rejudge.again(log, log.results))


def test_pairs_are_those_of_the_file(saved):
    result, _ = again(saved, "test_own.py", "--collect-only", "-q")
    assert "debian" not in result.stdout.str()
    result, _ = again(saved, "test_own.py", "--vmvc-pair=debian")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vmvc-pair=debian: unknown; choose one of minimal"])


@pytest.mark.parametrize(
    "option",
    [
        "--vmvc-blocks=8",
        "--vmvc-profile=quick",
        "--vmvc-seed=1",
        "--vmvc-deadline=5",
        "--vmvc-online",
        "--vmvc-require=vm",
    ],
)
def test_options_of_measuring_are_refused(saved, option):
    result, _ = again(saved, "test_own.py", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = option.partition("=")[0]
    result.stderr.fnmatch_lines([f"*{name}: nothing is measured with --vmvc-from; leave it out"])


def test_options_of_measuring_in_the_ini_file_do_not_matter(saved):
    saved.pytester.makeini("[pytest]\nvmvc_blocks = 9\nvmvc_require = vm\nvmvc_seed = 3")
    result, log = again(saved, "test_own.py")
    result.assert_outcomes(passed=3)
    assert log.run.seed == 11


def test_old_samples_make_no_benchmark_of_this_host(saved):
    saved.pytester.makepyfile(
        test_bench="""
        def test_start_up(cold_start, record_start_up):
            record_start_up(cold_start, "vm")
        """
    )
    result = saved.pytester.runpytest_subprocess(
        "--vmvc", "--vmvc-from=saved.jsonl", "test_bench.py", "-rs", "--benchmark-autosave"
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*the samples are those of a saved run: no benchmark table*"])
    assert not list(saved.pytester.path.glob(".benchmarks/*/*"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "*--vmvc-from: *saved.jsonl cannot be read*"),
        ("hello\n", "*--vmvc-from: *is not a results file*"),
        ('{"record":"missing","experiment":"e","pair":"p","subject":"s","reason":"r"}\n', "*host*"),
    ],
)
def test_a_file_that_cannot_serve_is_a_usage_error(saved, content, says):
    path = saved.pytester.path / "saved.jsonl"
    path.unlink() if content is None else path.write_text(content)
    result, _ = again(saved, "test_own.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([says])


def test_workers_read_it_too(saved):
    pytest.importorskip("xdist")
    result, log = again(saved, "test_own.py", "-n2")
    result.assert_outcomes(passed=3)
    assert len(log.observations) == len(saved.log().observations)
    assert log.run.evidence_from == saved.log().run.run_id


def test_readings_of_which_any_would_do_are_again_judged_together(bed):
    own = bed.pytester.path / "test_own.py"
    own.write_text(
        own.read_text().replace(
            'quote="it starts soon",', 'quote="q", any_of=("vm-late", "vm-slower"),'
        )
    )
    bed.run("--vmvc-blocks=8").assert_outcomes(passed=3)
    log = bed.log()
    told = {one.reading.name: one for one in log.results}
    assert [one.name for one in told["vm-late"].family] == ["vm-late", "vm-slower"]
    assert told["vm-late"].judgement.estimate.confidence == pytest.approx(0.975)
    assert "any one of vm-late, vm-slower would do" in told["vm-late"].judgement.reason
    assert told["container-soon"].family == ()
    assert [one.judgement for one in rejudge.again(log, log.results)] == [
        one.judgement for one in log.results
    ]

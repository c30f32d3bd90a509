"""What is wrong in a claim is found when it is collected: file, line, remedy, exit code 4."""

import pytest

from pytest_vmvc import experiments, ledger
from pytest_vmvc.declaration import check
from pytest_vmvc.errors import UsageError
from pytest_vmvc.pages import declared
from pytest_vmvc.subjects import catalog
from tests.test_docs import RECORDED

WATCH = """
import pytest

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: tuple
"""


def collect(bed, reading, asks="cold_start", conftest=WATCH):
    bed.pytester.makeconftest(conftest)
    bed.pytester.makepyfile(
        test_own=f"""
        from pytest_vmvc import *

        @claim("own.wrong", quote="q", readings={{"it": {reading}}})
        def test_wrong(reading, {asks}):
            reading.judge({asks})
        """
    )
    return bed.run("--collect-only", "-q")


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (
            'below("vm", "strat_s", 1, "s")',
            "asks for strat_s, which its experiments do not measure — is it start_s[?]",
        ),
        (
            'below("vm", "kept_bytes", 1, "bytes")',
            "asks for kept_bytes, which * — one of start_s, ready_s, os_share",
        ),
        (
            'below("vm", "start_s", 1000, "ms")',
            "bounds start_s in 'ms'; it is measured in 's' — state the threshold in the *",
        ),
        (
            'slope("vm", "start_s", above=1, unit="ms/start")',
            "bounds start_s in 'ms'; it is measured in 's' — *",
        ),
        (
            'below("contaner", "start_s", 1, "s")',
            "asks for contaner, which is no subject of its experiments — is it container[?]",
        ),
        (
            'ratio("vm", "start_s", over="jail", above=1)',
            "asks for jail, which is no subject of its experiments — one of *",
        ),
    ],
)
def test_what_could_never_be_judged_is_a_usage_error(bed, reading, says):
    result = collect(bed, reading)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_own.py:3: reading it of own.wrong {says}"])


def test_a_worker_of_xdist_tells_it_too(bed):
    collect(bed, 'below("vm", "strat_s", 1, "s")')
    result = bed.run("-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_own.py:3: reading it of own.wrong asks for strat_s*"])
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize(
    "reading",
    [
        'below("vm-restored", "start_s", 1, "s")',
        'slope("vm", "start_s", above=1, unit="s/start")',
        'slope("vm", "start_s", over="container", above=1)',
        'opinion("a taste")',
    ],
)
def test_what_can_be_is_not(bed, reading):
    assert collect(bed, reading).ret == 0


def test_subjects_of_planted_pairs_are_their_authors(bed):
    planted = WATCH + (
        '@pytest.fixture(scope="session")\ndef vmvc_load_pair():\n    raise AssertionError\n'
    )
    assert collect(bed, 'below("jail", "start_s", 1, "s")', conftest=planted).ret == 0


def test_subjects_of_a_hooks_pairs_are_known(bed):
    hook = 'def pytest_vmvc_pairs(config):\n    return {"fakes": {"jail": print}}\n'
    assert collect(bed, 'below("jail", "start_s", 1, "s")', conftest=WATCH + hook).ret == 0


def test_evidence_of_a_fixture_of_ones_own_is_not_known(bed):
    own = WATCH + "@pytest.fixture\ndef mine(cold_start):\n    return cold_start\n"
    assert collect(bed, 'below("vm", "mine_s", 1, "s")', asks="mine", conftest=own).ret == 0


@pytest.mark.parametrize(
    ("readings", "says"),
    [
        ("{}", "claim own.wrong has no readings — give at least one"),
        ('{"it": 3}', "reading 'it' of own.wrong is int — make it with below()*"),
    ],
)
def test_what_is_no_claim_is_an_error_of_its_file(bed, readings, says):
    bed.pytester.makepyfile(
        test_own=f"""
        from pytest_vmvc import claim

        @claim("own.wrong", quote="q", readings={readings})
        def test_wrong(reading, cold_start):
            reading.judge(cold_start)
        """
    )
    result = bed.run("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*test_own.py:3: in <module>", f"*UsageError: {says}"])


def test_two_claims_of_one_id_name_both_places(bed):
    bed.pytester.makepyfile(
        **{
            name: f"""
            from pytest_vmvc import claim, below

            @claim("own.same", quote="{name}", readings={{"it": below("vm", "start_s", 1, "s")}})
            def test_it(reading, cold_start):
                reading.judge(cold_start)
            """
            for name in ("test_one", "test_two")
        }
    )
    result = bed.run("test_one.py", "test_two.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*two claims are called own.same: *test_one.py:3 and *test_two.py:3 — give one of*"]
    )


def test_the_claims_that_are_shipped_ask_for_what_there_is():
    subjects = {subject for offers in catalog.PAIRS.values() for subject in offers}
    for one in declared():
        metrics = {m.name: m for name in one.experiments for m in experiments.load(name).metrics}
        added = {subject for name in one.experiments for subject in experiments.entry(name).adds}
        check(one.claim, metrics, subjects | added)


def test_what_the_recorded_run_has_seen_is_known():
    subjects = {subject for offers in catalog.PAIRS.values() for subject in offers}
    for series in ledger.read(RECORDED).series:
        assert series.subject in {*subjects, *experiments.entry(series.experiment).adds}


def test_two_claims_of_one_id_in_a_package_are_told(tmp_path, monkeypatch):
    pack = tmp_path / "pack_of_twice"
    pack.mkdir()
    (pack / "__init__.py").touch()
    for name in ("test_a", "test_b"):
        (pack / f"{name}.py").write_text(
            "from pytest_vmvc import claim, opinion\n"
            f'@claim("own.same", quote="{name}", readings={{"it": opinion("a taste")}})\n'
            "def test_it(reading): reading.judge()\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"own\.same: .*test_a\.py:2 and .*test_b\.py:2"):
        declared("pack_of_twice")


def test_a_module_is_no_package():
    with pytest.raises(UsageError, match=r"pytest_vmvc\.text is a module"):
        declared("pytest_vmvc.text")

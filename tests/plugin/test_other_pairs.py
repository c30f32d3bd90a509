"""Pairs of other distributions, and of a ``conftest.py``: measured by their name."""

import os
import re
from pathlib import Path
from textwrap import dedent

import pytest

from pytest_vmvc.testing import ProviderContract
from tests.distributions import install

FAKES = """
from pytest_vmvc.backends.fake import FakeProvider
from pytest_vmvc.errors import Unavailable

def container(scope):
    return FakeProvider(scope)

def jail(scope):
    return FakeProvider(scope)

def vm(scope):
    raise Unavailable("no machine today", hint="ask tomorrow")

PAIR = {"container": container, "jail": jail, "vm": vm}
"""
WATCH = """
import pytest

@pytest.fixture(scope="session")
def vmvc_watch():
    return lambda: tuple
"""
HOOK = """
import other_pairs

def pytest_vmvc_pairs(config):
    return {"hooked": other_pairs.PAIR}
"""
CLAIMS = """
from pytest_vmvc import claim, ratio, below

@claim("own.start", quote="a jail is no slower", readings={
    "jail": ratio("jail", "start_s", over="container", below=1.25),
    "vm": below("vm", "start_s", 60, "s"),
})
def test_start(reading, cold_start):
    '''From request to answer.'''
    reading.judge(cold_start)
"""


@pytest.fixture
def place(bed, monkeypatch):
    """A folder with a claim, and no pair planted in it."""
    bed.pytester.makeconftest(WATCH)
    bed.pytester.makepyfile(test_own=CLAIMS)
    return bed.pytester


def run(place, *args):
    return place.runpytest("--vmvc", "-p", "no:cacheprovider", "test_own.py", *args)


def offer(monkeypatch, place, text=FAKES, name="other-pairs", **points):
    points = points or {"fakes": "PAIR"}
    return install(monkeypatch, place.path, name, text, pairs=points)


def test_one_of_a_distribution_is_measured(place, bed, monkeypatch):
    offer(monkeypatch, place)
    result = run(place, "--vmvc-pair=fakes")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["vmvc: pair fakes: container: fake 1; jail: fake 1; vm: not available (no machine today*"]
    )
    assert bed.verdicts() == {"jail": "SUPPORTED", "vm": "NOT TESTABLE"}
    assert {series.pair for series in bed.log().series} == {"fakes"}


def test_one_of_a_conftest_is_measured(place, bed, monkeypatch):
    offer(monkeypatch, place, unasked="NOTHING")
    place.makeconftest(WATCH + HOOK)
    run(place, "--vmvc-pair=hooked").assert_outcomes(passed=1, skipped=1)
    assert bed.verdicts()["jail"] == "SUPPORTED"


def test_without_the_option_no_hook_is_called_and_any_name_goes(place):
    place.makeconftest("def pytest_vmvc_pairs(config):\n    raise AssertionError('called')")
    place.makeini("[pytest]\nvmvc_pair = hooked")
    place.runpytest("test_own.py").assert_outcomes(skipped=2)


def test_their_names_are_told(place, monkeypatch):
    offer(monkeypatch, place)
    result = run(place, "--vmvc-pair=fake")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--vmvc-pair=fake: unknown; choose one of minimal, debian, fakes"]
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise OSError('gone')", "other_pairs:PAIR cannot be imported: OSError: gone — *"),
        ("PAIR = [1]", "pair fakes: it gives list in place of offers — like {*"),
        ("PAIR = {}", "pair fakes: it gives dict in place of offers — *"),
        ("PAIR = {'A b': print}", "pair fakes: 'A b' is no name of a subject — like vm-restored"),
        ("PAIR = {'vm': 3}", "pair fakes: its vm cannot be called — *"),
    ],
)
def test_one_that_is_none_is_a_usage_error(place, monkeypatch, text, says):
    offer(monkeypatch, place, text)
    result = run(place, "--vmvc-pair=fakes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*entry point fakes in vmvc.pairs of other-pairs 1.0: {says}"])


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        ("return 3", "its container is no Provider: int has no name — *ProviderContract*"),
        ("raise KeyError('k')", "its container cannot be made: KeyError: 'k'"),
    ],
)
def test_what_is_no_provider_is_an_error_of_its_tests(place, monkeypatch, offered, says):
    text = f"def container(scope):\n    {offered}\nPAIR = {{'container': container}}"
    offer(monkeypatch, place, text)
    place.makepyfile(test_own=CLAIMS.replace("jail", "container"))
    result = run(place, "--vmvc-pair=fakes")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([f"*UsageError: entry point fakes *: pair fakes: {says}"])


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({"minimal": "PAIR"}, "entry point minimal in vmvc.pairs of other-pairs 1.0: *taken*"),
        ({"Not_So": "PAIR"}, "*of other-pairs 1.0: pair Not_So: its name is malformed*"),
    ],
)
def test_a_name_that_cannot_be_is_a_usage_error(place, monkeypatch, points, says):
    offer(monkeypatch, place, **points)
    result = run(place, "--vmvc-pair=minimal")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{'fakes': {}}", "pytest_vmvc_pairs: pair fakes: there is such a pair already — *"),
        ("{'debian': {}}", "pytest_vmvc_pairs: pair debian: there is such a pair already — *"),
        ("['fakes']", "pytest_vmvc_pairs gives list in place of pairs by name — *"),
    ],
)
def test_what_a_hook_gives_is_checked(place, monkeypatch, given, says):
    offer(monkeypatch, place)
    place.makeconftest(f"def pytest_vmvc_pairs(config):\n    return {given}")
    result = run(place, "--vmvc-pair=fakes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}"])


def test_a_pair_of_the_projects_file_cannot_have_their_name(place, monkeypatch):
    offer(monkeypatch, place)
    place.makepyprojecttoml('[tool.vmvc.pairs.fakes]\nimage = "x"')
    result = run(place, "--vmvc-pair=fakes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pyproject.toml:1: pair fakes: there is such a pair already*"])


def test_a_runtime_is_for_the_engines_containers_only(place, monkeypatch):
    from pytest_vmvc.errors import UsageError
    from pytest_vmvc.resources import RunScope
    from pytest_vmvc.subjects import catalog
    from pytest_vmvc.subjects.offered import Offered

    offered = {"fakes": Offered("fakes", "somebody", lambda: {"container": print})}
    with pytest.raises(UsageError, match=r"somebody: pair fakes: .*leave out --vmvc-runtime"):
        catalog.load("fakes", RunScope(), offered=offered, runtime="crun")


def test_the_conftest_of_the_documentation(place, bed, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (snippet,) = re.findall(r"```python\n(from acme_backend.*?)```", text, re.DOTALL)
    backend = "from pytest_vmvc.backends.fake import FakeProvider as JailProvider"
    install(monkeypatch, place.path, "acme-backend", backend)
    place.makeconftest(WATCH + snippet)
    place.makepyfile(test_own=CLAIMS.replace("jail", "container"))
    result = place.runpytest(
        "--vmvc", "-p", "no:cacheprovider", "--vmvc-pair=jails", "--co", "-q", "test_own.py"
    )
    result.stdout.fnmatch_lines(["test_own.py::test_start[[]jails-container]"])


def test_the_contract_of_the_documentation(pytester, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (conftest,) = re.findall(r"```python\n(from pytest_vmvc.testing.*?)```", text, re.DOTALL)
    (module,) = re.findall(r"```python\n(@pytest.fixture.*?)```", text, re.DOTALL)
    backend = """
        import pytest
        from pytest_vmvc.backends.fake import FakeLaunch, FakeProvider
        from pytest_vmvc.testing import ProviderContract
        from tests.backends.test_fake import TestContract as Ours

        def JailProvider(scope, payload=()):
            return FakeProvider(scope, launches=[FakeLaunch(failure="launch")] if payload else ())

        class JailReaper:
            def inventory(self):
                return Ours().leftovers()

        """
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_jail=dedent(backend) + module)
    monkeypatch.setattr(ProviderContract, "runs_as_root", os.geteuid() == 0)
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=21)

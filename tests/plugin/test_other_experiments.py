"""Experiments of other distributions: fixtures as the shipped ones, and what is wrong with them."""

import subprocess
import sys

import pytest

from pytest_vmvc import experiments, extensions
from tests.distributions import install

COUNTING = """
from pytest_vmvc.model import Metric

class Counting:
    '''Counts. And that is all.'''

    name = "counting"
    timed = False
    adds = ("host",)
    metrics = (Metric(name="number", unit="things", definition="how many"),)

    def run(self, pair, record, settings):
        for subject, provider in pair.subjects.items():
            record.observe(subject, "number", 3, facts=provider.facts)
        record.observe("host", "number", 4, facts=None)

class Riding:
    name = "riding"
    carrier = "cold_start"
    metrics = (Metric(name="said", unit="", definition="what echo says"),)

    def ride(self, environment, subject):
        return {"said": environment.run(["echo", "moo"]).stdout.decode().strip()}
"""
CLAIMS = """
from pytest_vmvc import below, claim, holds, ratio

@claim("own.count", quote="there are few", readings={
    "few": below("container", "number", 4, "things", min_n=1),
    "more-on-the-host": ratio("host", "number", over="vm", above=1, min_n=1),
})
def test_count(reading, counting):
    '''By counting.'''
    reading.judge(counting)

@claim("own.ride", quote="it moos", readings={"moo": holds("vm", "said", "moo", min_n=6)})
def test_ride(reading, riding):
    '''By listening.'''
    reading.judge(riding)
"""


@pytest.fixture
def others(bed, monkeypatch):
    install(
        monkeypatch,
        bed.pytester.path,
        "vmvc-counting",
        COUNTING,
        experiments={"counting": "Counting", "riding": "Riding"},
    )
    bed.pytester.makepyfile(test_own=CLAIMS)
    return bed


def test_they_are_fixtures_surveys_and_riders_as_the_shipped_ones_are(others):
    others.run().assert_outcomes(passed=3)
    log = others.log()
    assert others.verdicts() == {
        "few": "SUPPORTED",
        "more-on-the-host": "SUPPORTED",
        "moo": "SUPPORTED",
    }
    assert {(o.subject, o.value) for o in log.observations if o.metric == "number"} == {
        ("container", 3),
        ("vm", 3),
        ("host", 4),
    }
    assert [c.experiment for c in log.conditions if c.experiment == "counting"] == []


def test_what_a_scheduler_knows_of_them(others):
    found = experiments.entry("counting")
    assert (found.summary, found.timed, found.adds) == ("counts. And that is all", False, ("host",))
    assert experiments.is_survey("counting")
    assert experiments.carrier_of("riding") == "cold_start"
    assert not experiments.is_survey("riding")


def test_one_that_does_not_say_is_timed(bed, monkeypatch):
    text = COUNTING.replace("    timed = False\n", "")
    points = {"counting": "Counting"}
    install(monkeypatch, bed.pytester.path, "vmvc-timing", text, experiments=points)
    assert experiments.entry("counting").timed


def test_they_work_under_xdist(others, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(others.pytester.path / "site"))
    result = others.pytester.runpytest_subprocess(
        "--vmvc", "--vmvc-pair=minimal", "-n", "2", "test_own.py", timeout=60
    )
    result.assert_outcomes(passed=3)


def test_a_budget_may_be_about_them(others):
    others.run("--vmvc-budget=container.counting.number<4things", "-k", "budget").assert_outcomes(
        passed=1, deselected=3
    )


def test_claims_and_pages_name_them(others, monkeypatch, capsys):
    from pytest_vmvc.__main__ import main

    pack = others.pytester.path / "site" / "own_pack"
    pack.mkdir()
    (pack / "__init__.py").touch()
    (pack / "test_own.py").write_text(CLAIMS)
    assert main(["claims", "--package", "own_pack"]) == 0
    assert "own.count" in capsys.readouterr().out
    pages = others.pytester.path / "pages"
    assert main(["claims", "--package", "own_pack", "-o", str(pages)]) == 0
    assert (
        "| `counting` | counts. And that is all | survey |"
        in (pages / "experiments.md").read_text()
    )
    assert "how many" in (pages / "own.count.md").read_text()


def test_a_claim_pack_is_run_by_its_name(others):
    pack = others.pytester.path / "site" / "own_pack"
    pack.mkdir()
    (pack / "__init__.py").touch()
    (pack / "test_pack.py").write_text(CLAIMS)
    result = others.pytester.runpytest(
        "--vmvc", "--vmvc-pair=minimal", "-p", "no:cacheprovider", "--pyargs", "own_pack"
    )
    result.assert_outcomes(passed=3)


BROKEN = "raise RuntimeError('not today')"


def test_without_the_option_nobody_looks(bed, monkeypatch):
    def looked(**_):
        raise AssertionError("somebody looks")

    monkeypatch.setattr(extensions, "entry_points", looked)
    bed.pytester.runpytest("test_own.py").assert_outcomes(skipped=6)


def test_one_that_nobody_asks_for_breaks_nothing(bed, monkeypatch):
    points = {"counting": "Counting"}
    install(monkeypatch, bed.pytester.path, "vmvc-broken", BROKEN, experiments=points)
    bed.run().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BROKEN, "vmvc_broken:Counting cannot be imported: RuntimeError: not today"),
        ("import sys; sys.exit(3)", "vmvc_broken:Counting cannot be imported: SystemExit: 3"),
        ("Counting = object()", "it is no experiment: its `name` is None, not 'counting'"),
        (
            COUNTING.replace('name = "counting"', 'name = "account"'),
            "it is no experiment: its `name` is 'account', not 'counting'",
        ),
        (COUNTING.replace("metrics =", "figures ="), "its `metrics` are no tuple of Metric"),
        (
            COUNTING.replace(
                '"how many"),)',
                '"how many"), Metric(name="number", unit="", definition=""))',
            ),
            "two of its `metrics` have one name",
        ),
        (COUNTING.replace("def run", "def walk"), "it has no method `run`"),
        (
            COUNTING.replace("timed = False", 'carrier = "cold_start"'),
            "it has no method `ride`",
        ),
        (
            COUNTING.replace("timed = False", 'carrier = "creation"').replace(
                "def run", "def ride"
            ),
            "its `carrier` is 'creation', which is no experiment with environments of its own",
        ),
        (
            COUNTING.replace("timed = False", 'carrier = "counting"').replace(
                "def run", "def ride"
            ),
            "its `carrier` is 'counting'",
        ),
        (
            COUNTING.replace("    def run", "    def __init__(self, x): pass\n\n    def run"),
            "it cannot be made: TypeError: *missing 1 required positional argument: 'x'",
        ),
    ],
)
def test_one_that_is_asked_for_and_is_none_is_a_usage_error(bed, monkeypatch, text, says):
    points = {"counting": "Counting"}
    install(monkeypatch, bed.pytester.path, "vmvc-broken", text, experiments=points)
    bed.pytester.makepyfile(test_own=CLAIMS.partition('@claim("own.ride"')[0])
    result = bed.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"*entry point counting in vmvc.experiments of vmvc-broken 1.0: *{says}*"
            "uninstall vmvc-broken 1.0, or have its author mend it"
        ]
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cold_start", "the name is taken"),
        ("reading", "the name is taken by a fixture"),
        ("vmvc_pair", "the name is taken by a fixture"),
        ("cold-start", "no fixture can be called so"),
        ("_hidden", "no fixture can be called so"),
    ],
)
def test_a_name_that_cannot_be_is_a_usage_error(bed, monkeypatch, name, says):
    points = {name: "Counting"}
    install(monkeypatch, bed.pytester.path, "vmvc-other", COUNTING, experiments=points)
    result = bed.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*entry point {name} in vmvc.experiments of vmvc-other 1.0: {says}*uninstall*"]
    )


def test_two_of_one_name_are_a_usage_error(bed, monkeypatch):
    for name in ("vmvc-one", "vmvc-two"):
        points = {"counting": "Counting"}
        install(monkeypatch, bed.pytester.path, name, COUNTING, experiments=points)
    result = bed.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*of vmvc-two 1.0: vmvc-one 1.0 has it, too — keep one*"])


def test_nobody_needs_the_contract_to_measure():
    code = "import sys, pytest_vmvc.plugin.session\nassert 'pytest_vmvc.testing' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

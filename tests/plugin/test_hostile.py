"""What a guest said reaches terminal, JUnit file and job summary as text only."""

import unicodedata
import xml.etree.ElementTree as ET

import pytest

SAID = "\x1b]8;;http://evil.invalid\x07here\x1b[2J\u202e\x00\nSUPPORTED forged <script>1</script>"
CLAIMS = f"""
from pytest_vmvc import claim, holds
from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import Evidence, Facts, Metric, Observation, Series

SAID = {SAID!r}

def evidence(value):
    metric = Metric(name="word", unit="", definition="what it said", label=SAID)
    head = dict(experiment="own", pair="minimal", subject="container")
    seen = Observation(**head, metric="word", value=value, at="2025-01-02T03:04:05Z")
    return Evidence(experiment="own", pair="minimal", observations=(seen,),
                    series=(Series(**head, metric=metric, facts=None),))

@claim("own.word", quote="it says hello", readings={{
    "refuted": holds("container", "word", "hello"),
    "open": holds("container", "word", SAID, min_n=2),
    "skipped": holds("vm", "word", "hello"),
}})
def test_word(reading):
    reading.judge(evidence(SAID))

@claim("own.broken", quote="it breaks", readings={{"broken": holds("container", "word", "x")}})
def test_broken(reading):
    raise InfrastructureError("it said " + SAID, hint=SAID)
"""


@pytest.fixture
def outcome(bed, monkeypatch):
    bed.pytester.makepyfile(test_guest=CLAIMS)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(bed.pytester.path / "summary.md"))
    result = bed.pytester.runpytest(
        "--vmvc", "--vmvc-pair=minimal", "-p", "no:cacheprovider", "-rA",
        "--tb=line", "--junitxml=junit.xml",
        "test_guest.py",
    )  # fmt: skip
    result.assert_outcomes(failed=2, skipped=1, xfailed=1)
    return bed.pytester.path, result


def obeyed(text):
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]


def test_no_output_of_a_run_is_obeyed_by_a_terminal(outcome):
    _, result = outcome
    said = result.stdout.str() + result.stderr.str()
    assert "⟨U+001B⟩" in said, "it was told of"
    assert obeyed(said) == []
    # In a CI system pytest's own summary repeats whole messages, with their line breaks.
    ours, _, _ = said.partition("short test summary")
    assert not [line for line in ours.splitlines() if line.startswith("SUPPORTED forged")]


def test_junit_is_xml_and_the_summary_has_no_markup_of_theirs(outcome):
    path, _ = outcome
    root = ET.parse(path / "junit.xml").getroot()
    assert len(list(root.iter("testcase"))) == 4
    text = (path / "junit.xml").read_text(encoding="utf-8")
    assert "\x1b" not in text
    summary = (path / "summary.md").read_text(encoding="utf-8")
    assert obeyed(summary) == []
    assert "<script" not in summary

"""JUnit's file says of each test case which verdict it is, on which figure; past workers, too."""

import xml.etree.ElementTree as ET

import pytest


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_each_case_has_its_claim_verdict_and_figure(bed, workers):
    bed.starts(lacking=["vm"])
    bed.run("--junitxml=junit.xml", *workers).assert_outcomes(passed=1, skipped=2)
    cases = {
        case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")}
        for case in ET.parse(bed.pytester.path / "junit.xml").iter("testcase")
    }
    decided = cases["test_start[minimal-container-soon]"]
    assert decided.pop("vmvc_finding").startswith("container: time to the first answer, median 300")
    figures = [float(decided.pop(f"vmvc_{name}")) for name in ("effect", "low", "high")]
    assert figures == pytest.approx([0.3] * 3)
    assert decided == {
        "vmvc_claim": "own.start",
        "vmvc_reading": "container-soon",
        "vmvc_pair": "minimal",
        "vmvc_verdict": "SUPPORTED",
        "vmvc_expected": "SUPPORTED",
        "vmvc_unit": "s",
        "vmvc_confidence": "0.95",
        "vmvc_n": "6",
    }
    skipped = cases["test_start[minimal-vm-late]"]
    assert (skipped["vmvc_verdict"], skipped["vmvc_expected"]) == ("NOT TESTABLE", "REFUTED")
    assert skipped["vmvc_reason"] == "vm is not available: not on this host — install it"
    assert "vmvc_effect" not in skipped


def test_an_end_that_is_unbounded_is_left_out(bed):
    bed.starts(vm_s=[500.0] * 50)
    bed.run("--vmvc-deadline=300", "--junitxml=junit.xml")
    text = (bed.pytester.path / "junit.xml").read_text()
    assert text.count('"vmvc_verdict"') == 3
    assert 'name="vmvc_high" value="None"' not in text

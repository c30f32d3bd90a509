"""With pytest-xdist: one experiment on one worker, everything written by the controller."""

import pytest

pytest.importorskip("xdist")


def test_loaded_and_unused(bed):
    bed.run("-p", "xdist").assert_outcomes(passed=3)


def test_two_workers_measure_once(bed):
    bed.run("-n2").assert_outcomes(passed=3)
    log = bed.log()
    assert bed.verdicts() == {
        "container-soon": "SUPPORTED",
        "vm-late": "REFUTED",
        "vm-slower": "SUPPORTED",
    }
    starts = [o for o in log.observations if o.metric == "start_s"]
    assert len(starts) == 12
    assert len(log.run.readings_hash) == 64
    assert log.end is not None

"""Declared looks: what they spend, what they say together, when they end a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.looks import FIRST, LEAST, confidences, declared, estimated
from pytest_vmvc.stats import median_interval


@given(st.integers(LEAST, 500))
def test_the_last_look_is_the_whole_plan(most):
    looks = declared(most)
    assert looks[-1] == most
    assert list(looks) == sorted(set(looks))
    assert looks[0] >= min(FIRST, most)


def test_more_pairs_have_more_looks():
    assert declared(6) == (6,)
    assert declared(20) == (8, 11, 20)
    assert declared(40) == (8, 11, 16, 24, 40)


def test_below_six_nothing_can_be_planned():
    assert declared(1) == (1,)
    with pytest.raises(ValueError, match="at least one"):
        declared(0)


@given(st.integers(LEAST, 500), st.sampled_from([0.9, 0.95, 0.99]))
def test_all_looks_together_spend_the_error_and_no_more(most, confidence):
    shares = confidences(declared(most), confidence)
    assert math.isclose(sum(1 - share for share in shares), 1 - confidence)
    assert all(confidence <= share < 1 for share in shares)


@given(st.integers(FIRST, 500))
def test_eight_pairs_of_one_mind_can_decide_at_the_first_look(most):
    looks = declared(most)
    found = median_interval(
        [float(n) for n in range(looks[0])], unit="s", confidence=confidences(looks, 0.95)[0]
    )
    assert found.low is not None


def of(values):
    return lambda n, confidence: median_interval(values[:n], unit="s", confidence=confidence)


def test_without_looks_all_samples_are_taken_at_once():
    values = [float(n) for n in range(9)]
    assert estimated((), 9, 0.95, of(values)) == median_interval(values, unit="s")


def test_before_the_first_look_nothing_is_known():
    found = estimated((8, 12, 20), 7, 0.95, of([1.0] * 7))
    assert (found.low, found.high, found.n, found.most) == (None, None, 7, 20)


def test_what_came_after_the_last_look_waits_for_the_next():
    found = estimated((8, 12, 20), 11, 0.95, of([float(n) for n in range(11)]))
    assert found.n == 8


def test_looks_are_taken_together():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 0.0, 9.0]
    first = estimated((8, 12, 20), 8, 0.95, of(values))
    both = estimated((8, 12, 20), 12, 0.95, of(values))
    assert both.low >= first.low
    assert both.high <= first.high
    assert (both.n, both.confidence) == (12, 0.95)


def test_a_row_that_has_changed_is_refused():
    with pytest.raises(ValueError, match="excludes"):
        estimated((8, 100), 100, 0.95, of([1.0] * 8 + [9.0] * 92))


@pytest.mark.parametrize("bad", [(0,), (8, 8, 20), (20, 8), (-8, 20)])
def test_looks_that_do_not_ascend_are_refused(bad):
    with pytest.raises(ValueError, match="ascend"):
        confidences(bad, 0.95)


@given(
    st.integers(LEAST, 60),
    st.lists(st.floats(0.1, 10), min_size=60, max_size=60),
    st.sampled_from([0.8, 0.9, 0.95]),
)
def test_less_confidence_never_widens_what_all_looks_say(most, values, less):
    looks = declared(most)
    try:
        narrow = estimated(looks, most, less, of(values))
        wide = estimated(looks, most, 0.99, of(values))
    except ValueError:  # looks that exclude each other say nothing
        return
    assert wide.low is None or narrow.low >= wide.low
    assert wide.high is None or narrow.high <= wide.high

"""Blocks: order, balance, repeatability, retries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmvc.errors import LaunchFailed
from pytest_vmvc.measure import RETRIES, Plan, Sample, interleave


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_every_block_has_every_subject_once(seed, blocks):
    orders = list(Plan(blocks=blocks, seed=seed).orders(["a", "b", "c"]))
    assert len(orders) == blocks
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@given(st.integers(0, 2**32))
def test_odd_blocks_mirror_the_block_before(seed):
    orders = list(Plan(blocks=8, seed=seed).orders(["a", "b", "c"]))
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        assert second == tuple(reversed(first))


def test_the_seed_is_the_plan():
    def orders(seed):
        return list(Plan(blocks=20, seed=seed).orders(["a", "b"]))

    assert orders(1) == orders(1)
    assert any(orders(1) != orders(seed) for seed in range(2, 10))


def test_sides_alternate_and_never_run_in_one_piece():
    taken = list(
        interleave(
            {"a": lambda: Sample(values={"x": 1}), "b": lambda: Sample(values={"x": 2})},
            plan=Plan(blocks=6, seed=3),
            on_retry=lambda *_: None,
            on_lost=lambda *_: None,
        )
    )
    assert [t.block for t in taken] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [t.position for t in taken] == [0, 1] * 6
    assert {t.subject for t in taken[:2]} == {"a", "b"}


def test_an_infrastructure_error_is_retried_and_counted():
    failures = iter([LaunchFailed("once"), None, None])
    seen = []

    def taker():
        if error := next(failures):
            raise error
        return Sample(values={"x": 1})

    taken = list(
        interleave(
            {"a": taker},
            plan=Plan(blocks=2, seed=0),
            on_retry=lambda subject, block, error: seen.append((subject, block, str(error))),
            on_lost=lambda *_: None,
        )
    )
    assert len(taken) == 2
    assert seen == [("a", 0, "once")]


def test_a_harness_that_stays_broken_is_an_error():
    seen = []

    def taker():
        raise LaunchFailed("always")

    with pytest.raises(LaunchFailed, match=r"^a in block 1 failed 3 times.* always — run `vmvc d"):
        list(
            interleave(
                {"a": taker},
                plan=Plan(blocks=1, seed=0),
                on_retry=lambda *args: seen.append(args),
                on_lost=lambda *_: None,
            )
        )
    assert len(seen) == RETRIES


def test_a_failing_claim_is_not_retried():
    calls = []

    def taker():
        calls.append(1)
        raise AssertionError

    with pytest.raises(AssertionError):
        list(
            interleave(
                {"a": taker},
                plan=Plan(blocks=1, seed=0),
                on_retry=lambda *_: None,
                on_lost=lambda *_: None,
            )
        )
    assert len(calls) == 1

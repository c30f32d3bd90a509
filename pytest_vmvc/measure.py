"""Randomised, interleaved blocks of fresh starts. Knows callables and a seed, no technology."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from pytest_vmvc.errors import InfrastructureError, Unavailable
from pytest_vmvc.model import Scalar

T = TypeVar("T")

RETRIES = 2
"""Infrastructure errors tolerated per sample; each is counted in the record."""
REMEDY = "run `vmvc doctor`, mend the cause, and run again"


STOOD_STILL_S = 0.1
"""A sample is void where the monotonic clock, by which it is timed, stood still for longer."""

Clock = Callable[[int], float]
"""``time.clock_gettime``: seconds by the number of a clock."""


class Suspended(InfrastructureError):
    """The host was suspended while a sample was taken, which is void."""

    def __init__(self, message: str, *, hint: str = "", seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one fresh provision gave: a value for each metric, with the marks on the way."""

    values: dict[str, Scalar]
    marks: dict[str, float] = {}
    harness_cpu_s: float | None = None
    """CPU seconds that the measuring itself took of it; None where it was not looked at."""
    censored: bool = False
    instance: str = ""
    riders: dict[str, dict[str, Scalar]] = {}
    """What other experiments have seen in the same environment, by their names."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A sample with its place in the plan."""

    subject: str
    block: int
    position: int
    sample: Sample


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many blocks, and the seed of their order; fixed before the first sample."""

    blocks: int
    """The most; looks may end it earlier."""
    seed: int
    looks: tuple[int, ...] = ()
    """After how many blocks it is asked whether they are enough."""

    def orders(self, subjects: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The order within each block: a seeded shuffle, then its mirror (ABBA)."""
        coin = random.Random(f"{self.seed}")  # noqa: S311 - an experiment's order, no secret
        order: tuple[str, ...] = ()
        for block in range(self.blocks):
            order = tuple(reversed(order)) if block % 2 else _shuffled(subjects, coin)
            yield order


def interleave(
    takers: Mapping[str, Callable[[], Sample]],
    *,
    plan: Plan,
    on_retry: Callable[[str, int, InfrastructureError], None],
    on_lost: Callable[[str, Unavailable], None],
    on_block: Callable[[int, int], None] = lambda _done, _of: None,
    enough: Callable[[], bool] = lambda: False,
    clock: Clock = time.clock_gettime,
) -> Iterator[Taken]:
    """Take one fresh sample of every subject in each block, in the plan's order.

    A taker that runs into its own deadline returns a censored `Sample`: a time-out is information.
    Any `InfrastructureError` is retried up to `RETRIES` times, told to ``on_retry`` with subject
    and block, and then raised with how often it came; so is a sample during which the host was
    suspended (`Suspended`), whatever came of it. A subject that becomes `Unavailable` is told to
    ``on_lost`` and left out from there on; the others go on. ``on_block`` is told how many blocks
    are done, of how many, and ``enough`` is asked at the plan's looks, and nowhere else.
    """
    lost: set[str] = set()
    for block, order in enumerate(plan.orders(list(takers))):
        if block in plan.looks and enough():
            on_block(block, block)
            return
        on_block(block, plan.blocks)
        for position, subject in enumerate(order):
            if subject in lost:
                continue
            awake = partial(_awake, takers[subject], clock)
            try:
                sample = retried(
                    awake, partial(on_retry, subject, block), f"{subject} in block {block + 1}"
                )
            except Unavailable as gone:
                lost.add(subject)
                on_lost(subject, gone)
                if len(lost) == len(takers):
                    return
                continue
            yield Taken(subject=subject, block=block, position=position, sample=sample)
    on_block(plan.blocks, plan.blocks)


def retried(
    work: Callable[[], T], on_retry: Callable[[InfrastructureError], None], place: str
) -> T:
    """Work, again after an `InfrastructureError`, up to `RETRIES` times.

    The last one is raised with its ``place`` and how often it came.
    """
    for _ in range(RETRIES):
        try:
            return work()
        except InfrastructureError as error:
            on_retry(error)
    try:
        return work()
    except InfrastructureError as error:
        raise type(error)(
            f"{place} failed {RETRIES + 1} times in a row, the last time so: {error}", hint=REMEDY
        ) from error


def _awake(taker: Callable[[], Sample], clock: Clock) -> Sample:
    """Take a sample; raises `Suspended` where the host slept meanwhile, whatever came of it.

    The monotonic clock does not count that time: what was timed looks sound, and is not.
    """
    before_s = _asleep_s(clock)

    def check() -> None:
        if (slept_s := _asleep_s(clock) - before_s) > STOOD_STILL_S:
            raise Suspended(
                f"the host was suspended for {slept_s:.1f} s: the sample is void",
                hint="keep the host awake while it measures",
                seconds=slept_s,
            )

    try:
        sample = taker()
    except InfrastructureError:
        check()
        raise
    check()
    return sample


def _asleep_s(clock: Clock) -> float:
    """Time since boot that the monotonic clock does not know."""
    return clock(time.CLOCK_BOOTTIME) - clock(time.CLOCK_MONOTONIC)


def _shuffled(subjects: Sequence[str], coin: random.Random) -> tuple[str, ...]:
    order = list(subjects)
    coin.shuffle(order)
    return tuple(order)

"""Randomised, interleaved blocks of fresh starts. Knows callables and a seed, no technology."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from pytest_vmvc.errors import InfrastructureError
from pytest_vmvc.model import Scalar

RETRIES = 2
"""Infrastructure errors tolerated per sample; each is counted in the record."""
REMEDY = "run `vmvc doctor`, mend the cause, and run again"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one fresh provision gave: a value for each metric, with the marks on the way."""

    values: dict[str, Scalar]
    marks: dict[str, float] = {}
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
    on_block: Callable[[int, int], None] = lambda _done, _of: None,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Taken]:
    """Take one fresh sample of every subject in each block, in the plan's order.

    A taker that runs into its own deadline returns a censored `Sample`: a time-out is information.
    Any `InfrastructureError` is retried up to `RETRIES` times, told to ``on_retry`` with subject
    and block, and then raised with how often it came. ``on_block`` is told how many blocks are
    done, of how many, and ``enough`` is asked at the plan's looks, and nowhere else.
    """
    for block, order in enumerate(plan.orders(list(takers))):
        if block in plan.looks and enough():
            on_block(block, block)
            return
        on_block(block, plan.blocks)
        for position, subject in enumerate(order):
            place = f"{subject} in block {block + 1}"
            sample = _take(takers[subject], partial(on_retry, subject, block), place)
            yield Taken(subject=subject, block=block, position=position, sample=sample)
    on_block(plan.blocks, plan.blocks)


def _take(
    taker: Callable[[], Sample], on_retry: Callable[[InfrastructureError], None], place: str
) -> Sample:
    for _ in range(RETRIES):
        try:
            return taker()
        except InfrastructureError as error:
            on_retry(error)
    try:
        return taker()
    except InfrastructureError as error:
        raise type(error)(
            f"{place} failed {RETRIES + 1} times in a row, the last time so: {error}", hint=REMEDY
        ) from error


def _shuffled(subjects: Sequence[str], coin: random.Random) -> tuple[str, ...]:
    order = list(subjects)
    coin.shuffle(order)
    return tuple(order)

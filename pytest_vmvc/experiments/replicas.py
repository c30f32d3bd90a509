"""Several fresh instances of one kind, started side by side and ended so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil

from pytest_vmvc.backends.base import Environment, Provider
from pytest_vmvc.errors import EnvironmentDied, Unavailable
from pytest_vmvc.subjects import Pair

RESERVE_BYTES = 512 * 2**20
"""Memory that the host keeps: nothing is started that would take it below."""
GUESS_BYTES = 64 * 2**20
"""What an instance without a limit is expected to take at most."""

OFFERS = {"vm": "vm-linked"}
"""Machines stand for themselves with a disk of their own, a linked clone."""


def available_bytes() -> int:
    """The host's MemAvailable: what new programs may take without swapping."""
    return int(psutil.virtual_memory().available)


def offered(pair: Pair, subject: str) -> Provider:
    """The provider of a subject's instances; raises `Unavailable` with the reason."""
    if gap := pair.missing.get(subject):
        raise gap
    if subject in OFFERS:
        return pair.other(OFFERS[subject])
    if subject not in pair.subjects:
        raise Unavailable(f"the pair {pair.name} has no {subject}")
    return pair.subjects[subject]


def fits(provider: Provider, count: int, available: int) -> bool:
    """Whether the host keeps its reserve when so many more are started."""
    # A machine's grant, and half as much again for its hypervisor.
    each = 1.5 * (provider.facts.memory_bytes or GUESS_BYTES)
    return available - count * each >= RESERVE_BYTES


def ready(environment: Environment) -> None:
    """Have it answer its first command; raises `EnvironmentDied`."""
    done = environment.run(["true"])
    if done.exit_status != 0:
        raise EnvironmentDied(f"`true` ended with {done.exit_status} in {environment.name}")


@contextmanager
def side_by_side(
    provider: Provider,
    count: int,
    *,
    deadline_s: float,
    then: Callable[[Environment], None] = ready,
) -> Iterator[list[Environment]]:
    """Start so many, do ``then`` in each, and give them when the last one has done it.

    As many are under way at once as the host has CPUs: more would only wait for each other. Raises
    what `Provider.launch` and ``then`` raise, once all the others have ended too.
    """
    stacks = [ExitStack() for _ in range(count)]

    def start(stack: ExitStack) -> Environment:
        environment = stack.enter_context(provider.launch(deadline_s=deadline_s))
        then(environment)
        return environment

    try:
        with ThreadPoolExecutor(max_workers=min(count, len(os.sched_getaffinity(0)))) as pool:
            starts = [pool.submit(start, stack) for stack in stacks]
        yield [each.result() for each in starts]
    finally:
        with ThreadPoolExecutor(max_workers=count) as pool:
            ends = [pool.submit(stack.close) for stack in stacks]
        for end in ends:
            end.result()

"""Looks at a growing sample, declared before it begins: stopping early, and still honest.

Each look spends a share of the error that a reading may make, and all shares together are that
error: by Bonferroni's inequality all intervals hold at once with the reading's confidence, whatever
made the run stop and however the looks depend on each other. What is spent grows with a power of
the sample, after a family of spending functions by K. Kim and D. L. DeMets, *Design and analysis of
group sequential tests based on the type I error spending rate function*, Biometrika 74 (1987); the
first look gets at least what the extreme outcome of a rank test needs there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_vmvc.model import Estimate

LEAST = 6
"""Fewest pairs that a verdict may rest on: no distribution-free 95 % interval exists below."""
FIRST = 8
"""The first of several looks: one at six would spend more than half of the error."""
GROWTH = 1.45
"""Of the sample from one look to the next; the last but one is then well before the end."""
LATE = 4
"""Power of the sample with which what may be spent grows: most of it is kept for the end, so that
looking early costs a small effect next to nothing (`vmvc calibrate`)."""


def declared(most: int) -> tuple[int, ...]:
    """After how many pairs of at most ``most`` the sample is looked at, ascending.

    So few that they cannot decide anything are looked at once, at the end. Raises ValueError on
    none.
    """
    if most < 1:
        raise ValueError(f"at least one pair is needed, not {most}")
    sizes = []
    size = float(FIRST)
    while size * GROWTH <= most:
        sizes.append(int(size))
        size *= GROWTH
    return (*sizes, most)


def confidences(looks: Sequence[int], confidence: float) -> tuple[float, ...]:
    """What the interval at each look must have, for all of them together to have ``confidence``.

    Raises ValueError unless the looks ascend.
    """
    if looks[0] < 1 or list(looks) != sorted({*looks}):
        raise ValueError(f"looks must ascend, and not {looks}")
    error = 1 - confidence
    last = looks[-1]
    first = min(error, max(2 * 0.5 ** looks[0], error * (looks[0] / last) ** LATE))
    if len(looks) == 1:
        return (confidence,)
    spent = [
        first + (error - first) * (size**LATE - looks[0] ** LATE) / (last**LATE - looks[0] ** LATE)
        for size in looks
    ]
    return tuple(1 - (now - before) for before, now in zip([0.0, *spent], spent, strict=False))


def estimated(
    looks: Sequence[int],
    blocks: int,
    confidence: float,
    estimate: Callable[[int, float], Estimate],
) -> Estimate:
    """What all looks so far say together: the part that their intervals have in common.

    ``estimate(n, confidence)`` is that of the first ``n`` of the ``blocks`` that there are. Before
    the first look nothing bounds the effect. Raises ValueError where two looks exclude each other:
    what is measured has changed in the meantime.
    """
    if not looks:
        return estimate(blocks, confidence)
    from msgspec.structs import replace

    shares = confidences(looks, confidence)
    found = [
        estimate(size, share) for size, share in zip(looks, shares, strict=True) if size <= blocks
    ]
    if not found:
        early = estimate(blocks, confidence)
        return replace(early, low=None, high=None, most=looks[-1])
    low = max((one.low for one in found if one.low is not None), default=None)
    high = min((one.high for one in found if one.high is not None), default=None)
    if low is not None and high is not None and low > high:
        raise ValueError("what a later look found excludes what an earlier one did")
    return replace(found[-1], low=low, high=high, confidence=confidence, most=looks[-1])

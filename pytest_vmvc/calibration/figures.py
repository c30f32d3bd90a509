"""What a study found: plain figures."""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_vmvc.calibration.twin import Kind

Truth = Literal["on the bound", "inside", "outside"]

COMPARED = 20
"""Pairs of the comparisons with what others do."""
RIVALS_MOST = 10_000
"""Experiments of those comparisons, at most: peeking is slow."""

BOUND: dict[Kind, float] = {"ratio": 1.25, "bound": 1.0}
"""Threshold of a reading ``above``."""
TRUE: dict[Kind, dict[Truth, float]] = {
    "ratio": {"on the bound": 1.25, "inside": 1.0, "outside": 1.5},
    "bound": {"on the bound": 1.0, "inside": 0.9, "outside": 1.1},
}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the experiments of one kind, world, plan and truth."""

    kind: Kind
    world: str
    plan: tuple[int, ...]
    truth: Truth
    wrong: float
    """Decisive, and not so. On the bound: every decision that excludes it."""
    right: float
    coverage: float
    textbook: float
    """``wrong``, without the allowance for serial correlation."""
    pairs_median: float
    pairs_mean: float

    @property
    def undecided(self) -> float:
        """The rest."""
        return 1 - self.wrong - self.right


class Rival(msgspec.Struct, frozen=True, kw_only=True):
    """How often somebody says something of two equal rows, and nothing of two different ones."""

    world: str
    who: str
    false_alarms: float
    misses: float


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """How often a plan with looks finds an effect, and a fixed plan with as many pairs at mean."""

    most: int
    pairs_mean: float
    found: float
    fixed: int
    fixed_found: float


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A true ratio of 2 at the noise of a recorded run."""

    noise: float
    """Standard deviation of the logarithms of its paired ratios."""
    most: int
    right: float
    pairs_median: float


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of a study; shares are of ``experiments``, all simulated from ``seed``."""

    experiments: int
    seed: int
    cells: tuple[Cell, ...]
    naive: float
    """False positives under drift where one subject is sampled after the other."""
    rivals: tuple[Rival, ...]
    races: tuple[Race, ...]
    hosts: tuple[Host, ...]

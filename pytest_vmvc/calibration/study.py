"""The simulation study: is the judge right as often as it says, and how often is anybody else?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_vmvc.calibration import comparisons
from pytest_vmvc.calibration.figures import BOUND, TRUE, Cell, Study
from pytest_vmvc.calibration.twin import ALLOWANCE, Kind, Run, run, simulated
from pytest_vmvc.calibration.worlds import World, worlds
from pytest_vmvc.looks import declared

if TYPE_CHECKING:
    from pytest_vmvc.calibration.worlds import BoolArray

EXPERIMENTS = 20_000
"""Of every cell; a share of 5 % is then known within 0.15 %, one standard error."""
QUICK = 2_000
FIXED = (6, 8, 12, 20, 40)
GROWING = (20, 40)


def simulate(
    *,
    experiments: int,
    seed: int,
    noise: float | None = None,
    fixed: tuple[int, ...] = FIXED,
    growing: tuple[int, ...] = GROWING,
) -> Study:
    """Simulate everything. ``noise``: standard deviation of a host's paired log-ratios."""
    plans = [(n,) for n in fixed] + [declared(n) for n in growing]
    everywhere = [
        cell
        for world in worlds()
        for plan in plans
        for kind in ALLOWANCE
        for cell in cells(kind, world, plan, experiments, seed)
    ]
    return Study(
        experiments=experiments,
        seed=seed,
        cells=tuple(everywhere),
        naive=comparisons.naive(experiments, seed),
        rivals=tuple(comparisons.against_rivals(experiments, seed)),
        races=tuple(comparisons.race(most, experiments, seed) for most in growing),
        hosts=tuple(
            comparisons.at_host(most, noise, experiments, seed) for most in growing if noise
        ),
    )


def cells(
    kind: Kind, world: World, plan: tuple[int, ...], experiments: int, seed: int
) -> Iterator[Cell]:
    """Every truth, of one kind of reading in one world by one plan."""
    import numpy as np

    found = simulated(kind, world, plan, experiments, seed)
    bound = BOUND[kind]
    for truth, factor in TRUE[kind].items():
        judged, textbook = (
            run(kind, found, plan, factor=factor, threshold=bound, correlation=correlation)
            for correlation in (ALLOWANCE[kind], 0.0)
        )
        wrong = _wrong(judged, factor, bound)
        yield Cell(
            kind=kind,
            world=world.name,
            plan=plan,
            truth=truth,
            wrong=float(wrong.mean()),
            right=float(((judged.said != 0) & ~wrong).mean()),
            coverage=float(judged.covered.mean()),
            textbook=float(_wrong(textbook, factor, bound).mean()),
            pairs_median=float(np.median(judged.pairs)),
            pairs_mean=float(judged.pairs.mean()),
        )


def _wrong(judged: Run, factor: float, bound: float) -> BoolArray:
    """Which experiments said of the true ``factor`` what is not so.

    On its bound a reading "above" is not so: an interval that ends there may say that.
    """
    above: BoolArray = judged.said == 1
    not_above: BoolArray = judged.said == -1
    if factor != bound:
        return not_above if factor > bound else above
    return above | (not_above & (judged.high < factor))

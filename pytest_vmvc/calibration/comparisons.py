"""The judge beside others: plans with as many pairs, a host's own noise, other people's tests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc.calibration import rivals
from pytest_vmvc.calibration.figures import BOUND, COMPARED, RIVALS_MOST, Host, Race, Rival
from pytest_vmvc.calibration.twin import ALLOWANCE, Ends, ends, generator, run, simulated
from pytest_vmvc.calibration.worlds import SCALE, Rows, World, in_one_piece, taken, worlds
from pytest_vmvc.looks import declared

if TYPE_CHECKING:
    from pytest_vmvc.calibration.worlds import FloatArray


OURS, OURS_FIXED = "vmvc", "vmvc, one look"
"""As shipped, which may end early; and with all samples taken, as most others take them."""


def race(most: int, experiments: int, seed: int) -> Race:
    """An effect of half a standard deviation of the paired log-ratios, normal noise."""
    normal, plan = _world("normal"), declared(most)
    factor = math.exp(0.5 * math.sqrt(2) * SCALE)

    def found_by(sizes: tuple[int, ...]) -> tuple[float, float]:
        seen = simulated("ratio", normal, sizes, experiments, seed)
        told = run(
            "ratio", seen, sizes, factor=factor, threshold=1.0, correlation=ALLOWANCE["ratio"]
        )
        return float((told.said == 1).mean()), float(told.pairs.mean())

    found, mean = found_by(plan)
    fixed = round(mean)
    return Race(
        most=most,
        pairs_mean=mean,
        found=found,
        fixed=fixed,
        fixed_found=found_by((fixed,))[0],
    )


def at_host(most: int, noise: float, experiments: int, seed: int) -> Host:
    """A true ratio of 2, at paired log-ratios that scatter by ``noise``."""
    import numpy as np

    plan = declared(most)
    seen = simulated("ratio", _world("normal"), plan, experiments, seed)
    stretch = noise / (math.sqrt(2) * SCALE)
    here = Ends(*(part * stretch for part in msgspec.structs.astuple(seen)))
    told = run(
        "ratio",
        here,
        plan,
        factor=2.0,
        threshold=BOUND["ratio"],
        correlation=ALLOWANCE["ratio"],
    )
    return Host(
        noise=noise,
        most=most,
        right=float((told.said == 1).mean()),
        pairs_median=float(np.median(told.pairs)),
    )


def naive(experiments: int, seed: int) -> float:
    """A t-test on all of the one, then all of the other, under drift; nothing differs."""
    drifting = _world("drift")
    rows = in_one_piece(drifting, COMPARED, experiments, generator(seed, "naive", "drift", ()))
    return float((rivals.welch(*_times(rows, drifting, 1.0)) != 0).mean())


def against_rivals(experiments: int, seed: int) -> Iterator[Rival]:
    """On the same samples: equal rows, and rows that differ by one standard deviation."""
    plan = declared(COMPARED)
    apart = math.exp(math.sqrt(2) * SCALE)
    for world in worlds():
        if world.other:  # tests of the mean ask another question of a row that is skewed alone
            continue
        rng = generator(seed, "rivals", world.name, plan)
        rows = taken(world, COMPARED, min(experiments, RIVALS_MOST), rng)
        for who, ours in ((OURS, plan), (OURS_FIXED, (COMPARED,))):
            seen = ends("ratio", world, rows, ours)
            equal, other = (
                run("ratio", seen, ours, factor=f, threshold=1.0, correlation=ALLOWANCE["ratio"])
                for f in (1.0, apart)
            )
            excludes = (equal.low > 1) | (equal.high < 1)
            yield Rival(
                world=world.name,
                who=who,
                false_alarms=float(((equal.said != 0) & excludes).mean()),
                misses=float((other.said != 1).mean()),
            )
        for who, decide in rivals.DECIDERS.items():
            yield Rival(
                world=world.name,
                who=who,
                false_alarms=float((decide(*_times(rows, world, 1.0)) != 0).mean()),
                misses=float((decide(*_times(rows, world, apart)) != 1).mean()),
            )


def _times(rows: Rows, world: World, factor: float) -> tuple[FloatArray, FloatArray]:
    """The two rows of times that a tool without censoring would be given."""
    import numpy as np

    return (
        factor * np.exp(SCALE * (rows.over - world.shift)),
        np.exp(SCALE * rows.under),
    )


def _world(name: str) -> World:
    return next(world for world in worlds() if world.name == name)

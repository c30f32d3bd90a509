"""The shipped decision rule, for ten thousand experiments at once.

`ranks` and `looks` say where each interval ends and how much each look may spend; here is only the
same arithmetic on whole arrays. `tests/test_calibration.py` proves the two equal, through `judge`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from pytest_vmvc import looks, ranks, stats
from pytest_vmvc.calibration.worlds import SCALE, Rows, World, taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_vmvc.calibration.worlds import FloatArray

Kind = Literal["ratio", "bound"]
CONFIDENCE = 0.95
CHUNK = 5_000
"""Experiments whose samples are held in memory at once."""

ALLOWANCE: dict[Kind, float] = {
    "ratio": stats.PAIRS_CORRELATION,
    "bound": stats.SAMPLES_CORRELATION,
}


class Ends(msgspec.Struct, frozen=True):
    """By (look, experiment): both ends of the textbook interval, and the centre it has each from.

    Ratios as logarithms. The true figure is 1, its logarithm 0.
    """

    low: FloatArray
    high: FloatArray
    low_centre: FloatArray
    high_centre: FloatArray

    def joined(self, other: Ends) -> Ends:
        """Those of two sets of experiments."""
        import numpy as np

        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Ends(*(np.concatenate(pair, axis=1) for pair in pairs))


class Run(msgspec.Struct, frozen=True):
    """By experiment: what was decided (1: above the bound, -1: not above, 0: nothing), and when."""

    said: NDArray[np.int64]
    pairs: NDArray[np.int64]
    low: FloatArray
    high: FloatArray
    """The interval that decided."""
    covered: NDArray[np.bool_]
    """Whether the intervals of all looks hold the truth, had the run gone on to its end."""


def ends(kind: Kind, world: World, rows: Rows, plan: Sequence[int]) -> Ends:
    """Intervals at each look of a plan; a plan of one look is a fixed one."""
    import numpy as np

    lows, highs = _known(kind, world, rows)
    exact = not (rows.late_over.any() or rows.late_under.any())
    found = []
    for size, share in zip(plan, looks.confidences(plan, CONFIDENCE), strict=True):
        by_low = _ordered(kind, lows[:, :size], share)
        by_high = by_low if exact else _ordered(kind, highs[:, :size], share)
        found.append((by_low[0], by_high[1], by_low[2], by_high[2]))
    return Ends(*(np.array(parts) for parts in zip(*found, strict=True)))


def simulated(kind: Kind, world: World, plan: tuple[int, ...], experiments: int, seed: int) -> Ends:
    """Ends of so many experiments of one world and plan."""
    rng = generator(seed, kind, world.name, plan)
    parts = [
        ends(kind, world, taken(world, plan[-1], size, rng), plan) for size in _chunks(experiments)
    ]
    found = parts[0]
    for part in parts[1:]:
        found = found.joined(part)
    return found


def _chunks(experiments: int) -> list[int]:
    whole, rest = divmod(experiments, CHUNK)
    return [CHUNK] * whole + ([rest] if rest else [])


def generator(seed: int, *names: object) -> np.random.Generator:
    """Its own stream for every cell, whatever else is simulated."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(repr(names).encode())])


def run(
    kind: Kind,
    found: Ends,
    plan: Sequence[int],
    *,
    factor: float,
    threshold: float,
    correlation: float,
) -> Run:
    """Judge every experiment, where the true figure is ``factor``.

    ``threshold`` is the bound of a reading ``above``.
    """
    import numpy as np

    low, high = (_scaled(kind, end, factor) for end in widened(found, correlation))
    low = np.maximum.accumulate(low, axis=0)
    high = np.minimum.accumulate(high, axis=0)
    sound = low <= high
    above = (low > threshold) & sound
    within = (high <= threshold) & sound
    decided = above | within
    last = len(plan) - 1
    at = np.where(decided.any(axis=0), decided.argmax(axis=0), last)
    each = np.arange(low.shape[1])
    return Run(
        said=above[at, each].astype(int) - within[at, each].astype(int),
        pairs=np.asarray(plan)[at],
        low=low[at, each],
        high=high[at, each],
        covered=(low[last] <= factor) & (factor <= high[last]),
    )


def widened(found: Ends, correlation: float) -> tuple[FloatArray, FloatArray]:
    """Both ends with the allowance for serial correlation, as `stats` widens them."""
    import numpy as np

    by = stats.inflation(correlation) - 1
    with np.errstate(invalid="ignore"):  # what is unbounded stays so
        low = found.low + by * (found.low - found.low_centre)
        high = found.high + by * (found.high - found.high_centre)
    return (
        np.where(np.isfinite(found.low), low, found.low),
        np.where(np.isfinite(found.high), high, found.high),
    )


def _known(kind: Kind, world: World, rows: Rows) -> tuple[FloatArray, FloatArray]:
    """What each sample is at least, and at most, where the true figure is 1."""
    import numpy as np

    if kind == "bound":
        values = np.exp(SCALE * (rows.over - world.median))
        return values, np.where(rows.late_over, np.inf, values)
    logs = SCALE * (rows.over - rows.under - world.shift)
    return np.where(rows.late_under, -np.inf, logs), np.where(rows.late_over, np.inf, logs)


def _ordered(
    kind: Kind, values: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lower end, upper end and centre of each row of values."""
    import numpy as np

    size = values.shape[1]
    if kind == "bound":
        below = ranks.of_median(size, confidence)[0]
        cut = 0 if below is None else below + 1
    else:
        first, second = np.triu_indices(size)
        values = values[:, first] / 2 + values[:, second] / 2
        cut = ranks.cut(ranks.signed(size), confidence)
    many = values.shape[1]
    middle = ((many - 1) // 2, many // 2)
    edges = (cut - 1, many - cut) if cut else ()
    parted = np.partition(values, sorted({*middle, *edges}), axis=1)
    centre = parted[:, list(middle)].mean(axis=1)
    if not cut:
        return np.full_like(centre, -math.inf), np.full_like(centre, math.inf), centre
    return parted[:, cut - 1], parted[:, many - cut], centre


def _scaled(kind: Kind, end: FloatArray, factor: float) -> FloatArray:
    """As the figure that is compared with the bound; ratios rounded as `stats` rounds them."""
    import numpy as np

    if kind == "bound":
        return end * factor
    with np.errstate(over="ignore", invalid="ignore"):  # what is unbounded stays so
        figures: FloatArray = np.exp(end + math.log(factor))
        # Rounding matters beside a bound alone, and a bound has few digits.
        beside = np.abs(figures - np.round(figures, 6)) < 1e-9
    figures[beside] = [stats.rounded(x) for x in figures[beside].tolist()]
    return figures

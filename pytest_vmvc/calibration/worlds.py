"""Worlds whose truth is known: noise of many shapes, and samples taken from it as a run takes them.

Noise is that of the logarithms of two subjects' figures, in units of `SCALE`. It runs over the
sequence of all samples, and the order in which the subjects are sampled is that of `measure.Plan`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pytest_vmvc.measure import Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    Draw = Callable[[np.random.Generator, int, int], FloatArray]

SCALE = 0.08
"""Noise of one sample: 8 %. Beside it a drift of 10 % shows in twenty pairs about every other time
where one subject is sampled after the other."""
DRIFT = math.log(1.1) / SCALE
"""10 % from the first sample to the last, in units of noise."""
CORRELATION = 0.5
"""Of each sample with the one before, whosever it is."""
TICK = 0.5
DEADLINE = 1.0
QUIET = 0.1
"""Noise of the subject that is not skewed, in units of the other's."""
ORDERS = 2_000
"""Seeds of which the orders are drawn."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A shape of noise, with its true centre."""

    name: str
    definition: str
    draw: Callable[..., FloatArray]
    """Noise of (experiments, samples) by a generator, in the order in which they are taken."""
    other: Callable[..., FloatArray] | None = None
    """That of the subject in the denominator, where it is of another shape."""
    deadline: float = math.inf
    """Where a sample is cut off."""
    median: float = 0.0
    """Of the numerator's noise."""
    shift: float = 0.0
    """Pseudo-median of the numerator's noise less the denominator's."""


class Rows(msgspec.Struct, frozen=True):
    """Noise of both subjects by (experiment, block), cut off at the deadline, and where it was."""

    over: FloatArray
    under: FloatArray
    late_over: BoolArray
    late_under: BoolArray


def taken(world: World, blocks: int, experiments: int, rng: np.random.Generator) -> Rows:
    """What a run of so many blocks would see in this world, for each of the experiments."""
    import numpy as np

    first = _orders(blocks)[rng.integers(ORDERS, size=experiments)]
    at = 2 * np.arange(blocks)
    noise = world.draw(rng, experiments, 2 * blocks)
    quiet = world.other(rng, experiments, 2 * blocks) if world.other else noise
    over = np.take_along_axis(noise, at + ~first, axis=1)
    under = np.take_along_axis(quiet, at + first, axis=1)
    return Rows(
        over=np.minimum(over, world.deadline),
        under=np.minimum(under, world.deadline),
        late_over=over > world.deadline,
        late_under=under > world.deadline,
    )


def in_one_piece(world: World, blocks: int, experiments: int, rng: np.random.Generator) -> Rows:
    """The same world sampled naively: all of the one subject, then all of the other."""
    import numpy as np

    noise = world.draw(rng, experiments, 2 * blocks)
    never = np.zeros((experiments, blocks), dtype=bool)
    return Rows(over=noise[:, blocks:], under=noise[:, :blocks], late_over=never, late_under=never)


@functools.cache
def _orders(blocks: int) -> BoolArray:
    """Whether the numerator comes first in each block, by seed of the plan."""
    import numpy as np

    sides = ("over", "under")
    return np.array(
        [
            [order[0] == "over" for order in Plan(blocks=blocks, seed=seed).orders(sides)]
            for seed in range(ORDERS)
        ]
    )


def _normal(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    return rng.standard_normal((experiments, samples))


def _lognormal(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    return rng.lognormal(0.0, 1.0, (experiments, samples))


def _heavy(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    return rng.standard_t(2, (experiments, samples))


def _bimodal(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    modes: FloatArray = rng.choice((-1.5, 1.5), (experiments, samples))
    return modes + _normal(rng, experiments, samples) / 2


def _quantised(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    import numpy as np

    return np.round(_normal(rng, experiments, samples) / TICK) * TICK


def _constant(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:  # noqa: ARG001
    import numpy as np

    return np.zeros((experiments, samples))


def _serial(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    import numpy as np

    steps = _normal(rng, experiments, samples) * math.sqrt(1 - CORRELATION**2)
    found = np.empty_like(steps)
    found[:, 0] = _normal(rng, experiments, 1)[:, 0]
    for at in range(1, samples):
        found[:, at] = CORRELATION * found[:, at - 1] + steps[:, at]
    return found


def _drifting(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    import numpy as np

    return _normal(rng, experiments, samples) + DRIFT * np.linspace(-0.5, 0.5, samples)


def _skewed(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    return rng.standard_exponential((experiments, samples))


def _quiet(rng: np.random.Generator, experiments: int, samples: int) -> FloatArray:
    return QUIET * _normal(rng, experiments, samples)


@functools.cache
def _skewed_shift() -> float:
    """Pseudo-median of exponential less quiet normal noise: the median of an average of two.

    The sum of two such differences is a Gamma(2) variable less a normal one.
    """
    import numpy as np
    from scipy.integrate import quad
    from scipy.optimize import brentq
    from scipy.stats import gamma, norm

    def below(centre: float) -> float:
        def density(sum_: float) -> float:
            within = norm.cdf(2 * centre - sum_, scale=math.sqrt(2) * QUIET)
            return float(gamma.pdf(sum_, 2) * within)

        return float(quad(density, 0, np.inf, points=None, limit=200)[0]) - 0.5

    return float(brentq(below, 0.1, 2.0))


@functools.cache
def worlds() -> tuple[World, ...]:
    """All worlds of the study."""
    return (
        World(name="normal", definition="normal", draw=_normal),
        World(
            name="lognormal",
            definition="lognormal: skewed on both sides alike",
            draw=_lognormal,
            median=1.0,
        ),
        World(name="heavy tails", definition="Student's t with 2 degrees of freedom", draw=_heavy),
        World(
            name="bimodal",
            definition="two modes 3 apart, each of standard deviation 0.5",
            draw=_bimodal,
        ),
        World(
            name="quantised clock",
            definition=f"normal, read by a clock that ticks every {TICK:g}",
            draw=_quantised,
        ),
        World(name="constant", definition="no noise at all", draw=_constant),
        World(
            name="AR(1)",
            definition=f"normal, each sample correlated by {CORRELATION:g} with the one before",
            draw=_serial,
        ),
        World(
            name="drift",
            definition="normal, and 10 % of linear drift from the first sample to the last",
            draw=_drifting,
        ),
        World(
            name="censored",
            definition=f"normal, cut off at a deadline {DEADLINE:g} above the median",
            draw=_normal,
            deadline=DEADLINE,
        ),
        World(
            name="one arm skewed",
            definition=f"exponential against normal of {QUIET:g}",
            draw=_skewed,
            other=_quiet,
            median=math.log(2),
            shift=_skewed_shift(),
        ),
    )

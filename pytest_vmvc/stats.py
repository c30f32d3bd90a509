"""Numbers in, an estimate out; an estimate and a bound in, a verdict out. Pure and seeded.

Sources. Median by order statistics: W. J. Conover, *Practical Nonparametric Statistics*, 3rd ed.,
section 3.2 (exact binomial ranks). BCa bootstrap: B. Efron, *Better bootstrap confidence
intervals*, JASA 82 (1987), as implemented by `scipy.stats.bootstrap`. Slope: P. K. Sen, *Estimates
of the regression coefficient based on Kendall's tau*, JASA 63 (1968), as implemented by
`scipy.stats.theilslopes`.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from typing import Literal

import msgspec

from pytest_vmvc.model import Estimate, Verdict

RESAMPLES = 9_999
"""Bootstrap resamples per interval; the interval's Monte-Carlo error is then well below 1 %."""

EQUIVALENCE = (0.8, 1.25)
"""Margin of practical equivalence: ratios inside it count as equal."""

Op = Literal["<", "<=", ">", ">="]


def median_interval(
    values: Sequence[float],
    *,
    unit: str,
    confidence: float = 0.95,
    censored: Sequence[bool] | None = None,
) -> Estimate:
    """Median with its distribution-free interval between two order statistics.

    A censored value is a lower bound: it counts as such for ``low`` and as unbounded for ``high``.
    Raises ValueError on no values, or values that are not finite. With fewer than six values no
    such 95 % interval exists: both sides are then None.
    """
    _check(values)
    flags = list(censored or [False] * len(values))
    lows = [float(value) for value in values]
    highs = [math.inf if late else value for value, late in zip(lows, flags, strict=True)]
    return _order_statistics(lows, highs, unit=unit, confidence=confidence, censored=sum(flags))


def ratio_interval(
    over: Sequence[float],
    under: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    censored_over: Sequence[bool] | None = None,
    censored_under: Sequence[bool] | None = None,
) -> Estimate:
    """Median of the paired ratios ``over / under``, on logarithms, with its interval.

    The interval is the hull of the BCa bootstrap over pairs and of the order statistics of the
    paired ratios: below some twenty pairs a bootstrapped median alone is too narrow. A censored
    value is a lower bound, so its ratio is one (``over``) or is an upper bound (``under``).
    Raises ValueError on unequal lengths, no pairs, or values that are not positive and finite.
    """
    _check(over)
    _check(under)
    if len(over) != len(under):
        raise ValueError(f"pairs need two equally long rows, got {len(over)} and {len(under)}")
    if min(*over, *under) <= 0:
        raise ValueError("a ratio needs positive values")
    late_over = list(censored_over or [False] * len(over))
    late_under = list(censored_under or [False] * len(under))
    logs = [math.log(a / b) for a, b in zip(over, under, strict=True)]
    lows = [-math.inf if late else log for log, late in zip(logs, late_under, strict=True)]
    highs = [math.inf if late else log for log, late in zip(logs, late_over, strict=True)]
    late = sum(a or b for a, b in zip(late_over, late_under, strict=True))
    found = _order_statistics(lows, highs, unit="log", confidence=confidence, censored=late)
    low, high, method = found.low, found.high, "median of paired ratios, order statistics"
    if low is not None and high is not None and not late and low < high:
        boot_low, boot_high = _bootstrap_median(logs, confidence=confidence, seed=seed)
        low, high = min(low, boot_low), max(high, boot_high)
        method += " and BCa bootstrap of pairs (hull)"
    return msgspec.structs.replace(
        found,
        effect=_exp(found.effect),
        low=_exp(low),
        high=_exp(high),
        unit="ratio",
        method=method,
    )


def slope_interval(
    doses: Sequence[float], values: Sequence[float], *, unit: str, confidence: float = 0.95
) -> Estimate:
    """Theil-Sen slope of ``values`` over ``doses`` with Sen's distribution-free interval.

    Raises ValueError on unequal lengths, values that are not finite, or fewer than two doses.
    """
    _check(values)
    _check(doses)
    if len(doses) != len(values):
        raise ValueError(f"a slope needs a dose for each value, got {len(doses)} of {len(values)}")
    if len(set(doses)) < 2:
        raise ValueError("a slope needs at least two doses")
    from scipy.stats import theilslopes

    # Sen's variance has no root where nearly everything is tied: nothing bounds the slope then.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = theilslopes(values, doses, alpha=confidence)
    flat = len(set(values)) == 1
    return Estimate(
        effect=float(found.slope),
        low=0.0 if flat else _finite(float(found.low_slope)),
        high=0.0 if flat else _finite(float(found.high_slope)),
        confidence=confidence,
        n=len(values),
        unit=unit,
        method="Theil-Sen slope, Sen's interval",
    )


def quotient(over: Estimate, under: Estimate) -> Estimate:
    """One slope over another; the interval takes the worst ends of both, so it is conservative.

    Where the denominator's interval reaches zero nothing bounds the quotient.
    """
    found = [over.effect, over.low, over.high, under.effect, under.low, under.high]
    effect, low, high, base, base_low, base_high = (math.nan if x is None else x for x in found)
    ends = [x / y for x in (low, high) for y in (base_low, base_high)] if base_low > 0 else []
    return Estimate(
        effect=effect / base if base else None,
        low=min(ends, default=None),
        high=max(ends, default=None),
        confidence=min(over.confidence, under.confidence),
        n=min(over.n, under.n),
        unit="ratio",
        method=f"quotient of two slopes ({over.method}), worst ends",
    )


def exact(value: float, *, unit: str) -> Estimate:
    """A figure that has no sampling error, such as a file's size."""
    _check([value])
    return Estimate(
        effect=value, low=value, high=value, confidence=1.0, n=1, unit=unit, method="exact"
    )


def decide(estimate: Estimate, op: Op, threshold: float) -> Verdict:
    """The interval decides: wholly on one side of the bound, or nothing is decided."""
    low = -math.inf if estimate.low is None else estimate.low
    high = math.inf if estimate.high is None else estimate.high
    match op:
        case "<":
            holds, fails = high < threshold, low >= threshold
        case "<=":
            holds, fails = high <= threshold, low > threshold
        case ">":
            holds, fails = low > threshold, high <= threshold
        case ">=":
            holds, fails = low >= threshold, high < threshold
    if holds:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if fails else Verdict.INCONCLUSIVE


def _check(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("no samples")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a sample is not a finite number")


def _order_statistics(
    lows: Sequence[float], highs: Sequence[float], *, unit: str, confidence: float, censored: int
) -> Estimate:
    """Median of values of which each is known to lie between its low and its high."""
    by_low, by_high = sorted(lows), sorted(highs)
    low_rank, high_rank = _median_ranks(len(lows), confidence)
    medians = (statistics.median(by_low), statistics.median(by_high))
    return Estimate(
        effect=_finite(medians[0]) if medians[0] == medians[1] else None,
        low=_finite(by_low[low_rank]) if low_rank is not None else None,
        high=_finite(by_high[high_rank]) if high_rank is not None else None,
        confidence=confidence,
        n=len(lows),
        unit=unit,
        method="median, order statistics",
        censored=censored,
    )


def _median_ranks(n: int, confidence: float) -> tuple[int | None, int | None]:
    """Zero-based ranks whose order statistics hold the median with at least ``confidence``."""
    from scipy.stats import binom

    rank = int(binom.ppf((1 - confidence) / 2, n, 0.5))
    return (rank - 1, n - rank) if rank >= 1 else (None, None)


def _bootstrap_median(
    values: Sequence[float], *, confidence: float, seed: int
) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            (np.asarray(values),),
            np.median,
            confidence_level=confidence,
            n_resamples=RESAMPLES,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    # BCa has no answer where the jackknife does not vary; the order statistics then stand alone.
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.inf, -math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)

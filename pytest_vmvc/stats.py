"""Numbers in, an estimate out; an estimate and a bound in, a verdict out. Pure and seeded.

Sources. Where the intervals of medians and of rank tests end: see `ranks`. Ratios: J. L. Hodges and
E. L. Lehmann, *Estimates of location based on rank tests*, Ann. Math. Statist. 34 (1963), with
Tukey's interval between Walsh averages. BCa bootstrap: B. Efron, *Better bootstrap confidence
intervals*, JASA 82 (1987), as implemented by `scipy.stats.bootstrap`. Serial correlation:
G. V. Bayley and J. M. Hammersley, *The "effective" number of independent observations in an
autocorrelated time series*, Suppl. to the Journal of the Royal Statistical Society 8 (1946). Slope:
P. K. Sen, *Estimates of the regression coefficient based on Kendall's tau*, JASA 63 (1968); a test
holds it against `scipy.stats.theilslopes`, which takes seconds and 60 MB to load.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from pytest_vmvc import ranks
from pytest_vmvc.model import Estimate, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

Estimator = Literal["hodges-lehmann", "bca"]

WALSH_LIMIT = 500
"""Pairs up to which all averages of two are formed."""
SHIFTS_LIMIT = 4_000_000
"""Differences of two samples that are formed, at most."""

RESAMPLES = 9_999
"""Bootstrap resamples per interval; the interval's Monte-Carlo error is then well below 1 %."""

SAMPLES_CORRELATION = 0.3
"""Between successive samples of one subject: what an interval of its median allows for."""
PAIRS_CORRELATION = 0.1
"""Between successive paired ratios, the same: what two neighbours share cancels in a ratio."""

EQUIVALENCE = (0.8, 1.25)
"""Margin of practical equivalence: ratios inside it count as equal."""

Op = Literal["<", "<=", ">", ">="]


def median_interval(
    values: Sequence[float],
    *,
    unit: str,
    confidence: float = 0.95,
    censored: Sequence[bool] | None = None,
    correlation: float = SAMPLES_CORRELATION,
) -> Estimate:
    """Median with its distribution-free interval between two order statistics, widened.

    Neighbours in time are alike, and fewer than they seem: the interval is `inflation` times as
    wide, about its median, as it is for independent samples (``correlation`` 0).

    A censored value is a lower bound: it counts as such for ``low`` and as unbounded for ``high``.
    Raises ValueError on no values, or values that are not finite. With fewer than six values no
    such 95 % interval exists: both sides are then None.
    """
    _check(values)
    flags = list(censored or [False] * len(values))
    lows = [float(value) for value in values]
    highs = [math.inf if late else value for value, late in zip(lows, flags, strict=True)]
    return _order_statistics(
        lows,
        highs,
        unit=unit,
        confidence=confidence,
        censored=sum(flags),
        correlation=correlation,
    )


def ratio_interval(
    over: Sequence[float],
    under: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    censored_over: Sequence[bool] | None = None,
    censored_under: Sequence[bool] | None = None,
    estimator: Estimator = "hodges-lehmann",
    correlation: float = PAIRS_CORRELATION,
) -> Estimate:
    """Paired ratios ``over / under``, on logarithms: their pseudo-median with its interval.

    ``hodges-lehmann``: the interval of the signed-rank test, exact for differences that scatter
    alike to both sides, as those of two alike scattering sides do, and widened by `inflation` for
    neighbours that are alike (not for ``correlation`` 0); of more than some hundred pairs the
    median between order statistics. ``bca``: the bootstrapped mean of the logarithms, which
    is too narrow below some twenty pairs. A censored value is a lower bound, so its ratio is one
    (``over``) or is an upper bound (``under``). Raises ValueError on unequal lengths, no pairs, or
    values that are not positive and finite.
    """
    _check(over)
    _check(under)
    if len(over) != len(under):
        raise ValueError(f"pairs need two equally long rows, got {len(over)} and {len(under)}")
    if min(*over, *under) <= 0:
        raise ValueError("a ratio needs positive values")
    late_over = list(censored_over or [False] * len(over))
    late_under = list(censored_under or [False] * len(under))
    logs = [math.log(a) - math.log(b) for a, b in zip(over, under, strict=True)]
    lows = [-math.inf if late else log for log, late in zip(logs, late_under, strict=True)]
    highs = [math.inf if late else log for log, late in zip(logs, late_over, strict=True)]
    late = sum(a or b for a, b in zip(late_over, late_under, strict=True))
    if estimator == "bca":
        if late:
            raise ValueError("a bootstrap has no place for samples that timed out")
        found = _bootstrap_mean(logs, confidence=confidence, seed=seed)
    elif len(logs) > WALSH_LIMIT:
        found = _order_statistics(
            lows, highs, unit="log", confidence=confidence, censored=late, correlation=correlation
        )
    else:
        found = _walsh(lows, highs, confidence=confidence, censored=late, correlation=correlation)
    return _from_logs(found)


def independent_ratio(
    over: Sequence[float],
    under: Sequence[float],
    *,
    confidence: float = 0.95,
    censored_over: Sequence[bool] | None = None,
    censored_under: Sequence[bool] | None = None,
) -> Estimate:
    """Ratio of two samples that are not paired, on logarithms: Hodges and Lehmann's shift.

    The interval is that of the rank-sum test, exact for two samples of one shape; for large ones,
    and where a value is censored (a lower bound), the quotient of the two medians by the worst ends
    of their intervals. Raises ValueError on no samples, or values that are not positive and finite.
    """
    _check(over)
    _check(under)
    if min(*over, *under) <= 0:
        raise ValueError("a ratio needs positive values")
    import numpy as np

    n, m = len(over), len(under)
    logs_over, logs_under = np.log(over), np.log(under)
    late = (censored_over or (), censored_under or ())
    if n * m > SHIFTS_LIMIT or any(map(any, late)):
        both = [
            median_interval(
                logs.tolist(),
                unit="log",
                confidence=math.sqrt(confidence),
                censored=flags,
                correlation=0,
            )
            for logs, flags in zip((logs_over, logs_under), late, strict=True)
        ]
        found = _difference(both[0], both[1], confidence)
    else:
        shifts = np.sort((logs_over[:, None] - logs_under[None, :]).ravel())
        place = ranks.cut(ranks.sums(n, m), confidence)
        found = Estimate(
            effect=float(np.median(shifts)),
            low=float(shifts[place - 1]) if place else None,
            high=float(shifts[-place]) if place else None,
            confidence=confidence,
            n=min(n, m),
            unit="log",
            method="Hodges-Lehmann shift of logarithms, rank-sum interval",
        )
    return _from_logs(found)


def inflation(correlation: float) -> float:
    """How much wider the interval of a mean is where each sample is so correlated with the next.

    Raises ValueError unless the correlation is at least 0 and less than 1.
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"a correlation to allow for is from 0 up to 1, not {correlation:g}")
    return math.sqrt((1 + correlation) / (1 - correlation))


def rounded(ratio: float) -> float:
    """Twelve digits: what is 1.25 on paper shall not exceed 1.25 by its logarithm's error."""
    return float(f"{ratio:.12g}")


def proportion_bound(bad: int, n: int, *, confidence: float = 0.95) -> float:
    """Upper bound of the share of exceptions, ``bad`` of ``n`` having been seen.

    Exact binomial, one-sided: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934). About ``3/n``
    where none was seen.
    """
    if bad == 0 < n:
        return float(1 - (1 - confidence) ** (1 / n))
    from scipy.special import betaincinv

    return 1.0 if bad >= n else float(betaincinv(bad + 1, n - bad, confidence))


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
    import numpy as np

    x, y = np.asarray(doses, dtype=float), np.asarray(values, dtype=float)
    over, under = np.subtract.outer(x, x), np.subtract.outer(y, y)
    slopes = np.sort(under[over > 0] / over[over > 0])
    low, high = _sens_ranks(x, y, len(slopes), confidence=confidence)
    flat = len(set(values)) == 1
    return Estimate(
        effect=_middle(slopes),
        low=0.0 if flat else None if low is None else _finite(float(slopes[low])),
        high=0.0 if flat else None if high is None else _finite(float(slopes[high])),
        confidence=confidence,
        n=len(values),
        unit=unit,
        method="Theil-Sen slope, Sen's interval",
    )


def _sens_ranks(
    x: FloatArray, y: FloatArray, slopes: int, *, confidence: float
) -> tuple[int | None, int | None]:
    """Zero-based ranks of the slopes at which Sen's interval ends (equation 2.6 and section 4).

    By the normal approximation of Kendall's S, its variance less for ties. It has no root where
    nearly everything is tied: nothing bounds the slope then.
    """
    import numpy as np
    from scipy.special import ndtri

    def part(size: int) -> int:
        return size * (size - 1) * (2 * size + 5)

    ties = [int(size) for side in (x, y) for size in np.unique(side, return_counts=True)[1]]
    variance = (part(len(x)) - sum(map(part, ties))) / 18
    if variance < 0:
        return None, None
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    low, high = round((slopes - reach) / 2) - 1, round((slopes + reach) / 2)
    return max(low, 0), min(high, slopes - 1)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate that the same samples give when each is multiplied by a positive factor.

    Medians, ratios and slopes scale with their samples, so their intervals do; an open end stays.
    """
    effect, low, high = (
        None if value is None else value * factor
        for value in (estimate.effect, estimate.low, estimate.high)
    )
    return msgspec.structs.replace(estimate, effect=effect, low=low, high=high)


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


def holm(decides: Sequence[Callable[[int], bool]]) -> tuple[int, ...]:
    """By how much each question's error is divided where any one of them would do.

    S. Holm, *A simple sequentially rejective multiple test procedure*, Scand. J. Statist. 6 (1979),
    by intervals: of m questions the k-th surest must decide with an (m - k + 1)-th of its error,
    and after the first that does not, none does. ``decides[i](share)``: whether the i-th does with
    a ``share``-th. Those that decide at once share one divisor, the largest of theirs.
    """
    shares: dict[int, int] = {}
    open_ones = list(range(len(decides)))
    while found := [i for i in open_ones if decides[i](len(open_ones))]:
        shares |= dict.fromkeys(found, len(open_ones))
        open_ones = [i for i in open_ones if i not in shares]
    shares |= dict.fromkeys(open_ones, len(open_ones))
    return tuple(shares[i] for i in range(len(decides)))


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
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    unit: str,
    confidence: float,
    censored: int,
    correlation: float,
) -> Estimate:
    """Median of values of which each is known to lie between its low and its high."""
    import numpy as np

    by_low, by_high = (np.sort(np.asarray(ends, dtype=float)) for ends in (lows, highs))
    low_rank, high_rank = ranks.of_median(len(lows), confidence)
    medians = (_middle(by_low), _middle(by_high))

    def widened(ends: FloatArray, rank: int | None, median: float) -> float | None:
        return None if rank is None else _widened(float(ends[rank]), median, correlation)

    return Estimate(
        effect=_finite(medians[0]) if medians[0] == medians[1] else None,
        low=widened(by_low, low_rank, medians[0]),
        high=widened(by_high, high_rank, medians[1]),
        confidence=confidence,
        n=len(lows),
        unit=unit,
        method="median, order statistics",
        censored=censored,
    )


def _middle(ascending: FloatArray) -> float:
    """Median of sorted values; not a number between two opposite infinities."""
    half = len(ascending) // 2
    low, high = float(ascending[half - (len(ascending) % 2 == 0)]), float(ascending[half])
    return (low + high) / 2


def _walsh(
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    confidence: float,
    censored: int,
    correlation: float,
) -> Estimate:
    """Pseudo-median: all averages of two values, and Tukey's interval between two of them."""
    import numpy as np

    n = len(lows)
    by_low, by_high = (_averages(np.asarray(ends, dtype=float)) for ends in (lows, highs))
    place = ranks.cut(ranks.signed(n), confidence)
    medians = (float(np.median(by_low)), float(np.median(by_high)))
    return Estimate(
        effect=_finite(medians[0]) if medians[0] == medians[1] else None,
        low=_widened(float(by_low[place - 1]), medians[0], correlation) if place else None,
        high=_widened(float(by_high[-place]), medians[1], correlation) if place else None,
        confidence=confidence,
        n=n,
        unit="log",
        method="Hodges-Lehmann estimate of paired log-ratios, signed-rank interval",
        censored=censored,
    )


def _averages(values: FloatArray) -> FloatArray:
    """Walsh averages of the values, each with itself too; sorted."""
    import numpy as np

    first, second = np.triu_indices(len(values))
    with np.errstate(invalid="ignore"):  # the average of two opposite infinities is neither
        found = values[first] / 2 + values[second] / 2
    return np.sort(found)


def _bootstrap_mean(values: Sequence[float], *, confidence: float, seed: int) -> Estimate:
    import numpy as np
    from scipy.stats import DegenerateDataWarning, bootstrap

    low = high = float(np.mean(values))
    if len(set(values)) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            found = bootstrap(
                (np.asarray(values),),
                np.mean,
                confidence_level=confidence,
                n_resamples=RESAMPLES,
                method="BCa",
                rng=np.random.default_rng(seed),
            ).confidence_interval
        low, high = float(found.low), float(found.high)
    return Estimate(
        effect=float(np.mean(values)),
        low=_finite(low),
        high=_finite(high),
        confidence=confidence,
        n=len(values),
        unit="log",
        method="mean of paired log-ratios, BCa bootstrap of pairs",
    )


def _difference(over: Estimate, under: Estimate, confidence: float) -> Estimate:
    def less(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else one - other

    return Estimate(
        effect=less(over.effect, under.effect),
        low=less(over.low, under.high),
        high=less(over.high, under.low),
        confidence=confidence,
        n=min(over.n, under.n),
        unit="log",
        method="quotient of two medians, order statistics, worst ends",
        censored=over.censored + under.censored,
    )


def _from_logs(found: Estimate) -> Estimate:
    return msgspec.structs.replace(
        found,
        effect=_exp(found.effect),
        low=_exp(found.low),
        high=_exp(found.high),
        unit="ratio",
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _widened(end: float, centre: float, correlation: float) -> float | None:
    """An end of an interval, moved away from its centre; None where it is unbounded."""
    return _finite(end + (inflation(correlation) - 1) * (end - centre))


def _exp(value: float | None) -> float | None:
    try:
        return None if value is None else rounded(math.exp(value))
    except OverflowError:
        return None

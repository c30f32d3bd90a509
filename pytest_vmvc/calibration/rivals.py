"""How other tools, and their users, decide whether one of two rows of times is the longer one.

Each takes two arrays of times (experiment, run) and says 1 where it calls the first longer, -1 the
second, 0 nothing. As their sources have it: hyperfine (`src/benchmark/relative_speed.rs`) orders
commands by their mean times and always prints "ran r ± s times faster", s by propagation of both
standard deviations; pyperf (`pyperf/_utils.py`, `is_significant`) calls two benchmarks different by
Student's two-sample t-test with pooled variance at 95 %.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pytest_vmvc.looks import LEAST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_vmvc.calibration.worlds import FloatArray

    Said = NDArray[np.int64]

LEVEL = 0.05
PEEKS_FROM = 3
"""Pairs after which somebody looks at a t-test for the first time."""


def paired_t(over: FloatArray, under: FloatArray) -> Said:
    """`scipy.stats.ttest_rel`, p < 0.05."""
    return _paired_t(over, under, over.shape[1])


def peeked_t(over: FloatArray, under: FloatArray) -> Said:
    """The same after each pair, until it says something."""
    return _first(_paired_t(over, under, size) for size in range(PEEKS_FROM, over.shape[1] + 1))


def wilcoxon(over: FloatArray, under: FloatArray) -> Said:
    """`scipy.stats.wilcoxon`, p < 0.05; by its normal approximation where there are ties."""
    return _wilcoxon(over, under, over.shape[1])


def peeked_wilcoxon(over: FloatArray, under: FloatArray) -> Said:
    """The same after each pair, from the first at which it can."""
    return _first(_wilcoxon(over, under, size) for size in range(LEAST, over.shape[1] + 1))


def hyperfine(over: FloatArray, under: FloatArray) -> Said:
    """Whichever mean is larger: what hyperfine prints."""
    import numpy as np

    found: Said = np.sign(over.mean(axis=1) - under.mean(axis=1)).astype(int)
    return found


def hyperfine_apart(over: FloatArray, under: FloatArray) -> Said:
    """Its reader who believes "faster" where the ratio exceeds 1 by more than its ± s."""
    import numpy as np

    means = over.mean(axis=1), under.mean(axis=1)
    spread = [x.std(axis=1, ddof=1) / mean for x, mean in zip((over, under), means, strict=True)]
    ratio = np.maximum(*means) / np.minimum(*means)
    apart = ratio - ratio * np.hypot(*spread) > 1
    return np.where(apart, hyperfine(over, under), 0)


def pyperf(over: FloatArray, under: FloatArray) -> Said:
    """Student's two-sample t-test with pooled variance, 95 %."""
    return _two_samples(over, under, equal_variance=True)


def welch(over: FloatArray, under: FloatArray) -> Said:
    """Welch's t-test, p < 0.05: hyperfine's `scripts/welch_ttest.py`."""
    return _two_samples(over, under, equal_variance=False)


DECIDERS: dict[str, Callable[[FloatArray, FloatArray], Said]] = {
    "paired t": paired_t,
    "Wilcoxon": wilcoxon,
    "peeking t": peeked_t,
    "peeking Wilcoxon": peeked_wilcoxon,
    "hyperfine, mean": hyperfine,
    "hyperfine, ± sd": hyperfine_apart,
    "hyperfine, Welch": welch,
    "pyperf": pyperf,
}


def _two_samples(over: FloatArray, under: FloatArray, *, equal_variance: bool) -> Said:
    import numpy as np
    from scipy.stats import ttest_ind

    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without any noise
        found = ttest_ind(over, under, axis=1, equal_var=equal_variance)
    return _signed(found.pvalue, over, under)


def _paired_t(over: FloatArray, under: FloatArray, size: int) -> Said:
    import numpy as np
    from scipy.stats import ttest_rel

    over, under = over[:, :size], under[:, :size]
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without any noise
        found = ttest_rel(over, under, axis=1)
    return _signed(found.pvalue, over, under)


def _wilcoxon(over: FloatArray, under: FloatArray, size: int) -> Said:
    import numpy as np
    from scipy.stats import wilcoxon as scipy_wilcoxon

    over, under = over[:, :size], under[:, :size]
    apart = np.sort(np.abs(over - under), axis=1)
    tied = (apart[:, 0] == 0).any() or (np.diff(apart, axis=1) == 0).any()
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties and zeros: the user goes on, and so do we
        found = scipy_wilcoxon(over, under, axis=1, method="approx" if tied else "auto")
    return _signed(found.pvalue, over, under)


def _signed(p_values: FloatArray, over: FloatArray, under: FloatArray) -> Said:
    import numpy as np

    return np.where(p_values < LEVEL, np.sign((over - under).mean(axis=1)), 0).astype(int)


def _first(peeks: Iterable[Said]) -> Said:
    """What was said first."""
    import numpy as np

    return functools.reduce(lambda before, now: np.where(before == 0, now, before), peeks)

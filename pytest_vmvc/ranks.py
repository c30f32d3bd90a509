"""Where the interval of a rank test ends: exact distributions of ranks, and their cuts.

Sources. Medians: W. J. Conover, *Practical Nonparametric Statistics*, 3rd ed., section 3.2. Signed
ranks: F. Wilcoxon, *Individual comparisons by ranking methods*, Biometrics 1 (1945). Rank sums:
H. B. Mann and D. R. Whitney, *On a test of whether one of two random variables is stochastically
larger than the other*, Ann. Math. Statist. 18 (1947).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

RANK_SUMS_LIMIT = 100
"""Samples up to which the rank-sum distribution is exact."""


def of_median(n: int, confidence: float) -> tuple[int | None, int | None]:
    """Zero-based ranks whose order statistics hold the median with at least ``confidence``."""
    from scipy.special import bdtr, bdtrik

    # An equality that is exact on paper shall not be lost to rounding.
    tail = (1 - confidence) / 2 * (1 + 1e-9)
    if bdtr(0, n, 0.5) >= tail:
        return None, None
    rank = math.ceil(bdtrik(tail, n, 0.5))
    rank -= bool(bdtr(rank - 1, n, 0.5) >= tail)  # the inverse may be one too far by rounding
    return rank - 1, n - rank


def cut(counts: FloatArray, confidence: float) -> int:
    """How far from each end the interval of a rank test begins; 0: nowhere.

    ``counts``: probabilities of the statistic's values, ascending from 0.
    """
    import numpy as np

    # An equality that is exact on paper shall not be lost to rounding.
    tail = (1 - confidence) / 2 * (1 + 1e-9)
    return int(np.searchsorted(np.cumsum(counts), tail, side="right"))


@functools.cache
def signed(n: int) -> FloatArray:
    """Distribution of the signed-rank statistic: subsets of the ranks 1..n, by their sum."""
    import numpy as np

    found = np.zeros(n * (n + 1) // 2 + 1)
    found[0] = 1.0
    for rank in range(1, n + 1):
        found[rank:] = (found[rank:] + found[:-rank]) / 2
        found[:rank] /= 2
    return found


@functools.cache
def sums(n: int, m: int) -> FloatArray:
    """Distribution of the rank-sum statistic, by the Gaussian binomial; normal where that is wide.

    The normal approximation has Mann and Whitney's correction for continuity.
    """
    import numpy as np
    from scipy.special import ndtr

    top = n * m
    if n + m > RANK_SUMS_LIMIT:
        at = np.arange(top + 1) + 0.5
        cumulated = ndtr((at - top / 2) / math.sqrt(top * (n + m + 1) / 12))
        return np.diff(cumulated, prepend=0.0)
    found = np.zeros(top + 1)
    found[0] = 1.0
    for i in range(1, n + 1):
        # Times (1 - q^(m+i)), over (1 - q^i); kept a distribution on the way.
        shifted = found.copy()
        shifted[m + i :] -= found[: max(0, top + 1 - m - i)]
        for start in range(i):
            shifted[start::i] = np.cumsum(shifted[start::i])
        found = shifted * (i / (m + i))
    return np.clip(found, 0.0, None)

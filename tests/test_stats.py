"""The estimators and the decision: exact small cases, properties, degenerate input."""

import math
import subprocess
import sys
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta, norm, quantile_test, theilslopes

from pytest_vmvc import ranks
from pytest_vmvc.model import Verdict
from pytest_vmvc.stats import (
    decide,
    exact,
    independent_ratio,
    inflation,
    median_interval,
    proportion_bound,
    ratio_interval,
    slope_interval,
)

seconds = st.floats(min_value=1e-3, max_value=1e4, allow_nan=False)


def test_six_values_span_the_interval():
    found = median_interval([3, 1, 2, 6, 5, 4], unit="s", correlation=0)
    assert (found.effect, found.low, found.high, found.n) == (3.5, 1, 6, 6)


@pytest.mark.parametrize("n", [6, 7, 9, 12, 20, 50])
def test_interval_equals_the_one_of_scipy(n):
    values = [float(i * i) for i in range(n)]
    reference = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    found = median_interval(values, unit="s", correlation=0)
    assert (found.low, found.high) == (reference.low, reference.high)


@pytest.mark.parametrize("n", range(1, 6))
def test_five_values_have_no_interval_and_decide_nothing(n):
    found = median_interval([1.0] * n, unit="s")
    assert (found.low, found.high) == (None, None)
    for op in ("<", "<=", ">", ">="):
        assert decide(found, op, 60) == Verdict.INCONCLUSIVE


def test_a_censored_value_bounds_from_below_only():
    found = median_interval([10, 10, 10, 10, 10, 300], unit="s", censored=[False] * 5 + [True])
    assert (found.low, found.high, found.censored) == (10, None, 1)
    assert decide(found, ">=", 10) == Verdict.SUPPORTED
    assert decide(found, "<", 60) == Verdict.INCONCLUSIVE


def test_only_timeouts_still_show_that_it_is_slow():
    found = median_interval([300.0] * 6, unit="s", censored=[True] * 6)
    assert found.effect is None
    assert decide(found, ">=", 60) == Verdict.SUPPORTED
    assert decide(found, "<", 60) == Verdict.REFUTED
    assert decide(found, ">=", 301) == Verdict.INCONCLUSIVE


def test_a_timeout_below_the_line_bounds_the_ratio_from_above():
    found = ratio_interval([1.0] * 6, [10.0] * 6, censored_under=[True] * 6)
    assert (found.low, found.high) == (None, pytest.approx(0.1))
    assert decide(found, ">", 1.25) == Verdict.REFUTED


@pytest.mark.parametrize(
    ("op", "threshold", "verdict"),
    [
        ("<", 6.0, "INCONCLUSIVE"),
        ("<", 6.1, "SUPPORTED"),
        ("<", 1.0, "REFUTED"),
        ("<=", 6.0, "SUPPORTED"),
        ("<=", 1.0, "INCONCLUSIVE"),
        ("<=", 0.9, "REFUTED"),
        (">", 1.0, "INCONCLUSIVE"),
        (">", 0.9, "SUPPORTED"),
        (">", 6.0, "REFUTED"),
        (">=", 1.0, "SUPPORTED"),
        (">=", 6.0, "INCONCLUSIVE"),
        (">=", 6.1, "REFUTED"),
    ],
)
def test_the_interval_decides_at_its_very_ends(op, threshold, verdict):
    found = median_interval([1, 2, 3, 4, 5, 6], unit="s", correlation=0)
    assert decide(found, op, threshold) == Verdict(verdict)


def test_ratio_of_equal_rows_is_one():
    found = ratio_interval([2.0] * 6, [2.0] * 6)
    assert (found.effect, found.low, found.high) == (1, 1, 1)
    assert decide(found, ">", 1.25) == Verdict.REFUTED


@pytest.mark.parametrize(("n", "cut"), [(6, 1), (8, 4), (10, 9), (15, 26), (20, 53)])
def test_the_interval_of_pairs_is_that_of_the_signed_rank_tables(n, cut):
    """Critical values of Wilcoxon's test, two-sided 5 %: cut - 1 (F. Wilcoxon, 1945; Conover)."""
    logs = [0.1 * 2**i for i in range(n)]
    averages = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    found = (
        ratio_interval([math.exp(x) for x in logs], [1.0] * 8, correlation=0) if n == 8 else None
    )
    assert ranks.cut(ranks.signed(n), 0.95) == cut
    if found is not None:
        assert found.low == pytest.approx(math.exp(averages[cut - 1]))
        assert found.high == pytest.approx(math.exp(averages[-cut]))


@pytest.mark.parametrize(("n", "m", "cut"), [(4, 4, 1), (5, 5, 3), (7, 9, 13), (10, 10, 24)])
def test_the_interval_of_two_samples_is_that_of_the_rank_sum_tables(n, m, cut):
    """Critical values of Mann and Whitney's U, two-sided 5 %: cut - 1."""
    assert ranks.cut(ranks.sums(n, m), 0.95) == cut
    assert ranks.sums(n, m).sum() == pytest.approx(1)


def test_large_rank_sums_are_nearly_those_that_are_counted():
    exact_cut, near = (ranks.cut(ranks.sums(n, 50), 0.95) for n in (50, 51))
    assert exact_cut < near < exact_cut + 30


def test_a_pair_of_which_one_timed_out_bounds_the_ratio_from_one_side():
    found = ratio_interval([2.0] * 8, [1.0] * 8, censored_over=[True] * 7 + [False])
    assert (found.low, found.high) == (pytest.approx(2.0), None)
    assert found.effect is None


def test_two_samples_need_no_pairs():
    found = independent_ratio([2.0, 2.2, 2.4, 2.1], [1.0, 1.1, 1.2, 1.05])
    assert found.low > 1.25
    assert found.effect == pytest.approx(2.0, rel=0.1)


def test_many_samples_are_judged_by_their_medians():
    found = independent_ratio([2.0, 4.0] * 5000, [1.0] * 1000)
    assert "medians" in found.method
    assert 1.9 < found.low <= found.high < 4.1


def test_no_exception_in_n_bounds_their_share_by_about_three_over_n():
    assert proportion_bound(0, 100) == pytest.approx(0.0295, abs=1e-3)
    assert proportion_bound(0, 1) == pytest.approx(0.95)
    assert proportion_bound(3, 3) == 1


def test_the_bootstrap_is_another_way_to_the_same_place():
    over, under = [4, 4.1, 4.2, 4.4, 4, 4.9, 4.3], [0.3, 0.31, 0.33, 0.3, 0.29, 0.28, 0.31]
    ranks, bootstrap = (
        ratio_interval(over, under, estimator=name) for name in ("hodges-lehmann", "bca")
    )
    assert bootstrap.effect == pytest.approx(ranks.effect, rel=0.05)
    assert bootstrap.low < ranks.effect < bootstrap.high


def test_ratio_is_seeded():
    over, under = [4, 4.1, 4.2, 4.4, 4, 4.9, 4.3], [0.3, 0.31, 0.33, 0.3, 0.29, 0.28, 0.31]
    assert ratio_interval(over, under, seed=7, estimator="bca") == ratio_interval(
        over, under, seed=7, estimator="bca"
    )


@pytest.mark.parametrize("bad", [[], [math.nan] * 6, [1, 2, math.inf, 4, 5, 6]])
def test_unusable_samples_are_refused(bad):
    with pytest.raises(ValueError, match="sample"):
        median_interval(bad, unit="s")


@pytest.mark.parametrize("bad", [[0.0] * 6, [-1.0] * 6])
def test_a_ratio_refuses_what_is_not_positive(bad):
    with pytest.raises(ValueError, match="positive"):
        ratio_interval(bad, [1.0] * 6)


def test_a_ratio_refuses_unpaired_rows():
    with pytest.raises(ValueError, match="equally long"):
        ratio_interval([1.0] * 6, [1.0] * 7)


def test_an_exact_figure_has_no_width():
    assert decide(exact(5e8, unit="bytes"), "<", 1e9) == Verdict.SUPPORTED


@given(st.lists(seconds, min_size=6, max_size=40), st.randoms())
def test_the_order_of_the_samples_does_not_matter(values, random):
    shuffled = values[:]
    random.shuffle(shuffled)
    assert median_interval(values, unit="s") == median_interval(shuffled, unit="s")


@given(st.lists(seconds, min_size=6, max_size=40), seconds, seconds)
def test_the_verdict_is_monotone_in_the_threshold(values, one, other):
    low, high = sorted((one, other))
    found = median_interval(values, unit="s")
    if decide(found, "<", low) == Verdict.SUPPORTED:
        assert decide(found, "<", high) == Verdict.SUPPORTED
    if decide(found, ">=", high) == Verdict.SUPPORTED:
        assert decide(found, ">=", low) == Verdict.SUPPORTED


@given(st.lists(st.tuples(seconds, seconds), min_size=6, max_size=12), st.sampled_from([2, 4, 0.5]))
def test_ratios_do_not_depend_on_the_unit(pairs, scale):
    over, under = zip(*pairs, strict=True)
    plain = ratio_interval(over, under)
    scaled = ratio_interval([x * scale for x in over], [x * scale for x in under])
    assert scaled.effect == pytest.approx(plain.effect)
    assert scaled.low == pytest.approx(plain.low, rel=1e-6)
    assert scaled.high == pytest.approx(plain.high, rel=1e-6)


@given(st.lists(st.tuples(seconds, seconds), min_size=6, max_size=8))
def test_swapping_the_sides_mirrors_the_interval(pairs):
    over, under = zip(*pairs, strict=True)
    there, back = ratio_interval(over, under), ratio_interval(under, over)
    assert there.effect == pytest.approx(1 / back.effect)
    assert there.low == pytest.approx(1 / back.high)
    assert there.high == pytest.approx(1 / back.low)


def test_a_row_that_never_changes_has_no_slope():
    found = slope_interval([1, 2, 4, 8, 1, 2], [7] * 6, unit="bytes")
    assert (found.effect, found.low, found.high) == (0, 0, 0)


def test_a_slope_is_not_bounded_where_nearly_everything_is_tied():
    found = slope_interval([1, 1, 1, 1, 1, 2], [3, 3, 3, 3, 3, 9], unit="bytes")
    assert (found.low, found.high) == (None, None)


# --- neighbours that are alike -------------------------------------------------------------------


@given(st.lists(seconds, min_size=6, max_size=40), st.floats(0, 0.9))
def test_the_allowance_widens_about_the_estimate(values, correlation):
    bare = median_interval(values, unit="s", correlation=0)
    found = median_interval(values, unit="s", correlation=correlation)
    assert found.effect == bare.effect
    by = inflation(correlation)
    assert found.effect - found.low == pytest.approx(by * (bare.effect - bare.low), abs=1e-6)
    assert found.high - found.effect == pytest.approx(by * (bare.high - bare.effect), abs=1e-6)


def test_a_correlation_of_a_quarter_makes_three_samples_of_five():
    assert inflation(0.25) ** 2 == pytest.approx(5 / 3)
    assert inflation(0) == 1


@pytest.mark.parametrize("bad", [-0.1, 1.0, math.nan])
def test_no_such_correlation_is_allowed_for(bad):
    with pytest.raises(ValueError, match="from 0 up to 1"):
        median_interval([1.0] * 6, unit="s", correlation=bad)


def test_a_ratio_that_lies_on_its_bound_is_not_moved_by_rounding():
    for under in (0.1, 0.3, 0.7, 1.1, 3.3):
        found = ratio_interval([1.25 * under] * 6, [under] * 6)
        assert decide(found, ">", 1.25) == Verdict.REFUTED
        assert decide(found, "<", 1.25) == Verdict.REFUTED


# --- properties of every interval ----------------------------------------------------------------

pairs = st.lists(st.tuples(seconds, seconds), min_size=6, max_size=12)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999])


def inside(narrow, wide):
    lows = [-math.inf if one.low is None else one.low for one in (wide, narrow)]
    highs = [math.inf if one.high is None else one.high for one in (narrow, wide)]
    return lows == sorted(lows) and highs == sorted(highs)


@given(pairs, confidences, confidences)
def test_less_confidence_never_widens(rows, one, other):
    less, more = sorted((one, other))
    over, under = zip(*rows, strict=True)
    assert inside(
        ratio_interval(over, under, confidence=less), ratio_interval(over, under, confidence=more)
    )
    assert inside(
        median_interval(over, unit="s", confidence=less),
        median_interval(over, unit="s", confidence=more),
    )


@given(pairs, st.randoms())
def test_the_order_of_the_pairs_does_not_matter(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)
    there, back = (ratio_interval(*zip(*some, strict=True)) for some in (rows, shuffled))
    assert (there.effect, there.low, there.high) == (back.effect, back.low, back.high)


@given(pairs, st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_time_out_never_narrows(rows, late):
    over, under = zip(*rows, strict=True)
    above, below = late[: len(over)], late[-len(over) :]
    seen = median_interval(over, unit="s", correlation=0)
    cut = median_interval(over, unit="s", censored=above, correlation=0)
    assert inside(seen, cut)
    assert cut.low == seen.low
    ratios = (
        ratio_interval(over, under, correlation=0, censored_over=one, censored_under=other)
        for one, other in ((None, None), (above, below))
    )
    assert inside(*ratios)


@given(pairs, st.floats(0.5, 2), st.floats(0.5, 2))
def test_the_verdict_on_a_ratio_is_monotone_in_the_threshold(rows, one, other):
    less, more = sorted((one, other))
    found = ratio_interval(*zip(*rows, strict=True))
    if decide(found, ">", more) == Verdict.SUPPORTED:
        assert decide(found, ">", less) == Verdict.SUPPORTED
    if decide(found, ">", less) == Verdict.REFUTED:
        assert decide(found, ">", more) == Verdict.REFUTED


def test_a_ratio_beyond_all_numbers_bounds_nothing():
    found = ratio_interval([1e300] * 6, [1e-300] * 6)
    assert (found.effect, found.low, found.high) == (None, None, None)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.one_of(st.integers(0, 9), st.floats(-1e3, 1e3))),
        min_size=3,
        max_size=40,
    ),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_a_slope_and_its_interval_are_those_of_scipy(points, confidence):
    doses, values = zip(*points, strict=True)
    assume(len(set(doses)) > 1 and len(set(values)) > 1)
    found = slope_interval(doses, values, unit="s", confidence=confidence)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        reference = theilslopes(values, doses, alpha=confidence)
    assert found.effect == pytest.approx(reference.slope)
    for end, of in ((found.low, reference.low_slope), (found.high, reference.high_slope)):
        assert end == pytest.approx(of) if math.isfinite(of) else end is None


@pytest.mark.parametrize(("bad", "n"), [(1, 10), (3, 40), (9, 10)])
def test_an_upper_bound_of_exceptions_is_that_of_clopper_and_pearson(bad, n):
    assert proportion_bound(bad, n) == pytest.approx(beta.ppf(0.95, bad + 1, n - bad))


def test_many_rank_sums_are_normal():
    n, m = 60, 50
    found = ranks.sums(n, m)
    scale = math.sqrt(n * m * (n + m + 1) / 12)
    at = n * m // 3
    expected = norm.cdf(at + 0.5, n * m / 2, scale) - norm.cdf(at - 0.5, n * m / 2, scale)
    assert found[at] == pytest.approx(expected)


def test_judging_loads_no_more_of_scipy_than_its_special_functions():
    code = (
        "import sys\n"
        "from pytest_vmvc import stats\n"
        "stats.median_interval([1, 2, 3, 4, 5, 6], unit='s')\n"
        "stats.ratio_interval([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 2])\n"
        "stats.independent_ratio(list(range(1, 99)), list(range(1, 99)))\n"
        "stats.slope_interval([1, 2, 3], [1, 2, 4], unit='s')\n"
        "stats.proportion_bound(1, 9)\n"
        "assert 'scipy.stats' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

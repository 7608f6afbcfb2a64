"""BCa bounds: scipy's own, agreement with their test, and how often they miss."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from weighbridge.gate.statistics.resampled import MOMENTS, Resamples, acceleration, moments, recorded

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=300)
ALPHAS = st.sampled_from([0.05, 0.01, 0.002])


@given(VALUES, ALPHAS, st.floats(-100, 100), st.floats(-100, 100), st.floats(-0.2, 0.2))
def test_bounds_agree_with_their_test(
    values: list[float], alpha: float, point: float, limit: float, skew: float
) -> None:
    """A bound lies beyond a limit exactly where the p-value is within alpha, whatever bias and skewness are."""
    found = Resamples(point, values, skew)
    p_above, p_below = found.p_above(limit), found.p_below(limit)
    if abs(p_above - alpha) > 1e-6:
        assert (found.lower(alpha) > limit) == (p_above < alpha)
    if abs(p_below - alpha) > 1e-6:
        assert (found.upper(alpha) < limit) == (p_below < alpha)


@given(VALUES, st.floats(-100, 100), st.floats(-0.2, 0.2))
def test_p_values_are_probabilities_and_fall_with_the_limit(values: list[float], point: float, skew: float) -> None:
    """Between 0 and 1; a higher limit is never rejected more easily."""
    found = Resamples(point, values, skew)
    limits = [found.p_above(limit) for limit in (-200.0, -10.0, 0.0, 10.0, 200.0)]
    assert all(0 <= p <= 1 for p in limits)
    assert limits == sorted(limits)


def test_even_resamples_have_percentile_bounds() -> None:
    """No bias, no skewness: the 50th and the 950th of 999."""
    values = [float(number) for number in range(1, 1000)]
    assert Resamples(500.0, values).lower(0.05) == 50
    assert Resamples(500.0, values).upper(0.05) == 950


def test_too_few_resamples_bound_nothing() -> None:
    """98 resamples cannot show anything at 1 %; 99 can."""
    assert Resamples(1.0, [1.0] * 98).lower(0.01) == -math.inf
    assert Resamples(1.0, [1.0] * 99).lower(0.01) == 1.0
    assert Resamples(1.0, [1.0] * 98).p_above(0.5) > 0.01


def test_a_value_that_resamples_repeat_in_fewer_digits_lies_among_them() -> None:
    """Half the resamples are the value itself, rounded up: there is no bias, where there would be much of it."""
    point, values = 0.99921875, [recorded(value) for value in [1.0] * 500 + [0.99921875] * 1000 + [0.99] * 500]
    assert min(values[500:1500]) > point
    assert Resamples(point, values, -0.16, recorded(point)).lower(0.05) == 0.99
    assert Resamples(-point, [-value for value in values], 0.16, -recorded(point)).upper(0.05) == -0.99
    assert Resamples(point, values, -0.16).lower(0.05) == -math.inf


def leave_one_out(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means with each value left out."""
    return (x.sum() - x) / (len(x) - 1)


def test_bounds_are_scipys_on_paired_skewed_values() -> None:
    """The difference of two skewed means on the same forty examples, from scipy's own resamples."""
    rng = np.random.default_rng(4)
    reference = rng.lognormal(0, 1, 40)
    candidate = reference + rng.lognormal(0, 1.2, 40)

    def drop(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return x.mean(axis) - y.mean(axis)

    told = bootstrap((reference, candidate), drop, paired=True, method="BCa", n_resamples=9999, confidence_level=0.9,
                     rng=np.random.default_rng(1))  # fmt: skip
    skew = acceleration(moments(leave_one_out(candidate), leave_one_out(reference)), -1.0, 1.0)
    ours = Resamples(drop(reference, candidate), told.bootstrap_distribution.tolist(), skew)
    assert abs(skew) > 0.02
    interval = told.confidence_interval
    assert (ours.lower(0.05), ours.upper(0.05)) == pytest.approx((interval.low, interval.high), abs=0.01)
    without = Resamples(ours.point, ours.values)
    assert without.lower(0.05) != pytest.approx(interval.low, abs=0.01)


@pytest.mark.parametrize(("by_candidate", "by_reference"), [(1.0, 0.0), (-1.0, 1.0), (0.5, -0.25)])
def test_seven_sums_carry_the_acceleration_to_any_scale(by_candidate: float, by_reference: float) -> None:
    """Weighed influences give what the jackknife of the weighed value gives."""
    rng = np.random.default_rng(2)
    candidate, reference = rng.lognormal(0, 1, 50), rng.lognormal(0, 1, 50)
    sums = moments(leave_one_out(candidate), leave_one_out(reference))
    assert len(sums) == MOMENTS
    whole = leave_one_out(by_candidate * candidate + by_reference * reference)
    gaps = whole.mean() - whole
    expected = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    assert acceleration(sums, by_candidate, by_reference) == pytest.approx(expected)


def test_what_never_varies_has_no_acceleration() -> None:
    """Two models that answer alike: a drop of zero in every group, and no division by it."""
    x = np.random.default_rng(3).normal(size=60)
    assert acceleration(moments(x, x), -1.0, 1.0) == 0.0
    assert acceleration([], 1.0, 0.0) == 0.0


def test_skewed_means_are_missed_less_often_than_by_percentiles() -> None:
    """One-sided 5 % upper bounds of a lognormal mean over 40 examples: BCa misses less, and at most 12 %."""
    rng = np.random.default_rng(11)
    truth, runs, missed, plain = math.exp(0.5), 300, 0, 0
    for _ in range(runs):
        x = rng.lognormal(0, 1, 40)
        values = x[rng.integers(0, 40, (999, 40))].mean(axis=1).tolist()
        sums = moments(leave_one_out(x), leave_one_out(x))
        missed += Resamples(x.mean(), values, acceleration(sums, 1.0, 0.0)).upper(0.05) < truth
        plain += np.quantile(values, 0.95) < truth
    assert missed < plain
    assert missed <= 0.12 * runs

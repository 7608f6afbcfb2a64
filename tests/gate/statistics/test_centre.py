"""The signed-rank and sign tests: published tables, scipy, and what must hold for any values."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from weighbridge.gate.statistics import SIGN, SIGNED_RANK, hodges_lehmann
from weighbridge.gate.statistics.centre import Location

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
SAMPLES = st.lists(FINITE, min_size=1, max_size=20)
ALPHAS = st.sampled_from([0.05, 0.025, 0.01, 0.002])

# Largest T with P(T+ <= T) <= 0.025, from the published table of critical values (two-sided 5 %).
CRITICAL = {
    6: 0,
    7: 2,
    8: 3,
    9: 5,
    10: 8,
    11: 10,
    12: 13,
    13: 17,
    14: 21,
    15: 25,
    16: 29,
    17: 34,
    18: 40,
    20: 52,
    25: 89,
}

# Depression scores before and after treatment: Hollander and Wolfe, table 3.1; R's manual page of wilcox.test.
BEFORE = (1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
AFTER = (0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)
DIFFERENCES = [before - after for before, after in zip(BEFORE, AFTER, strict=True)]


@pytest.mark.parametrize(("count", "critical"), CRITICAL.items())
def test_critical_values_are_the_published_ones(count: int, critical: int) -> None:
    """The exact distribution rejects up to the table's value and no further."""
    mass = np.cumsum(SIGNED_RANK.distribution(count))
    assert mass[critical] <= 0.025 < mass[critical + 1]


def test_the_textbook_example_comes_out() -> None:
    """Hollander and Wolfe's depression data: estimate 0.46, 95 % interval 0.010 to 0.786, p = 0.0195."""
    assert hodges_lehmann(DIFFERENCES) == pytest.approx(0.46)
    assert SIGNED_RANK.lower(DIFFERENCES, 0.025) == pytest.approx(0.010)
    assert SIGNED_RANK.upper(DIFFERENCES, 0.025) == pytest.approx(0.786)
    assert SIGNED_RANK.p_above(DIFFERENCES, 0.0) == pytest.approx(0.01953, abs=1e-5)


@given(st.integers(1, 12))
def test_the_distribution_is_that_of_all_signs(count: int) -> None:
    """Counting every assignment of signs to ranks gives the same probabilities."""
    sums = [sum(signs) for signs in itertools.product(*[(0, rank) for rank in range(1, count + 1)])]
    expected = np.bincount(sums) / 2**count
    np.testing.assert_allclose(SIGNED_RANK.distribution(count), expected, rtol=1e-12)


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_p_values_agree_with_scipy_where_nothing_ties(count: int, seed: int) -> None:
    """The exact Wilcoxon test of scipy test is the same test."""
    values = np.random.default_rng(seed).normal(0.2, 1.0, count)
    expected = wilcoxon(values, alternative="greater", method="exact").pvalue
    assert SIGNED_RANK.p_above(values, 0.0) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_sign_test_agrees_with_scipy(count: int, seed: int) -> None:
    """Binomial order statistics are the binomial test of the median."""
    values = np.random.default_rng(seed).normal(0.2, 1.0, count)
    expected = binomtest(int((values > 0).sum()), count, alternative="greater").pvalue
    assert SIGN.p_above(values, 0.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("location", [SIGNED_RANK, SIGN])
@given(values=SAMPLES, alpha=ALPHAS, centre=FINITE)
def test_bounds_and_tests_say_the_same(location: Location, values: list[float], alpha: float, centre: float) -> None:
    """The lower bound lies above a centre exactly where the test rejects it, ties and zeros included."""
    assert (location.lower(values, alpha) > centre) == (location.p_above(values, centre) <= alpha)
    assert (location.upper(values, alpha) < centre) == (location.p_below(values, centre) <= alpha)


@pytest.mark.parametrize("location", [SIGNED_RANK, SIGN])
@given(values=SAMPLES, alpha=ALPHAS)
def test_bounds_hold_the_estimate_and_tighten_with_alpha(location: Location, values: list[float], alpha: float) -> None:
    """Lower ≤ estimate ≤ upper, and a smaller error rate never narrows the interval."""
    lower, upper = location.lower(values, alpha), location.upper(values, alpha)
    assert lower <= location.estimate(values) + 1e-9 * abs(location.estimate(values))
    assert upper >= location.estimate(values) - 1e-9 * abs(location.estimate(values))
    assert location.lower(values, alpha / 10) <= lower
    assert location.upper(values, alpha / 10) >= upper


@pytest.mark.parametrize("count", range(1, 10))
def test_few_values_have_no_bound(count: int) -> None:
    """Below the count that an error rate needs, the bounds are infinite and nothing is ever shown."""
    alpha = 0.002
    assert 0.5**count > alpha or count == 9
    values = [1.0 + 0.01 * index for index in range(count)]
    assert (SIGNED_RANK.lower(values, alpha) == -math.inf) == (count < 9)
    assert (SIGNED_RANK.upper(values, alpha) == math.inf) == (count < 9)


def test_values_at_the_centre_speak_for_neither_side() -> None:
    """A sample that ties with the limit throughout is never evidence."""
    for location in (SIGNED_RANK, SIGN):
        assert location.p_above([0.5] * 54, 0.5) == pytest.approx(1.0)
        assert location.p_below([0.5] * 54, 0.5) == pytest.approx(1.0)
        assert location.lower([0.5] * 54, 0.01) == location.upper([0.5] * 54, 0.01) == 0.5


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    """An empty sample, NaN and infinities never become a p-value."""
    with pytest.raises(ValueError, match="finite"):
        SIGNED_RANK.p_above(values, 0.0)


@pytest.mark.parametrize("draw", ["normal", "t3", "laplace", "rounded"])
def test_bounds_miss_no_more_often_than_they_say(draw: str) -> None:
    """Coverage in simulation: one-sided 5 % bounds miss in at most 5 % of runs (and not far less without ties)."""
    generator = np.random.default_rng(20)
    shapes = {
        "normal": lambda n: generator.normal(size=n),
        "t3": lambda n: generator.standard_t(3, size=n),
        "laplace": lambda n: generator.laplace(size=n),
        "rounded": lambda n: np.round(generator.normal(size=n)),
    }
    runs = 2000
    missed = sum(SIGNED_RANK.lower(shapes[draw](16), 0.05) > 0 for _ in range(runs)) / runs
    error = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert missed <= 0.05 + error
    if draw != "rounded":
        assert missed >= 0.05 - error - 0.005

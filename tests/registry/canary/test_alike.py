"""Bounds that are narrow where two groups are alike keep their promise under continuous looking."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.registry.canary import alike, sequential


def hits(p: float, n: int, generator: random.Random) -> int:
    return sum(generator.random() < p for _ in range(n))


@pytest.mark.parametrize(("first", "second", "share"), [(0.9, 0.88, 1), (0.9, 0.88, 4), (0.02, 0.01, 1)])
def test_the_true_difference_is_rarely_excluded_at_any_look(first: float, second: float, share: int) -> None:
    """100 runs of 40 looks each at alpha 10 %, with stable as large as the canary or four times as large."""
    generator, runs, missed = random.Random(3), 100, 0
    for _ in range(runs):
        one, two, wrong = 0, 0, False
        for look in range(1, 41):
            one, two = one + hits(first, 25 * share, generator), two + hits(second, 25, generator)
            found = alike.difference((one, 25 * share * look), (two, 25 * look), 0.1)
            wrong |= not found.lower <= first - second <= found.upper
        missed += wrong
    assert missed / runs <= 0.1 + 3 * math.sqrt(0.09 / runs)


def test_the_true_distance_is_rarely_excluded_at_any_look() -> None:
    """Four classes, a distance of 0.1; alpha 10 %."""
    generator, runs, missed = random.Random(3), 100, 0
    truth = [0.25, 0.25, 0.25, 0.25], [0.35, 0.25, 0.25, 0.15]
    for _ in range(runs):
        counts, wrong = ([0] * 4, [0] * 4), False
        for _ in range(20):
            for group, shares in zip(counts, truth, strict=True):
                for place in generator.choices(range(4), shares, k=50):
                    group[place] += 1
            found = alike.total_variation(*counts, 0.1)
            wrong |= not found.lower <= 0.1 <= found.upper
        missed += wrong
    assert missed / runs <= 0.1 + 3 * math.sqrt(0.09 / runs)


def test_the_pooled_bound_of_a_fixed_sample_would_err_often() -> None:
    """The simulation can fail: the usual 90 % interval of a difference, looked at as often, excludes the truth."""
    generator, missed = random.Random(3), 0
    for _ in range(100):
        one, two, wrong = 0, 0, False
        for look in range(1, 41):
            one, two, n = one + hits(0.9, 25, generator), two + hits(0.88, 25, generator), 25 * look
            width = 1.645 * math.sqrt((one * (n - one) + two * (n - two)) / n**3)
            wrong |= n >= 100 and abs((one - two) / n - 0.02) > width
        missed += wrong
    assert missed > 25


_GROUP = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=100, deadline=None)
@given(_GROUP, _GROUP, st.floats(-0.95, 0.95))
def test_the_largest_likelihood_at_a_difference_is_the_largest(
    first: tuple[int, int], second: tuple[int, int], d: float
) -> None:
    """No other pair of probabilities with that difference is likelier."""
    found, low, high = alike.largest(first, second, d), max(0.0, -d), min(1.0, 1.0 - d)
    for step in range(101):
        p2 = low + (high - low) * step / 100
        p1 = min(max(p2 + d, 0.0), 1.0)
        assert sequential.log_likelihood(*first, p1) + sequential.log_likelihood(*second, p2) <= found + 1e-6


@settings(max_examples=100, deadline=None)
@given(_GROUP, _GROUP)
def test_an_interval_contains_its_estimate_and_turns_with_its_groups(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    """The second less the first is the first less the second with its sign turned."""
    found, other = alike.difference(first, second, 0.05), alike.difference(second, first, 0.05)
    assert -1 <= found.lower <= found.estimate <= found.upper <= 1
    assert (other.lower, other.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-6)


def test_groups_that_are_alike_need_far_fewer_requests() -> None:
    """Two points of accuracy: 9,000 requests of each instead of 14,000; a drift of 0.1 likewise."""
    assert alike.difference((8100, 9000), (8100, 9000), 0.05).upper < 0.02
    assert sequential.difference((8100, 9000), (8100, 9000), 0.05).upper > 0.024
    even = [500] * 10
    assert alike.total_variation(even, even, 0.05).upper < 0.1
    assert sequential.total_variation(even, even, 0.05).upper > 0.11


def test_groups_that_differ_are_bounded_too() -> None:
    """Half of the prior is on two distributions: a difference that is within a limit is shown in the end."""
    assert alike.difference((9000, 100_000), (8000, 100_000), 0.05).upper < 0.02
    assert alike.difference((0, 0), (5, 9), 0.05) == sequential.Interval(0.0, -1.0, 1.0)
    assert alike.total_variation([0, 0], [3, 4], 0.05).upper == 1.0

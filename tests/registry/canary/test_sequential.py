"""Confidence sequences keep their promise under continuous looking."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.registry.canary.sequential import (
    below,
    difference,
    fixed,
    log_mixture,
    paired,
    proportion,
    radius,
    total_variation,
)


def ever_missed(p: float, steps: int, alpha: float, generator: random.Random) -> bool:
    """Whether a run of trials ever excludes the truth; looked at after every single one."""
    hits = 0
    for n in range(1, steps + 1):
        hits += generator.random() < p
        if log_mixture([hits, n - hits]) - _log_likelihood(hits, n, p) >= math.log(1 / alpha):
            return True
    return False


def _log_likelihood(hits: int, n: int, p: float) -> float:
    return hits * math.log(p) + (n - hits) * math.log(1 - p)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_looking_after_every_trial_rarely_excludes_the_truth(p: float) -> None:
    """300 runs of 1,000 looks each at alpha 10 %: the share that ever errs stays below 10 % (plus three sigma)."""
    generator = random.Random(11)
    runs, alpha = 300, 0.1
    missed = sum(ever_missed(p, 1000, alpha, generator) for _ in range(runs))
    assert missed / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_the_same_looks_at_a_fixed_interval_would_err_often() -> None:
    """The simulation can fail: Wald's 90 % interval, looked at as often, excludes the truth in most runs."""
    generator = random.Random(11)
    missed = 0
    for _ in range(100):
        hits = 0
        for n in range(1, 1001):
            hits += generator.random() < 0.1
            share = hits / n
            if n >= 30 and abs(share - 0.1) > 1.645 * math.sqrt(max(share * (1 - share), 1e-9) / n):
                missed += 1
                break
    assert missed > 40


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.0001, 0.2))
def test_an_interval_contains_its_estimate_and_agrees_with_the_martingale(hits: int, misses: int, alpha: float) -> None:
    """Bounds are where the martingale reaches 1/alpha: inside it is smaller, just outside larger."""
    n = hits + misses
    found = proportion(hits, n, alpha)
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1
    if n:
        threshold = math.log(1 / alpha)
        for inside in (found.lower, found.upper):
            for p, holds in (
                (inside + (found.estimate - inside) * 1e-3, True),
                (inside - (found.estimate - inside) * 1e-3, False),
            ):
                if 1e-9 < p < 1 - 1e-9 and abs(inside - found.estimate) > 1e-6:
                    value = log_mixture([hits, misses]) - _log_likelihood(hits, n, p)
                    assert (value < threshold) == holds


@given(st.integers(1, 300), st.integers(1, 300))
def test_more_of_the_same_data_narrows_the_interval(hits: int, misses: int) -> None:
    """Ten times the data, a narrower interval."""
    small, large = proportion(hits, hits + misses, 0.05), proportion(10 * hits, 10 * (hits + misses), 0.05)
    assert large.upper - large.lower < small.upper - small.lower


def test_no_data_says_nothing() -> None:
    """Before the first trial every value is possible."""
    assert (proportion(0, 0, 0.05).lower, proportion(0, 0, 0.05).upper) == (0.0, 1.0)
    assert radius([0, 0], 0.05) == 1.0
    assert total_variation([0, 0], [5, 5], 0.05).upper == 1.0


def test_impossible_counts_are_refused() -> None:
    """More hits than trials is a defect of the caller."""
    with pytest.raises(ValueError, match="3 hits in 2 trials"):
        proportion(3, 2, 0.05)


def test_the_mixture_of_two_classes_is_the_beta_integral() -> None:
    """For two classes the mixture is B(hits + 1/2, misses + 1/2) / B(1/2, 1/2): 3/8 for two hits, by hand."""
    assert math.exp(log_mixture([2, 0])) == pytest.approx(3 / 8)
    assert math.exp(log_mixture([1, 1])) == pytest.approx(1 / 8)


def draw(distribution: list[float], n: int, generator: random.Random) -> list[int]:
    """Counts of n draws."""
    counts = [0] * len(distribution)
    for index in generator.choices(range(len(distribution)), distribution, k=n):
        counts[index] += 1
    return counts


def test_differences_and_distances_keep_their_level_under_looks() -> None:
    """Equal groups, looked at 20 times each: an excess is hardly ever claimed."""
    generator = random.Random(5)
    truth = [0.4, 0.3, 0.2, 0.1]
    claimed = 0
    for _ in range(200):
        first, second = [0] * 4, [0] * 4
        wrong = False
        for _ in range(20):
            first = [a + b for a, b in zip(first, draw(truth, 100, generator), strict=True)]
            second = [a + b for a, b in zip(second, draw(truth, 100, generator), strict=True)]
            wrong |= total_variation(first, second, 0.05).lower > 0
            wrong |= difference((first[0], sum(first)), (second[0], sum(second)), 0.05).lower > 0
        claimed += wrong
    assert claimed / 200 <= 0.1


def test_a_real_difference_is_found() -> None:
    """A drift of 0.2 in total variation, or 5 points of error rate, shows within some thousand requests."""
    generator = random.Random(5)
    first, second = draw([0.5, 0.3, 0.2], 4000, generator), draw([0.3, 0.3, 0.4], 4000, generator)
    assert total_variation(first, second, 0.01).lower > 0.1
    assert difference((280, 4000), (80, 4000), 0.01).lower > 0.02


def test_a_paired_drop_keeps_its_level_under_looks() -> None:
    generator, missed = random.Random(11), 0
    for _ in range(100):
        lost = won = 0
        for n in range(1, 401):
            drawn = generator.random()
            lost, won = lost + (drawn < 0.06), won + (0.06 <= drawn < 0.10)
            interval = paired(lost, won, n, 0.1) if n % 10 == 0 else None
            if interval is not None and not interval.lower <= 0.02 <= interval.upper:
                missed += 1
                break
    assert missed <= 15
    assert paired(60, 40, 1000, 0.1).upper < difference((500, 1000), (480, 1000), 0.1).upper


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize(("n", "p"), [(20, 0.5), (200, 0.9), (500, 0.02)])
def test_bounds_of_a_fixed_number_of_trials_each_keep_their_level(
    n: int, p: float, kind: type[int] | type[float]
) -> None:
    """Summed over all outcomes; and they are narrower than what may be looked at always."""
    above = under = 0.0
    for hits in range(n + 1):
        chance, found = math.comb(n, hits) * p**hits * (1 - p) ** (n - hits), fixed(kind(hits), n, 0.05)
        above += chance * (found.lower > p)
        under += chance * (found.upper < p)
    assert 0 < above <= 0.05
    assert 0 < under <= 0.05
    sequence = proportion(round(n * p), n, 0.05)
    assert sequence.lower < fixed(round(n * p), n, 0.05).lower
    nothing = below((round(n * p), n), (0, 0), 0.05, 0.05)
    assert nothing.lower < 0 < nothing.upper


def test_no_fixed_trials_say_nothing_and_impossible_ones_are_refused() -> None:
    assert (fixed(0, 0, 0.05).lower, fixed(0, 0, 0.05).upper) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 hits in 2 trials"):
        fixed(3, 2, 0.05)
